"""The notifications that everybody who could take them has given back: they rest before they are given out again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from heapq import heappop, heappush
from typing import Generic, TypeVar

from zmqrpc.core.agenda import NEVER
from zmqrpc.core.call import PendingCall

_Call = TypeVar("_Call", bound=PendingCall)

_FIRST_SECONDS = 0.1
_LONGEST_SECONDS = 5.0
_MOST_ROUNDS = 10


class Returned(Generic[_Call]):
    """
    What rests, and until when: the first time 0.05 to 0.1 s, then twice as long each time, up to 2.5 to 5 s.

    :param most_calls: how many may rest.
    :param most_bytes: how many bytes of encoded requests.
    :param jitter: gives a number from 0.5 to 1, so that not all of them come back at once.
    :ivar bytes: how many bytes of encoded requests rest.
    """

    def __init__(self, most_calls: int, most_bytes: int, jitter: Callable[[], float]) -> None:
        self.bytes = 0
        self._most_calls = most_calls
        self._most_bytes = most_bytes
        self._jitter = jitter
        self._calls: dict[int, _Call] = {}
        self._due: list[tuple[float, int, int]] = []
        self._entered = 0

    def __iter__(self) -> Iterator[_Call]:
        """Go through the calls that rest, in the order in which they came."""
        return iter(self._calls.values())

    def __len__(self) -> int:
        """Return how many calls rest."""
        return len(self._calls)

    def add(self, call: _Call, now: float) -> bool:
        """Have a call rest, not past its deadline; False when there is no room."""
        size = len(call.encoded)
        if len(self._calls) >= self._most_calls or self.bytes + size > self._most_bytes:
            return False
        self.bytes += size
        pause = min(_FIRST_SECONDS * 2**call.rounds, _LONGEST_SECONDS) * self._jitter()
        call.rounds = min(call.rounds + 1, _MOST_ROUNDS)
        self._calls[id(call)] = call
        self._entered += 1
        heappush(self._due, (min(now + pause, call.deadline), self._entered, id(call)))
        return True

    def remove(self, call: _Call) -> bool:
        """Take a call out; False when it does not rest."""
        if self._calls.pop(id(call), None) is None:
            return False
        self.bytes -= len(call.encoded)
        return True

    @property
    def wake_at(self) -> float:
        """When `take_due` next has something; never late, perhaps early."""
        due, calls = self._due, self._calls
        while due and due[0][2] not in calls:
            heappop(due)
        return due[0][0] if due else NEVER

    def take_due(self, now: float) -> list[_Call]:
        """Take out the calls that have rested, in the order in which their rest ends."""
        rested = []
        while self.wake_at <= now:
            call = self._calls.pop(heappop(self._due)[2])
            self.bytes -= len(call.encoded)
            rested.append(call)
        return rested

    def take_all(self) -> list[_Call]:
        """Take every call out, in the order in which they came."""
        calls = list(self._calls.values())
        self._calls.clear()
        self._due.clear()
        self.bytes = 0
        return calls
