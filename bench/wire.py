"""A way to a store over which a round trip takes a known time, and on which questions are counted."""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor as _reactor
from twisted.protocols.portforward import ProxyClient, ProxyClientFactory, ProxyFactory, ProxyServer

reactor: Any = _reactor


class _ToStore(ProxyClient):
    peer: Any

    def dataReceived(self, data: bytes) -> None:
        # Each is as late as the others, so the order stays.
        reactor.callLater(self.peer.factory.wire.delay, self.peer.transport.write, data)


class _ToStoreFactory(ProxyClientFactory):
    protocol = _ToStore
    noisy = False


class _FromClient(ProxyServer):
    factory: Any
    clientProtocolFactory = _ToStoreFactory

    def dataReceived(self, data: bytes) -> None:
        wire = self.factory.wire
        wire.asked += data.count(wire.question)
        super().dataReceived(data)


class Wire:
    """
    It listens at a port of its own, and passes on what comes to another of this machine, until the process ends.

    :param question: with what each question begins.
    :ivar delay: seconds by which answers are late.
    :ivar asked: how many questions have come.
    """

    def __init__(self, port: int, question: bytes) -> None:
        self.delay = 0.0
        self.asked = 0
        self.question = question
        factory: Any = ProxyFactory("127.0.0.1", port)
        factory.protocol = _FromClient
        factory.noisy = False
        factory.wire = self
        self.port: int = reactor.listenTCP(0, factory, interface="127.0.0.1").getHost().port
