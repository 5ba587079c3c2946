"""
What one instance did not take, or has taken with it, goes to another: which calls, where to, and how often.

What certainly did not run goes on as if it were new; the rest are repetitions, of which there are only so many.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING

from zmqrpc.core.call import Loss, Stage
from zmqrpc.core.envelope import FailureCode, Kind, Refusal, Reply
from zmqrpc.link import Link
from zmqrpc.outcomes import ELSEWHERE, gone
from zmqrpc.waiter import Waiter

if TYPE_CHECKING:
    from zmqrpc.delivery import Delivery

_MOST_ASKED = 100
"""How many links are asked for room when there is none at the one whose turn it is: there may be many, and calls."""


class Elsewhere:
    """
    Brings calls of one node to another link than the one that had them.

    :param delivery: gives them to links, and keeps those for which there is none.
    """

    def __init__(self, delivery: Delivery) -> None:
        self._delivery = delivery
        self._outcomes = delivery.outcomes
        self._table = delivery.table
        self._seconds: Callable[[], float] = delivery.seconds
        self._most_moves = delivery.settings.rpc_retry_attempts

    # What links tell

    def refused(self, call: Waiter, link: Link, reason: Refusal, text: str) -> None:
        call.link = link
        if reason is Refusal.REQUEUED and call.kind == Kind.NOTIFY:
            self._give_again(call, link)
            return
        if reason is Refusal.OVERLOADED and call.route is not None:
            self._overloaded(call, link, text)
            return
        if reason not in ELSEWHERE or call.route is None:
            self._outcomes.refused(call, reason, text)
            return
        self._delivery.record(
            "calls_refused", "{number} call{s} refused by {peer}, to go elsewhere: {why}", link.address, why=text
        )
        call.tried = (*call.tried, link.key)
        call.trouble = f"{reason.words}: {text}"
        if reason is Refusal.DRAINING:
            call.stopping = self._outcomes.tell(call, link, text)
        self.again(call)

    def rerouted(self, calls: list[Waiter], link: Link, reason: str) -> None:
        for call in calls:
            call.trouble = reason
            if call.route is None:
                self._outcomes.unreached(call, link, reason)
                continue
            if link.state.stopping:
                call.stopping = self._outcomes.tell(call, link, reason)
            self.again(call)

    def lost(self, calls: list[Waiter], link: Link, reason: str) -> None:
        now = self._seconds()
        for call in calls:
            call.trouble = reason
            self._lost(call, link, gone(reason), now)

    def replied(self, call: Waiter, reply: Reply) -> None:
        failure = reply.failure
        if failure is None or failure.code != FailureCode.FORGOTTEN:
            self._outcomes.replied(call, reply)
            return
        # It is as lost as if the instance had gone with it.
        link: Link = call.link
        call.stage = Stage.RUNNING
        call.trouble = failure.text
        if not link.state.stopping:
            # Who stops is asked for nothing any more, and its successor may go by the same key.
            call.tried = (*call.tried, link.key)
        self._lost(call, link, failure.text, self._seconds())

    # Repetitions

    def _overloaded(self, call: Waiter, link: Link, text: str) -> None:
        """Repeat a call that a member had no room for at another, as far as there is one and the budget goes."""
        now = self._seconds()
        call.crowded = self._outcomes.tell(call, link, text)
        if self._delivery.closed:
            self._outcomes.stopped(call)
            return
        route = call.route = self._table.renewed(call.route)
        before, call.tried = call.tried, (*call.tried, link.key)
        key = route.choose_other(call.tried)
        other = self._delivery.links.get(key) if key is not None else None
        if other is not None and not self._kept_back(call, link, now):
            call.trouble = f"{Refusal.OVERLOADED.words}: {text}"
            self._delivery.record(
                "calls_moved", "{number} call{s} that {peer} had no room for, to go elsewhere", link.address
            )
            self._delivery.links.repetitions.take_back(call)
            self._delivery.give(call, other, now)
        else:
            self._outcomes.overloaded(call, text, len(before), spared=other is not None)

    def _give_again(self, call: Waiter, link: Link) -> None:
        """Give a notification that was given back to another of its pool, or after a rest to all of them again."""
        call.may_have_run = True
        call.trouble = f"{self._outcomes.called(call, link)} gave it back"
        call.tried = (*call.tried, link.key)
        self._delivery.links.repetitions.take_back(call, None, Stage.QUEUED)
        now = self._seconds()
        if self._delivery.closed:
            self._outcomes.stopped(call)
            return
        call.route = self._table.renewed(call.route)
        other = self._delivery.choose(call.route, call.tried)
        if other is not None:
            self._delivery.give(call, other, now)
            return
        call.tried = ()
        self._delivery.rest(call, now)

    def _lost(self, call: Waiter, link: Link, why: str, now: float) -> None:
        """Repeat a call that an instance has taken with it, if it is idempotent, or end it."""
        if not call.idempotent or call.route is None:
            self._outcomes.lost(call, why)
        elif self._delivery.closed:
            # The errback of one before it has stopped the client.
            self._outcomes.stopped(call)
        elif not call.ended:
            self._lost_and_idempotent(call, link, why, now)

    def _lost_and_idempotent(self, call: Waiter, link: Link, why: str, now: float) -> None:
        """Repeat a call that an instance has taken with it, at another as far as there is one and the budget goes."""
        call.route = self._table.renewed(call.route)
        call.loss = Loss(link, why, call.sequence, call.stage)
        other = self._delivery.choose(call.route, call.tried)
        if other is not None:
            self._repeat_lost(call, call.loss, other, now)
        elif because := self._used_up(call, now):
            self._outcomes.lost_before(call, call.loss, because)
        else:
            # Nothing is taken from the others for one that may go nowhere.
            call.owes = True
            call.may_have_run = True
            self._delivery.links.repetitions.take_back(call)
            self._delivery.park(call)

    def _repeat_lost(self, call: Waiter, loss: Loss, other: Link, now: float) -> None:
        """Give a call that was lost to another link, as far as the budget goes."""
        if because := self._kept_back(call, loss.link, now):
            self._outcomes.lost_before(call, loss, because)
            return
        self._delivery.record(
            "calls_moved", "{number} call{s} lost with {peer}, to go elsewhere, as idempotent", loss.link.address
        )
        call.may_have_run = True
        self._delivery.links.repetitions.take_back(call)
        self._delivery.give(call, other, now)

    def _kept_back(self, call: Waiter, link: Link, now: float) -> str:
        """
        Say why a call may not be sent to one more member; empty when it may, and is counted as one that was.

        :param link: to who had it before.
        """
        if because := self._used_up(call, now):
            return because
        if not self._delivery.links.repetitions.may_repeat(now, link.address):
            return "rpc_retry_budget is spent"
        call.moves += 1
        return ""

    def _used_up(self, call: Waiter, now: float) -> str:
        """Say why a call may not be sent to one more member as far as it alone is concerned; empty when it may."""
        if 0 <= self._most_moves <= call.moves:
            return f"rpc_retry_attempts is {self._most_moves}"
        return "" if call.deadline > now else "its time is up"

    # What is none

    def again(self, call: Waiter) -> None:
        """Give a call that did not run to whose turn it is, or keep it until somebody is known."""
        self._delivery.links.repetitions.take_back(call)
        self._delivery.deliver(call, self._seconds())

    def found(self, call: Waiter, link: Link, now: float) -> None:
        """Give a call to the link that was found for it."""
        if call.loss is None or not call.owes:
            self._delivery.give(call, link, now)
            return
        call.owes = False
        self._repeat_lost(call, call.loss, link, now)

    def crowded(self, call: Waiter, link: Link, now: float) -> None:
        """Give a call that there is no room for at a link to another that has some: it was not sent."""
        others = islice(call.route.upcoming(), _MOST_ASKED) if call.route is not None else ()
        for other in map(self._delivery.links.get, others):
            if other is not None and other is not link and other.key not in call.tried and other.has_room(call):
                self._delivery.give(call, other, now)
                return
        self._outcomes.crowded(call, link)
