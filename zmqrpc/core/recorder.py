"""
The flight recorder of a node: the last events of its links, its matchmaker and its refusals, in a ring of fixed length.

An event is a tuple of plain values; its text is made when somebody reads it. Nothing is recorded for a single call
that goes well. What happens several times within a second to one peer is one event with a number, and a flood by many
peers takes no more than `MOST_A_SECOND` events a second: so the ring reaches back for half a minute at least, whatever
others do (with 4,096 events).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

MOST_A_SECOND = 100
"""How many kinds and peers have an event of their own within one second; what is more has one for each kind."""

_SECOND = 1.0
_MOST_TEXT = 200
_NO_FACTS: Mapping[str, Any] = MappingProxyType({})
_PLAIN = (int, float, bool, type(None))


class Event(NamedTuple):
    """
    What has happened.

    :ivar seconds: when, by the monotonic clock of the node; of several times the first.
    :ivar name: what; of what is counted, the name of the counter.
    :ivar peer: to whom, or who brought it about; empty where nobody is named, or several are meant.
    :ivar number: how often.
    :ivar text: a sentence with the names of facts in braces, and ``{s}`` for the end of a noun behind a number; empty
        where the name says enough.
    :ivar facts: what the sentence names, as of the first time.
    """

    seconds: float
    name: str
    peer: str
    number: int
    text: str
    facts: tuple[tuple[str, Any], ...]

    @property
    def sentence(self) -> str:
        """What has happened, for people, and how often, unless that was once."""
        facts = {"peer": self.peer, "number": self.number, "s": "" if self.number == 1 else "s", **dict(self.facts)}
        facts = {key: fact.hex() if isinstance(fact, bytes) else fact for key, fact in facts.items()}
        said = self.text.format(**facts) or self.peer
        if self.number == 1 or "{number}" in self.text:
            return said
        return f"{said}, {self.number} times" if said else f"{self.number} times"


class Recorder:
    """
    The events of one node.

    :param most: how many are kept; 0 for none.
    """

    __slots__ = ("_most", "_numbers", "_places", "_ring", "_until", "_written")

    def __init__(self, most: int) -> None:
        self._most = most
        self._ring: list[Event] = []
        # Apart, since a tuple that has to be made anew takes three times as long as all the rest.
        self._numbers: list[int] = []
        self._written = 0
        self._places: dict[tuple[str, Hashable], int] = {}
        self._until = float("-inf")

    def __len__(self) -> int:
        """Return how many events there are."""
        return len(self._ring)

    @property
    def most(self) -> int:
        """How many are kept."""
        return self._most

    def record(
        self, now: float, name: str, peer: Hashable, number: int, text: str, facts: Mapping[str, Any] = _NO_FACTS
    ) -> None:
        """
        Take an event; the parameters are as of `Event`.

        :param peer: None where nobody is named; bytes are written in hex.
        :param text: one of ours: it is kept, and not cut.
        :param facts: what may be of any type; others than numbers and bytes are kept as texts, and cut.
        """
        if not self._most or not number:
            return
        if now >= self._until:
            self._places.clear()
            self._until = now + _SECOND
        key = (name, peer)
        place = self._places.get(key)
        if place is None and len(self._places) >= MOST_A_SECOND:
            peer = None
            key = (name, None)
            place = self._places.get(key)
        if place is not None and place >= self._written - len(self._ring):
            # It may be the millionth of this second.
            self._numbers[place % self._most] += number
            return
        shown = peer.hex() if isinstance(peer, bytes) else "" if peer is None else str(peer)
        kept = tuple((fact, _plain(value)) for fact, value in facts.items())
        event = Event(now, name, shown[:_MOST_TEXT], number, text, kept)
        self._places[key] = self._written
        if len(self._ring) < self._most:
            self._ring.append(event)
            self._numbers.append(number)
        else:
            self._ring[self._written % self._most] = event
            self._numbers[self._written % self._most] = number
        self._written += 1

    def newest(self, most: int) -> Iterator[Event]:
        """Go through the newest events, the newest first."""
        for place in range(self._written - 1, max(self._written - len(self._ring), self._written - most) - 1, -1):
            yield self._ring[place % self._most]._replace(number=self._numbers[place % self._most])


def _plain(value: Any) -> Any:
    """Return a value that holds nothing: an exception would keep all that its traceback has."""
    if type(value) in _PLAIN:
        return value
    if isinstance(value, bytes):
        return value[:_MOST_TEXT]
    return str(value)[:_MOST_TEXT]
