"""When what a store has lost is stored there again: after a moment, which is twice as long each time until it stays."""

from __future__ import annotations

from collections.abc import Callable

from zmqrpc.core.agenda import NEVER
from zmqrpc.core.backoff import backoff

RESTORE_FIRST, RESTORE_MOST = 0.25, 10.0
"""Seconds at first, and at most, less by chance, until what is lacking is stored again: doubled each time."""

STEADY = 2.0
"""Seconds that records stay stored for their loss to be the first again."""


class Restoration:
    """
    When it is time, and how often it was. Whoever goes on removing what is stored only makes us patient.

    :param jitter: gives a number from 0.5 to 1.
    :ivar wake_at: when that is; infinity for not as far as is known.
    :ivar times: how many there were since everything stayed for a while.
    """

    def __init__(self, jitter: Callable[[], float]) -> None:
        self.wake_at = NEVER
        self.times = 0
        self._jitter = jitter
        self._over_at = -NEVER

    def lacks(self, now: float) -> None:
        """Take that something is lacking; what is to come already stays."""
        if self.wake_at < NEVER:
            return
        if now - self._over_at >= STEADY:
            self.times = 0
        self.wake_at = now + backoff(RESTORE_FIRST, self.times, RESTORE_MOST) * self._jitter()

    def cancel(self) -> None:
        """Take that nothing is lacking, or that all of it is being stored for another reason."""
        self.wake_at = NEVER

    def begin(self) -> None:
        """Take that what is lacking is being stored."""
        self.wake_at = NEVER
        self.times += 1

    def over(self, now: float) -> None:
        """Take that everything has been stored as far as is known."""
        self._over_at = now

    def rest(self) -> None:
        """Take that there was no loss for a while, or that none can be seen: the next time is the first."""
        self.wake_at = NEVER
        self.times = 0
