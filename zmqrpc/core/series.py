"""
Numbers without gaps, and which of them never came (docs/spec/wire, Through a publisher proxy).

A number that has come is not taken again. One that does not come within `GRACE` after a higher one is missed, and is
not taken any more either: each is delivered or counted, never both.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from zmqrpc.core.agenda import NEVER
from zmqrpc.core.ranges import Ranges
from zmqrpc.core.seen import Seen

GRACE = 1.0
"""Seconds within which what is missing may still come by another publisher."""

MOST_GAPS = 1000
"""How many gaps of one series wait for `GRACE`; past it the oldest are closed at once."""

_NEW, _SETTLED = Seen.NEW, Seen.SETTLED


class Series:
    """
    Numbers that somebody gives without gaps; it may have begun long before we listen.

    What is below the first number that came is not missed, but may still come within `GRACE`.

    :param gap_opened: called when it has one gap more.
    :ivar key: the topic-key, and the client instance or the publisher instance that gives the numbers; of the other
        ``b""``.
    :ivar sweep_at: when it is due, for `zmqrpc.core.due`.
    :ivar now: the time by which what comes is judged; set by who takes a batch.
    :ivar repeats: how many numbers came that had come before, or too late.
    """

    __slots__ = (
        *("_gap_opened", "_gaps", "_highest", "_lowest", "_missed", "_seen"),
        *("key", "now", "repeats", "sweep_at"),
    )

    def __init__(self, key: tuple[bytes, bytes, bytes], gap_opened: Callable[[Series], None]) -> None:
        self.key = key
        self.sweep_at = NEVER
        self.now = 0.0
        self.repeats = 0
        self._gap_opened = gap_opened
        self._seen = Ranges()
        self._lowest = -1
        self._highest = self._missed = 0
        self._gaps: deque[tuple[float, int, int]] = deque()  # when it is closed, low, high

    def admit(self, number: int) -> Seen:
        """Take a number that has come; `Seen.NEW` when it is to be delivered, else `Seen.SETTLED`."""
        highest = self._highest
        seen = self._seen
        if number == highest + 1 and seen.watermark == highest and self._lowest >= 0:
            # Almost all that come: the next one, and nothing is missing. Two calls less, of 2 us that a delivery takes.
            self._highest = seen.watermark = number
            return _NEW
        if number > highest:
            if number > highest + 1:
                self._open(highest + 1, number - 1)
            self._highest = number
            if self._lowest < 0:
                self._lowest = number
        elif number in seen:
            self.repeats += 1
            return _SETTLED
        elif number < self._lowest:
            self._lowest = number
        seen.add(number)
        return _NEW

    def reached(self, number: int) -> None:
        """Take that everything up to this number was given out, whether or not it comes."""
        highest = self._highest
        self._highest = max(number, highest)
        if self._lowest < 0:
            # It begins here: what was before is none of ours.
            self._lowest = number
            self._seen.add_range(1, number)
        elif number > highest:
            self._open(highest + 1, number)

    def _open(self, low: int, high: int) -> None:
        self._gaps.append((self.now + GRACE, low, high))
        if len(self._gaps) > MOST_GAPS:
            self._close_oldest()
        else:
            self._gap_opened(self)

    def _close_oldest(self) -> None:
        _, low, high = self._gaps.popleft()
        for begin, end in self._seen.add_range(low, high):
            if begin > self._lowest:
                self._missed += end - begin + 1

    @property
    def gaps(self) -> int:
        """How many gaps wait for `GRACE`."""
        return len(self._gaps)

    @property
    def wake_at(self) -> float:
        """When `close` next has something."""
        return self._gaps[0][0] if self._gaps else NEVER

    def close(self, now: float) -> int:
        """
        Wait no longer for what is overdue: it will not be taken.

        :return: how many numbers have been missed.
        """
        while self.wake_at <= now:
            self._close_oldest()
        missed, self._missed = self._missed, 0
        return missed
