"""A Redis master, its replicas and its Sentinels, that tests run for real."""

from __future__ import annotations

import atexit
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from zmqrpc.test.ports import free_port
from zmqrpc.test.programs import Program, program
from zmqrpc.test.servers import RedisPeer, RedisServer, answers, ask, listening

GROUP = "oslo-messaging-zeromq"

PATIENCE = 90
"""Seconds that anything may take; a Sentinel that was kept from running does nothing for 30 seconds."""


class Sentinel(Program):
    """
    A real ``redis-sentinel``, running; it goes on to know what it knew when it is started again.

    :param lines: its configuration.
    """

    options = ()

    def __init__(self, case: Any, lines: Sequence[str], group: str = GROUP, port: int = 0) -> None:
        super().__init__(case, port)
        self.group = group
        self.configuration = self.directory / "configuration"
        # It writes into that file what it finds out.
        self.configuration.write_text("\n".join([*lines, ""]))
        self.start()

    def command(self) -> list[str]:
        return [program("redis-sentinel", "redis-sentinel"), str(self.configuration), *listening(self)]

    def answers(self) -> bool:
        return answers(self)

    def ask(self, *words: str | bytes | int):
        """Do one command; see `servers.ask`."""
        return ask(self, *words)

    def master_port(self) -> int:
        """Return the port of whom it names as the master."""
        return int(self.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.group)[1])

    def facts(self) -> dict[str, str]:
        """Return what it knows of the master."""
        return pairs(self.ask("SENTINEL", "MASTER", self.group))

    def replicas(self) -> list[dict[str, str]]:
        """Return what it knows of each replica."""
        return [pairs(words) for words in self.ask("SENTINEL", "REPLICAS", self.group)]


class SentinelSet:
    """
    One master, two replicas, three Sentinels; they know each other when it is made.

    :param down_after: seconds after which a server that does not answer is down.
    :param options: of each server.
    :param lines: more for the configuration of each Sentinel.
    :param environment: of each server; None for ours.
    :ivar servers: the first one is the master at the begin.
    """

    def __init__(self, case, down_after: float = 1.0, options=(), lines=(), environment=None) -> None:
        options = (*options, "--repl-diskless-sync-delay", "0")
        first = RedisServer(case, *options, environment=environment)
        following = (*options, "--replicaof", f"127.0.0.1 {first.port}")
        self.servers = [first, *(RedisServer(case, *following, environment=environment) for _ in range(2))]
        # Before a Sentinel looks: it looks for replicas each ten seconds only.
        self.wait("the replicas follow", lambda: len(first.ask("ROLE")[2]) == 2)
        watch = [
            f"sentinel monitor {GROUP} 127.0.0.1 {first.port} 2",
            f"sentinel down-after-milliseconds {GROUP} {round(down_after * 1000)}",
            f"sentinel failover-timeout {GROUP} 10000",
            f"sentinel parallel-syncs {GROUP} 2",
            *lines,
            # Which they would find out within some seconds.
            *(f"sentinel known-replica {GROUP} 127.0.0.1 {server.port}" for server in self.servers[1:]),
        ]
        ports = [free_port() for _ in range(3)]
        self.sentinels = []
        for mine in ports:
            known = [f"sentinel known-sentinel {GROUP} 127.0.0.1 {port} {port:040x}" for port in ports if port != mine]
            lines = [f"sentinel myid {mine:040x}", *watch, *known]
            self.sentinels.append(Sentinel(case, lines, port=mine))
        self.wait("all know each other", self.is_complete)

    @property
    def hosts(self) -> str:
        """The Sentinels, as they stand in a URL."""
        return ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)

    @property
    def url(self) -> str:
        return f"zmq+sentinel://{self.hosts}"

    def master(self) -> RedisServer:
        """Return whom the Sentinels that run name as the master; they have to agree."""
        (port,) = {sentinel.master_port() for sentinel in self.sentinels if sentinel.runs}
        return self.server(port)

    def server(self, port: int) -> RedisServer:
        """Return the server with a port."""
        return next(server for server in self.servers if server.port == port)

    def replicas(self) -> list[RedisServer]:
        """Return the others."""
        master = self.master()
        return [server for server in self.servers if server is not master]

    def has_left(self, old: RedisServer) -> bool:
        """Tell whether all Sentinels that run name the same other server, and it says so as well."""
        ports = {sentinel.master_port() for sentinel in self.sentinels if sentinel.runs}
        return len(ports) == 1 and old.port not in ports and self.master().ask("ROLE")[0] == b"master"

    def is_complete(self) -> bool:
        """Tell whether every Sentinel that runs knows the others, and replicas that could be made the master."""
        others = str(len(self.sentinels) - 1)
        for sentinel in self.sentinels:
            facts = sentinel.facts()
            if (facts["flags"], facts["num-other-sentinels"]) != ("master", others):
                return False
            known = sentinel.replicas()
            if len(known) != 2 or any((r["flags"], r["master-link-status"]) != ("slave", "ok") for r in known):
                return False
        return True

    def wait(self, what: str, happened: Callable[[], bool], patience: float = PATIENCE) -> None:
        """Wait, blocking, until something has happened."""
        give_up = time.monotonic() + patience
        while not happened():
            assert time.monotonic() < give_up, f"waited {patience} s for: {what}"
            time.sleep(0.02)


def pairs(words: Sequence[bytes]) -> dict[str, str]:
    """Read an answer of names and values."""
    texts = [word.decode() for word in words]
    return dict(zip(texts[::2], texts[1::2], strict=True))


class Switches:
    """
    When Sentinels have told that there is another master, heard in threads of its own.

    :ivar told: the times, by the monotonic clock.
    """

    def __init__(self, case, sentinels: Sequence[Sentinel]) -> None:
        self.told: list[float] = []
        for sentinel in sentinels:
            peer = RedisPeer(sentinel)
            peer.ask("SUBSCRIBE", "+switch-master")
            peer.wait_for_ever()
            thread = threading.Thread(target=self._hear, args=(peer,), daemon=True)
            thread.start()
            case.addCleanup(thread.join)
            case.addCleanup(peer.shut)

    def _hear(self, peer: RedisPeer) -> None:
        try:
            while True:
                peer.read()
                self.told.append(time.monotonic())
        except (OSError, ValueError):
            peer.__exit__()


def shared_set(case) -> SentinelSet:
    """Return a set that all tests of a class share, none of which ends any of it; it ends with the last of them."""
    kind = type(case)
    if kind not in _shared:
        _shared[kind] = _Shared({name for name in dir(kind) if name.startswith("test_")})
    shared = _shared[kind]
    shared.left.discard(case.id().rpartition(".")[2])
    if not shared.left:
        case.addCleanup(shared.close)
    return shared.set


class _Shared:
    """What stands for a test in front of servers that several tests share."""

    def __init__(self, left: set[str]) -> None:
        self.left = left
        self._cleanups: list[Callable[[], object]] = []
        # For when not all tests of the class run.
        atexit.register(self.close)
        self.set = SentinelSet(self)

    def mktemp(self) -> str:
        return tempfile.mktemp(dir=tempfile.mkdtemp(dir="."))

    def addCleanup(self, call: Callable[..., object], *arguments: Any) -> None:
        self._cleanups.append(partial(call, *arguments))

    def close(self) -> None:
        while self._cleanups:
            self._cleanups.pop()()


_shared: dict[type, _Shared] = {}
