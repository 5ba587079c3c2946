"""What befell the processes of a history, and what that excuses."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import attrs

from zmqrpc.testing.events import Died, Ran, Stood


@attrs.frozen
class Troubles:
    """
    What befell processes.

    :ivar died: when each instance died.
    :ivar stood: when each instance stood.
    :ivar members: the instances that each member has had, of those that ran anything.
    :ivar strangers: the servers that died before they ran anything: they are of no member that is known.
    """

    died: Mapping[str, float]
    stood: Mapping[str, Sequence[Stood]]
    members: Mapping[str, set[str]]
    strangers: set[str]

    @classmethod
    def of(cls, events: Iterable[Any]) -> Troubles:
        """Read the events of a history."""
        died: dict[str, float] = {}
        servers: set[str] = set()
        stood: defaultdict[str, list[Stood]] = defaultdict(list)
        members: defaultdict[str, set[str]] = defaultdict(set)
        for event in events:
            match event:
                case Died():
                    died.setdefault(event.instance, event.at)
                    if event.role == "server":
                        servers.add(event.instance)
                case Stood():
                    stood[event.instance].append(event)
                case Ran():
                    members[event.member].add(event.instance)
        return cls(died, stood, members, servers.difference(*members.values()))

    def may_be(self, member: str | None) -> set[str]:
        """List the instances that may be those of a member, or of any."""
        known = self.members.values() if member is None else [self.members.get(member, set())]
        return self.strangers.union(*known)

    def lost(self, instance: str, since: float, until: float, unknown: float, awake_within: float) -> bool:
        """
        Tell whether an instance cannot run by a time what it had before.

        It died meanwhile, or stood at that time.

        :param unknown: seconds by which that time may be another one for it.
        :param awake_within: seconds in which a process that has stood gets to what it has, or it is known that one
            died.
        """
        if since <= self.died.get(instance, float("inf")) <= until + unknown + awake_within:
            return True
        return any(
            stood.at <= until + unknown and until - unknown <= stood.at + stood.seconds + awake_within
            for stood in self.stood.get(instance, ())
        )

    def clock_stood(self, instance: str, since: float, until: float) -> float:
        """Return how many seconds the clock of an instance has stood, in stands that touch a span of time."""
        stands = self.stood.get(instance, ())
        return sum(each.seconds for each in stands if each.clock and since - each.seconds <= each.at <= until)

    def goes_on_at(self, instance: str, until: float) -> float:
        """Return when an instance goes on that stood until then; 0 where it did not."""
        stands = self.stood.get(instance, ())
        return max((each.at + each.seconds for each in stands if each.at <= until), default=0.0)
