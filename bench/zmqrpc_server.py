"""zmqrpc's server: everything on as it comes, found through a SQLite matchmaker in the directory it is given."""

from __future__ import annotations

import sys
import time
from typing import Any
from urllib.parse import urlencode

from twisted.internet import reactor
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.python.failure import Failure

import zmqrpc
from bench.work import Order, order_of, ready
from zmqrpc import Node, Target, expose


class Bench:
    """The methods that the client calls."""

    def __init__(self) -> None:
        self._left = 0
        self._stamp: Deferred[float] = Deferred()

    @expose
    def echo(self, context: Any, id: int, data: str) -> dict[str, Any]:
        return {"id": id, "data": data}

    @expose
    def reset(self, context: Any, count: int) -> None:
        """Expect so many casts from now on."""
        self._left, self._stamp = count, Deferred()

    @expose
    def sink(self, context: Any, id: int, data: str) -> None:
        self._left -= 1
        if self._left == 0:
            self._stamp.callback(time.monotonic())

    @expose
    def stamp(self, context: Any) -> Deferred[float]:
        """Return when the last cast that was expected had run."""
        return self._stamp

    @expose
    def now(self, context: Any) -> float:
        return time.monotonic()

    @expose
    def never(self, context: Any) -> Deferred[None]:
        return Deferred()


def url(order: Order, **options: str) -> str:
    """Return the transport URL that all processes of a contender share."""
    if order.topology:
        options["zmq_topology"] = order.topology
    query = f"?{urlencode(options)}" if options else ""
    return f"zmq+sqlite://{order.address}/matchmaker.db{query}"


async def serve(order: Order) -> None:
    node = Node(reactor, url(order))
    node.server(Target("bench", server="bench-1"), [Bench()])
    node.startService()
    await node.when_ready()
    ready(order.address)


def failed(reason: Failure) -> None:
    reason.printTraceback()
    reactor.stop()


if __name__ == "__main__":
    zmqrpc.use_monotonic_clock(reactor)
    order = order_of(sys.argv)
    reactor.callWhenRunning(lambda: ensureDeferred(serve(order)).addErrback(failed))
    reactor.run()
