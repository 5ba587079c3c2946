"""The calls that wait for one link: bounded, in order, and each to be taken out at any time."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Generic, TypeVar

from zmqrpc.core.agenda import NEVER
from zmqrpc.core.pending import PendingCall

_Call = TypeVar("_Call", bound=PendingCall)


class CallQueue(Generic[_Call]):
    """
    Calls in the order in which they will be handed over.

    :param most_calls: how many there may be.
    :param most_bytes: how many bytes of encoded requests.
    """

    __slots__ = ("_bytes", "_calls", "_most_bytes", "_most_calls")

    def __init__(self, most_calls: int, most_bytes: int) -> None:
        self._calls: deque[_Call] = deque()
        self._bytes = 0
        self._most_calls = most_calls
        self._most_bytes = most_bytes

    def __len__(self) -> int:
        """Return how many calls wait."""
        return len(self._calls)

    def __iter__(self) -> Iterator[_Call]:
        """Go through the calls in order."""
        return iter(self._calls)

    def add(self, call: _Call) -> bool:
        """Put a call last; False when there is no room."""
        size = len(call.encoded)
        if len(self._calls) >= self._most_calls or self._bytes + size > self._most_bytes:
            return False
        self._calls.append(call)
        self._bytes += size
        return True

    def put_back(self, call: _Call) -> None:
        """Put a call first: one that was taken out, and for which there is room whatever came since."""
        self._calls.appendleft(call)
        self._bytes += len(call.encoded)

    def pop(self) -> _Call:
        """Take the first call out; there must be one."""
        call = self._calls.popleft()
        self._bytes -= len(call.encoded)
        return call

    def remove(self, call: _Call) -> None:
        """Take a call out; one that does not wait changes nothing."""
        if call in self._calls:
            self._calls.remove(call)
            self._bytes -= len(call.encoded)

    def take_all(self) -> list[_Call]:
        """Take every call out."""
        calls = list(self._calls)
        self._calls.clear()
        self._bytes = 0
        return calls

    @property
    def wake_at(self) -> float:
        """When `overdue` next has something."""
        return min((call.deadline for call in self._calls), default=NEVER)

    def overdue(self, now: float) -> list[_Call]:
        """Take out the calls whose deadline has come."""
        late = [call for call in self._calls if call.deadline <= now]
        if late:
            self._calls = deque(call for call in self._calls if call.deadline > now)
            self._bytes -= sum(len(call.encoded) for call in late)
        return late
