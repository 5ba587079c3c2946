"""
How those who all want the same of a store at the same moment spread over time (docs/adr/0037).

A store that comes back is found by everybody at once. Each process takes a turn of its own: the more there are, the
longer the time over which the turns are spread.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from zmqrpc.core.backoff import backoff

EACH_SECOND = 100
"""How many processes have their turns in one second."""

SHORTEST, LONGEST = 0.1, 4.5
"""Seconds over which the turns of few, and of however many, are spread."""

FIRST_PAUSE, KNOWN_PAUSE, UNKNOWN_PAUSE = 0.1, 0.25, 1.0
"""
Seconds between two tries of one process: doubled from the first up to the second, but no less than the turns of all
take; up to the third where nobody knows how many there are.
"""

KEEP = 400.0
"""
Seconds for which it is remembered how many there were: a store that is lost may show few when it is back. Longer than
any pause between two looks at the largest topic, for each look at a smaller one would be all that is known.
"""


def spread(count: int) -> float:
    """Return the seconds over which the turns of so many processes are spread."""
    return min(max(count / EACH_SECOND, SHORTEST), LONGEST)


class Crowd:
    """
    How many processes use a store, as far as one of them can tell, and when it is that one's turn.

    :param chance: gives a number from 0 to 1.
    :ivar turn_at: when our turn is, or was last.
    """

    def __init__(self, chance: Callable[[], float]) -> None:
        self.turn_at = float("-inf")
        self._chance = chance
        self._count = _Lately()
        self._listed = _Lately()
        self._rank = 0
        self._tries = 0

    @property
    def seconds(self) -> float:
        """Over how long the turns are spread."""
        return spread(self._count.value)

    def seen(self, count: int, now: float) -> None:
        """Take how many there are at least."""
        self._count.take(count, now)

    def listed(self, rank: int, count: int, now: float) -> None:
        """Take that we are one of so many, and which, from 0, in an order that all of them know."""
        self.seen(count, now)
        if self._listed.take(count, now):
            self._rank = rank

    def shown(self, instances: Sequence[str], ours: str, now: float) -> None:
        """Take whose records a topic has, in an order that all know, and which instance is ours."""
        if ours in instances:
            self.listed(instances.index(ours), len(instances), now)
        else:
            self.seen(len(instances), now)

    def turn(self, now: float) -> float:
        """Return when it is our turn to do what all want to do from now on; one that is to come stays."""
        if self.turn_at <= now:
            self.turn_at = now + self._place() * self.seconds
        return self.turn_at

    def again(self, now: float) -> float:
        """Return when to try again after a try that failed, or after what worked until now has ended."""
        if self.turn_at > now:
            return self.turn_at
        self._tries += 1
        if self._tries == 1:
            return self.turn(now)
        # Tries that are all equally far apart leave the turns as they were spread.
        pause = max(
            self.seconds, backoff(FIRST_PAUSE, self._tries - 2, KNOWN_PAUSE if self._count.value else UNKNOWN_PAUSE)
        )
        planned = self.turn_at + pause
        self.turn_at = planned if planned > now else now + pause
        return self.turn_at

    def worked(self) -> None:
        """Take that a try has worked: there is no turn to wait for."""
        self._tries = 0
        self.turn_at = float("-inf")

    def _place(self) -> float:
        # Of 500 the busiest second has 1.02 times the average with ranks, by chance alone up to 1.26 (docs/adr/0037).
        return (self._rank + self._chance()) / (self._listed.value or 1)


class _Lately:
    """The highest number of late."""

    def __init__(self) -> None:
        self.value = 0
        self._since = 0.0

    def take(self, value: int, now: float) -> bool:
        """Take a number; return whether it counts from now on."""
        counts = value >= self.value or now - self._since > KEEP
        if counts:
            self.value, self._since = value, now
        return counts
