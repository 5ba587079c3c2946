"""
One client of many servers: what each costs it, and how fast it calls them all in turn.

The servers are Nodes of one process, and share a ZeroMQ context. What is measured is the client, and the machine has no
more than one core to give to all of them anyway; 500 threads of ZeroMQ on it would measure its scheduler.
"""

from __future__ import annotations

import gc
import os
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import zmq
from twisted.internet import reactor
from twisted.internet.defer import gatherResults

from bench.work import Figures, Order, answer, ready
from bench.zmqrpc_client import TIMEOUT, play, window
from bench.zmqrpc_server import Bench
from zmqrpc import Node, Settings, Target
from zmqrpc.matchmaker import make_matchmaker
from zmqrpc.reactor_zmq import ZmqTransport

TOPIC = "crowd"
ALONE = "alone"
"""What the first server alone serves as well."""


class Shared(ZmqTransport):
    """One of the transports that share a context."""

    common = zmq.Context()

    def open(self, pass_ended: Callable[[], None]) -> None:
        self._context, self._pass_ended = self.common, pass_ended


async def serve(order: Order) -> None:
    settings = Settings.from_url(f"zmq+sqlite://{order.address}/matchmaker.db")
    # One for all: so many that each look at the file would be work of no interest here.
    shared = make_matchmaker(reactor, settings)
    Shared.common.set(zmq.MAX_SOCKETS, 65535)
    nodes = [
        Node(reactor, settings, matchmaker=shared, transport=Shared(reactor, settings.max_message_size))
        for _ in range(order.count)
    ]
    for number, node in enumerate(nodes):
        node.server(Target(TOPIC, server=f"n-{number}"), [Bench()])
        if number == 0:
            node.server(Target(ALONE, server="n-0"), [Bench()])
        node.startService()
    await gatherResults([node.when_ready() for node in nodes])
    ready(order.address)


def _held() -> tuple[int, int]:
    """Return the bytes of memory and the descriptors of this process."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize(), len(os.listdir("/proc/self/fd"))


async def call(order: Order) -> None:
    node = Node(reactor, f"zmq+sqlite://{order.address}/matchmaker.db")
    client = node.client()
    node.startService()
    await node.when_ready()
    # One link is up, so that what the first one alone brings is not counted.
    await client.call(Target(ALONE), "echo", {"id": 0, "data": ""}, timeout=TIMEOUT)
    before = _held()
    reached = await client.fanout(Target(TOPIC), "reset", {"count": 1}, timeout=TIMEOUT)
    if len(reached.members) != order.count:
        raise AssertionError(f"only {len(reached.members)} of {order.count} servers were reached")
    after = _held()
    rates: dict[str, Figures] = {}
    targets: dict[str, Any] = {"all": Target(TOPIC), "one": Target(ALONE)}
    for name, target in targets.items():
        rates[name] = await window(client, order, target)
    peers = order.count - 1
    answer(
        {
            "kib_per_peer": (after[0] - before[0]) / peers / 1024,
            "fds_per_peer": (after[1] - before[1]) / peers,
            "rate_all": rates["all"]["rate"],
            "rate_one": rates["one"]["rate"],
            "share": rates["all"]["rate"] / rates["one"]["rate"],
        }
    )


if __name__ == "__main__":
    play(serve, call)
