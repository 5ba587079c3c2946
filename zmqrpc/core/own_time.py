"""
How much of some time our own process has had for itself.

One that stood, or was kept from the processor, has read nothing meanwhile: that it has not heard of a peer says nothing
of the peer then.
"""

from __future__ import annotations

STEP = 0.01
"""Seconds between two looks, where nothing else is said."""

_NOTHING = 1e-6


class OwnTime:
    """
    A time that is over when our process has had so much of it, or when it has gone on for long.

    :param seconds: how much of it our process has to have had.
    :param most: seconds after which it is over anyway.
    :param step: seconds between two looks. One that comes late by more than as much shows that our process had no time.
    :ivar look_at: when to look next.
    """

    __slots__ = ("_left", "_looked_at", "_over_at", "_step", "look_at")

    def __init__(self, seconds: float, most: float, now: float, step: float = STEP) -> None:
        self._left = seconds
        self._step = step
        self._over_at = now + most
        self._looked_at = now
        self.look_at = now + min(step, seconds)

    def begin_again(self, seconds: float, now: float) -> None:
        """Let our process have had none of it so far; when it is over anyway stays."""
        self._left = seconds
        self._looked_at = now
        self.look_at = min(now + min(self._step, seconds), self._over_at)

    def look(self, now: float) -> bool:
        """Look, at `look_at` or at any other time; tell whether the time is over."""
        passed = now - self._looked_at
        self._looked_at = now
        if passed <= 2 * self._step:
            self._left -= passed
        self.look_at = min(now + min(self._step, max(self._left, 0.0)), self._over_at)
        # What many looks have taken off is not exact.
        return self._left <= _NOTHING or now >= self._over_at
