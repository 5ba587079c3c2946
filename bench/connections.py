"""
The connections of one host with many services, counted: each service is a Node of this process.

Each has a topic of its own, since who calls a topic that it serves has a link to itself too. Everybody has called
everybody when it is counted. Where connections last only as long as a call, everybody then has one call in flight, to
any of all, and the most that there were at once count. Both ends of a connection between two services are here, and
both count.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import zmq
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults

from bench.crowd import Shared
from bench.work import Order, answer
from bench.zmqrpc_client import TIMEOUT, play
from bench.zmqrpc_server import url
from zmqrpc import Node, Settings, Target, expose
from zmqrpc.client import RPCClient
from zmqrpc.matchmaker import make_matchmaker

SHARED = "any"
"""Served by all, where connections last only as long as a call."""
ESTABLISHED = "01"
SETTLE = 1.0
"""Seconds after which nothing is on its way any more, and what is not needed any more is closed."""


class Service:
    """Answers at once, or when all calls are in flight."""

    arrived = 0
    counted: Deferred[None] = Deferred()

    @expose
    def hello(self, context: object) -> None:
        pass

    @expose
    async def hold(self, context: object) -> None:
        Service.arrived += 1
        waiting: Deferred[None] = Deferred()
        Service.counted.addCallback(lambda _: waiting.callback(None))
        await waiting


def _established(port: int | None) -> Iterator[str]:
    """List the inodes of TCP sockets that are connected, all or those with this local port."""
    for table in "tcp", "tcp6":
        for line in Path("/proc/net", table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == ESTABLISHED and port in (None, int(fields[1].rpartition(":")[2], 16)):
                yield fields[9]


def ends(pid: int, port: int | None = None) -> int:
    """Count the connections of a process, each once for every end that it holds; `port` counts those at it alone."""
    inodes = {f"socket:[{inode}]" for inode in _established(port)}
    found = 0
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found += os.readlink(descriptor) in inodes
        except OSError:  # closed since it was listed
            continue
    return found


def _wait(seconds: float) -> Deferred[None]:
    waiting: Deferred[None] = Deferred()
    reactor.callLater(seconds, waiting.callback, None)
    return waiting


async def _all_call_all(clients: list[RPCClient], order: Order) -> None:
    topics = [Target(f"service-{number}") for number in range(len(clients))]
    for number, client in enumerate(clients):
        others = topics[number + 1 :] + topics[:number]
        await gatherResults([client.call(target, "hello", timeout=TIMEOUT) for target in others])
        if order.topology.endswith("+pub-sub"):
            await client.fanout(others[0], "hello", timeout=TIMEOUT)


async def call(order: Order) -> None:
    options = {"subscribe_on": f"127.0.0.1:{order.locals[0]}"} if order.locals else {}
    settings = Settings.from_url(url(order, **options))
    shared = make_matchmaker(reactor, settings)
    Shared.common.set(zmq.MAX_SOCKETS, 65535)
    nodes = [
        Node(reactor, settings, matchmaker=shared, transport=Shared(reactor, settings.max_message_size))
        for _ in range(order.members)
    ]
    clients = [node.client() for node in nodes]
    dynamic = order.topology.startswith("dynamic-direct")
    for number, node in enumerate(nodes):
        node.server(Target(f"service-{number}", server="n"), [Service()])
        if dynamic:
            node.server(Target(SHARED, server=f"n-{number}"), [Service()])
        node.startService()
    await gatherResults([node.when_ready() for node in nodes])
    await _all_call_all(clients, order)
    await _wait(SETTLE)
    calls, peak = [], 0
    if dynamic:
        calls = [client.call(Target(SHARED), "hold", timeout=TIMEOUT) for client in clients]
        while Service.arrived < len(calls):
            peak = max(peak, ends(os.getpid()))
            await _wait(0)
    proxies = order.brokers[: len(order.brokers) - len(order.locals)]
    local = order.brokers[len(proxies) :]
    services = max(peak, ends(os.getpid()))
    figures = {"host": services + sum(map(ends, local)), "service": services / order.members}
    if proxies:
        figures["proxy"] = max(map(ends, proxies))
    answer(figures)
    Service.counted.callback(None)
    await gatherResults(calls)


async def serve(order: Order) -> None:
    raise AssertionError("the services are in the client")


if __name__ == "__main__":
    play(serve, call)
