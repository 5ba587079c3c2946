"""The stores that matchmakers use, started for a row, killed and emptied as it says."""

from __future__ import annotations

import os
import sqlite3
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any, Protocol

from bench.wire import Wire
from zmqrpc.matchmaker._etcd.names import EtcdNames
from zmqrpc.matchmaker._redis.names import TOPIC_PREFIX, TOPICS_KEY
from zmqrpc.matchmaker._redis.scripts import RedisScripts
from zmqrpc.matchmaker._sqlite.file import SqliteFile
from zmqrpc.test.etcd import EtcdMember, single
from zmqrpc.test.sentinels import SentinelSet
from zmqrpc.test.servers import RedisPeer, RedisServer

_NUMBERS = count()


class Case:
    """What a server of the tests expects of the test that uses it: a directory, and an end."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._cleanups: list[Callable[[], Any]] = []

    def mktemp(self) -> str:
        return f"{self._directory}/{os.getpid()}-{next(_NUMBERS)}"

    def addCleanup(self, cleanup: Callable[[], Any]) -> None:
        self._cleanups.append(cleanup)

    def close(self) -> None:
        while self._cleanups:
            self._cleanups.pop()()


class Store(Protocol):
    """What a row does with a store."""

    url: str

    def __enter__(self) -> Store: ...
    def __exit__(self, *_: object) -> None: ...

    def records(self) -> int:
        """Return how many records it has."""

    def kill(self) -> None:
        """Have it gone, with all it holds."""

    def start(self) -> None:
        """Have it back, empty."""

    def stop_answering(self) -> None:
        """Have it hang."""

    def answer_again(self) -> None:
        """End the hanging."""

    def measured(self) -> Way:
        """Return a way to it on which a round trip takes a known time."""


class Way(Protocol):
    """
    A way to a store.

    :ivar url: the store on this way.
    :ivar delay: seconds that a round trip takes, and what the store itself takes besides.
    :ivar asked: how many questions have gone there.
    """

    url: str
    delay: float
    asked: int


class Redis:
    """One Redis server, for as long as the context lasts."""

    def __init__(self, directory: str) -> None:
        self._case = Case(directory)
        self.server = RedisServer(self._case, "--maxclients", "20000", "--tcp-backlog", "4096")
        self.url = self.server.url
        self._peer: RedisPeer | None = None

    def __enter__(self) -> Redis:
        return self

    def __exit__(self, *_: object) -> None:
        self._case.close()

    def ask(self, *words: str | int) -> Any:
        if self._peer is None:
            self._peer = RedisPeer(self.server)
        return self._peer.ask(*words)

    def commands(self) -> int:
        """Return how many commands it has done, those of scripts included."""
        return self.fact("stats", "total_commands_processed")

    def fact(self, section: str, name: str) -> int:
        """Return a number that it tells of itself."""
        said: str = self.ask("INFO", section).decode()
        return int(said.partition(f"{name}:")[2].split()[0])

    def records(self) -> int:
        return _stored(self.ask)

    def bytes(self) -> int:
        """Return how much memory its keys use, and not those who are connected."""
        return sum(self.ask("MEMORY", "USAGE", key, "SAMPLES", 0) for key in self.ask("KEYS", "*"))

    @property
    def pid(self) -> int:
        """The id of its process."""
        return self.fact("server", "process_id")

    def measured(self) -> Way:
        return _Networked(self.server.port, b"$4\r\nEVAL\r\n", "redis")

    def kill(self) -> None:
        self._peer = None
        self.server.kill()

    def start(self) -> None:
        self.server.start()

    def stop_answering(self) -> None:
        self.server.stop_answering()

    def answer_again(self) -> None:
        self.server.answer_again()

    def empty(self) -> None:
        """Empty it, and have somebody ask it something, so that all are told."""
        self.ask("FLUSHALL")
        self.ask(*RedisScripts(0).look([(("openstack", "nobody"), -1, 0)]))


def _stored(ask: Callable[..., Any]) -> int:
    topics = ask("ZRANGE", TOPICS_KEY, 0, -1)
    return sum(ask("HLEN", TOPIC_PREFIX + topic.decode()) - 1 for topic in topics)


class _Networked(Wire):
    """A way to a store with a port."""

    def __init__(self, port: int, question: bytes, scheme: str) -> None:
        super().__init__(port, question)
        self.url = f"zmq+{scheme}://127.0.0.1:{self.port}"


class Sentinels:
    """One master, two replicas and three Sentinels that give a server two seconds to answer."""

    def __init__(self, directory: str) -> None:
        self.case = Case(directory)
        self.set = SentinelSet(self.case, 2.0)
        self.url = self.set.url

    def __enter__(self) -> Sentinels:
        return self

    def __exit__(self, *_: object) -> None:
        self.case.close()

    @staticmethod
    def records_of(server: RedisServer) -> int:
        """Return how many records one server has."""
        return _stored(server.ask)

    def records(self) -> int:
        return self.records_of(self.set.master())

    def kill(self) -> None:
        self.set.master().kill()

    def start(self) -> None:
        """Another one is the master."""

    def stop_answering(self) -> None:
        self.set.master().stop_answering()

    def answer_again(self) -> None:
        for server in self.set.servers:
            server.answer_again()

    def measured(self) -> Way:
        raise AssertionError("it is measured with one server")


class Etcd:
    """One member of etcd; it does not wait for its disk."""

    def __init__(self, directory: str) -> None:
        self._case = Case(directory)
        self.member: EtcdMember = single(self._case)
        self.url = self.member.url

    def __enter__(self) -> Etcd:
        return self

    def __exit__(self, *_: object) -> None:
        self._case.close()

    def records(self) -> int:
        return len(self.member.held(EtcdNames("zmqrpc").topics))

    def kill(self) -> None:
        self.member.kill()
        self.member.lose()

    def start(self) -> None:
        self.member.start()
        self.member.wait()

    def stop_answering(self) -> None:
        self.member.stop_answering()

    def answer_again(self) -> None:
        self.member.answer_again()

    def bytes(self) -> int:
        """Return how large its database is in use; a file, of which it keeps the keys in memory besides."""
        return int(self.member.ask("maintenance/status")["dbSizeInUse"])

    @property
    def pid(self) -> int:
        """The id of its process."""
        return self.member.pid

    def measured(self) -> Way:
        return _Networked(self.member.port, b"POST /v3/", "etcd")


class _Slowed:
    """The file, each reading of which takes longer, in this process."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.delay = 0.0
        self.asked = 0
        read = SqliteFile.read

        def slowly(file: SqliteFile, *arguments: Any) -> Any:
            self.asked += 1
            time.sleep(self.delay)
            return read(file, *arguments)

        SqliteFile.read = slowly  # type: ignore[method-assign]


class Sqlite:
    """A file; it is gone when it is removed, and made anew by the first who registers."""

    def __init__(self, directory: str) -> None:
        self._path = Path(tempfile.mkdtemp(dir=directory), "matchmaker.db")
        self.url = f"zmq+sqlite://{self._path}"

    def __enter__(self) -> Sqlite:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def records(self) -> int:
        try:
            with closing(sqlite3.connect(f"file:{self._path}?mode=ro", uri=True)) as database:
                return int(database.execute("SELECT count(*) FROM record").fetchone()[0])
        except sqlite3.Error:  # not made yet
            return 0

    def kill(self) -> None:
        for path in self._path.parent.glob("matchmaker.db*"):
            path.unlink()

    def start(self) -> None:
        """Whoever registers makes it."""

    def stop_answering(self) -> None:
        raise AssertionError("a file does not hang")

    answer_again = stop_answering

    def measured(self) -> Way:
        return _Slowed(self.url)


STORES: dict[str, Callable[[str], Store]] = {"redis": Redis, "sentinel": Sentinels, "etcd": Etcd, "sqlite": Sqlite}
