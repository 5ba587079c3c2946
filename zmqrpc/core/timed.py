"""How long calls take at one instance, as far as its client needs to know for choosing between two."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

from zmqrpc.core.call import PendingCall
from zmqrpc.core.damping import damped
from zmqrpc.core.envelope import FailureCode, Kind, Nack, Reply
from zmqrpc.core.pending import PendingCalls

_Call = TypeVar("_Call", bound=PendingCall)

_CALL = int(Kind.CALL)
_RAISED = int(FailureCode.RAISED)
_FASTEST = 1e-6
_FORGOTTEN = 0.99
"""What is left of what is remembered each time that it alone was why another was chosen: after some hundred it is
tried again."""

_FORGIVEN = 0.5
"""How much of a refusal is none."""


class TimedCalls(PendingCalls[_Call]):
    """
    As `PendingCalls`, and times one call after the other.

    Of all the calls in flight one is timed, so that it costs next to nothing. One of them changes the time that counts
    by a factor of two at most: a single slow call says little of its instance. One that brings no result (it was
    refused, failed, was cancelled or lost) says only that a call takes at least so long, and that only where it is
    known when it ended.

    :ivar typical: the seconds that a call takes; 0.0 while that is not known.
    :ivar refused: how many calls were refused; one less with each that its method answered, and a bit less with each
        call that went to another for that. No cast and no notification counts: no answer would make up for it.
    """

    __slots__ = ("_measured", "_timed", "_timed_from", "refused", "typical")

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.typical = 0.0
        self.refused = 0.0
        self._measured = 0.0
        self._timed = 0
        self._timed_from = 0.0

    def hand_over(self, call: _Call, now: float) -> bool:
        """See `PendingCalls.hand_over`."""
        if not self._timed and call.kind == _CALL:
            self._timed = self.next_sequence
            self._timed_from = now
        return super().hand_over(call, now)

    def take(self, sequence: int, now: float | None = None) -> _Call | None:
        """See `PendingCalls.take`; whatever ends so brought no result."""
        call = super().take(sequence)
        if call is not None and sequence == self._timed:
            # At once: nobody looks before something comes, and that may be long after.
            if now is not None and now - self._timed_from > self.typical > 0:
                self._measure(now)
            self._begin_anew()
        return call

    def take_results(self, messages: Iterable[Any], calls: list[_Call], results: list[Any], rest: list[Any]) -> None:
        """See `PendingCalls.take_results`; what is refused is counted here, where all that came is at hand."""
        super().take_results(messages, calls, results, rest)
        if self.refused:
            self.refused = max(0.0, self.refused - len(calls))
        for message in rest:
            kind = type(message)
            if kind is Nack:
                self.refused += sum(call.kind == _CALL for call in self.within(message.ranges))
            elif kind is Reply and message.failure is not None and message.sequence in self._calls:
                change = -1 if message.failure.code == _RAISED else 1
                self.refused = max(0.0, self.refused + change)

    def look(self, now: float) -> None:
        """Take the time of the call that is timed, if a result has come for it."""
        if self._timed and self._timed not in self._calls:
            self._measure(now)
            self._begin_anew()

    def _measure(self, now: float) -> None:
        taken = max(now - self._timed_from, _FASTEST)
        self._measured = damped(taken, self.typical) if self.typical else taken

    def _begin_anew(self) -> None:
        self.typical = self._measured
        self._timed = 0

    def passed_over(self) -> None:
        """Take that another was chosen only for what is remembered here; a timed call that is under way will tell."""
        if self.refused:
            self.refused = self.refused * _FORGOTTEN if self.refused > _FORGIVEN else 0.0
        elif not self._timed:
            self.typical *= _FORGOTTEN
