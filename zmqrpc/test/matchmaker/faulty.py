"""The stores that the suite of matchmakers under faults runs on."""

from __future__ import annotations

import shutil
import sqlite3
import time
from functools import cached_property
from pathlib import Path
from typing import Any

from twisted.internet import reactor as _reactor
from zope.interface import implementer

from zmqrpc.matchmaker import make_matchmaker
from zmqrpc.matchmaker._sqlite.file import SqliteFile
from zmqrpc.matchmaker._table import Table
from zmqrpc.matchmaker.dummy import DummyMatchmaker
from zmqrpc.matchmaker.sqlite import sqlite_matchmaker
from zmqrpc.settings import Settings
from zmqrpc.test.counted import CountedReactor
from zmqrpc.test.forwarder import Forwarder
from zmqrpc.test.matchmaker.support import new_path
from zmqrpc.test.servers import RedisServer
from zmqrpc.test.wall import Wall
from zmqrpc.testing.matchmaker import FAULTS, IFaultyStore

reactor: Any = _reactor

SECRET = "wr0ng-s3cret"


class Whole:
    """
    What a store that can have no fault says; methods that one can have override these.

    Programs are started when they are first needed: not where the fault of a test cannot be.
    """

    cannot: frozenset[str] = FAULTS
    keeps = reads_while_hung = False
    together = 1
    limit = 1.0
    secret = SECRET

    def __init__(self):
        self._reactor = CountedReactor(reactor)

    def make_stranger(self):
        raise NotImplementedError

    make_stranded = make_stranger

    def kill(self):
        raise NotImplementedError

    admit_stranger = hang = resume = refuse = accept = fail_over = hang_over = split = heal = kill

    def start(self, empty):
        raise NotImplementedError

    def slow(self, seconds):
        raise NotImplementedError

    step_clock = slow

    def turns(self):
        return None

    def tries(self):
        return self._reactor.most()

    def _make_of(self, url):
        return make_matchmaker(self._reactor, Settings(url, matchmaker_timeout=round(1000 * self.limit)))


class OneProgram:
    """
    What can happen to a store that is one program; to be mixed in before `Whole`, with a property `program`.

    What is slow is the way to it.
    """

    cannot = frozenset(("fail_over", "hang_over", "split"))
    keeps = True
    together = 100
    program: Any

    def __init__(self, case):
        super().__init__()
        self._case = case
        self._way: Forwarder | None = None

    @property
    def port(self):
        """Where clients of the test connect to."""
        return self.program.port if self._way is None else self._way.port

    async def kill(self):
        self.program.kill()

    async def hang(self):
        self.program.stop_answering()

    async def resume(self):
        self.program.answer_again()

    async def slow(self, seconds):
        if self._way is None:
            self._way = Forwarder(self._case, self.program.port)
        self._way.delay = seconds

    def turns(self):
        return None if self._way is None else self._way.turns


async def step_own_clock(store, seconds):
    """Set the clock on the wall of this process, and of nobody else: for a store that goes by another one."""
    real = time.time
    store._case.patch(time, "time", lambda: real() + seconds)


@implementer(IFaultyStore)
class FaultyTable(Whole):
    """A table in the memory of this process, to which nothing can happen."""

    named = "the matchmaker"

    def __init__(self, case):
        super().__init__()
        self._table = Table(reactor)

    def make_matchmaker(self):
        return DummyMatchmaker(self._table)


@implementer(IFaultyStore)
class FaultyRedis(OneProgram, Whole):
    """A ``redis-server`` that keeps what it has in a file, and goes by a clock of its own."""

    @cached_property
    def _wall(self):
        return Wall(self._case)

    @cached_property
    def program(self):
        options = ("--requirepass", "right", "--appendonly", "yes")
        return RedisServer(self._case, *options, environment=self._wall.environment)

    @property
    def named(self):
        return f"127.0.0.1:{self.program.port}"

    def make_matchmaker(self):
        return self._make("right", self.port)

    def make_stranger(self):
        return self._make(SECRET, self.program.port)

    async def admit_stranger(self):
        self.program.ask("CONFIG", "SET", "requirepass", SECRET)

    async def start(self, empty):
        if empty:
            self.program.lose()
        self.program.start()

    async def refuse(self):
        self.program.ask("REPLICAOF", "127.0.0.1", 1)

    async def accept(self):
        self.program.ask("REPLICAOF", "NO", "ONE")

    async def step_clock(self, seconds):
        self._wall.step(seconds)

    def _make(self, password, port):
        return self._make_of(f"zmq+redis://:{password}@127.0.0.1:{port}")


