"""
Many records in Redis: what a lookup, a record, and a client that does nothing cost.

The records are those of five hundred servers with forty topics each. They are registered, and refreshed at the default
rate, over one connection; the servers themselves are not started, as nobody here calls them.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.task import LoopingCall, deferLater

from bench.processes import process
from bench.returning import child_words
from bench.stores import Redis
from bench.work import Figures, Order, answer, cpu_seconds, ready
from bench.zmqrpc_client import play
from zmqrpc import Node, Settings, Target
from zmqrpc.matchmaker import make_matchmaker
from zmqrpc.matchmaker._redis.scripts import RedisScripts
from zmqrpc.record import Record, Role
from zmqrpc.test.servers import RedisPeer

reactor: Any = _reactor

TOPICS = 40
REFRESH = 135.0
"""Seconds between two refreshes of a record, on average, at the default times."""
LOOKUPS = 40


async def serve(order: Order) -> None:
    """Be a client that knows every topic and makes no call."""
    node = Node(reactor, f"{order.address}?zmq_topology=dynamic-direct")
    client = node.client()
    node.startService()
    await node.when_ready()
    for number in range(TOPICS):
        found = await client.members(Target(f"topic-{number}"), timeout=30)
        if len(found) != order.members:
            raise AssertionError(f"found {len(found)} of {order.members} members of topic-{number}")
    # The first looks and subscriptions are over by then.
    await deferLater(reactor, 3.0, lambda: None)
    ready(order.address)


def _records(servers: int) -> Iterator[Record]:
    chance = random.Random(1)
    for number in range(servers):
        member, instance = f"host-{number:04}.example.org", chance.randbytes(16).hex()
        address = f"tcp://10.0.{number >> 8}.{number & 255}:49152"
        for topic in range(TOPICS):
            yield Record(Role.SERVER, "openstack", f"topic-{topic}", member, instance, (address,))


def _register(peer: RedisPeer, words: list[tuple[str | int, ...]]) -> None:
    for each in words:
        peer.send(*each)
    for _ in words:
        peer.read()


async def call(order: Order) -> None:
    scripts = RedisScripts(0)
    with Redis(order.directory) as redis, RedisPeer(redis.server) as peer:
        before = redis.fact("memory", "used_memory")
        words = [scripts.write([scripts.registration(record, 300)]) for record in _records(order.members)]
        for at in range(0, len(words), 500):
            _register(peer, words[at : at + 500])
        held = redis.fact("memory", "used_memory") - before

        matchmaker = make_matchmaker(reactor, Settings.from_url(redis.url))
        await matchmaker.lookup("openstack", "topic-0")  # which connects
        scripts_before = redis.server.calls()["eval"]
        for number in range(LOOKUPS):
            await matchmaker.lookup("openstack", f"topic-{number % TOPICS}")
        trips = (redis.server.calls()["eval"] - scripts_before) / LOOKUPS
        await matchmaker.close()

        figures: Figures = {"bytes": held / len(words), "trips": trips}
        with process(child_words("bench.size", replace(order, address=redis.url)), order.directory) as child:
            assert child.stdout is not None
            if not child.stdout.readline():
                raise AssertionError("the client died while it started")
            refreshed = 0

            def refresh() -> None:
                nonlocal refreshed
                _register(peer, [words[(refreshed + ahead) % len(words)] for ahead in range(step)])
                refreshed += step

            step = max(1, round(len(words) / REFRESH / 10))
            refreshes = LoopingCall(refresh)
            refreshes.start(0.1)
            began, used = time.monotonic(), cpu_seconds([child.pid])
            await deferLater(reactor, order.seconds, lambda: None)
            figures["cpu_percent"] = 100 * (cpu_seconds([child.pid]) - used) / (time.monotonic() - began)
            refreshes.stop()
    answer(figures)


if __name__ == "__main__":
    play(serve, call)
