"""The calls that wait for one link: bounded, in order, and each to be taken out at any time."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from zmqrpc.core.agenda import NEVER
from zmqrpc.core.call import PendingCall

_Call = TypeVar("_Call", bound=PendingCall)


class CallQueue(Generic[_Call]):
    """
    Calls in the order in which they will be handed over.

    What was handed over and came back is before everything else, in the order of its numbers; it may come back in any.

    :param most_calls: how many there may be.
    :param most_bytes: how many bytes of encoded requests.
    :ivar wake_at: when `overdue` next has something; never late, perhaps early.
    """

    __slots__ = ("_bytes", "_calls", "_most_bytes", "_most_calls", "_numbers", "_sorted", "wake_at")

    def __init__(self, most_calls: int, most_bytes: int) -> None:
        self._calls: OrderedDict[int, _Call] = OrderedDict()
        self._numbers: dict[int, int] = {}
        self._sorted = True
        self._bytes = 0
        self._most_calls = most_calls
        self._most_bytes = most_bytes
        self.wake_at = NEVER

    def __len__(self) -> int:
        """Return how many calls wait."""
        return len(self._calls)

    def __contains__(self, call: _Call) -> bool:
        """Tell whether a call waits."""
        return id(call) in self._calls

    @property
    def bytes(self) -> int:
        """How many bytes of encoded requests wait."""
        return self._bytes

    def __iter__(self) -> Iterator[_Call]:
        """Go through the calls in order."""
        self._sort()
        return iter(self._calls.values())

    def add(self, call: _Call) -> bool:
        """Put a call last; False when there is no room."""
        if not self.has_room(len(call.encoded)):
            return False
        self._put(call)
        return True

    def has_room(self, size: int) -> bool:
        """Tell whether there is room for a call of so many bytes."""
        return len(self._calls) < self._most_calls and self._bytes + size <= self._most_bytes

    def put_back(self, call: _Call, number: int) -> None:
        """
        Put a call before those that never were handed over; there is room for it whatever came since.

        :param number: the one that it was handed over under; of two the lower one is before the other.
        """
        self._put(call)
        self._numbers[id(call)] = number
        self._sorted = False

    def came_back_before(self, number: int) -> bool:
        """Tell whether the first call is one that was put back, and had a lower number."""
        self._sort()
        return self._numbers.get(next(iter(self._calls), 0), number) < number

    def _sort(self) -> None:
        """Have what was put back stand where it belongs: once for many, which mostly come back together."""
        if not self._sorted:
            self._sorted = True
            for name in sorted(self._numbers, key=self._numbers.__getitem__, reverse=True):
                self._calls.move_to_end(name, last=False)

    def _put(self, call: _Call) -> None:
        self._calls[id(call)] = call
        self._bytes += len(call.encoded)
        self.wake_at = min(self.wake_at, call.deadline)

    def pop(self) -> _Call:
        """Take the first call out; there must be one."""
        self._sort()
        call = self._calls.popitem(last=False)[1]
        self._took(call)
        return call

    def remove(self, call: _Call) -> None:
        """Take a call out; one that does not wait changes nothing."""
        if self._calls.pop(id(call), None) is not None:
            self._took(call)

    def _took(self, call: _Call) -> None:
        if self._numbers:
            self._numbers.pop(id(call), None)
        self._bytes -= len(call.encoded)
        if not self._calls:
            self.wake_at = NEVER

    def take_all(self) -> list[_Call]:
        """Take every call out."""
        calls = list(self)
        self._calls.clear()
        self._numbers.clear()
        self._bytes = 0
        self.wake_at = NEVER
        return calls

    def waiting_for_any(self, key: str) -> list[_Call]:
        """List the calls that may as well go to the instance behind another link."""
        return [call for call in self if call.route and key in call.route.recorded and key not in call.tried]

    def take_movable(self, own: str, hopeless: bool, could: Callable[[str], bool] = lambda key: True) -> list[_Call]:
        """
        Take out the calls that need not wait here.

        :param own: the key of the link they wait for.
        :param hopeless: whether those that nobody else can take do not wait either: it is not worth while.
        :param could: tells whether another could take anything now.
        """
        movable = []
        for call in self:
            if call.route is None:
                moves = hopeless
            else:
                moves = any(key != own and key not in call.tried and could(key) for key in call.route.choices)
            if moves:
                movable.append(call)
        for call in movable:
            self.remove(call)
        return movable

    def overdue(self, now: float) -> list[_Call]:
        """Take out the calls whose deadline has come."""
        if now < self.wake_at:
            return []
        late = [call for call in self if call.deadline <= now]
        for call in late:
            self.remove(call)
        self.wake_at = min((call.deadline for call in self._calls.values()), default=NEVER)
        return late
