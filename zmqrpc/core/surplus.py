"""
The filters that are subscribed to beyond the most that a publisher takes.

ZeroMQ follows each of them already, and takes none back while its connection stands. So a tenth more are let be: who
has one may have others, which go on. Past that the connection is ended, or the memory of a publisher would grow with
what strangers subscribe to.

Pure.
"""

from __future__ import annotations

from msgspec import Struct

MEAN_BYTES = 64
"""Bytes of a filter, on average, for as many as may be subscribed to; the longest has 513."""


class Fault(Struct, frozen=True):
    """
    Why a subscription counts for nothing.

    :ivar text: a clause about its filter.
    :ivar ends: whether the connection that it came by is to be ended.
    """

    text: str
    ends: bool


NO_FILTER = Fault("is neither a topic-key nor a token", True)
"""What is wrong with a filter that is not ours."""


class Room:
    """
    How many filters there may be, and bytes of them: libzmq keeps a node of some 200 bytes for each byte of a filter.

    :param most: how many filters, of `MEAN_BYTES` on average.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._bytes = self._filters = 0

    def __len__(self) -> int:
        return self._filters

    def has(self, filter: bytes) -> bool:
        """Tell whether there is room for a filter."""
        return self._filters < self.most and self._bytes + len(filter) <= MEAN_BYTES * self.most

    def take(self, filter: bytes) -> None:
        """Take that it is there."""
        self._filters += 1
        self._bytes += len(filter)

    def leave(self, filter: bytes) -> None:
        """Take that it is gone."""
        self._filters -= 1
        self._bytes -= len(filter)


class Surplus:
    """
    Those of one publisher, in the order they came.

    :param most: how many filters the publisher takes.
    """

    def __init__(self, most: int) -> None:
        text = f"is one too many, {most} may be subscribed to, of {MEAN_BYTES} bytes on average (max_filters)"
        self._let_be, self._ends = Fault(text, False), Fault(text, True)
        self._room = Room(most // 10 + 1)
        self._filters: dict[bytes, None] = {}

    def __contains__(self, filter: bytes) -> bool:
        return filter in self._filters

    def __len__(self) -> int:
        return len(self._filters)

    @property
    def first(self) -> bytes | None:
        """The one that has waited for longest."""
        return next(iter(self._filters), None)

    def add(self, filter: bytes) -> Fault:
        """Take a filter for which there is no room; return what is wrong with it."""
        if filter not in self._filters:
            if not self._room.has(filter):
                return self._ends
            self._room.take(filter)
            self._filters[filter] = None
        return self._let_be

    def discard(self, filter: bytes) -> None:
        """Take that nobody subscribes to a filter any more; another one is no error."""
        if filter in self._filters:
            del self._filters[filter]
            self._room.leave(filter)

    def take_into(self, room: Room) -> list[bytes]:
        """Take out those for which there is room now, as far as they have waited for longest."""
        taken = []
        for filter in self._filters:
            if not room.has(filter):
                break
            room.take(filter)
            taken.append(filter)
        for filter in taken:
            self.discard(filter)
        return taken
