"""A server that is no Redis: whoever connects to it hears what the test says."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import maybeDeferred
from twisted.internet.protocol import Factory, Protocol

LOOPBACK = "127.0.0.1"


class NonsenseServer:
    """
    A TCP server on loopback that gives one answer to everything; it ends with the test.

    :param answer: is sent for each piece that is received; empty for silence.
    :param endless: whether that goes on and on.
    :param hangs_up: whether it closes the connection then.
    """

    def __init__(self, case: Any, reactor: Any, answer: bytes, endless: bool = False, hangs_up: bool = False) -> None:
        self.connections: set[_Nonsense] = set()
        factory = Factory.forProtocol(lambda: _Nonsense(self, reactor))
        factory.noisy = False
        self.answer, self.endless, self.hangs_up = answer, endless, hangs_up
        port = reactor.listenTCP(0, factory, interface=LOOPBACK)
        self.port: int = port.getHost().port
        case.addCleanup(self._end)
        self._listening = port

    def _end(self) -> Any:
        for connection in list(self.connections):
            connection.end()
        return maybeDeferred(self._listening.stopListening)


class _Nonsense(Protocol):
    def __init__(self, server: NonsenseServer, reactor: Any) -> None:
        self._server = server
        self._reactor = reactor
        self._again: Any = None

    def connectionMade(self) -> None:
        self._server.connections.add(self)

    def connectionLost(self, reason: Any = None) -> None:
        self._server.connections.discard(self)
        if self._again is not None and self._again.active():
            self._again.cancel()

    def end(self) -> None:
        transport: Any = self.transport
        transport.abortConnection()

    def dataReceived(self, data: bytes) -> None:
        self._say()

    def _say(self) -> None:
        if self.transport is None:
            return
        self.transport.write(self._server.answer)
        if self._server.hangs_up:
            self.transport.loseConnection()
        elif self._server.endless and (self._again is None or not self._again.active()):
            self._again = self._reactor.callLater(0, self._say)
