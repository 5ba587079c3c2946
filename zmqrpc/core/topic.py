"""
One topic: what is known of who listens there.

A topic is re-entered on every use, so an empty answer is never final (the predecessor's was, for ever).

===========  ==================================================  ====================
state        meaning                                             on use
===========  ==================================================  ====================
UNKNOWN      never answered, or the first answer failed          look up, wait for it
KNOWN        somebody listens                                    use it
STALE        somebody did when the store last answered           use it
EMPTY        the store said that nobody listens                  look up, wait for it
===========  ==================================================  ====================

Where somebody listened a moment ago, one empty answer is not believed either: the store may have lost everything, and
be told it again just now. A STALE topic is looked up again by the discovery's timer, not by its use. Beside the state,
`Topic.resolving` tells whether a lookup is under way.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from zmqrpc.core.agenda import NEVER
from zmqrpc.record import Record, Role, Sighting
from zmqrpc.target import Pool, Target

if TYPE_CHECKING:
    from zmqrpc.core.route import Route

_ROUTED = (Role.SERVER, Role.LISTENER)


class Knowledge(Enum):
    """What is known of a topic."""

    UNKNOWN = "unknown"
    KNOWN = "known"
    STALE = "stale"
    EMPTY = "empty"


def link_key(record: Record) -> str:
    """Name the link a record leads to: its instance, or its address where the record has no instance."""
    return record.instance or record.addresses[0]


def _is_of(record: Record, target: Target | Pool) -> bool:
    if isinstance(target, Pool):
        return record.role is Role.LISTENER and record.pool == target.name
    return record.role is Role.SERVER and target.server in (None, record.member)


def _by_member(sighting: Sighting) -> tuple[str, str]:
    return sighting.record.member, sighting.record.instance


class Topic:
    """
    One topic of one exchange.

    :ivar key: exchange and name.
    :ivar sweep_at: when it is looked up again.
    :ivar knowledge: what is known of it.
    :ivar resolving: whether a lookup is under way.
    :ivar answer: the records of the newest answer of the store, perhaps stale; without the doubts in it.
    :ivar doubted: the links to instances that somebody doubts, as that answer says.
    :ivar learned_at: when it came.
    :ivar emptied_at: when an answer took everybody away of whom no link shows that he lives; -inf for never.
    :ivar kept: what vanished from it or from one before, and is kept.
    :ivar pools: the pools of those who listen for notifications.
    """

    __slots__ = (
        *(
            "answer",
            "doubted",
            "emptied_at",
            "exchange",
            "kept",
            "key",
            "knowledge",
            "learned_at",
            "name",
            "pools",
            "resolving",
        ),
        *("routes", "sweep_at"),
    )

    def __init__(self, exchange: str, name: str) -> None:
        self.exchange = exchange
        self.name = name
        self.key = (exchange, name)
        self.sweep_at = NEVER
        self.knowledge = Knowledge.UNKNOWN
        self.resolving = False
        self.answer: tuple[Sighting, ...] = ()
        self.doubted: frozenset[str] = frozenset()
        self.learned_at = 0.0
        self.emptied_at = float("-inf")
        self.kept: tuple[Sighting, ...] = ()
        self.pools: tuple[Pool, ...] = ()
        self.routes: list[Route] = []

    @property
    def sightings(self) -> tuple[Sighting, ...]:
        """What is routed by: the answer as the store ordered it, and in the same order what is kept."""
        if not self.kept:
            return self.answer
        return tuple(sorted(self.answer + self.kept, key=_by_member))

    def servers(self, member: str | None = None) -> list[Record]:
        """List the records of servers, or only those of one member, in the order of `sightings`."""
        records = [sighting.record for sighting in self.sightings]
        return [record for record in records if record.role is Role.SERVER and member in (None, record.member)]

    @property
    def empty(self) -> bool:
        """Whether neither a server nor a listener is recorded."""
        return not any(sighting.record.role in _ROUTED for sighting in self.sightings)

    def groups(self) -> dict[str | Pool | None, dict[str, Record]]:
        """Group the records by link: of servers by member, and all of them under None; of listeners by pool."""
        everybody: dict[str, Record] = {}
        groups: dict[str | Pool | None, dict[str, Record]] = {None: everybody}
        for sighting in self.sightings:
            record, key = sighting.record, link_key(sighting.record)
            if record.role is Role.SERVER:
                everybody[key] = record
                groups.setdefault(record.member, {})[key] = record
            elif record.role is Role.LISTENER:
                groups.setdefault(Pool(self.exchange, self.name, record.pool), {})[key] = record
        return groups

    def behind(self, key: str, target: Target | Pool) -> list[Sighting]:
        """List what of a target of this topic is behind a link: several members where one node is all of them."""
        return [each for each in self.sightings if link_key(each.record) == key and _is_of(each.record, target)]

    def age(self, sighting: Sighting, now: float) -> float | None:
        """Return how old a record is, in seconds; None where nobody has told."""
        return sighting.age + now - self.learned_at if sighting.age is not None else None

    @property
    def usable(self) -> bool:
        """Whether it may be routed by without waiting for the store."""
        return self.knowledge in (Knowledge.KNOWN, Knowledge.STALE)
