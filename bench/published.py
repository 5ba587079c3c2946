"""
Fan-out through a publisher proxy: many subscribers in a few processes, each of them a Node with a SUB link of its own.

The Nodes of a process share ZeroMQ's context (see `bench.crowd`), and count what their methods have run.
"""

from __future__ import annotations

import time

import zmq
from twisted.internet import reactor
from twisted.internet.defer import gatherResults

from bench.crowd import Shared
from bench.work import Order, Used, answer, ready
from bench.zmqrpc_client import TIMEOUT, all_sent, play
from bench.zmqrpc_server import Bench, url
from zmqrpc import Node, Settings, Target
from zmqrpc.matchmaker import make_matchmaker

TOPIC = "published"
EVERYBODY = Target(TOPIC)
CONTROL = "control"
"""Served by one Node of each process, which speaks for all of it."""


async def serve(order: Order) -> None:
    settings = Settings.from_url(url(order))
    shared = make_matchmaker(reactor, settings)
    Shared.common.set(zmq.MAX_SOCKETS, 65535)
    bench = Bench()
    nodes = []
    for number in range(order.part, order.members, order.servers):
        node = Node(reactor, settings, matchmaker=shared, transport=Shared(reactor, settings.max_message_size))
        node.server(Target(TOPIC, server=f"n-{number}"), [bench])
        nodes.append(node)
    nodes[0].server(Target(CONTROL, server=f"part-{order.part}"), [bench])
    for node in nodes:
        node.startService()
    await gatherResults([node.when_ready() for node in nodes])
    ready(order.address)


async def call(order: Order) -> None:
    node = Node(reactor, url(order))
    client = node.client()
    node.startService()
    await node.when_ready()
    parts = [Target(CONTROL, server=f"part-{part}") for part in range(order.servers)]
    for count in order.count // 10, order.count:  # the first tells nothing: it warms up
        expected = {"count": count * order.members // order.servers}
        await gatherResults([client.call(part, "reset", expected, timeout=TIMEOUT) for part in parts])
        started, used = time.monotonic(), Used(order)
        await all_sent(client.fanout, EVERYBODY, count, order.window)
        published = time.monotonic()
        stamps = await gatherResults([client.call(part, "stamp", timeout=TIMEOUT) for part in parts])
        figures = used.figures(count * order.members)
    elapsed = max(stamps) - started  # as with NATS: the client may hear later that the last one was published
    answer(
        {
            "rate": count * order.members / elapsed,
            "fanouts": count / elapsed,
            "ran_after_published_ms": (max(stamps) - published) * 1e3,
            **figures,
        }
    )


if __name__ == "__main__":
    play(serve, call)
