"""
The way to one target, and whose turn it is there.

Hot path: `Route.choose`, which is every call.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from typing import NamedTuple

from zmqrpc.core.envelope import Served
from zmqrpc.core.topic import Topic
from zmqrpc.record import Record
from zmqrpc.target import Pool, Target


class Audience(NamedTuple):
    """
    Who gets what goes to everybody.

    :ivar records: of every server of the target, in the order in which they are listed.
    :ivar others: those of them that do not subscribe to publishers.
    :ivar subscribers: (member, instance) of those that do.
    """

    records: tuple[Record, ...]
    others: tuple[Record, ...]
    subscribers: tuple[tuple[str, str], ...]

    @property
    def subscribing(self) -> list[Record]:
        """List the records of those that do."""
        return [record for record in self.records if record.subscribes]


class Route:
    """
    The way to one target: a topic, one member of it, or one pool of its listeners.

    Strictly round robin over the instances that are available: recorded, not backing off or mute. Those of them in
    quarantine have no turn as long as there are others.

    :ivar target: what its callers wrote.
    :ivar group: whom of the topic it leads to, as `Topic.groups` has them.
    :ivar choices: the links to take in turn.
    :ivar avoided: the available links in quarantine: better than none.
    :ivar recorded: every record of the target, available or not, by its link.
    :ivar used: whether it was used since the last look; a flag, because noting the time would cost each call more.
    :ivar unused: how many looks in a row found it unused.
    :ivar holders: how many want it kept, used or not.
    """

    __slots__ = (
        "_audience",
        "_audience_of",
        "_first_turn",
        "_other_turn",
        "_turn",
        "avoided",
        "choices",
        "group",
        "holders",
        "recorded",
        "target",
        "topic",
        "unused",
        "used",
    )

    def __init__(self, target: Target | Pool, topic: Topic, first_turn: int = 0) -> None:
        self.target = target
        self.topic = topic
        self.group: str | Pool | None = target if isinstance(target, Pool) else target.server
        self.choices: list[str] = []
        self.avoided: list[str] = []
        self.recorded: dict[str, Record] = {}
        self.used = True
        self.unused = 0
        self.holders = 0
        self._turn = 0
        self._other_turn = 0
        self._first_turn = first_turn
        self._audience = Audience((), (), ())
        self._audience_of: tuple[object, object] = (None, None)

    def choose(self) -> str | None:
        """Return the link whose turn it is, None when none is available."""
        self.used = True
        choices = self.choices
        if not choices:
            return None
        turn = self._turn
        if turn >= len(choices):
            turn = 0
        self._turn = turn + 1
        return choices[turn]

    def choose_other(self, tried: Container[str]) -> str | None:
        """
        Return a link for a call that others had no room for; None when all available ones are among those.

        These have turns of their own. Would they take the next of all calls, of two members the first would get each
        new call, and the second each that the first refused.
        """
        self.used = True
        choices = self.choices
        for _ in choices:
            self._other_turn = turn = (self._other_turn + 1) % len(choices)
            if choices[turn] not in tried:
                return choices[turn]
        return None

    def upcoming(self) -> Iterator[str]:
        """Go through the links in the order in which they have their next turns, without taking one."""
        # Mostly the first few are wanted, of thousands: nothing is copied. The last of a list is its element -1.
        choices, turn = self.choices, self._turn
        for number in range(turn - len(choices), turn):
            yield choices[number]

    def listed(self) -> list[tuple[str, str]]:
        """List (member, instance) of every server of the target, available or not."""
        return [(record.member, record.instance) for record in self.audience().records]

    def audience(self) -> Audience:
        """Return who gets what goes to everybody; it costs something only after a change of what is recorded."""
        answer, kept = self.topic.answer, self.topic.kept
        if self._audience_of[0] is not answer or self._audience_of[1] is not kept:
            records = tuple(self.topic.servers(self.target.server))
            self._audience_of = answer, kept
            self._audience = Audience(
                records,
                tuple(record for record in records if not record.subscribes),
                tuple((record.member, record.instance) for record in records if record.subscribes),
            )
        return self._audience

    def means(self, served: Served) -> bool:
        """Tell whether something that an instance serves is what the route leads to."""
        if (served.exchange, served.topic) != (self.topic.exchange, self.topic.name):
            return False
        if isinstance(self.group, Pool):
            return served.pool == self.group.name
        return self.group in (None, served.member)

    def update(self, recorded: dict[str, Record], unavailable: set[str], quarantined: set[str]) -> None:
        """Take the records of the target by their links, and which links are not available or in quarantine."""
        self.recorded = recorded
        # Whoever is left keeps the order of turns, and who is new comes before the one that had the last: so no change
        # gives anybody two turns in a row.
        upcoming = self.choices[self._turn :] + self.choices[: self._turn]
        known = set(upcoming)
        new = [key for key in self.recorded if key not in known]
        order = (*upcoming[:-1], *new, *upcoming[-1:])
        available = [key for key in order if key in self.recorded and key not in unavailable]
        self.avoided = [key for key in available if key in quarantined] if quarantined else []
        self.choices = [key for key in available if key not in quarantined] or available
        self._turn = self._first_turn % len(self.choices) if self.choices and not upcoming else 0
