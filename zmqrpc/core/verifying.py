"""
When an instance is looked at because somebody else doubts it.

Nobody is believed: a doubt only has us ask the instance over our own connection. So that whoever can write to the store
costs no more than that, one instance is asked once in a while, and few are asked in a moment.
"""

from __future__ import annotations

from itertools import takewhile

from zmqrpc.core.agenda import NEVER
from zmqrpc.core.pace import Pace

REST_SECONDS = 5.0
"""Seconds between two looks at one instance."""

EACH_SECOND = 50
"""How many instances are looked at in a second."""

MOST_WAITING = 1000
"""How many may wait for their look; what is left out is told again, when the doubt lasts."""


class Verifying:
    """The instances that are to be looked at, by the keys of their links."""

    def __init__(self) -> None:
        self._waiting: dict[str, float] = {}
        self._looked: dict[str, float] = {}
        self._pace = Pace(EACH_SECOND)

    def doubted(self, key: str, now: float) -> bool:
        """
        Take that somebody has begun to doubt the instance behind a link.

        :return: whether it will be looked at; too many may wait already.
        """
        if key in self._waiting:
            return True
        if len(self._waiting) >= MOST_WAITING:
            return False
        self._waiting[key] = max(now, self._looked.get(key, -NEVER) + REST_SECONDS)
        return True

    def forget(self, key: str) -> None:
        """Take that no record leads there any more."""
        self._waiting.pop(key, None)

    @property
    def wake_at(self) -> float:
        """When `tick` next has something; infinity for never."""
        return max(min(self._waiting.values(), default=NEVER), self._pace.free_at)

    def tick(self, now: float) -> list[str]:
        """Return the links to look at now; to be called at `wake_at` or later."""
        due = [key for key, when in self._waiting.items() if when <= now]
        looked = list(takewhile(lambda _: self._pace.take(now), due))
        if looked:
            self._looked = {key: when for key, when in self._looked.items() if now < when + REST_SECONDS}
        for key in looked:
            del self._waiting[key]
            self._looked[key] = now
        return looked
