"""
Many records in a store: what a lookup, a record, and a client that does nothing cost.

The records are those of five hundred servers with forty topics each. They are registered, and refreshed at the default
rate, by one process; the servers themselves are not started, as nobody here calls them. There are two hundred clients,
each of which watches all topics: one is alone in its process, and measured; the others share a few processes.
"""

from __future__ import annotations

import gc
import random
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from statistics import median
from subprocess import Popen
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import LoopingCall, deferLater
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure

from bench.processes import process
from bench.scene import url_of
from bench.stores import STORES, Way
from bench.work import Figures, Order, answer, cpu_seconds, ready
from bench.zmqrpc_client import play
from zmqrpc import Node, Settings, Target
from zmqrpc.interfaces import IMatchmaker
from zmqrpc.matchmaker import make_matchmaker
from zmqrpc.record import Record, Role, Sighting

reactor: Any = _reactor

TOPICS = 40
REFRESH = 135.0
"""Seconds between two refreshes of a record, on average, at the default times."""
LOOKUPS = 40
SHARED = 4
"""How many processes the clients that are not measured share."""
TRIP = 0.05
"""Seconds that a round trip takes where round trips are counted."""
PATIENT = "?matchmaker_timeout=20000"
"""For those that are many in one process, and wait for each other."""


async def serve(order: Order) -> None:
    """Be the clients of one process, which know every topic and make no call; the one that is alone is a Node."""
    if order.count == 1:
        await _client(order)
    else:
        # Millions of objects are made, and none of them is garbage.
        gc.disable()
        for _ in range(order.count):
            await _watcher(order)
        gc.enable()
    gc.freeze()
    ready(order.address)


async def _client(order: Order) -> None:
    node = Node(reactor, url_of(order.address, zmq_topology="dynamic-direct"))
    client = node.client()
    node.startService()
    await node.when_ready()
    for number in range(TOPICS):
        found = await client.members(Target(f"topic-{number}"), timeout=30)
        if len(found) != order.members:
            raise AssertionError(f"found {len(found)} of {order.members} members of topic-{number}")
    # The first looks and subscriptions are over by then.
    await deferLater(reactor, 3.0, lambda: None)


def _watcher(order: Order) -> Deferred[None]:
    """Do with the store what a Node does that has called all topics; fires when all members have been shown."""
    matchmaker: IMatchmaker = make_matchmaker(reactor, Settings.from_url(order.address + PATIENT))
    left = {f"topic-{topic}" for topic in range(TOPICS)}
    shown: Deferred[None] = Deferred()

    def show(topic: str, sightings: list[Sighting]) -> None:
        if len(sightings) == order.members and topic in left:
            left.remove(topic)
            if not left:
                shown.callback(None)

    for topic in list(left):
        matchmaker.watch("openstack", topic, partial(show, topic))
    return shown


def _servers(count: int) -> Iterator[list[Record]]:
    """Make the records of each server."""
    chance = random.Random(1)
    for number in range(count):
        member, instance = f"host-{number:04}.example.org", chance.randbytes(16).hex()
        address = f"tcp://10.0.{number >> 8}.{number & 255}:49152"
        yield [
            Record(Role.SERVER, "openstack", f"topic-{topic}", member, instance, (address,)) for topic in range(TOPICS)
        ]


def _register(matchmakers: Sequence[IMatchmaker], records: Sequence[Sequence[Record]]) -> Deferred[Any]:
    return gatherResults(
        [
            matchmaker.register(record, 300)
            for matchmaker, ours in zip(matchmakers, records, strict=True)
            for record in ours
        ],
        consumeErrors=True,
    )


