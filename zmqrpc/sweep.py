"""The one timer of a node: deadlines, retries, PINGs and refreshes are looked at when the earliest of them is due."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from zmqrpc.core.agenda import NEVER
from zmqrpc.inherited import forget

_SHORTEST = 0.001
_REST = 2
_LONGEST_REST = 0.01


class Swept(Protocol):
    """A part of a node that time asks things of."""

    @property
    def wake_at(self) -> float:
        """When `sweep` has to be called next; infinity for never."""

    def sweep(self, now: float) -> None:
        """Do what is due."""


class Sweep:
    """
    Calls the parts of a node when they want to be.

    After each time it rests for `_REST` times as long as that took, so that parts which ask for it without end, and
    have much to look through, leave the time to others; but never longer than `_LONGEST_REST`: deadlines are kept.

    :param seconds: the monotonic clock; the reactor's own may be the wall clock, which steps (design D9).
    :ivar parts: who is swept; set before the first `wake_by`.
    :ivar at: when the next sweep is due.
    """

    log = Logger()

    def __init__(self, reactor: IReactorTime, seconds: Callable[[], float]) -> None:
        self.parts: Sequence[Swept] = ()
        self.at = NEVER
        self._reactor = reactor
        self._seconds = seconds
        self._rests_until = -NEVER
        self._call: IDelayedCall | None = None
        self._faulty: set[int] = set()

    def wake_by(self, when: float) -> None:
        """Sweep at `when`, or sooner if something else asks for it, but not while it rests."""
        when = max(when, self._rests_until)
        if when < self.at:
            self._arm(when)

    def stop(self) -> None:
        """Sweep no more."""
        self.parts = ()
        self._arm(NEVER)

    def _arm(self, when: float) -> None:
        if self._call is not None and self._call.active():
            self._call.cancel()
        self._call = None
        self.at = when
        if when < NEVER and self.parts:
            # Any: Twisted types callLater for callables without results only.
            reactor: Any = self._reactor
            self._call = reactor.callLater(max(_SHORTEST, when - self._seconds()), self.run)

    def run(self) -> None:
        """Sweep now: the timer does, and whoever finds that `at` has passed, since a clock step may stop timers."""
        # Whoever armed the timer may have been a method.
        forget()
        now = self._seconds()
        self.at = NEVER
        for part in self.parts:
            if self._wanted_at(part) <= now:
                try:
                    part.sweep(now)
                except Exception:
                    self.log.failure("a sweep of {part} failed", part=part)
        ended = self._seconds()
        self._rests_until = ended + min(_REST * (ended - now), _LONGEST_REST)
        wake_at = min(map(self._wanted_at, self.parts), default=NEVER)
        self._arm(max(wake_at, self._rests_until))

    def _wanted_at(self, part: Swept) -> float:
        """Return when a part wants to be swept: never, said once, where a plugin cannot tell."""
        try:
            wake_at = part.wake_at
            if wake_at <= NEVER:
                return wake_at
            # NaN, which is earlier and later than nothing.
            raise ValueError(f"it is {wake_at!r}")
        except Exception:
            if id(part) not in self._faulty:
                self._faulty.add(id(part))
                self.log.failure("the wake_at of {part} is of no use, it is not swept", part=part)
        return NEVER
