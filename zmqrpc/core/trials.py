"""The connections of one link that are tried: their numbers, how many came to nothing, how long the next is put off."""

from __future__ import annotations

from collections.abc import Callable

from zmqrpc.core.backoff import backoff
from zmqrpc.core.link_effects import Doubt
from zmqrpc.core.link_timers import LinkTimers


class Trials:
    """
    Those of one link.

    :param jitter: gives a number from 0.5 to 1, by which a pause is multiplied.
    :ivar fails: how many in a row have come to nothing.
    """

    __slots__ = ("_begun", "_failing_since", "_jitter", "_timers", "_told", "fails")

    def __init__(self, timers: LinkTimers, jitter: Callable[[], float]) -> None:
        self.fails = 0
        self._begun = 0
        self._failing_since = 0.0
        self._told = False
        self._timers = timers
        self._jitter = jitter

    def begin(self) -> int:
        """Take that another is tried; return its number."""
        self._begun += 1
        return self._begun

    def failed(self, now: float) -> None:
        """Take that one came to nothing."""
        if not self.fails:
            self._failing_since = now
        self.fails += 1

    def succeeded(self) -> None:
        """Take that the peer was reached."""
        self.fails = 0
        self._told = False

    def met_another(self) -> None:
        """Take that somebody else answered, which may be said though it was said before that nobody does."""
        self._told = False

    def doubt(self, reason: str) -> list[Doubt]:
        """Doubt the peer, unless that was said since it was reached last."""
        told, self._told = self._told, True
        return [] if told else [Doubt(reason)]

    def pause(self, now: float) -> float:
        """Return for how many seconds the next one is put off."""
        timers = self._timers
        failing = now - self._failing_since if self.fails else 0.0
        longest = min(max(timers.brief_backoff, failing * timers.backoff_share), timers.longest_backoff)
        return backoff(timers.backoff, self.fails, longest) * self._jitter()
