"""Through router proxies: a link to every instance of every topic in use, which some proxy carries."""

from __future__ import annotations

from collections.abc import Callable

from zope.interface import implementer

from zmqrpc.connections._kept import KeptLinks
from zmqrpc.core.plan import ROUTED
from zmqrpc.interfaces import IConnectionStrategy, IConnectionStrategyFactory, ILinks
from zmqrpc.record import Record
from zmqrpc.settings import Settings


@implementer(IConnectionStrategy)
class Routed(KeptLinks):
    """For systems in which a connection from each to each would be too many: everybody is connected to the proxies."""

    name = ROUTED

    def appeared(self, key: str, record: Record) -> None:
        self._links.open(key, record, proxied=True)
        self._links.connect_now(key)


@implementer(IConnectionStrategyFactory)
class RoutedFactory:
    """Makes `Routed`."""

    name = ROUTED

    def make(
        self, links: ILinks, settings: Settings, seconds: Callable[[], float], wake_by: Callable[[float], None]
    ) -> IConnectionStrategy:
        """See `IConnectionStrategyFactory`."""
        return Routed(links)


factory = RoutedFactory()
