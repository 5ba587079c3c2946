"""How times are distributed, in bounded memory."""

from __future__ import annotations

from math import ceil, log

_LEAST = 1e-6
"""Seconds; what is shorter counts as this."""

_STEP = log(1.01)
_BUCKETS = 2300
"""As many as reach to 2.4 hours."""


class Histogram:
    """
    Times in buckets, each 1 % wider than the one before it; so a percentile is right to 1 %, and never too small.

    :ivar count: how many there are.
    :ivar total: their sum, in seconds.
    :ivar longest: the longest, in seconds.
    """

    def __init__(self) -> None:
        self._counts = [0] * _BUCKETS
        self.count = 0
        self.total = 0.0
        self.longest = 0.0

    def record(self, seconds: float) -> None:
        """Take one."""
        bucket = ceil(log(seconds / _LEAST) / _STEP) if seconds > _LEAST else 0
        self._counts[min(bucket, _BUCKETS - 1)] += 1
        self.count += 1
        self.total += seconds
        if seconds > self.longest:
            self.longest = seconds

    def percentile(self, percent: float) -> float | None:
        """Return the time, in seconds, that `percent` of them do not exceed; None when there are none."""
        rest = ceil(self.count * percent / 100)
        if not rest:
            return None
        for bucket, count in enumerate(self._counts):
            rest -= count
            if rest <= 0:
                return float(min(self.longest, _LEAST * 1.01**bucket))
        return self.longest
