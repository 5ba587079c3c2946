"""Ways to break the promises, each a patch of one place, to see that the simulation finds it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from zmqrpc.callers import Callers
from zmqrpc.core.age import ClockOffset, DriftingOffset
from zmqrpc.core.batch import decode_batch
from zmqrpc.core.envelope import Ack, encode_message
from zmqrpc.core.link import LinkState
from zmqrpc.core.seen import DuplicateFilter, Seen
from zmqrpc.elsewhere import Elsewhere
from zmqrpc.errors import ServerLost
from zmqrpc.links import Links
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
    """A server acknowledges what it cannot read, or refuses."""
    refuse = Requests.refuse

    def acknowledge(requests: Requests, caller: Any, sequence: int, reason: Any, text: str) -> None:
        caller.write(encode_message(Ack([sequence, sequence])))
        refuse(requests, caller, sequence, reason, text)

    patch(Requests, "refuse", acknowledge)


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


ALL = (no_filter, no_fencing, acknowledged_unread, again_elsewhere, no_deadline, said_not_to_have_run, forgotten)