class _Refreshes:
    """The refreshes of all servers, one after the other, as often as each has one at the default times."""

    def __init__(self, owners: Sequence[IMatchmaker], servers: Sequence[Sequence[Record]]) -> None:
        self._owners = owners
        self._servers = servers
        self._step = max(1, round(len(servers) / REFRESH / 2))
        self._turn = 0
        self.failed = 0
        self._loop = LoopingCall(self._refresh)
        self._loop.start(self._step * REFRESH / len(servers))

    def stop(self) -> None:
        self._loop.stop()

    def _refresh(self) -> None:
        now = [(self._turn + ahead) % len(self._servers) for ahead in range(self._step)]
        self._turn += self._step
        refreshed = _register([self._owners[number] for number in now], [self._servers[number] for number in now])
        refreshed.addErrback(self._has_failed)

    def _has_failed(self, reason: Failure) -> None:
        self.failed += 1
        print(f"a refresh failed: {reason.getErrorMessage()}", file=sys.stderr)


def _start(order: Order, stack: ExitStack) -> Popen[str]:
    """Start so many clients in a process."""
    words = [sys.executable, "-m", "bench.size", "server", order.to_json()]
    return stack.enter_context(process(words, order.directory))


async def _is_ready(child: Popen[str]) -> int:
    """Wait until the clients of a process know everything, while others refresh; return its id."""
    assert child.stdout is not None
    if not await deferToThread(child.stdout.readline):
        raise AssertionError("a client died while it started")
    return child.pid


async def call(order: Order) -> None:
    with ExitStack() as stack:
        store: Any = stack.enter_context(STORES[order.store](order.directory))
        servers = list(_servers(order.members))
        # As each server has: where a store ties the records of one server to each other, that costs something too.
        settings = Settings.from_url(store.url + PATIENT)
        owners: list[IMatchmaker] = [make_matchmaker(reactor, settings) for _ in servers]
        await _register([owners[0]], [servers[0]])
        before = store.bytes()
        for at in range(1, len(servers), 10):
            await _register(owners[at : at + 10], servers[at : at + 10])
        figures: Figures = {"bytes": (store.bytes() - before) / (len(servers) - 1) / TOPICS}
        refreshes = _Refreshes(owners, servers)
        figures["trips"] = await _trips(store)
        others = order.count - 1
        shares = [others // SHARED + (part < others % SHARED) for part in range(SHARED)]
        crowd = [_start(replace(order, address=store.url, count=max(share, 2)), stack) for share in shares]
        for child in crowd:
            await _is_ready(child)
        alone = await _is_ready(_start(replace(order, address=store.url, count=1), stack))
        pids = [alone, store.pid]
        began, used = time.monotonic(), [cpu_seconds([pid]) for pid in pids]
        await deferLater(reactor, order.seconds, lambda: None)
        seconds = time.monotonic() - began
        shares_used = [100 * (cpu_seconds([pid]) - before) / seconds for pid, before in zip(pids, used, strict=True)]
        figures["cpu_percent"], figures["store_percent"] = shares_used
        refreshes.stop()
        if refreshes.failed:
            raise AssertionError(f"{refreshes.failed} refreshes have failed")
    answer(figures)


async def _trips(store: Any) -> float:
    """
    Return how many round trips a lookup takes: by the questions, and by how much longer it takes where each does.

    What the store and we need for five hundred records is the same on both ways.
    """
    way = store.measured()
    matchmaker: IMatchmaker = make_matchmaker(reactor, Settings.from_url(way.url + PATIENT))
    await matchmaker.lookup("openstack", "topic-0")  # which connects
    near, _ = await _lookups(matchmaker, way)
    way.delay = TRIP
    far, asked = await _lookups(matchmaker, way)
    await matchmaker.close()
    return max(asked, round((far - near) / TRIP))


async def _lookups(matchmaker: IMatchmaker, way: Way) -> tuple[float, float]:
    """Return the seconds of a lookup, and how many questions it is."""
    asked, took = way.asked, []
    for number in range(LOOKUPS):
        began = time.monotonic()
        await matchmaker.lookup("openstack", f"topic-{number % TOPICS}")
        took.append(time.monotonic() - began)
    return median(took), (way.asked - asked) / LOOKUPS


if __name__ == "__main__":
    play(serve, call)
