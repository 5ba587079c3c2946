"""
Many records in a store: what a lookup, a record, and a client that does nothing cost.

The records are those of five hundred servers with forty topics each. They are registered, and refreshed at the default
rate, by one process; the servers themselves are not started, as nobody here calls them. There are two hundred clients:
one is alone in its process, which is measured, and watches all topics; the others share a few processes, as matchmakers
with watches of a few topics each.
"""

from __future__ import annotations

import gc
import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from statistics import median
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import LoopingCall, deferLater

from bench.processes import process
from bench.scene import url_of
from bench.stores import STORES
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
WATCHED = 4
"""How many topics each of those watches: two thousand records."""
TRIP = 0.05
"""Seconds that a round trip takes where round trips are counted."""


async def serve(order: Order) -> None:
    """Be the clients of one process, which make no call; the one alone is a Node, and knows every topic."""
    if order.count == 1:
        await _client(order)
    else:
        await gatherResults([_watcher(order, number) for number in range(order.count)])
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


def _watcher(order: Order, number: int) -> Deferred[Any]:
    """Watch some topics, until all their members have been shown, and then on."""
    matchmaker: IMatchmaker = make_matchmaker(reactor, Settings.from_url(order.address))
    topics = [f"topic-{(number * WATCHED + more) % TOPICS}" for more in range(WATCHED)]
    left = set(topics)
    shown: Deferred[None] = Deferred()

    def show(topic: str, sightings: list[Sighting]) -> None:
        if len(sightings) == order.members and topic in left:
            left.remove(topic)
            if not left:
                shown.callback(None)

    for topic in topics:
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


async def call(order: Order) -> None:
    with ExitStack() as stack:
        store: Any = stack.enter_context(STORES[order.store](order.directory))
        servers = list(_servers(order.members))
        # As each server has: where a store ties the records of one server to each other, that costs something too.
        owners: list[IMatchmaker] = [make_matchmaker(reactor, Settings.from_url(store.url)) for _ in servers]
        await _register([owners[0]], [servers[0]])
        before = store.bytes()
        for at in range(1, len(servers), 10):
            await _register(owners[at : at + 10], servers[at : at + 10])
        figures: Figures = {"bytes": (store.bytes() - before) / (len(servers) - 1) / TOPICS}
        figures["trips"] = await _trips(store)

        def started(count: int) -> Callable[[], int]:
            words = [sys.executable, "-m", "bench.size", "server"]
            words.append(replace(order, address=store.url, count=count).to_json())
            child = stack.enter_context(process(words, order.directory))

            def is_ready() -> int:
                assert child.stdout is not None
                if not child.stdout.readline():
                    raise AssertionError("a client died while it started")
                return child.pid

            return is_ready

        others = order.count - 1
        shares = [others // SHARED + (part < others % SHARED) for part in range(SHARED)]
        for is_ready in [started(max(share, 2)) for share in shares]:
            is_ready()
        alone = started(1)()
        turn = 0

        def refresh() -> None:
            nonlocal turn
            now = [(turn + ahead) % len(servers) for ahead in range(step)]
            turn += step
            _register([owners[number] for number in now], [servers[number] for number in now]).addErrback(failed)

        def failed(reason: Any) -> None:
            print(f"a refresh failed: {reason.getErrorMessage()}", file=sys.stderr)

        step = max(1, round(len(servers) / REFRESH / 2))
        refreshes = LoopingCall(refresh)
        refreshes.start(step * REFRESH / len(servers))
        pids = [alone, store.pid]
        began, used = time.monotonic(), [cpu_seconds([pid]) for pid in pids]
        await deferLater(reactor, order.seconds, lambda: None)
        seconds = time.monotonic() - began
        shares_used = [100 * (cpu_seconds([pid]) - before) / seconds for pid, before in zip(pids, used, strict=True)]
        figures["cpu_percent"], figures["store_percent"] = shares_used
        refreshes.stop()
    answer(figures)


async def _trips(store: Any) -> float:
    """Return how many round trips a lookup takes, where each takes its time."""
    way = store.measured()
    matchmaker: IMatchmaker = make_matchmaker(reactor, Settings.from_url(way.url))
    await matchmaker.lookup("openstack", "topic-0")  # which connects
    asked, way.delay = way.asked, TRIP
    took = []
    for number in range(LOOKUPS):
        began = time.monotonic()
        await matchmaker.lookup("openstack", f"topic-{number % TOPICS}")
        took.append(time.monotonic() - began)
    if way.asked - asked != LOOKUPS:
        raise AssertionError(f"{LOOKUPS} lookups were {way.asked - asked} questions")
    await matchmaker.close()
    # What the store needs for five hundred records comes on top of each round trip.
    return round(median(took) / TRIP)


if __name__ == "__main__":
    play(serve, call)
