"""
A proxy for TCP that takes its time, for a host whose connections are diverted to it: there is no netem in every kernel.

It can also write down what came by it.
"""

from __future__ import annotations

import socket
import struct
from typing import Any

from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Factory, Protocol

from zmqrpc.test.integration import nursery

PORT = 7
_ORIGINAL = 80
"""The option SO_ORIGINAL_DST of linux/netfilter_ipv4.h."""


class _End(Protocol):
    """One end of a connection; what it hears goes to the other, later."""

    def __init__(self, delay: float, log: Any = None) -> None:
        self._delay = delay
        self._log = log
        self._waiting: list[bytes] = []
        self.other: _End | None = None

    def dataReceived(self, data: bytes) -> None:
        if self._log is not None:
            self._log.write(data)
        self.transport.reactor.callLater(self._delay, self._pass_on, data)  # type: ignore[union-attr]

    def connectionLost(self, reason: Any = None) -> None:
        if self._log is not None:
            self._log.close()
        self.transport.reactor.callLater(self._delay, self._end)  # type: ignore[union-attr]

    def meets(self, other: _End) -> None:
        self.other = other
        for data in self._waiting:
            other.transport.write(data)  # type: ignore[union-attr]

    def _pass_on(self, data: bytes) -> None:
        if self.other is None:
            self._waiting.append(data)
        else:
            self.other.transport.write(data)  # type: ignore[union-attr]

    def _end(self) -> None:
        if self.other is not None:
            self.other.transport.loseConnection()  # type: ignore[union-attr]


class _Diverted(_End):
    def __init__(self, delay: float, log: Any, reactor: Any) -> None:
        super().__init__(delay, log)
        self._reactor = reactor

    def connectionMade(self) -> None:
        handle: socket.socket = self.transport.getHandle()  # type: ignore[union-attr]
        _, port = struct.unpack("!HH12x", handle.getsockopt(socket.SOL_IP, _ORIGINAL, 16))
        there = TCP4ClientEndpoint(self._reactor, "127.0.0.1", port, timeout=5)
        meeting = connectProtocol(there, _End(self._delay))
        meeting.addCallbacks(self._met, lambda _: self.transport.abortConnection())  # type: ignore[union-attr]

    def _met(self, other: Any) -> None:
        other.other = self
        self.meets(other)
        if not self.transport.connected:  # type: ignore[union-attr]
            self._end()


class _Factory(Factory):
    noisy = False

    def __init__(self, reactor: Any, delay: float, capture: str) -> None:
        self._reactor = reactor
        self._delay = delay
        self._capture = capture
        self._count = 0

    def buildProtocol(self, address: Any) -> Protocol:
        self._count += 1
        log = open(f"{self._capture}-{self._count}", "wb", 0) if self._capture else None  # noqa: SIM115
        return _Diverted(self._delay, log, self._reactor)


def run(child: int, *, seconds: float, capture: str = "") -> None:
    """
    Be one, until the end.

    :param seconds: what each way takes.
    :param capture: the path of files, without their numbers, that have what came from elsewhere, by connection.
    """
    from twisted.internet import reactor as _reactor

    reactor: Any = _reactor
    reactor.listenTCP(PORT, _Factory(reactor, seconds, capture), backlog=500)
    reactor.callWhenRunning(nursery.tell, child=child, ready=True)
    reactor.run()
