"""Through router proxies: a link to every instance of every topic in use, which some proxy carries."""

from __future__ import annotations

from zope.interface import implementer

from zmqrpc.core.plan import ROUTED
from zmqrpc.interfaces import IConnectionStrategy, ILinks
from zmqrpc.record import Record


@implementer(IConnectionStrategy)
class Routed:
    """
    For systems in which a connection from each to each would be too many: everybody is connected to the proxies.

    Proxies go by instances: who is recorded without one, in the fixed table of a plugin, is connected to directly.

    :param links: the links of the node.
    """

    name = ROUTED

    def __init__(self, links: ILinks) -> None:
        self._links = links

    def appeared(self, key: str, record: Record) -> None:
        self._links.open(key, record, proxied=bool(record.instance))
        self._links.connect_now(key)

    def gone(self, key: str) -> None:
        self._links.withdraw(key, "its record was withdrawn or expired")
