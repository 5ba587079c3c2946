"""What the rows of discovery share: a store, servers as processes, clients, and calls at an even rate."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall, deferLater

from bench.processes import process
from bench.stores import STORES, Store
from bench.work import Figures, Order, percentile
from zmqrpc import Node, Settings, Target
from zmqrpc.errors import MatchmakerUnavailable, NoRoute
from zmqrpc.interfaces import IMatchmaker
from zmqrpc.matchmaker import make_matchmaker

reactor: Any = _reactor

WORK = Target("work")
TIMEOUT = 30.0
RATE = 200
"""Calls per second while something fails."""
LATE = 0.05
"""Seconds after its time from which on a call is made late: the client itself had no processor then."""
TOPOLOGIES = ("static-direct", "dynamic-direct")

_TWISTD = "from twisted.scripts.twistd import run; run()"


def url_of(store_url: str, **options: str) -> str:
    """Return the URL of a store with options, for nodes that all are on this machine."""
    options = {"rpc_zmq_bind_address": "127.0.0.1", "rpc_zmq_host": "127.0.0.1", **options}
    return store_url + "?" + "&".join(f"{name}={value}" for name, value in options.items())


class Scene:
    """
    A store, servers as processes of their own, and clients.

    :ivar store: whose URL is `url`.
    """

    def __init__(self, order: Order, store: Store, stack: ExitStack) -> None:
        self.order = order
        self.store = store
        self.url = url_of(store.url)
        self._stack = stack
        self._parts = 0

    def matchmaker(self, url: str = "") -> IMatchmaker:
        matchmaker: IMatchmaker = make_matchmaker(reactor, Settings.from_url(url or self.url))
        return matchmaker

    def client(self, url: str = "", targets: Sequence[Target] = (), **options: str) -> Any:
        """Return a client of a node of its own, which is stopped when it is closed."""
        node = Node(reactor, url_of(url or self.store.url, **options))
        client = node.client(targets)
        client.closes_with(node.stopService)
        node.startService()
        return client

    def server(self) -> int:
        """Start a server as its operator does; return the id of its process, which is what it answers."""
        name = f"w-{self._parts}"
        self._parts += 1
        words = [sys.executable, "-c", _TWISTD, "--nodaemon", "--pidfile=", "zmq-rpc-server"]
        words += ["--app", "bench.worker:Worker", "--topic", str(WORK.topic), "--server", name, "--url", self.url]
        return self._stack.enter_context(process(words, self.order.directory, talks=False)).pid

    def adder(self) -> None:
        """Start a process that adds servers to itself when it is called (`bench.discovery.Control`)."""
        order = replace(self.order, address=self.url)
        words = [sys.executable, "-m", "bench.discovery", "server", order.to_json()]
        child = self._stack.enter_context(process(words, self.order.directory))
        assert child.stdout is not None
        if not child.stdout.readline():
            raise AssertionError("a server died while it started")


@contextmanager
def scene(order: Order) -> Iterator[Scene]:
    with ExitStack() as stack:
        store = stack.enter_context(STORES[order.store](order.directory))
        yield Scene(order, store, stack)


def pause(seconds: float) -> Deferred[None]:
    return deferLater(reactor, seconds, lambda: None)


async def known(client: Any, count: int) -> None:
    """Call until so many servers have answered."""
    seen: set[str] = set()
    give_up = time.monotonic() + TIMEOUT
    while len(seen) < count:
        try:
            seen.add(await client.call(WORK, "who", timeout=TIMEOUT))
        except (NoRoute, MatchmakerUnavailable):  # which have just been started
            await pause(0.05)
        if time.monotonic() > give_up:
            raise AssertionError(f"{len(seen)} of {count} servers have answered")


class Load:
    """Calls at an even rate, whose ends are kept; those that a busy client could not make in time are made late."""

    def __init__(self, *clients: Any) -> None:
        self._clients = clients
        self._open = 0
        self._late = 0
        self._began = time.monotonic()
        self._made = 0
        self._took: list[float] = []
        self._errors: list[str] = []
        self._loop = LoopingCall(self._turn)
        self._loop.clock = reactor
        self._loop.start(1 / RATE)

    def _turn(self) -> None:
        now = time.monotonic()
        while (due := self._began + self._made / RATE) <= now:
            self._made += 1
            for client in self._clients:
                self._late += now - due > LATE
                self._call(client, now)

    def _call(self, client: Any, began: float) -> None:
        self._open += 1

        def over(outcome: Any) -> None:
            self._open -= 1
            if not isinstance(outcome, str):
                self._errors.append(outcome.type.__name__)
            self._took.append(time.monotonic() - began)

        client.call(WORK, "who", timeout=5.0).addBoth(over)

    async def stop(self) -> Figures:
        """End it, and return how many calls there were, how many failed, what they took, and how many were late."""
        self._loop.stop()
        while self._open:
            await pause(0.01)
        for error in sorted(set(self._errors)):
            print(f"{self._errors.count(error)} calls ended with {error}", file=sys.stderr)
        late = 100 * self._late / len(self._took)
        if late > 1:
            print(f"{late:.0f} % of the calls were made over {LATE} s late: the machine was busy", file=sys.stderr)
        return {
            "failed": len(self._errors),
            "calls": len(self._took),
            "late_percent": late,
            "p99_ms": percentile(self._took, 99) * 1e3,
            "max_ms": max(self._took) * 1e3,
        }
