"""
What one client has handed to one server instance, or is about to: numbers, acknowledgements, retries, deadlines.

Hot path: deadlines are kept by an `Agenda` that is asked when the earliest of them is due, not by a timer each (a
timer costs 1.3 us).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Generic, TypeVar

from zmqrpc.core.agenda import NEVER, Agenda
from zmqrpc.core.call import PendingCall, Stage
from zmqrpc.core.envelope import Kind, Reply
from zmqrpc.core.link_timers import BEAT_SECONDS
from zmqrpc.core.ranges import Ranges
from zmqrpc.core.retry import RetryPolicy

# Looking an enum's member up by name takes 0.15 us, a global 0.03.
_SENT, _ACKNOWLEDGED, _RUNNING = Stage.SENT, Stage.ACKNOWLEDGED, Stage.RUNNING
_CALL = int(Kind.CALL)
_LEAST_PATIENCE = 2 * BEAT_SECONDS
_BEATEN_FOR = (_CALL, int(Kind.NOTIFY))
"""What is answered only when it has run; what else is running was acknowledged before, and asks for that again."""

_Call = TypeVar("_Call", bound=PendingCall)


class PendingCalls(Generic[_Call]):
    """
    The unsettled messages of one pair, at the client.

    :param most_unsettled: how many there may be at once.
    :param first: the lowest number that was never used in this pair; those below it count as settled.
    :param most_bytes: how many bytes of encoded requests there may be; the one that passes it is the last.
    :param patience: seconds that the instance may be silent, or not name what it has acknowledged (two BEATs at least);
        infinity for ever.
    :ivar retry_after: seconds until a call that is handed over first is sent again; infinity for never.
    :ivar next_sequence: the number the next message gets.
    :ivar settled: what has ended; `tell_settled` is what a batch tells the server of it.
    :ivar wake_at: when `overdue` or `unacknowledged` next has something; never late, perhaps early.
    """

    __slots__ = (
        "_agenda",
        "_bytes",
        "_calls",
        "_due",
        "_most_bytes",
        "_passed_over",
        "_patience",
        "_policy",
        "_told",
        "_unnamed",
        "most_unsettled",
        "next_sequence",
        "retry_after",
        "settled",
        "wake_at",
    )

    def __init__(
        self,
        most_unsettled: int,
        policy: RetryPolicy | None,
        first: int = 1,
        most_bytes: float = NEVER,
        patience: float = NEVER,
    ) -> None:
        self.most_unsettled = most_unsettled
        self.settled = Ranges()
        self.settled.add_range(1, first - 1)
        self.wake_at = NEVER
        self.retry_after = NEVER if policy is None else policy.base
        self._policy = policy
        self._patience = patience
        self._unnamed = _unnamed(patience)
        self._bytes = 0
        self._most_bytes = most_bytes
        self._calls: dict[int, _Call] = {}
        self._agenda = Agenda(self._calls)
        self._due: set[int] = set()
        self._told = 0
        self._passed_over = first
        self.next_sequence = first

    def __len__(self) -> int:
        """Return how many messages are unsettled."""
        return len(self._calls)

    @property
    def bytes(self) -> int:
        """How many bytes of encoded requests there are."""
        return self._bytes

    @property
    def full(self) -> bool:
        """Whether the window of unsettled messages is used up."""
        return len(self._calls) >= self.most_unsettled or self._bytes >= self._most_bytes

    @property
    def handed(self) -> int:
        """How many messages got a number, which is found without a count in each hand-over."""
        return self.next_sequence - self._passed_over

    def begin_at(self, first: int) -> None:
        """Give no number below this one any more."""
        if first > self.next_sequence:
            self.settled.add_range(self.next_sequence, first - 1)
            self._passed_over += first - self.next_sequence
            self.next_sequence = first

    def hand_over(self, call: _Call, now: float) -> bool:
        """
        Give the call the next number, under which it is encoded and given to the connection next.

        :return: whether the window is full now.
        """
        calls = self._calls
        call.sequence = sequence = self.next_sequence
        call.attempts = 1
        call.stage = _SENT
        call.retry_at = retry_at = now + self.retry_after
        calls[sequence] = call
        self.next_sequence = sequence + 1
        wake_at = self.wake_at
        if retry_at < wake_at or call.deadline < wake_at:
            self.wake_at = min(retry_at, call.deadline)
        self._bytes = size = self._bytes + len(call.encoded)
        return len(calls) >= self.most_unsettled or size >= self._most_bytes

    def repeat(self, call: _Call, now: float) -> None:
        """Count that the call is handed over again under its number."""
        call.attempts += 1
        call.stage = _SENT
        if self._policy is not None:
            call.retry_at = self._policy.next_retry(now, call.tries)
            self.wake_at = min(self.wake_at, call.retry_at)
            self._agenda.enter(call)

    def spare(self, call: _Call, now: float) -> None:
        """Take that the call is not sent again though its time has come: it is once more as long after that."""
        if self._policy is not None:
            self._put_off(call, self._policy.next_retry(now, call.tries))

    def undelivered(self, call: _Call, retry_at: float) -> None:
        """Take that a repetition of the call came back from the way: it counts for nothing, and is made again."""
        call.attempts = max(2, call.attempts - 1)
        call.retry_at = retry_at
        self.wake_at = min(self.wake_at, retry_at)
        self._agenda.enter(call)

    def take(self, sequence: int, now: float | None = None) -> _Call | None:
        """
        End the call with this number.

        :param now: the time, where it tells how long such a call is waited for.
        :return: the call; None when it has ended before (a late or repeated answer).
        """
        call = self._calls.pop(sequence, None)
        if call is not None:
            self.settled.add(sequence)
            self._bytes -= len(call.encoded)
        return call

    def take_results(self, messages: Iterable[Any], calls: list[_Call], results: list[Any], rest: list[Any]) -> None:
        """
        End the calls that a batch brings results for; `take` for many, without a function call for each.

        Late and repeated answers are left out.

        :param calls: gets the calls that have ended.
        :param results: gets the result of each of them.
        :param rest: gets the messages that are something else than a plain result, in order.
        """
        pop = self._calls.pop
        low = high = size = 0
        for message in messages:
            if type(message) is not Reply or message.failure is not None or message.content_type is not None:
                rest.append(message)
                continue
            sequence = message.sequence
            call = pop(sequence, None)
            if call is None:
                continue
            calls.append(call)
            results.append(message.result)
            size += len(call.encoded)
            # Answers come mostly in order: they are settled by runs, not one by one.
            if sequence != high + 1:
                self.settled.add_range(low, high)
                low = sequence
            high = sequence
        self.settled.add_range(low, high)
        self._bytes -= size

    def tell_settled(self) -> list[int]:
        """Return what the next batch says is settled; when it cannot hold all, each batch goes on from the last."""
        flat = self.settled.flat(self._told)
        self._told = flat[-1]
        return flat

    def take_all(self) -> list[_Call]:
        """End every call."""
        calls = list(self._calls.values())
        for sequence in list(self._calls):
            self.take(sequence)
        return calls

    def outstanding(self) -> list[_Call]:
        """List the calls in the order of their numbers."""
        return list(self._calls.values())

    def within(self, ranges: list[int]) -> list[_Call]:
        """List, each once, the calls whose numbers are in the ranges, which a peer wrote and which may be anything."""
        found: list[_Call] = []
        calls = self._calls
        lowest, highest = self.settled.watermark + 1, self.next_sequence - 1
        for begin, end in zip(ranges[::2], ranges[1::2], strict=False):
            low, high = max(begin, lowest), min(end, highest)
            numbers: Iterable[int] = range(low, high + 1) if high - low < len(calls) else list(calls)
            found += [calls[number] for number in numbers if low <= number <= high and number in calls]
            # A number named twice would end its call twice: ranges ascend, so what is below was looked at.
            lowest = max(lowest, high + 1)
        return found

    def acknowledged(self, ranges: list[int], now: float) -> list[_Call]:
        """
        Take an acknowledgement: calls run from now on, which has to be told again, requests without an answer end.

        :return: those that have ended.
        """
        ended = []
        calls = self._calls
        low = high = 0
        for call in self.within(ranges):
            if call.kind == _CALL:
                self._named(call, now)
                call.stage = max(call.stage, _ACKNOWLEDGED)
                continue
            ended.append(call)
            self._bytes -= len(call.encoded)
            sequence = call.sequence
            del calls[sequence]
            # As in `take_results`.
            if sequence != high + 1:
                self.settled.add_range(low, high)
                low = sequence
            high = sequence
        self.settled.add_range(low, high)
        return ended

    def running(self, ranges: list[int], now: float) -> None:
        """Take a BEAT: the calls run, and are not sent again by the timer as long as they are named."""
        for call in self.within(ranges):
            if call.kind in _BEATEN_FOR:
                self._named(call, now)
                call.stage = _RUNNING

    def _named(self, call: _Call, now: float) -> None:
        """Ask for a call again only when nothing is said of it for as long as its instance may be silent."""
        call.named = call.attempts
        # Most have none of their own, and each call that is acknowledged comes here.
        patience = self._unnamed if call.monitor is None else _unnamed(call.monitor)
        if patience == NEVER or self._policy is None:
            call.retry_at = NEVER
            return
        retry_at = now + patience
        if call.kind != _CALL and call.retry_at > retry_at:
            # It is acknowledged when it has run, which may be at once: no sooner than without this.
            return
        call.retry_at = retry_at
        if retry_at < self.wake_at:
            self.wake_at = retry_at
        self._agenda.enter(call)

    def named_at(self, call: _Call) -> float | None:
        """Return when a CALL that has arrived was named last; None where it was not, or nobody has written it down."""
        if not call.named or call.kind != _CALL:
            return None
        named_at, retry_at = call.put_off
        if call.retry_at != retry_at:
            # To write it down would cost each call that is acknowledged half as much again; it is sent again by that.
            named_at = call.retry_at - self._unnamed_for(call)
        return named_at if named_at is not None and abs(named_at) < NEVER else None

    def _unnamed_for(self, call: _Call) -> float:
        return self._unnamed if call.monitor is None else _unnamed(call.monitor)

    def put_off(self, call: _Call, now: float) -> None:
        """Take that a call is not sent again now, since its instance says nothing at all: that names nothing."""
        self._put_off(call, now + self._unnamed_for(call))

    def _put_off(self, call: _Call, retry_at: float) -> None:
        call.put_off = (self.named_at(call), retry_at)
        call.retry_at = retry_at
        self._agenda.enter(call)

    def unheard(self, silence: float, now: float) -> tuple[list[_Call], bool]:
        """
        Find the calls that do not wait any longer for an instance which is silent, and end them.

        :param silence: for how long it is, in seconds.
        :return: those that have ended, each alone; and whether the instance is to be given up with all the others. It
            is not, as long as one of them may wait longer than most.
        """
        over: list[_Call] = []
        rest: list[_Call] = []
        lasting = False
        for call in self._calls.values():
            if call.monitor is None:
                rest.append(call)
            elif call.monitor and silence >= call.monitor and now >= call.monitored_from + call.monitor:
                over.append(call)
            else:
                lasting = True
        given_up = bool(rest) and silence >= self._patience
        if given_up and lasting:
            over += rest
        for call in over:
            self.take(call.sequence)
        return over, given_up and not lasting

    def overdue(self, now: float) -> list[_Call]:
        """End the calls whose deadline has come, and return them in the order of their numbers."""
        self._due.update(self._agenda.take_due(now))
        due, self._due = self._due, set()
        expired = []
        for sequence in sorted(due):
            call = self._calls.get(sequence)
            if call is None:
                continue
            if call.deadline <= now:
                self.take(sequence, now)
                expired.append(call)
            else:
                self._agenda.enter(call)
        self.wake_at = self._agenda.wake_at
        return expired

    def unacknowledged(self, now: float) -> tuple[list[_Call], list[_Call]]:
        """
        Find the calls that no acknowledgement has come for in time; `overdue` is to be called after it.

        :return: those to send again (with `repeat`), and those that are given up and have ended, in the order of their
            numbers.
        """
        self._due.update(self._agenda.take_due(now))
        policy = self._policy
        late: list[_Call] = []
        given_up: list[_Call] = []
        for sequence in sorted(self._due):
            call = self._calls.get(sequence)
            if call is None or call.retry_at > now:
                continue
            if policy is None or not policy.exhausted(call.tries):
                late.append(call)
            elif call.named:
                # It has arrived there, and whoever does not say what became of it speaks: its deadline will end it.
                call.retry_at = NEVER
            else:
                self.take(sequence, now)
                given_up.append(call)
        return late, given_up


def _unnamed(patience: float) -> float:
    """Return for how long an instance need not name a call: what it names in each BEAT is not asked for."""
    return max(patience or NEVER, _LEAST_PATIENCE)
