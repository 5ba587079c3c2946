"""
Which of two members gets a call, where calls are balanced.

Two that are drawn at random are as good as a look at all, and no herd runs to the one that looks idle.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sized
from typing import Any, Protocol

from zmqrpc.core.route import Route
from zmqrpc.core.timed import TimedCalls
from zmqrpc.core.topic import Topic
from zmqrpc.target import Pool, Target

_WEIGHT = 3
"""
How much more the time counts than the number in flight. With 1, one that takes five times as long gets a call as soon
as the others have five in flight each; with 3, when they have 125.
"""


class Peer(Protocol):
    """What a route needs to know of a link: what is under way to its instance, and what waits for it."""

    @property
    def pending(self) -> TimedCalls[Any]:
        """What was handed over and has not ended."""

    @property
    def queue(self) -> Sized:
        """What was not handed over yet."""


class BalancedRoute(Route):
    """
    A route on which of two instances drawn at random the one gets a call where it is likely to end sooner.

    That is the one with fewer calls in flight and waiting, each of them counted as long as calls take there: one that
    is slow has few in flight just because nobody calls it, and would else get one whenever it has none. What it refused
    counts as if it were in flight, until results come: who refuses is done with a call at once, and has few as well.

    :param chance: gives a number from 0 to below 1.
    :param peer: returns the link with a key; None when there is none.
    """

    __slots__ = ("_chance", "_peer")

    def __init__(
        self,
        target: Target | Pool,
        topic: Topic,
        first_turn: int,
        chance: Callable[[], float],
        peer: Callable[[str], Peer | None],
    ) -> None:
        super().__init__(target, topic, first_turn)
        self._chance = chance
        self._peer = peer

    def choose(self) -> str | None:
        """Return the link that gets the next call, None when none is available."""
        self.used = True
        return self._draw(self.choices)

    def choose_other(self, tried: Container[str]) -> str | None:
        """Return a link for a call that others did not take; None when all available ones are among those."""
        self.used = True
        return self._draw([key for key in self.choices if key not in tried])

    def _draw(self, choices: list[str]) -> str | None:
        number = len(choices)
        if number < 2:
            return choices[0] if choices else None
        one = int(self._chance() * number)
        other = int(self._chance() * (number - 1))
        other += other >= one
        if self._is_better(choices[other], choices[one]):
            one = other
        # What has the next turns is connected beside it, with dynamic connections.
        self._turn = one + 1
        return choices[one]

    def _is_better(self, key: str, than: str) -> bool:
        """Tell whether a call is likely to end sooner at one link than at another."""
        one, other = self._peer(key), self._peer(than)
        if one is None or other is None:
            return other is None
        here, there = len(one.pending) + len(one.queue) + 1, len(other.pending) + len(other.queue) + 1
        timed, timed_there = one.pending, other.pending
        cost, cost_there = here + timed.refused, there + timed_there.refused
        if timed.typical and timed_there.typical:
            cost *= timed.typical**_WEIGHT
            cost_there *= timed_there.typical**_WEIGHT
        if cost < cost_there:
            if there <= here:
                timed_there.passed_over()
            return True
        if cost > cost_there and here <= there:
            timed.passed_over()
        return False
