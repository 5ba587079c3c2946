"""From which number on the links to one instance count, when several lead there one after the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

from zmqrpc.core.link import LinkState
from zmqrpc.core.pending import PendingCalls


class Numbered(Protocol):
    """What is to be known of a link."""

    address: str
    state: LinkState

    @property
    def pending(self) -> PendingCalls[Any]:
        """What it has numbered."""

    def begin_at(self, first: int) -> None:
        """Give no number below this one any more."""


_Link = TypeVar("_Link", bound=Numbered)


class Numbering(Generic[_Link]):
    """
    The numbers of a node's links, of which no two count for the same instance.

    :param get: returns the link with a key, the instance in hex where its record names it; None where there is none.
    :ivar unused: higher than all that links of the past have used: an instance may come back (its record vanished for a
        while), and would answer a number that is used again with the answer of its first use.
    """

    def __init__(self, get: Callable[[str], _Link | None]) -> None:
        self.unused = 1
        self._get = get
        self._learned: dict[bytes, _Link] = {}

    def claim(self, link: _Link, instance: bytes) -> str:
        """
        Take that an instance answers on a link that opens.

        Two links to one instance would number their messages alike, and each would get the other's answers.

        :return: why the link may not open, empty when it may.
        """
        state = link.state
        if not state.learns and instance != state.instance:
            return ""
        other = self._learned.get(instance)
        if other is None and state.learns:
            other = self._get(instance.hex())
        if other is not None and other is not link:
            return f"the link to {other.address} leads there already"
        if state.learns and instance != state.instance:
            self.release(link)
            self._learned[instance] = link
        link.begin_at(self.unused)
        return ""

    def release(self, link: _Link) -> None:
        """Have others number what they send to the instance of a link above what that has sent."""
        self.unused = max(self.unused, link.pending.next_sequence)
        instance = link.state.instance
        if instance is not None and self._learned.get(instance) is link:
            del self._learned[instance]

    def clear(self) -> None:
        """Forget who leads where."""
        self._learned.clear()
