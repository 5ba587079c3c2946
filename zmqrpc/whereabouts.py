"""Where a call is stuck, in words: what an inspection tells of it, and a test that waits for it in vain."""

from __future__ import annotations

from collections.abc import Callable

from zmqrpc.core.call import Stage
from zmqrpc.core.envelope import NOUNS
from zmqrpc.core.inspected import CallSeen
from zmqrpc.core.link import Phase
from zmqrpc.core.topic import Knowledge
from zmqrpc.delivery import Delivery
from zmqrpc.link import Link
from zmqrpc.outcomes import MATCHMAKER_AWAY
from zmqrpc.waiter import Waiter


class Whereabouts:
    """
    Looks at the calls of one node.

    :param delivery: has them.
    :param away: tells why the matchmaker does not answer, empty while it does.
    """

    def __init__(self, delivery: Delivery, away: Callable[[], str]) -> None:
        self._delivery = delivery
        self._away = away

    def seen(self, call: Waiter, now: float) -> CallSeen:
        """Tell of a call that has not ended."""
        journey = self._delivery.outcomes.journey(call)
        outline, made_at = call.outline, call.made_at
        method = outline.method if outline is not None else ""
        if outline is not None and outline.namespace:
            method = f"{outline.namespace}.{method}"
        return CallSeen(
            kind=NOUNS[call.kind],
            target=journey.target,
            method=method,
            phase=self._phase(call),
            age=None if made_at is None else now - made_at,
            left=call.deadline - now,
            where=self.where(call, now),
            member=journey.member,
            address=journey.address,
            through=journey.through,
            message=journey.message_id,
            attempts=call.attempts,
            trouble=call.trouble,
        )

    def where(self, call: Waiter, now: float) -> str:
        """Say where a call is stuck, as a clause."""
        publishing = self._publishing(call)
        if publishing:
            return f"waits to be published: {publishing}"
        link: Link | None = call.link
        if link is not None and call.stage >= Stage.SENT:
            return self._handed_over(call, link, now)
        if link is not None:
            return self._queued(call, link, now)
        if call.stage is Stage.QUEUED:
            return f"rests before it is given out again, since everybody who could take it gave it back: {call.trouble}"
        return self._resolving(call)

    def _phase(self, call: Waiter) -> str:
        if self._publishing(call):
            return "publishing"
        return "resting" if call.link is None and call.stage is Stage.QUEUED else call.stage.name.lower()

    def _publishing(self, call: Waiter) -> str:
        return self._delivery.publishing.why(call) if self._delivery.publishing is not None else ""

    def _resolving(self, call: Waiter) -> str:
        topic = call.route.topic
        if call.trouble.startswith(MATCHMAKER_AWAY):
            why = call.trouble.removeprefix(MATCHMAKER_AWAY).removeprefix(": ")
        else:
            why = self._away()
        asked = topic.resolving or topic.knowledge is Knowledge.UNKNOWN
        if asked and why:
            return f"waits for the matchmaker, which does not answer ({why})"
        if asked:
            return f"waits for the matchmaker's answer about {topic.name}"
        return f"waits for somebody who is ready (wait_for_ready): {self._delivery.why_nobody(call)}"

    def _queued(self, call: Waiter, link: Link, now: float) -> str:
        who, state = self._delivery.outcomes.reached(call, link), link.state
        if link.stranded:
            return f"waits for a way to {who}: {link.stranded}"
        why = f": {state.trouble}" if state.trouble else ""
        match state.phase:
            case Phase.CONNECTING:
                return f"waits for a connection to {who}, which has not answered HELLO{why}"
            case Phase.BACKOFF:
                return f"waits for a connection to {who}, backing off for {state.wake_at - now:.1f} s more{why}"
            case Phase.UP if link.blocked:
                return f"waits until {who} reads: its connection takes no more{self._silence(link, now)}"
            case Phase.UP if link.pending.full:
                limits = "max_unsettled_calls, max_unsettled_bytes"
                return f"waits until {who} has answered others of the {len(link.pending)} in flight there ({limits})"
            case Phase.UP:
                return f"goes to {who} at the end of this pass{self._silence(link, now)}"
            case phase:
                return f"waits for a new connection to {who}, as the one before is {phase.value}{why}"

    def _handed_over(self, call: Waiter, link: Link, now: float) -> str:
        who, state = self._delivery.outcomes.reached(call, link), link.state
        if state.phase not in (Phase.UP, Phase.DRAINING):
            why = f": {state.trouble}" if state.trouble else ""
            return f"{self._sent(call, now)} to {who}, the link there is {state.phase.value}{why}"
        if call.called:
            return f"is over for its caller, and not acknowledged by {who}{self._silence(link, now)}"
        if call.stage is Stage.SENT and not link.is_written(call):
            blocked = ", whose connection takes no more" if link.blocked else ""
            return f"is written to {who} at the end of this pass{blocked}{self._silence(link, now)}"
        if call.stage is Stage.SENT:
            silence = self._silence(link, now) or f"; heard {now - link.liveness.heard_at:.1f} s ago"
            return f"{self._sent(call, now)} to {who}, which has not acknowledged it{silence}"
        does = "runs at" if call.stage is Stage.RUNNING else "has arrived, and not been named as running, at"
        if state.mute:
            return f"{does} {who}, as was told before{self._silence(link, now)}"
        named_at = link.pending.named_at(call)
        if named_at is not None:
            return f"{does} {who}, named by it {max(0.0, now - named_at):.1f} s ago"
        return f"{does} {who}, heard {now - link.liveness.heard_at:.1f} s ago"

    def _sent(self, call: Waiter, now: float) -> str:
        at = call.handed_over_at
        if at is None:
            return "sent" if call.attempts < 2 else f"sent {call.attempts} times"
        ago = f"{max(0.0, now - at):.1f} s ago"
        return f"sent {ago}" if call.attempts < 2 else f"sent {call.attempts} times, first {ago},"

    def _silence(self, link: Link, now: float) -> str:
        """Say since when a peer is silent that is mute; empty of one that is not."""
        return f"; it is mute since {now - link.liveness.heard_at:.1f} s" if link.state.mute else ""
