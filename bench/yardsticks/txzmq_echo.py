"""
txZMQ, the Twisted binding there was: its DEALER and ROUTER connections, one Deferred per call, found by an id frame.

The payload is opaque. txZMQ's own request connection makes a uuid per call and was slower (30k to 37k calls/s beside
40k), so the faster way is the yardstick.
"""

from __future__ import annotations

from itertools import count

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from txzmq import ZmqDealerConnection, ZmqEndpoint, ZmqFactory, ZmqRouterConnection

from bench.work import OPAQUE, Lap, Order, answer, ready, run


class Echo(ZmqRouterConnection):
    def gotMessage(self, sender_id: bytes, *message: bytes) -> None:
        self.sendMultipart(sender_id, list(message))


class Caller(ZmqDealerConnection):
    def __init__(self, factory: ZmqFactory, endpoint: ZmqEndpoint) -> None:
        super().__init__(factory, endpoint)
        self._ids = count()
        self._pending: dict[bytes, Deferred[bytes]] = {}

    def call(self, payload: bytes) -> Deferred[bytes]:
        number = b"%d" % next(self._ids)
        waiting = self._pending[number] = Deferred()
        self.sendMultipart([number, payload])
        return waiting

    def gotMessage(self, number: bytes, payload: bytes) -> None:
        self._pending.pop(number).callback(payload)


def serve(order: Order) -> None:
    echo = Echo(ZmqFactory())
    ready(f"tcp://127.0.0.1:{echo.socket.bind_to_random_port('tcp://127.0.0.1')}")
    reactor.run()


def call(order: Order) -> None:
    caller = Caller(ZmqFactory(), ZmqEndpoint("connect", order.address))
    lap = Lap(order)
    done = 0

    def received(_: bytes) -> None:
        nonlocal done
        done += 1
        if not done & 63 and lap.running and not lap.more(done):
            reactor.stop()
        if lap.running:
            caller.call(OPAQUE).addCallback(received)

    def fill() -> None:
        for _ in range(order.window):
            caller.call(OPAQUE).addCallback(received)

    reactor.callWhenRunning(fill)
    reactor.run()
    answer(lap.figures)


if __name__ == "__main__":
    run(serve, call)
