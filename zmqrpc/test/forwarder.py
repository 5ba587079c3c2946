"""A way to a server that is slow, over real sockets, and counts who waits for answers on it."""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.protocol import connectionDone
from twisted.internet.task import deferLater
from twisted.protocols.portforward import ProxyClient, ProxyClientFactory, ProxyFactory, ProxyServer

reactor: Any = _reactor


class _ToServer(ProxyClient):
    peer: Any

    def dataReceived(self, data):
        way = self.peer.factory.way
        self.peer.waits = False
        if way.delay > 0:
            way.later(self.peer, data)
        else:
            super().dataReceived(data)


class _ToServerFactory(ProxyClientFactory):
    protocol = _ToServer
    noisy = False


class _FromClient(ProxyServer):
    factory: Any
    clientProtocolFactory = _ToServerFactory
    waits = False

    def connectionMade(self):
        self.factory.way.connections.add(self)
        super().connectionMade()

    def dataReceived(self, data):
        if not self.waits:
            self.waits = True
            self.factory.way.turns += 1
        super().dataReceived(data)

    def connectionLost(self, reason=connectionDone):
        self.factory.way.connections.discard(self)
        super().connectionLost(reason)


class Forwarder:
    """
    It listens on a port of its own, and passes on what comes to another of this machine; it ends with the test.

    :ivar port: where it listens.
    :ivar delay: seconds by which what the server says is late.
    :ivar turns: how often a client has said something on a connection since the server has last said something there.
    """

    def __init__(self, case, port):
        self.delay = 0.0
        self.turns = 0
        self.connections: set[Any] = set()
        self._late: set[Any] = set()
        factory: Any = ProxyFactory("127.0.0.1", port)
        factory.protocol = _FromClient
        factory.noisy = False
        factory.way = self
        self._listening = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.port = self._listening.getHost().port
        case.addCleanup(self._close)

    def later(self, connection, data):
        """Say to a client what its server has said, when it is time; in order, since each is as late as the others."""

        def say():
            self._late.discard(call)
            connection.transport.write(data)

        call = reactor.callLater(self.delay, say)
        self._late.add(call)

    async def _close(self):
        for call in self._late:
            call.cancel()
        self._late.clear()
        await self._listening.stopListening()
        for connection in list(self.connections):
            connection.transport.abortConnection()
        while self.connections:
            await deferLater(reactor, 0.005)
        await deferLater(reactor, 0.005)
