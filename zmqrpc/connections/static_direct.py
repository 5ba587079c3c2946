"""Static direct connections: one link to every instance of every topic in use, kept while it is recorded."""

from __future__ import annotations

from zope.interface import implementer

from zmqrpc.core.plan import STATIC
from zmqrpc.interfaces import IConnectionStrategy, ILinks
from zmqrpc.record import Record


@implementer(IConnectionStrategy)
class StaticDirect:
    """
    The default: everybody is connected to everybody it calls.

    :param links: the links of the node.
    """

    name = STATIC

    def __init__(self, links: ILinks) -> None:
        self._links = links

    def appeared(self, key: str, record: Record) -> None:
        self._links.open(key, record)
        self._links.connect_now(key)

    def gone(self, key: str) -> None:
        self._links.withdraw(key, "its record was withdrawn or expired")
