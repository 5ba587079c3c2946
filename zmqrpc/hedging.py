"""
Calls that are sent to a second member as well when they take longer than most (Dean and Barroso 2013).

A node that does not hedge has nothing of this; `zmqrpc.parts` makes its clients.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from heapq import heapify, heappop, heappush
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from zmqrpc.client import RPCClient
from zmqrpc.core.agenda import NEVER
from zmqrpc.core.envelope import Kind
from zmqrpc.core.observed import ObservedTimes
from zmqrpc.delivery import Delivery
from zmqrpc.errors import RemoteError, ZmqRpcError
from zmqrpc.hints import Hints
from zmqrpc.target import Target
from zmqrpc.waiter import Waiter

SOONEST = 0.001
"""Seconds after which a second member is asked at the earliest."""

_SPARE = 1000


class HedgingClient(RPCClient):
    """An `RPCClient` whose idempotent calls to bare topics are hedged."""

    def __init__(self, delivery: Delivery, hints: Hints, hedging: Hedging) -> None:
        super().__init__(delivery, hints)
        self._hedging = hedging

    def call(self, target: Target, method: str, args: dict[str, Any] | None = None, **options: Any) -> Deferred[Any]:
        """See `RPCClient.call`."""
        call = super().call(target, method, args, **options)
        if isinstance(call, Waiter) and call.idempotent and target.server is None:
            return self._hedging.watch(call, target, method)
        return call


class Hedging:
    """
    The calls of one node that may be sent to a second member.

    :param wake_by: asks that `sweep` is called at a time.
    """

    def __init__(self, delivery: Delivery, wake_by: Callable[[float], None]) -> None:
        self._delivery = delivery
        self._wake_by = wake_by
        self._times: OrderedDict[tuple[Target, str], ObservedTimes] = OrderedDict()
        self._most_times = delivery.settings.max_routes
        self._due: list[tuple[float, int, _Hedge]] = []
        self._entered = 0

    def watch(self, call: Waiter, target: Target, method: str) -> Deferred[Any]:
        """
        Send a call to a second member as well, if it has not ended when most of its method have.

        :return: what its caller gets in its place.
        """
        now = self._delivery.seconds()
        times = self._times_of((target, method))
        hedge = _Hedge(times, now, self._delivery.seconds)
        outcome = hedge.outcome
        hedge.wait_for(call)
        slow = times.slow
        if not hedge.over and slow is not None:
            due = now + max(slow, SOONEST)
            if due < call.deadline:
                self._enter(due, hedge)
        return outcome

    def _times_of(self, called: tuple[Target, str]) -> ObservedTimes:
        times = self._times.get(called)
        if times is not None:
            self._times.move_to_end(called)
            return times
        times = self._times[called] = ObservedTimes()
        if len(self._times) > self._most_times:
            self._times.popitem(last=False)
        return times

    def _enter(self, due: float, hedge: _Hedge) -> None:
        if len(self._due) >= 2 * _SPARE and self._entered % _SPARE == 0:
            # Most have ended long before they are due, where one call in twenty takes much longer.
            self._due = [entry for entry in self._due if not entry[2].over]
            heapify(self._due)
        self._entered += 1
        heappush(self._due, (due, self._entered, hedge))
        self._wake_by(due)

    @property
    def wake_at(self) -> float:
        """When `sweep` has to be called next."""
        while self._due and self._due[0][2].over:
            heappop(self._due)
        return self._due[0][0] if self._due else NEVER

    def sweep(self, now: float) -> None:
        """Send those to a second member that have not ended when most have."""
        while self.wake_at <= now:
            self._hedge(heappop(self._due)[2], now)

    def _hedge(self, hedge: _Hedge, now: float) -> None:
        delivery, (first,) = self._delivery, hedge.calls
        link = first.link
        if delivery.closed or link is None or first.called:
            return
        key = first.route.choose_other((*first.tried, link.key))
        other = delivery.links.get(key) if key is not None else None
        if other is None or not delivery.links.repetitions.may_repeat(now, link.address):
            return
        delivery.links.notices.count("hedged")
        delivery.links.repetitions.copied()
        second = Waiter(delivery.cancel)
        # Without a route: it goes nowhere else, whatever becomes of it there.
        second.begin(int(Kind.CALL), first.target, first.encoded, first.deadline, first.flags)
        second.monitor, second.monitored_from = first.monitor, first.monitored_from
        second.began = now
        hedge.wait_for(second)
        delivery.give(second, other, now)


class _Hedge:
    """
    One call and, perhaps, its copy at a second member.

    :ivar calls: both of them; none when it is over.
    :ivar outcome: what the caller gets; not there any more when it is over.
    :ivar over: whether that has fired, or is about to.
    """

    __slots__ = ("_began", "_errors", "_seconds", "_times", "calls", "outcome", "over")

    def __init__(self, times: ObservedTimes, began: float, seconds: Callable[[], float]) -> None:
        self.calls: list[Waiter] = []
        self.over = False
        self.outcome: Deferred[Any] = Deferred(self._cancel)
        self._times = times
        self._began = began
        self._seconds = seconds
        self._errors: list[ZmqRpcError] = []

    def wait_for(self, call: Waiter) -> None:
        """Wait for a call; of two the first answer counts."""
        self.calls.append(call)
        call.addCallbacks(self._answered, self._failed)

    def _answered(self, result: Any) -> None:
        # A second answer of the same pass comes when the first has counted.
        if not self.over:
            self._times.add(self._seconds() - self._began)
            self._end().callback(result)

    def _failed(self, failure: Failure) -> None:
        # A `ZmqRpcError`, as all that calls end with.
        error: Any = failure.value
        if isinstance(error, RemoteError) and error.did_run:
            # The method raised: that is an answer.
            self._answered(failure)
            return
        # What one member refused, another may have begun.
        self._errors.append(error)
        if not self.over and all(call.called for call in self.calls):
            # The first of those that may have run: the others tell of their copies alone.
            self._end().errback(max(self._errors, key=lambda each: each.maybe_executed))

    def _end(self) -> Deferred[Any]:
        """
        Cancel what has not ended, at its server as well.

        Request and result are let go of: this itself may be kept until it would have been due.

        :return: what the caller gets.
        """
        self.over = True
        outcome, calls, self.calls = self.outcome, self.calls, []
        del self.outcome
        for call in calls:
            if not call.called:
                call.cancel()
        return outcome

    def _cancel(self, _: object) -> None:
        outcome = self._end()
        # Of two the last: one may have failed before, and the caller has cancelled what was left.
        error = self._errors[-1]
        error.maybe_executed = any(each.maybe_executed for each in self._errors)
        outcome.errback(error)
