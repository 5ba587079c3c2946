"""zmqrpc's server: everything on as it comes, found through a SQLite matchmaker in the directory it is given."""

from __future__ import annotations

import sys
import time
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.python.failure import Failure

import zmqrpc
from bench.work import order_of, ready
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
    def never(self, context: Any) -> Deferred[None]:
        return Deferred()


async def serve(address: str) -> None:
    node = Node(reactor, f"zmq+sqlite://{address}/matchmaker.db")
    node.server(Target("bench", server="bench-1"), [Bench()])
    node.startService()
    await node.when_ready()
    ready(address)


def failed(reason: Failure) -> None:
    reason.printTraceback()
    reactor.stop()


if __name__ == "__main__":
    zmqrpc.use_monotonic_clock(reactor)
    address = order_of(sys.argv).address
    reactor.callWhenRunning(lambda: ensureDeferred(serve(address)).addErrback(failed))
    reactor.run()
