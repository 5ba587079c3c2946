"""How long calls took of late, in little room and for little work."""

from __future__ import annotations

from math import log2

_SHORTEST = 1e-4
_STEPS = 4
"""How many steps a doubling has: what is told is at most a fifth too much."""

_DOUBLINGS = 24
_MOST = 1000
_ENOUGH = 20
_SLOW = 0.95
_NEWS = 16


class ObservedTimes:
    """
    A histogram of the times of one kind of call, from 0.1 ms to half an hour.

    When it has a thousand, all of them count half from then on: what was long ago counts little.
    """

    __slots__ = ("_counts", "_news", "_slow", "_total")

    def __init__(self) -> None:
        self._counts = [0] * (_STEPS * _DOUBLINGS)
        self._total = 0
        self._news = 0
        self._slow: float | None = None

    def add(self, seconds: float) -> None:
        """Take the time of one more."""
        step = int(_STEPS * log2(seconds / _SHORTEST)) if seconds > _SHORTEST else 0
        self._counts[min(step, len(self._counts) - 1)] += 1
        self._total += 1
        self._news += 1
        if self._total >= _MOST:
            self._counts = [count // 2 for count in self._counts]
            self._total = sum(self._counts)

    @property
    def slow(self) -> float | None:
        """The time in which 95 of 100 ended, in seconds, perhaps of a moment ago; None while too few are known."""
        if self._total < _ENOUGH:
            return None
        if self._slow is None or self._news >= _NEWS:
            self._news = 0
            self._slow = self._find()
        return self._slow

    def _find(self) -> float:
        left = self._total * (1 - _SLOW)
        step = len(self._counts)
        # The slowest step such that no more than five of a hundred are above it.
        while step > 1 and left >= self._counts[step - 1]:
            step -= 1
            left -= self._counts[step]
        return float(_SHORTEST * 2 ** (step / _STEPS))
