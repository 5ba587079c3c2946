"""Ways to break the promises, each a patch of one place, to see that the simulation finds it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from zmqrpc import client, inherited
from zmqrpc.answers import Answers
from zmqrpc.callers import Callers
from zmqrpc.core.age import ClockOffset, DriftingOffset
from zmqrpc.core.batch import decode_batch
from zmqrpc.core.envelope import Ack, Refusal, Request, Unreadable, encode_message
from zmqrpc.core.link import LinkState
from zmqrpc.core.pending import PendingCalls
from zmqrpc.core.ranges import flatten
from zmqrpc.core.seen import DuplicateFilter, Seen
from zmqrpc.elsewhere import Elsewhere
from zmqrpc.errors import ServerLost
from zmqrpc.hedging import _Hedge
from zmqrpc.links import Links
from zmqrpc.notices import Notices
from zmqrpc.outcomes import Outcomes
from zmqrpc.requests import Requests

Patch = Callable[[Any, str, Any], Any]
"""As `TestCase.patch`."""


def no_filter(patch: Patch) -> None:
    """A server runs everything that comes, seen before or not."""
    admit = DuplicateFilter.admit

    def admit_all(filter: DuplicateFilter, sequence: int) -> Seen:
        admit(filter, sequence)
        return Seen.NEW

    patch(DuplicateFilter, "admit", admit_all)


def no_fencing(patch: Patch) -> None:
    """A server takes what is for another instance, and a client takes whoever answers for the one it meant."""
    taken, heard, welcome = Callers.payload_received, Links.payload_received, LinkState.welcome

    def take(callers: Callers, identity: Any, payload: Any, batch: Any = None) -> int:
        batch = replace(batch or decode_batch(payload), destination=callers.instance)
        return taken(callers, identity, payload, batch)

    def hear(links: Links, identity: Any, payload: Any, batch: Any = None) -> int:
        batch, link = batch or decode_batch(payload), links._link_behind(identity)
        if link is not None and link.state.instance is not None:
            batch = replace(batch, source=link.state.instance)
        return heard(links, identity, payload, batch)

    def welcome_anybody(state: LinkState, now: float, instance: bytes, round_trip: float, misfit: str = "") -> Any:
        return welcome(state, now, state.instance or instance, round_trip)

    patch(Callers, "payload_received", take)
    patch(Links, "payload_received", hear)
    patch(LinkState, "welcome", welcome_anybody)


def acknowledged_unread(patch: Patch) -> None:
    """A server acknowledges what arrives, before it knows whether it can read it and takes it."""
    taken = Callers.payload_received

    def take(callers: Callers, identity: Any, payload: Any, batch: Any = None) -> int:
        batch = batch or decode_batch(payload)
        caller = callers._by_identity.get(identity)
        if caller is not None and caller.instance == batch.source and batch.destination == callers.instance:
            for message in batch.messages:
                if isinstance(message, Request | Unreadable) and message.sequence:
                    caller.write(encode_message(Ack([message.sequence, message.sequence])))
        return taken(callers, identity, payload, batch)

    patch(Callers, "payload_received", take)


def again_elsewhere(patch: Patch) -> None:
    """A client gives what may have run to another instance, whether that may happen or not."""

    def lost(elsewhere: Elsewhere, calls: list[Any], link: Any, reason: str) -> None:
        for call in calls:
            call.trouble = reason
            if call.route is None:
                elsewhere._outcomes.lost(call, reason)
            else:
                call.may_have_run = True
                elsewhere.again(call)

    patch(Elsewhere, "lost", lost)


def no_deadline(patch: Patch) -> None:
    """A server takes everything for new that arrives."""
    patch(ClockOffset, "age", lambda base, arrival, sent: 0)
    patch(DriftingOffset, "age", lambda base, arrival, sent: 0)


def said_not_to_have_run(patch: Patch) -> None:
    """A client says of what it has lost that it did not run."""

    def lost(outcomes: Outcomes, call: Any, reason: str) -> None:
        outcomes.fail(call, ServerLost, f"the instance that had it is gone: {reason}")

    patch(Outcomes, "lost", lost)


def forgotten(patch: Patch) -> None:
    """A client forgets one call of three whose time is up."""
    overdue = Outcomes.overdue

    def overdue_but_one(outcomes: Outcomes, calls: Any, link: Any = None) -> None:
        overdue(outcomes, [call for call in calls if call.sequence % 3], link)

    patch(Outcomes, "overdue", overdue_but_one)


def never_unheard(patch: Patch) -> None:
    """A client waits for who is silent until the time of its calls is up."""
    patch(PendingCalls, "unheard", lambda pending, silence, now: ([], False))


def never_abandoned(patch: Patch) -> None:
    """A server goes on to run what a client has asked that is gone."""
    patch(Requests, "abandon", lambda requests, callers: Counter())


def hedged_believed(patch: Patch) -> None:
    """A client believes the copy of a hedged call that fails first, whatever becomes of the other."""

    def believe(hedge: Any, failure: Any) -> None:
        if not hedge.over:
            failure.value.maybe_executed = False
            hedge._end().errback(failure)

    patch(_Hedge, "_failed", believe)


def repeated_unsent(patch: Patch) -> None:
    """A client takes what was sent again, and came back, for what never was sent."""
    refused, returned = Answers._refused, Answers.returned

    def forget(link: Any, ranges: Any) -> None:
        for call in link.pending.within(ranges):
            call.attempts = 1

    def refuse(answers: Answers, link: Any, nack: Any, now: float) -> None:
        if nack.reason == Refusal.WRONG_INSTANCE:
            forget(link, nack.ranges)
        refused(answers, link, nack, now)

    def come_back(answers: Answers, link: Any, batch: Any, *facts: Any) -> None:
        forget(link, flatten([message.sequence for message in batch.messages if isinstance(message, Request)]))
        returned(answers, link, batch, *facts)

    patch(Answers, "_refused", refuse)
    patch(Answers, "returned", come_back)


def uncounted(patch: Patch) -> None:
    """A server does not count what it has acknowledged and does not run."""
    count = Notices.count

    def count_others(notices: Notices, name: str, *facts: Any, **more: Any) -> None:
        if name != "expired_acknowledged":
            count(notices, name, *facts, **more)

    patch(Notices, "count", count_others)


def uninherited(patch: Patch) -> None:
    """What a method asks has all the time that it is given, whatever its own caller has."""
    for module in (client, inherited):
        patch(module, "bounded", lambda deadline, now: deadline)
