"""A set of sequences that grows almost in order: a watermark, and ranges above it."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence

MOST_RANGES = 64
"""How many ranges above the watermark go over the wire at once (docs/spec/wire, Settled)."""

_MOST_NUMBERS = 1 + 2 * MOST_RANGES

_NONE: list[int] = []
"""What stands in for no ranges, since most sets have none and two lists take 112 bytes; it is never changed."""


class Ranges:
    """
    Sequences from 1 on, kept as few numbers.

    :ivar watermark: every sequence up to it is in the set; 0 at first.
    """

    __slots__ = ("_highs", "_lows", "watermark")

    def __init__(self) -> None:
        self.watermark = 0
        self._lows = self._highs = _NONE

    @property
    def highest(self) -> int:
        """The highest sequence in the set; 0 when it is empty."""
        return self._highs[-1] if self._highs else self.watermark

    def __contains__(self, sequence: int) -> bool:
        """Tell whether the sequence was added."""
        if sequence <= self.watermark:
            return True
        if not self._lows:
            return False
        index = bisect_left(self._highs, sequence)
        return index < len(self._lows) and self._lows[index] <= sequence

    def add(self, sequence: int) -> None:
        """Add one sequence; one that is in the set already changes nothing."""
        self.add_range(sequence, sequence)

    def add_range(self, low: int, high: int) -> list[tuple[int, int]]:
        """
        Add every sequence from `low` to `high`; a range that ends before it begins changes nothing.

        :return: the parts of the range that were not in the set, ``(low, high)`` each, ascending.
        """
        watermark = self.watermark
        if high <= watermark or high < low:
            return []
        low = max(low, watermark + 1)
        if low == watermark + 1 and not self._lows:
            self.watermark = high
            return [(low, high)]
        first = last = bisect_left(self._highs, low - 1)
        start, end, fresh = low, high, []
        while last < len(self._lows) and self._lows[last] <= high + 1:
            old_low, old_high = self._lows[last], self._highs[last]
            if low < old_low:
                fresh.append((low, old_low - 1))
            low = max(low, old_high + 1)
            start, end = min(start, old_low), max(end, old_high)
            last += 1
        if low <= high:
            fresh.append((low, high))
        if start == self.watermark + 1:
            self.watermark = end
            del self._lows[:last], self._highs[:last]
        elif not self._lows:
            self._lows, self._highs = [start], [end]
        else:
            self._lows[first:last], self._highs[first:last] = [start], [end]
        return fresh

    def merge(self, flat: Sequence[int]) -> list[tuple[int, int]]:
        """
        Add what a peer's `flat` says; an odd last element is ignored, and so is what follows `MOST_RANGES` ranges.

        :return: what was not in the set before, as `add_range` returns it.
        """
        fresh = self.add_range(1, flat[0]) if flat else []
        for low, high in zip(flat[1:_MOST_NUMBERS:2], flat[2:_MOST_NUMBERS:2], strict=False):
            fresh += self.add_range(low, high)
        return fresh

    def narrow(self, most: int) -> list[tuple[int, int]]:
        """
        Add the lowest gaps until at most `most` ranges are left above the watermark.

        :return: what was not in the set before, as `add_range` returns it.
        """
        excess = len(self._lows) - most
        return self.add_range(1, self._lows[excess - 1]) if excess > 0 else []

    def flat(self, after: int = 0) -> list[int]:
        """
        Return ``[watermark, low, high, ...]`` with at most `MOST_RANGES` ranges, as it goes over the wire.

        :param after: when there are more, begin with those that end above this sequence.
        """
        if not self._lows:
            return [self.watermark]
        first = bisect_right(self._highs, after) if len(self._lows) > MOST_RANGES else 0
        if first == len(self._lows):
            first = 0
        numbers = [self.watermark]
        chosen = slice(first, first + MOST_RANGES)
        for low, high in zip(self._lows[chosen], self._highs[chosen], strict=True):
            numbers += (low, high)
        return numbers


def flatten(sequences: Iterable[int]) -> list[int]:
    """Make ranges ``[low, high, ...]`` of sequences in any order."""
    ranges: list[int] = []
    for sequence in sorted(set(sequences)):
        if ranges and ranges[-1] == sequence - 1:
            ranges[-1] = sequence
        else:
            ranges += (sequence, sequence)
    return ranges
