"""Static direct connections: one link to every instance of every topic in use, kept while it is recorded."""

from __future__ import annotations

from collections.abc import Callable

from zope.interface import implementer

from zmqrpc.connections._kept import KeptLinks
from zmqrpc.core.plan import STATIC
from zmqrpc.interfaces import IConnectionStrategy, IConnectionStrategyFactory, ILinks
from zmqrpc.record import Record
from zmqrpc.settings import Settings


@implementer(IConnectionStrategy)
class StaticDirect(KeptLinks):
    """The default: everybody is connected to everybody it calls."""

    name = STATIC

    def appeared(self, key: str, record: Record) -> None:
        self._links.open(key, record)
        self._links.connect_now(key)


@implementer(IConnectionStrategyFactory)
class StaticDirectFactory:
    """Makes `StaticDirect`."""

    name = STATIC

    def make(
        self, links: ILinks, settings: Settings, seconds: Callable[[], float], wake_by: Callable[[float], None]
    ) -> IConnectionStrategy:
        """See `IConnectionStrategyFactory`."""
        return StaticDirect(links)


factory = StaticDirectFactory()
