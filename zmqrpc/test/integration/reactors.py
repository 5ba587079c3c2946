"""
One server and one client under a reactor of one's choice: ``python -m zmqrpc.test.integration.reactors NAME``.

A process has one reactor, so this is run as a child by `zmqrpc.test.test_reactor_zmq`.
"""

import importlib
import sys
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater

import zmqrpc
from zmqrpc import Node, Target, expose
from zmqrpc.errors import DeadlineExceeded, RemoteError

TARGET = Target("reactors", server="one")


class Endpoint:
    def __init__(self, reactor):
        self._reactor = reactor

    @expose
    def echo(self, context, value):
        return value

    @expose
    async def later(self, context, value):
        await deferLater(self._reactor, 0.01)
        return value

    @expose
    def leave(self, context):
        raise SystemExit(3)

    @expose
    def never(self, context):
        return Deferred()


async def scenario(reactor):
    server = Node(reactor, "zmq://?drain_timeout=1")
    server.server(TARGET, [Endpoint(reactor)])
    server.startService()
    await server.when_ready()
    caller = Node(reactor, "zmq://")
    client = caller.client()
    caller.startService()
    for _ in range(20):
        values = list(range(200))
        for method in ("echo", "later"):
            assert await gatherResults([client.call(TARGET, method, {"value": v}) for v in values]) == values
    large = b"x" * 5_000_000
    assert await client.call(TARGET, "echo", {"value": large}) == large
    for method, error in (("leave", RemoteError), ("never", DeadlineExceeded)):
        try:
            await client.call(TARGET, method, timeout=0.2)
        except error:
            pass
        else:
            raise AssertionError(f"{method} returned")
    assert await client.call(TARGET, "echo", {"value": "still here"}) == "still here"
    await caller.stopService()
    await server.stopService()


def main(name):
    importlib.import_module(f"twisted.internet.{name}reactor").install()
    from twisted.internet import reactor as _reactor

    reactor: Any = _reactor
    zmqrpc.use_monotonic_clock(reactor)
    failures: list[Any] = []

    def begin():
        ended = Deferred.fromCoroutine(scenario(reactor))
        ended.addTimeout(30, reactor).addErrback(failures.append).addBoth(lambda _: reactor.stop())

    reactor.callWhenRunning(begin)
    reactor.run()
    for failure in failures:
        failure.printTraceback(sys.stderr)
    if not failures:
        print(f"{name}: all is well")  # noqa: T201
    return len(failures)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
