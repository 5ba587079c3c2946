"""
How long a link waits: for deadlines and acknowledgements, for an instance that is silent, for one that opens late.

What is due when is said by the core; here it is done.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from zmqrpc.core.agenda import NEVER
from zmqrpc.core.link import SILENT, Phase
from zmqrpc.core.link_timers import USED_SECONDS
from zmqrpc.core.ranges import flatten

if TYPE_CHECKING:
    from zmqrpc.link import Link
    from zmqrpc.links import Links


class Patience:
    """
    That of all links.

    :param links: the links of the node.
    """

    def __init__(self, links: Links) -> None:
        self._links = links

    def phase_changed(self, link: Link, now: float) -> None:
        """Take that a link stands elsewhere than before: one that is not kept waits for no acknowledgement."""
        if not link.state.kept and self._links.policy is None:
            link.linger_at = now if link.state.phase is Phase.UP else link.linger_at if link.pending else NEVER
            self._links.wake_by(link, link.linger_at)

    def sweep(self, link: Link, now: float) -> None:
        """Do on a link what time asks for."""
        state = link.state
        if now >= link.pending.wake_at:
            self._sweep_pending(link, now)
        if now >= link.linger_at:
            self._look_for_lingering(link, now)
        overdue = link.queue.overdue(now)
        if overdue:
            self._links.user.overdue(overdue, link)
        late = state.late
        ticks = now >= state.wake_at
        effects = state.tick(now, len(link.pending) > 0)
        if effects:
            link.perform(effects, now)
        else:
            link.refresh()
        if ticks and link.pending:
            self._judge_silence(link, now)
        if state.late and not late and link.queue:
            link.grown_late()

    def _judge_silence(self, link: Link, now: float) -> None:
        """End what does not wait any longer for an instance that says nothing."""
        silence = link.liveness.silence(now)
        if not silence or link.state.phase not in (Phase.UP, Phase.DRAINING):
            return
        alone, given_up = link.pending.unheard(silence, now)
        if alone:
            for call in alone:
                # One that is idempotent goes elsewhere, and not to who is silent.
                call.tried = (*call.tried, link.key)
            # It may be read later, and what has not begun then is not run.
            link.forsake(flatten(call.sequence for call in alone), now)
            self._links.user.lost(alone, link, f"silent for {silence:.1f} s (call_monitor_timeout): {SILENT}")
        if given_up:
            link.perform(link.state.given_up(now), now)

    def _look_for_lingering(self, link: Link, now: float) -> None:
        """Wait no longer than `zmq_linger` for what is over for its callers: casts, without acknowledgements."""
        linger = self._links.settings.linger
        over_at = link.used_at + USED_SECONDS + linger
        waits = any(not call.called for call in link.pending.outstanding())
        link.linger_at = over_at if over_at > now else now + max(linger, USED_SECONDS)
        if link.pending and not waits and over_at <= now:
            count = len(link.pending.take_all())
            text = "{peer} has not acknowledged {count} casts within zmq_linger; whether they arrive is unknown"
            self._links.notices.count("lingered", text, link.address, count=count)

    def _sweep_pending(self, link: Link, now: float) -> None:
        pending = link.pending
        repeat, given_up = pending.unacknowledged(now)
        if link.state.phase is Phase.UP:
            for call in repeat:
                if call.named and link.state.mute:
                    # It has it, and reads nothing now.
                    pending.put_off(call, now)
                elif call.deadline <= now:
                    continue
                elif self._links.repetitions.may_repeat(now, link.address):
                    text = "{number} call{s} sent again to {peer}, which has not acknowledged or named any of that"
                    self._links.notices.record("calls_repeated", text, link.address)
                    link.repeat(call, now)
                else:
                    pending.spare(call, now)
        else:
            for call in repeat:
                call.retry_at = NEVER
        overdue = pending.overdue(now)
        if overdue and link.state.phase in (Phase.UP, Phase.DRAINING):
            link.forsake(flatten(call.sequence for call in overdue), now)
        if overdue:
            link.let_expire(now)
            self._links.user.overdue(overdue, link)
        if given_up:
            self._links.user.given_up(given_up, link)
