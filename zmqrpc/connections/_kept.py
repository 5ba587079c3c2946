"""What the strategies have in common whose links are kept: such links do by themselves what is to be done."""

from __future__ import annotations

from collections.abc import Iterable

from zmqrpc.core.agenda import NEVER
from zmqrpc.interfaces import ILinks


class KeptLinks:
    """
    A strategy but for its name, and for what it does with a record.

    :param links: the links of the node.
    """

    transient = False
    wake_at = NEVER

    def __init__(self, links: ILinks) -> None:
        self._links = links

    def gone(self, key: str) -> None:
        self._links.withdraw(key, "its record was withdrawn or expired")

    def needed(self, key: str, others: Iterable[str]) -> None:
        pass

    def opened(self, key: str) -> None:
        pass

    def idle(self, key: str) -> None:
        pass

    def closed(self, key: str) -> None:
        pass

    def sweep(self, now: float) -> None:
        pass
