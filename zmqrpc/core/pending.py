"""
What one client has handed to one server instance, or is about to: numbers, acknowledgements, retries, deadlines.

Hot path: deadlines are kept by an `Agenda` that is asked when the earliest of them is due, not by a timer each (a
timer costs 1.3 us).
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from typing import Any, Generic, TypeVar

from msgspec import Struct

from zmqrpc.core.agenda import NEVER, Agenda
from zmqrpc.core.envelope import Flag, Kind, Outline, Reply, outline
from zmqrpc.core.ranges import Ranges
from zmqrpc.target import Pool, Target


class Stage(IntEnum):
    """How far a call got, which its error tells; where a link stands is its `zmqrpc.core.link.Phase`."""

    RESOLVING = 0
    QUEUED = 1
    SENT = 2
    ACKNOWLEDGED = 3
    RUNNING = 4


# Looking an enum's member up by name takes 0.15 us, a global 0.03.
_SENT, _ACKNOWLEDGED, _RUNNING = Stage.SENT, Stage.ACKNOWLEDGED, Stage.RUNNING
_CALL = int(Kind.CALL)
_MOST_READ = 2**20
_BEATEN_FOR = (_CALL, int(Kind.NOTIFY))
"""What is answered only when it has run; what else is running was acknowledged before, and asks for that again."""


class PendingCall:
    """
    One request that has not ended.

    :ivar kind: CALL, CAST, FANOUT or NOTIFY of `Kind`; a plain int, since msgspec takes longer for an enum.
    :ivar target: where its caller sent it; of a notification the pool.
    :ivar deadline: when it ends at the latest, by the node's monotonic clock.
    :ivar flags: bits of `Flag`.
    :ivar wait_for_ready: whether it waits for somebody to listen.
    :ivar encoded: the whole request as bytes; sequence, attempt and remaining time in it are those of the first
        hand-over.
    :ivar route: the route its links are chosen from, None when it may only go where it is.
    :ivar link: the link it was given to, None before that.
    :ivar stage: how far it got.
    :ivar sequence: its number in the pair, 0 before it is handed over.
    :ivar attempts: how often it was handed over under this number.
    :ivar retry_at: when it is sent again unless acknowledged.
    :ivar tried: the links that refused it.
    :ivar trouble: what went wrong last, for the error text.
    :ivar stopping: which member did not take it because it stops, for the error text; empty when none.
    :ivar may_have_run: whether another instance may have run it: one that is gone (it is idempotent, and went on), or
        gave it back.
    :ivar crowded: which member had no room for it, for the error text; empty when none.
    :ivar moves: how often it was sent to another instance that might have had it, or was refused it for want of room.
    :ivar owes: the link that it was lost with, and why, while nobody is known who could have it again: whoever is found
        gets it as a repetition, which has to be in the budget then. None of any other.
    :ivar rounds: how often everybody who could take it has given it back.
    :ivar began: when it was made, by the node's monotonic clock, if it had to wait; None if it did not.
    :ivar ended: whether its caller has been told an error; it must not be sent any more.
    :ivar monitor: for how long its instance may be silent, in seconds, 0 for ever; None for as long as for any other.
    :ivar named: how often it had been handed over under this number when its instance named it last, in ACK or BEAT; 0
        before that.
    """

    kind: int
    target: Target | Pool
    deadline: float
    flags: int
    wait_for_ready: bool
    route: Any
    encoded: bytes
    link: Any
    stage: Stage
    sequence: int
    attempts: int
    retry_at: float
    # Not every call needs them. What has a default in the class is slower to set and to read (CPython 3.11).
    tried: tuple[str, ...] = ()
    trouble: str = ""
    may_have_run: bool = False
    ended: bool = False
    stopping: str = ""
    crowded: str = ""
    moves: int = 0
    owes: tuple[Any, str] | None = None
    rounds: int = 0
    monitor: float | None = None
    named: int = 0
    began: float | None = None

    def begin(self, kind: int, target: Target | Pool, encoded: bytes, deadline: float, flags: int = 0) -> None:
        """Set what has no default, as of one that goes where it is given to."""
        self.kind = kind
        self.target = target
        self.deadline = deadline
        self.flags = flags
        self.wait_for_ready = False
        self.route = None
        self.unsent(encoded)

    def unsent(self, encoded: bytes, link: Any = None, stage: Stage = Stage.RESOLVING) -> None:
        """
        Take that it has not been handed over, or not to the instance that it will go to.

        :param encoded: the whole request as bytes, under any number.
        :param link: the link it waits for.
        """
        self.encoded = encoded
        self.link = link
        self.stage = stage
        self.sequence = self.attempts = 0
        self.retry_at = NEVER
        if self.named:
            self.named = 0

    @property
    def idempotent(self) -> bool:
        """Whether it may run more than once."""
        return bool(self.flags & Flag.IDEMPOTENT)

    @property
    def tries(self) -> int:
        """How often it was handed over since its instance named it last, that time included."""
        return self.attempts - self.named + 1 if self.named else self.attempts

    @property
    def outline(self) -> Outline | None:
        """What it asks for; None of a lookup, and of one so large that to look would take long."""
        return outline(self.encoded) if 0 < len(self.encoded) <= _MOST_READ else None

    @property
    def handed_over_at(self) -> float | None:
        """When it was first handed over under its number; None before that, and where nobody has looked."""
        read = self.outline if self.sequence else None
        return None if read is None else self.deadline - read.remaining / 1000

    @property
    def made_at(self) -> float | None:
        """When it was made; None where it is so large that nobody has looked, and it did not wait."""
        # Noting the time would cost every call; it is in the request, as what was left then.
        return self.handed_over_at if self.began is None else self.began


class RetryPolicy(Struct, frozen=True):
    """
    When what was not acknowledged is sent again.

    :ivar base: seconds until the first repetition.
    :ivar multiplier: by how much that grows with each.
    :ivar attempts: how many repetitions; negative for no limit, 0 for none.
    """

    base: float = 15.0
    multiplier: float = 2.0
    attempts: int = 3

    def next_retry(self, now: float, attempts: int) -> float:
        """Return when a message that was handed over `attempts` times goes again (or is given up)."""
        return now + self.base * self.multiplier ** min(attempts - 1, 50)

    def exhausted(self, attempts: int) -> bool:
        """Tell whether a message handed over `attempts` times is given up."""
        return 0 <= self.attempts < attempts


_Call = TypeVar("_Call", bound=PendingCall)


class PendingCalls(Generic[_Call]):
    """
    The unsettled messages of one pair, at the client.

    :param most_unsettled: how many there may be at once.
    :param first: the lowest number that was never used in this pair; those below it count as settled.
    :param most_bytes: how many bytes of encoded requests there may be; the one that passes it is the last.
    :param patience: seconds that the instance may be silent, or not name what it has acknowledged; infinity for ever.
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
            call.retry_at = self._policy.next_retry(now, call.tries)
            self._agenda.enter(call)

    def undelivered(self, call: _Call, retry_at: float) -> None:
        """Take that a repetition of the call came back from the way: it counts for nothing, and is made again."""
        call.attempts = max(2, call.attempts - 1)
        call.retry_at = retry_at
        self.wake_at = min(self.wake_at, retry_at)
        self._agenda.enter(call)

    def take(self, sequence: int) -> _Call | None:
        """End the call with this number; None when it has ended before (a late or repeated answer)."""
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
        patience = self._patience_with(call)
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

    def _patience_with(self, call: _Call) -> float:
        return self._patience if call.monitor is None else call.monitor or NEVER

    def named_at(self, call: _Call) -> float | None:
        """Return when a peer that speaks named a CALL last; None where it has not, or nobody has written it down."""
        at = call.retry_at - self._patience_with(call)
        # It is asked for again so long after that.
        return at if call.named and call.kind == _CALL and abs(at) < NEVER else None

    def put_off(self, call: _Call, now: float) -> None:
        """Take that a call is not sent again now, since its instance says nothing at all."""
        self._named(call, now)

    def unheard(self, silence: float) -> tuple[list[_Call], bool]:
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
            elif call.monitor and silence >= call.monitor:
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
                self.take(sequence)
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
                self.take(sequence)
                given_up.append(call)
        return late, given_up
