"""The clock that all processes of a network live by, and the share of each, which can end while others go on."""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any

from twisted.internet.base import DelayedCall
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import Clock
from zope.interface import implementer

from zmqrpc.core.agenda import NEVER

_PRUNE_ABOVE = 64
_TIME = attrgetter("time")


class SortedClock(Clock):
    """
    A `task.Clock` that puts each call where it belongs, rather than sorting all of them at every call and event.

    A simulated system does little else than to schedule, so that sorting took a third of its time.
    """

    def callLater(self, delay: float, callable: Callable[..., object], *args: object, **kw: object) -> IDelayedCall:
        """Call a callable in some time."""
        calls = self.calls
        call = DelayedCall(self.rightNow + delay, callable, args, kw, calls.remove, self._moved, self.seconds)
        insort(calls, call, key=_TIME)
        return call

    def next_at(self) -> float:
        """Tell when the next call is due; infinity for never."""
        calls = self.calls
        while calls:
            first = calls[0]
            if not first.delayed_time:
                return first.time
            # Twisted leaves what is delayed in its place until its first time has come.
            first.activate_delay()
            self._moved(first)
        return NEVER

    def advance(self, amount: float) -> None:
        """Let time pass, and call what is due."""
        self.rightNow += amount
        self._call_until(self.rightNow)

    def run_until(self, when: float) -> None:
        """Let time pass from call to call."""
        self._call_until(when)
        self.rightNow = max(self.rightNow, when)

    def _call_until(self, when: float) -> None:
        calls = self.calls
        while (at := self.next_at()) <= when:
            if at > self.rightNow:
                self.rightNow = at
            call = calls.pop(0)
            call.called = 1
            call.func(*call.args, **call.kw)

    def _moved(self, call: DelayedCall) -> None:
        self.calls.remove(call)
        insort(self.calls, call, key=_TIME)


@implementer(IReactorTime)
class ProcessClock:
    """
    A share in a clock (or a reactor) that many processes live by.

    :param clock: what tells the time and runs the calls.
    :ivar stopped: whether the process has ended.
    """

    def __init__(self, clock: Any) -> None:
        self.stopped = False
        self._clock = clock
        self._rate = 1.0
        self._paused_until = 0.0
        self._behind = 0.0
        self._stood_at = -NEVER
        self._calls: list[IDelayedCall] = []
        self._prune_above = _PRUNE_ABOVE

    def seconds(self) -> float:
        """Tell the time."""
        now: float = self._clock.seconds() * self._rate - self._behind
        return now if now > self._stood_at else self._stood_at

    def callLater(self, delay: float, callable: Callable[..., Any], *args: object, **kwargs: object) -> IDelayedCall:
        """Call a callable in some time, if the process lives then."""
        if delay and self._rate != 1:
            # Not so short that it is lost in rounding, and what waits for a moment would come before it without end.
            delay = max(delay / self._rate, 1e-9)
        if self._paused_until:
            delay = max(delay, self._paused_until - self._clock.seconds())
        call: IDelayedCall = self._clock.callLater(delay, callable, *args, **kwargs)
        if self.stopped:
            call.cancel()
            return call
        self._calls.append(call)
        if len(self._calls) > self._prune_above:
            self._calls = [call for call in self._calls if call.active()]
            self._prune_above = max(_PRUNE_ABOVE, 2 * len(self._calls))
        return call

    def getDelayedCalls(self) -> Sequence[IDelayedCall]:
        """List the calls of this process that are still to come."""
        return [call for call in self._calls if call.active()]

    def pause(self, seconds: float) -> None:
        """Stop the process for a while, as SIGSTOP does: what was to be called meanwhile is called then, in order."""
        self._paused_until = self._clock.seconds() + seconds
        for call in sorted(self.getDelayedCalls(), key=lambda call: call.getTime()):
            call.delay(max(0.0, self._paused_until - call.getTime()))
        self._sort()

    def suspend(self, seconds: float) -> None:
        """Stop the process and its clock for a while, as when its host is suspended: everything is late by as much."""
        self._stood_at = self.seconds()
        self._behind += seconds * self._rate
        self._paused_until = self._clock.seconds() + seconds
        for call in self.getDelayedCalls():
            call.delay(seconds)
        self._sort()

    def _sort(self) -> None:
        """Have the clock list its calls in order again: `task.Clock` does so only when one is added."""
        self._clock.callLater(0.0, lambda: None).cancel()

    def set_rate(self, rate: float) -> None:
        """Let the clock of the process show so many seconds in each second from now on, as a clock that drifts does."""
        self._behind += self._clock.seconds() * (rate - self._rate)
        self._rate = rate

    def stop(self) -> None:
        """End the process: nothing that it has scheduled, or schedules from now on, is called."""
        self.stopped = True
        for call in self.getDelayedCalls():
            call.cancel()
        self._calls.clear()
