"""
How many bytes the requests hold that wait to run at a server, or run.

Batches are counted, and not messages, since measuring each message would cost every call. What waits is known by how
many wait, because it runs in the order in which it came: so the loops that take and run requests have nothing to say.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Sequence

from zmqrpc.core.batch import BATCH_BYTES


class Load:
    """
    The bytes of requests, as they were received.

    A batch counts as long as one of its requests waits. A request that goes on running counts as its share of the
    batch, or as all of a batch that is larger than `BATCH_BYTES`: an honest one holds a single message.

    :param most: how many bytes there may be.
    :ivar bytes: how many there are, as of the last call.
    """

    __slots__ = ("_batches", "_most", "_waiting", "bytes")

    def __init__(self, most: int) -> None:
        self.bytes = 0
        self._most = most
        self._waiting = 0
        self._batches: deque[tuple[int, int, int]] = deque()  # how many wait, the size, the share of each

    def admits(self, waiting: int, size: int) -> bool:
        """
        Tell whether a batch may be taken: within the bound, or as the only one, however large.

        :param waiting: how many requests wait.
        :param size: its bytes.
        """
        self._run(waiting)
        return not self.bytes or self.bytes + size <= self._most

    def took(self, waiting: int, size: int) -> int:
        """Take that requests of one batch wait now, and that so many wait in all; return how many they are."""
        number = waiting - self._waiting
        if number:
            self._waiting = waiting
            self._batches.append((number, size, size if size > BATCH_BYTES else size // number))
            self.bytes += size
        return number

    def put_first(self) -> None:
        """Take that one request of the batch that was taken last runs before all others."""
        number, size, share = self._batches.pop()
        if number > 1:
            # The batch counts with what is left of it.
            self._batches.append((number - 1, size, share))
            size = 0
        self._batches.appendleft((1, size, share))

    def cancelled(self, waiting: int, places: Sequence[int]) -> None:
        """
        Take that requests do not wait any more, and will not run.

        :param waiting: how many waited before.
        :param places: the places of those that do not, ascending, from 0 for the one that would have run next.
        """
        self._run(waiting)
        self._waiting -= len(places)
        batches, self._batches = self._batches, deque()
        end = 0
        for number, size, share in batches:
            begin, end = end, end + number
            left = number - (bisect_left(places, end) - bisect_left(places, begin))
            if left:
                self._batches.append((left, size, share))
            else:
                self.bytes -= size

    def began(self, waiting: int) -> int:
        """
        Take that a request goes on running.

        :param waiting: how many wait behind it.
        :return: its bytes, to be given to `ended`.
        """
        # It is the last that has run, and its batch is the first that is left when it is counted as waiting.
        self._run(waiting + 1)
        share = self._batches[0][2] if self._batches else 0
        self.bytes += share
        return share

    def ended(self, share: int) -> None:
        """Take that a request that went on running has ended."""
        self.bytes -= share

    def _run(self, waiting: int) -> None:
        """Take that all but so many have run."""
        batches = self._batches
        run = self._waiting - waiting
        self._waiting = waiting
        while run > 0 and batches:
            number, size, share = batches[0]
            if run < number:
                batches[0] = (number - run, size, share)
                return
            run -= number
            self.bytes -= size
            batches.popleft()
