"""How long calls take at one instance, as far as its client needs to know for choosing between two."""

from __future__ import annotations

from typing import Any, TypeVar

from zmqrpc.core.call import PendingCall
from zmqrpc.core.envelope import Kind
from zmqrpc.core.pending import PendingCalls

_Call = TypeVar("_Call", bound=PendingCall)

_CALL = int(Kind.CALL)
_FASTEST = 1e-6
_MOST_CHANGE = 2.0
_FORGOTTEN = 0.99
"""What is left of the time each time that it alone was why another was chosen: after some hundred it is tried again."""


class TimedCalls(PendingCalls[_Call]):
    """
    As `PendingCalls`, and times one call after the other.

    Of all the calls in flight one is timed, so that it costs next to nothing. One of them changes the time that counts
    by a factor of two at most: a single slow call says little of its instance.

    :ivar typical: the seconds that a call takes; 0.0 while that is not known.
    """

    __slots__ = ("_timed", "_timed_from", "typical")

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.typical = 0.0
        self._timed = 0
        self._timed_from = 0.0

    def hand_over(self, call: _Call, now: float) -> bool:
        """See `PendingCalls.hand_over`."""
        if not self._timed and call.kind == _CALL:
            self._timed = self.next_sequence
            self._timed_from = now
        return super().hand_over(call, now)

    def look(self, now: float) -> None:
        """Take the time of the call that is timed, if it has ended."""
        if self._timed and self._timed not in self._calls:
            taken = max(now - self._timed_from, _FASTEST)
            self._timed = 0
            known = self.typical
            self.typical = min(max(taken, known / _MOST_CHANGE), known * _MOST_CHANGE) if known else taken

    def passed_over(self) -> None:
        """Take that another was chosen only since calls take long here; one that is under way will tell by itself."""
        if not self._timed:
            self.typical *= _FORGOTTEN
