"""The stores that matchmakers use, started for a row, killed and emptied as it says."""

from __future__ import annotations

import os
import sqlite3
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any, Protocol
from urllib.request import urlopen

from bench.wire import Wire
from zmqrpc.matchmaker._etcd.names import EtcdNames
from zmqrpc.matchmaker._redis.names import TOPIC_PREFIX, TOPICS_KEY
from zmqrpc.matchmaker._redis.scripts import RedisScripts
from zmqrpc.matchmaker._sqlite.file import SqliteFile
from zmqrpc.test.etcd import EtcdMember, single
from zmqrpc.test.sentinels import GROUP, SentinelSet
from zmqrpc.test.servers import RedisServer

_NUMBERS = count()
_TOPICS = {"key": EtcdNames("zmqrpc").topics, "range_end": EtcdNames("zmqrpc").topics[:-1] + "0"}


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

    def operations(self) -> int:
        """Return how many operations it has done; the questions of this object are among them."""

    def kill(self) -> None:
        """Have it gone, with all it holds."""

    def start(self) -> None:
        """Have it back, empty."""

    def empty(self) -> None:
        """Have it lose what it holds, and somebody notice that."""

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

    @property
    def asked(self) -> int: ...


FOR_MANY = ("--maxclients", "20000", "--tcp-backlog", "4096")
"""What a Redis server needs where hundreds connect at once."""


class Redis:
    """One Redis server, for as long as the context lasts."""

    def __init__(self, directory: str) -> None:
        self._case = Case(directory)
        self.server = RedisServer(self._case, *FOR_MANY)
        self.url = self.server.url
        self.kill, self.start = self.server.kill, self.server.start
        self.stop_answering, self.answer_again = self.server.stop_answering, self.server.answer_again

    def __enter__(self) -> Redis:
        return self

    def __exit__(self, *_: object) -> None:
        self._case.close()

    def records(self) -> int:
        return _records(self.server)

    def operations(self) -> int:
        return _fact(self.server, "stats", "total_commands_processed")

    def empty(self) -> None:
        _empty(self.server)

    def bytes(self) -> int:
        """Return how much memory its keys use, and not those who are connected."""
        ask = self.server.ask
        return sum(ask("MEMORY", "USAGE", key, "SAMPLES", 0) for key in ask("KEYS", "*"))

    @property
    def pid(self) -> int:
        """The id of its process."""
        return _fact(self.server, "server", "process_id")

    def measured(self) -> Way:
        return _Networked(self.server.port, b"$4\r\nEVAL\r\n", "redis")


def _fact(server: RedisServer, section: str, name: str) -> int:
    """Return a number that a Redis server tells of itself; of commands, those of scripts are counted too."""
    said: str = server.ask("INFO", section).decode()
    return int(said.partition(f"{name}:")[2].split()[0])


def _records(server: RedisServer) -> int:
    topics = server.ask("ZRANGE", TOPICS_KEY, 0, -1)
    return sum(server.ask("HLEN", TOPIC_PREFIX + topic.decode()) - 1 for topic in topics)


def _empty(server: RedisServer) -> None:
    server.ask("FLUSHALL")
    # Whoever asks first finds it new, and all are told.
    server.ask(*RedisScripts(0).look([(("openstack", "nobody"), -1, 0)]))


class _Networked(Wire):
    """A way to a store with a port."""

    def __init__(self, port: int, question: bytes, scheme: str) -> None:
        super().__init__(port, question)
        self.url = f"zmq+{scheme}://127.0.0.1:{self.port}"


class Redises:
    """Three Redis servers that know nothing of each other, all of which are used."""

    def __init__(self, directory: str) -> None:
        self._stores = stores = [Redis(directory) for _ in range(3)]
        self.url = _several(stores)
        self.kill = _each([store.kill for store in stores])
        self.start = _each([store.start for store in stores])
        self.empty = _each([store.empty for store in stores])
        self.stop_answering = _each([store.stop_answering for store in stores])
        self.answer_again = _each([store.answer_again for store in stores])

    def __enter__(self) -> Redises:
        return self

    def __exit__(self, *_: object) -> None:
        for store in self._stores:
            store.__exit__()

    def records(self) -> int:
        return min(store.records() for store in self._stores)

    def operations(self) -> int:
        return sum(store.operations() for store in self._stores)

    def measured(self) -> Way:
        return _Several([store.measured() for store in self._stores])


def _each(acts: Sequence[Callable[[], object]]) -> Callable[[], None]:
    """Return what does all of these."""

    def act() -> None:
        for one in acts:
            one()

    return act


class _Several:
    """The ways to several Redis servers."""

    def __init__(self, ways: Sequence[Way]) -> None:
        self._ways = ways
        self.url = _several(ways)

    @property
    def delay(self) -> float:
        return self._ways[0].delay

    @delay.setter
    def delay(self, seconds: float) -> None:
        for way in self._ways:
            way.delay = seconds

    @property
    def asked(self) -> int:
        return max(way.asked for way in self._ways)


def _several(parts: Sequence[Redis | Way]) -> str:
    return "zmq+redis://" + ",".join(part.url.removeprefix("zmq+redis://") for part in parts)


class Sentinels:
    """One master, two replicas and three Sentinels that give a server two seconds to answer."""

    def __init__(self, directory: str) -> None:
        self.case = Case(directory)
        self.set = SentinelSet(self.case, 2.0, FOR_MANY)
        self.url = self.set.url
        self._killed = self.set.servers[0]

    def __enter__(self) -> Sentinels:
        return self

    def __exit__(self, *_: object) -> None:
        self.case.close()

    @staticmethod
    def records_of(server: RedisServer) -> int:
        """Return how many records one server has."""
        return _records(server)

    def records(self) -> int:
        return _records(self.set.master())

    def operations(self) -> int:
        """Return how many commands the master has done."""
        return _fact(self.set.master(), "stats", "total_commands_processed")

    def kill(self) -> None:
        """Have the master gone, and wait for it: no other one has to take over."""
        for sentinel in self.set.sentinels:
            sentinel.ask("SENTINEL", "SET", GROUP, "down-after-milliseconds", 60_000)
        self._killed = self.set.master()
        self._killed.kill()

    def start(self) -> None:
        """Have it back, empty; the replicas follow it in that."""
        self._killed.start()

    def empty(self) -> None:
        _empty(self.set.master())

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
        counted = self.member.ask("kv/range", **_TOPICS, count_only=True)
        return int(counted.get("count", 0))

    def operations(self) -> int:
        """Return how many questions were put to it; its gateway puts them as others do."""
        with urlopen(f"http://127.0.0.1:{self.member.port}/metrics") as answer:
            lines = answer.read().decode().splitlines()
        return round(sum(float(line.split()[-1]) for line in lines if line.startswith("grpc_server_started_total")))

    def empty(self) -> None:
        self.member.ask("kv/deleterange", **_TOPICS)

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

    empty = kill

    def operations(self) -> int:
        raise AssertionError("nobody counts what is done with a file")

    def stop_answering(self) -> None:
        raise AssertionError("a file does not hang")

    answer_again = stop_answering

    def measured(self) -> Way:
        return _Slowed(self.url)


STORES: dict[str, Callable[[str], Store]] = {
    "redis": Redis,
    "redises": Redises,
    "sentinel": Sentinels,
    "etcd": Etcd,
    "sqlite": Sqlite,
}
