"""Asking a cluster of etcd, some members of which may not be there."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from itertools import count
from random import Random
from typing import TypeAlias

import attrs
from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from zmqrpc.core.backoff import backoff
from zmqrpc.errors import MatchmakerUnavailable
from zmqrpc.matchmaker._etcd.errors import EtcdRefusal, Fault, NoAnswer, silent
from zmqrpc.matchmaker._etcd.rotation import Rotation
from zmqrpc.matchmaker._etcd.words import Words
from zmqrpc.matchmaker._room import Room
from zmqrpc.matchmaker._time_limit import TimeLimit

MOST_WAITING, MOST_QUEUED = 100, 1000
"""
How many questions may wait for an answer, and how many more for their turn to be asked; none more where no member has
answered for half the time limit.
"""

PAUSE = 0.1
"""Seconds at most after a question that no member answered in which others fail at once, as that did."""

AGAIN, AGAIN_MOST = 0.1, 0.4
"""Seconds at most until the members are asked again where there may be an election: doubled each time."""

Ask: TypeAlias = Callable[[int, Words], Awaitable[bytes]]
"""Asks one member; fails as `EtcdAccess.ask`."""


@attrs.define(eq=False)
class _Question:
    words: Words
    deferred: Deferred[bytes]
    under_way: dict[int, tuple[int, Deferred[None]]] = attrs.field(factory=dict)  # the member, by the try
    tries: count[int] = attrs.field(factory=count)
    tried: set[int] = attrs.field(factory=set)
    rounds: int = 0
    faults: dict[int, Fault] = attrs.field(factory=dict)  # the last of each member
    limit: TimeLimit | None = None
    next_at: IDelayedCall | None = None  # when the next member is asked too, or all are asked again
    over: bool = False


class EtcdAsker:
    """
    Questions to whichever member answers.

    The current member is asked. When that takes half of the time limit the next is asked too, and when it fails at
    once: so all that is asked may be done twice. The first answer counts, and who gave it is current from then on.

    While the cluster elects a leader its members refuse, or say nothing: what they had handed to a leader that is gone
    is never answered. So all are asked again within the time limit, and only who gets no answer then is told. This is
    safe, though the first may have been done, since all that is asked here does the same when it is done again. A
    record is put under its key with its lease, or deleted, and a lease that is made twice is there already, one that
    is revoked twice is gone. Transactions compare before they write: where the first was done, the second reads so.

    Where `MOST_WAITING` wait for an answer, others wait until one of them has it, within their own time.

    :param ask: asks one member.
    :param name: the cluster, for errors.
    :param limit: seconds that a question may take.
    """

    def __init__(
        self,
        clock: IReactorTime,
        ask: Ask,
        name: str,
        rotation: Rotation,
        chance: Random,
        limit: float,
    ) -> None:
        self._clock = clock
        self._ask = ask
        self._name = name
        self._rotation = rotation
        self._chance = chance
        self._limit = limit
        self._waiting: set[_Question] = set()
        self._queued: dict[_Question, None] = {}
        self._room = Room(clock, limit, MOST_WAITING + MOST_QUEUED)
        self._is_beginning = False
        self._refusal: tuple[float, str] | None = None
        self._closed = False

    def ask(self, words: Words, until: float | None = None) -> Deferred[bytes]:
        """
        Ask.

        :param until: when there has to be an answer at the latest, by the clock, if that is before the time limit.
        :return: fires with the answer; fails with `EtcdRefusal` when a member refuses for a reason that all have, and
            with `MatchmakerUnavailable` when none answers.
        """
        now = self._clock.seconds()
        seconds = self._limit if until is None else min(self._limit, until - now)
        if self._closed:
            return fail(MatchmakerUnavailable(f"the matchmaker in {self._name} is closed; make a new Node"))
        if self._refusal is not None and now < self._refusal[0]:
            return fail(MatchmakerUnavailable(self._refusal[1]))
        waiting = len(self._waiting) + len(self._queued)
        if waiting >= self._room.most(waiting):
            return fail(MatchmakerUnavailable(self._too_many()))
        question = _Question(words, Deferred(lambda _: self._settle(question)))
        question.limit = TimeLimit(self._clock, seconds, self._limit, partial(self._give_up, question))
        self._queued[question] = None
        self._begin()
        return question.deferred

    def close(self) -> None:
        """Give up everything that waits."""
        self._closed = True
        for question in (*self._waiting, *self._queued):
            if not question.over:  # whoever was told may have cancelled others
                self._fail(question, f"the matchmaker in {self._name} is closed; make a new Node")

    def _begin(self) -> None:
        if self._is_beginning:  # one of those below has failed already
            return
        self._is_beginning = True
        while self._queued and len(self._waiting) < MOST_WAITING and not self._closed:
            question = next(iter(self._queued))
            del self._queued[question]
            self._waiting.add(question)
            if len(self._rotation) > 1:
                question.next_at = self._clock.callLater(self._limit / 2, self._time_passes, question)
            self._try_next(question)
        self._is_beginning = False

    def _time_passes(self, question: _Question) -> None:
        question.next_at = self._clock.callLater(self._limit / 4, self._time_passes, question)
        # Where a member is gone, what the others say nothing to may have been for that.
        if len(question.tried) == len(self._rotation) and question.faults:
            question.tried.clear()
        self._try_next(question)

    def _try_all_again(self, question: _Question) -> None:
        question.tried.clear()
        self._time_passes(question)

    def _too_many(self) -> str:
        return f"{MOST_WAITING} questions wait for {self._name} already"

    def _try_next(self, question: _Question) -> None:
        member = self._rotation.after(question.tried)
        if question.over or member is None:
            return
        question.tried.add(member)
        number = next(question.tries)
        asking = Deferred.fromCoroutine(self._try(question, number, member))
        if not asking.called:
            question.under_way[number] = member, asking

    async def _try(self, question: _Question, number: int, member: int) -> None:
        try:
            answer = await self._ask(member, question.words)
        except CancelledError:
            return
        except NoAnswer as error:
            self._failed(question, number, member, error.fault)
        except EtcdRefusal as refusal:
            if refusal.is_passing:
                self._failed(question, number, member, refusal.fault)
            elif not question.over:
                self._room.answered()
                self._settle(question, number)
                question.deferred.errback(Failure(refusal))
        except Exception:  # a fault of ours
            if not question.over:
                self._settle(question, number)
                question.deferred.errback()
        else:
            self._answered(question, number, member, answer)

    def _answered(self, question: _Question, number: int, member: int, answer: bytes) -> None:
        if not question.over:
            self._refusal = None
            self._room.answered()
            self._rotation.worked(member)
            self._settle(question, number)
            question.deferred.callback(answer)

    def _failed(self, question: _Question, number: int, member: int, fault: Fault) -> None:
        question.under_way.pop(number, None)
        if question.over:
            return
        self._rotation.failed(member, fault)
        question.faults[member] = fault
        self._try_next(question)
        if question.over or question.under_way or len(question.tried) < len(self._rotation):
            return
        if any(fault.passes for fault in question.faults.values()):
            if question.next_at is not None and question.next_at.active():
                question.next_at.cancel()
            pause = backoff(AGAIN, question.rounds, AGAIN_MOST) * self._chance.uniform(0.5, 1)
            question.rounds += 1
            question.next_at = self._clock.callLater(pause, self._try_all_again, question)
        else:
            text = self._rotation.trouble(question.faults)
            self._refusal = (self._clock.seconds() + PAUSE * self._chance.uniform(0.5, 1), text)
            self._fail(question, text)

    def _give_up(self, question: _Question) -> None:
        self._room.missed()
        members = {member for member, _ in question.under_way.values()}
        for member in sorted(members):
            # What it has said itself tells more.
            self._rotation.failed(member, question.faults.get(member) or silent(self._limit).fault)
        self._fail(question, self._rotation.trouble(question.faults) if question.tried else self._too_many())

    def _fail(self, question: _Question, reason: str) -> None:
        self._settle(question)
        question.deferred.errback(MatchmakerUnavailable(reason))

    def _settle(self, question: _Question, number: int | None = None) -> None:
        """
        Take it as answered, one way or the other.

        :param number: of the try that has ended already.
        """
        question.over = True
        self._waiting.discard(question)
        self._queued.pop(question, None)
        if question.limit is not None:
            question.limit.cancel()
        if question.next_at is not None and question.next_at.active():
            question.next_at.cancel()
        if number is not None:
            question.under_way.pop(number, None)
        under_way, question.under_way = question.under_way, {}
        for _, asking in under_way.values():
            asking.cancel()
        self._begin()
