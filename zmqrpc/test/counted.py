"""A reactor that counts how often others are asked over it."""

from __future__ import annotations

from collections import Counter
from typing import Any

from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from zope.interface import directlyProvides, providedBy


class CountedReactor:
    """A reactor, with its TCP connections counted: each try to make one, and each question on one."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._counts: Counter[int] = Counter()
        directlyProvides(self, providedBy(reactor))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    def connectTCP(self, host: str, port: int, factory: Any, *arguments: Any, **named: Any) -> Any:
        """See `IReactorTCP`."""
        self.count(port)
        return self._reactor.connectTCP(host, port, _Counted(self, port, factory), *arguments, **named)

    def count(self, port: int) -> None:
        """Count one more at a port."""
        self._counts[port] += 1

    def most(self) -> int:
        """Return how many there were since this was called last, at the port that had most."""
        most = max(self._counts.values(), default=0)
        self._counts.clear()
        return most


class _Connection(ProtocolWrapper):
    """What is said before the other side has said something is one question."""

    waits = False

    def write(self, data: bytes) -> None:
        self._asks()
        super().write(data)

    def writeSequence(self, data: Any) -> None:
        self._asks()
        super().writeSequence(data)

    def dataReceived(self, data: bytes) -> None:
        self.waits = False
        super().dataReceived(data)

    def _asks(self) -> None:
        if not self.waits:
            self.waits = True
            self.factory.reactor.count(self.factory.port)


class _Counted(WrappingFactory):
    protocol = _Connection
    noisy = False

    def __init__(self, reactor: CountedReactor, port: int, factory: Any) -> None:
        super().__init__(factory)
        self.reactor, self.port = reactor, port
