"""How long the state machine of a link waits for what, and the times on which both ends have to agree."""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from zmqrpc.core.agenda import NEVER

BEAT_SECONDS = 0.5
"""Between two BEATs of a server that runs something (docs/spec/wire)."""

ACK_SECONDS = 0.005
"""For which the ACK of a call that runs on waits for its REPLY, which says as much, or for another (docs/spec/wire)."""

GONE_SECONDS = 2 * BEAT_SECONDS
"""How long a peer may have no connection until it counts as gone: a server to its clients, a client to a server."""

NEWCOMER_SECONDS = 2.0
"""After HELLO, until a client that has asked for nothing is looked for: nothing would be missed of one that is gone."""

USED_SECONDS = 0.25
"""How often the state machine is told at most that a link is used, as each message would cost."""

REMIND_SECONDS = 0.1
"""Between two GOAWAYs to who has not answered the first."""


class LinkTimers(Struct, frozen=True):
    """
    The times of a link in seconds; the defaults are those that were measured.

    :ivar hello: from HELLO to WELCOME.
    :ivar late: from HELLO on, or from when its connection has come a step nearer, after which a peer that has not said
        WELCOME yet gets nothing that others can take; of time that our own process has had (`zmqrpc.core.own_time`).
    :ivar late_anyway: the same, whether it has had any or not.
    :ivar short_round_trip: a WELCOME that took longer has HELLO repeated, up to `hellos` in all.
    :ivar ping: between PINGs, and to the next look at their answers, `active` seconds after the last use; counted anew
        from what the peer says meanwhile, up to `idle_ping`.
    :ivar idle_ping: between PINGs after that.
    :ivar mute: of silence, from an unanswered PING on, after which a peer gets nothing new.
    :ivar lag: by which a tick may be late and still judge the peer: what it sent may not have been read.
    :ivar silent: of silence, counted like `mute`, after which a link is no evidence of its instance any more.
    :ivar patience: of silence, from its last word on, after which a peer is given up that calls wait for; infinity for
        never.
    :ivar lost: without a link until its instance counts as gone; a server gives up its clients after as long.
    :ivar resume: the same, of a peer that was given up for its silence: a proxy on the way there would have been left
        before. So much less than a second that a call ends within one of its `patience`.
    :ivar steady: that a link has to be up for a reconnect without a back-off.
    :ivar backoff: until a peer is connected to again, doubled for each connection in a row that came to nothing; the
        state machine takes at random half of it off, at most.
    :ivar longest_backoff: to which that grows; but no longer than `brief_backoff`, or `backoff_share` of the time for
        which it has failed: what was away for a few seconds is found at once, and what is dead is not hammered.
    :ivar drain: after GOAWAY, until the connection of a peer that does not close it is dropped.
    :ivar leave: after our own GOAWAY, until a connection is dropped whose peer does not show that it has read it.
    """

    hello: float = 2.0
    late: float = 0.05
    late_anyway: float = 0.5
    short_round_trip: float = 0.1
    hellos: int = 3
    ping: float = 0.5
    idle_ping: float = 5.0
    active: float = 10.0
    mute: float = 1.5
    lag: float = 0.5
    silent: float = 10.0
    patience: float = NEVER
    lost: float = GONE_SECONDS
    resume: float = 0.9
    steady: float = 1.0
    backoff: float = 0.1
    longest_backoff: float = 10.0
    brief_backoff: float = 0.7
    backoff_share: float = 1 / 9
    drain: float = 35.0
    leave: float = 1.0


def through_proxies(timers: LinkTimers) -> LinkTimers:
    """Return the times of a link through proxies: the one it opens through may be silent, which is known later."""
    known = timers.ping + timers.mute
    return replace(timers, hello=timers.hello + 1.0, lost=max(timers.lost, known + 0.5))


GONE_THROUGH_SECONDS = through_proxies(LinkTimers()).lost + BEAT_SECONDS
"""How long a client behind a proxy may be: when it knows that this one is silent it comes by another."""