@implementer(IFaultyStore)
class FaultySeveral(Whole):
    """
    Three servers that know nothing of each other, and keep nothing: all are killed or hang, or the first alone.

    Nobody takes over from the first; the others have all that it has. What one server does, slow and with another clock
    on its wall, they do as well: see `FaultyRedis`.
    """

    cannot = frozenset(("slow", "split", "step_clock"))
    together = 100

    def __init__(self, case):
        super().__init__()
        self._case = case
        self._count = 3

    @cached_property
    def _servers(self):
        return [RedisServer(self._case, "--requirepass", "right") for _ in range(3)]

    @property
    def _failed(self):
        return self._servers[: self._count]

    @property
    def named(self):
        return tuple(f"127.0.0.1:{server.port}" for server in self._servers)

    def make_matchmaker(self):
        return self._make("right")

    def make_stranger(self):
        return self._make(SECRET)

    async def admit_stranger(self):
        for server in self._servers:
            server.ask("ACL", "SETUSER", "default", f">{SECRET}")

    async def kill(self):
        for server in self._failed:
            server.kill()

    async def start(self, empty):
        for server in self._failed:
            server.start()

    async def hang(self):
        for server in self._failed:
            server.stop_answering()

    async def resume(self):
        for server in self._failed:
            server.answer_again()

    async def refuse(self):
        for server in self._servers:
            server.ask("ACL", "SETUSER", "default", "-@write")

    async def accept(self):
        for server in self._servers:
            server.ask("ACL", "SETUSER", "default", "+@all")

    def fail_over(self):
        self._count = 1
        return self.kill()

    def hang_over(self):
        self._count = 1
        return self.hang()

    def _make(self, password):
        hosts = ",".join(self.named)
        return self._make_of(f"zmq+redis://:{password}@{hosts}")


@implementer(IFaultyStore)
class FaultyFile(Whole):
    """A file of SQLite, in a directory that can be away."""

    cannot = frozenset(("slow", "fail_over", "hang_over", "split", "make_stranger", "admit_stranger"))
    keeps = reads_while_hung = True

    def __init__(self, case):
        super().__init__()
        self._case = case
        self.named = new_path(case)
        self._directory = Path(self.named).parent
        self._away = self._directory.with_name(f"{self._directory.name}-away")
        self._writer: sqlite3.Connection | None = None
        self._looks = 0
        version = SqliteFile.version

        def counted(file):
            self._looks += 1
            return version(file)

        case.patch(SqliteFile, "version", counted)

    def make_matchmaker(self):
        return sqlite_matchmaker(reactor, self.named, limit=self.limit)

    async def kill(self):
        self._directory.rename(self._away)

    async def start(self, empty):
        if empty:
            shutil.rmtree(self._away)
            self._directory.mkdir()
        else:
            self._away.rename(self._directory)

    async def hang(self):
        self._writer = sqlite3.connect(self.named, isolation_level=None)
        self._case.addCleanup(self._writer.close)
        self._writer.execute("BEGIN IMMEDIATE")

    async def resume(self):
        assert self._writer is not None
        self._writer.execute("ROLLBACK")

    async def refuse(self):
        await self.kill()
        self._directory.mkdir()
        Path(self.named).write_text("precious " * 1000)

    async def accept(self):
        shutil.rmtree(self._directory)
        await self.start(False)

    def tries(self):
        looks, self._looks = self._looks, 0
        return looks

    step_clock = step_own_clock
