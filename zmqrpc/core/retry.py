"""When what was not acknowledged is sent again, and how often."""

from __future__ import annotations

from msgspec import Struct


class RetryPolicy(Struct, frozen=True):
    """
    When what was not acknowledged is sent again.

    :ivar base: seconds until the first repetition.
    :ivar multiplier: by how much that grows with each.
    :ivar attempts: how many repetitions; negative for no limit, 0 for none.
    """

    base: float = 15.0
    multiplier: float = 2.0
    attempts: int = 3

    def next_retry(self, now: float, attempts: int) -> float:
        """Return when a message that was handed over `attempts` times goes again (or is given up)."""
        return now + self.base * self.multiplier ** min(attempts - 1, 50)

    def exhausted(self, attempts: int) -> bool:
        """Tell whether a message handed over `attempts` times is given up."""
        return 0 <= self.attempts < attempts
