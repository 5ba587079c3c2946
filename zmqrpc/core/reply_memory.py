"""
How many bytes of replies a node keeps for all its clients together.

They are lent to the filters in pieces, so that a reply costs no more than the comparison that it costs anyway: of one
call in many somebody asks here.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heapify, heapreplace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zmqrpc.core.seen import DuplicateFilter

PIECE = 16 * 1024
"""Bytes that a filter gets beyond what it holds, where they are to be had."""


class ReplyMemory:
    """
    That of all filters of a node.

    :param most: how many bytes there are; past it those who hold most forget their oldest replies.
    :param lends: told when somebody holds more than before.
    :param dropped: told how many replies were forgotten at once, and by which option.
    """

    __slots__ = ("_filters", "_lends", "_lent", "_most", "dropped")

    def __init__(self, most: int, lends: Callable[[], None], dropped: Callable[[int, str], None]) -> None:
        self.dropped = dropped
        self._most = most
        self._lends = lends
        self._lent = 0
        self._filters: dict[DuplicateFilter, None] = {}

    @property
    def held(self) -> int:
        """Bytes of replies that are kept."""
        return sum(kept.reply_bytes for kept in self._filters)

    def lend(self, kept: DuplicateFilter) -> None:
        """Give room to a filter for what it holds, and for some more."""
        room = min(kept.reply_bytes + PIECE, kept.most_bytes)
        self._lent += room - kept.room
        kept.room = room
        self._filters[kept] = None
        if self._lent > self._most:
            self._take_back()
        self._lends()

    def trim(self, kept: DuplicateFilter) -> None:
        """Take back what a filter does not use."""
        self._lent -= kept.room - kept.reply_bytes
        kept.room = kept.reply_bytes
        if not kept.room:
            self._filters.pop(kept, None)

    def release(self, kept: DuplicateFilter) -> None:
        """Take that the client of a filter is forgotten; what is answered after that goes with the filter."""
        self._lent -= kept.room
        self._filters.pop(kept, None)
        kept.be_alone()

    def _take_back(self) -> None:
        for kept in list(self._filters):
            self.trim(kept)
        if self._lent <= self._most:
            return
        holding = [(-kept.room, order, kept) for order, kept in enumerate(self._filters)]
        heapify(holding)
        number = 0
        # Some more than has to be, so that the walk over all is paid once for many replies.
        while self._lent > self._most - self._most // 8:
            _, order, kept = holding[0]
            number += kept.forget_oldest(kept.room // 2)
            self.trim(kept)
            heapreplace(holding, (-kept.room, order, kept))
        self.dropped(number, "max_replies_memory")
