"""
Whether the peer of a connection still answers: when it is asked by PING, and what its silence means.

An idle peer is asked seldom, one that is used often, and one that speaks only now and then, for how long its answer
takes. Silence counts from a PING that is not answered, or from what came after it: who is busy answers late, and is
heard meanwhile. A peer that was silent for `LinkTimers.mute` is **mute** until it is heard again. For the calls that
wait for it the silence counts from its last word; who was idle has been asked half a second after it was used.

The connection's own state is `zmqrpc.core.link`, which asks only while it is up.
"""

from __future__ import annotations

from zmqrpc.core.agenda import NEVER
from zmqrpc.core.link_effects import SayPing
from zmqrpc.core.link_timers import LinkTimers


class Liveness:
    """
    That of one peer, from one connection to the next.

    :ivar mute: whether it has not answered for `LinkTimers.mute`; the shell ends that on every frame.
    :ivar heard_at: when the last frame came; the shell sets it on every one.
    :ivar wake_at: when `tick` has to be called next, while the connection is up.
    """

    __slots__ = (
        "_anyway",
        "_asked_at",
        "_idle_at",
        "_next_ping",
        "_pinged_at",
        "_round_trip",
        "_silence",
        "_silent_since",
        "_timers",
        "_used_at",
        "heard_at",
        "mute",
        "wake_at",
    )

    def __init__(self, timers: LinkTimers) -> None:
        self.mute = False
        self.heard_at = self._used_at = self._asked_at = self._idle_at = -NEVER
        self.wake_at = self._next_ping = self._silent_since = NEVER
        self._pinged_at: float | None = None
        self._round_trip: int | None = None
        self._silence = 0.0
        self._anyway = 0
        self._timers = timers

    @property
    def gone(self) -> bool:
        """Whether it is mute for so long that the connection is no evidence of it any more."""
        return self.mute and self._silence >= self._timers.silent

    def silence(self, now: float) -> float:
        """
        Return for how long calls have waited for a peer that was asked and says nothing, in seconds; 0 when it speaks.

        To be asked right after `tick`: one that is late judges nobody.
        """
        if self._silent_since < self.heard_at:
            return 0.0
        # Rounded, so that a silence is as long as its end was set to be.
        return max(0.0, round(now - self._silent_since, 6)) if self._silent_since < NEVER else 0.0

    def opened(self, now: float) -> None:
        """The connection has come up."""
        self.mute = False
        self._pinged_at = None
        self._silent_since = NEVER
        self._round_trip = None
        self._anyway = 0
        self._used_at = now
        self.wake_at = self._next_ping = now + self._timers.ping

    def ask(self, now: float) -> None:
        """Have it asked now: the connection is used again that was to end."""
        self.wake_at = self._next_ping = now

    def ask_anyway(self, now: float) -> None:
        """Have it asked now, though it speaks; unless it has been asked, and has not answered yet."""
        if self._pinged_at is None:
            self._anyway = max(1, self._anyway)
            self.ask(now)

    def ask_twice(self, now: float) -> None:
        """
        Have it asked now, though it speaks, and once more: it thinks that what we send is older than it is.

        The second PING tells how long the answer to the first took, so that the peer can learn our clock anew.
        """
        if not self._anyway:
            self._anyway = 2
            if self._pinged_at is None:
                self.ask(now)

    def used(self, now: float) -> None:
        """Something was handed over; the shell need not say so more often than twice a second."""
        self._used_at = now
        if self._pinged_at is None:
            self._next_ping = min(self._next_ping, now + self._timers.ping)
            self.wake_at = min(self.wake_at, self._next_ping)

    def answered(self, now: float, token: int) -> None:
        """
        PONG came.

        :param token: that of the PING it answers, the ms of our clock when that was written. Only the answer to the
            last that was begun tells a round trip: that to an earlier one may have waited in a queue.
        """
        if self._pinged_at is not None:
            newest = token == int(self._pinged_at * 1000)
            self._round_trip = int((now - self._pinged_at) * 1000) if newest else None
            self._pinged_at = None
            self._silent_since = NEVER
            self.mute = False

    def tick(self, now: float, outstanding: bool) -> SayPing | None:
        """
        Ask, or judge the silence since; to be called at `wake_at` or later.

        :param outstanding: whether anything was handed over and is not answered.
        """
        timers = self._timers
        late = now - self.wake_at
        if self._pinged_at is not None:
            # A frame that is no PONG may have been written before the PING was read: silence counts from there again.
            silent = now - max(self._pinged_at, self.heard_at)
            if silent < timers.mute:
                self.mute = False
            elif late < timers.lag:
                self.mute = True
                self._silence = silent
            if not outstanding:
                self._idle_at = now
            since = max(self._pinged_at - timers.ping, self.heard_at, self._idle_at)
            self._silent_since = since if late < timers.lag else NEVER
            # Again: the PING, or its answer, may be lost where the peer drops what it cannot write.
            self.wake_at = now + timers.ping
            if now < since + timers.patience < self.wake_at:
                self.wake_at = since + timers.patience
            return SayPing(None)
        if now < self._next_ping:
            self.wake_at = self._next_ping
            return None
        heard = now - self.heard_at < timers.ping / 2
        if heard and now - self._asked_at < timers.idle_ping and not self._anyway:
            # Who speaks need not be asked whether it is there, only now and then, for how long the answer takes.
            self.wake_at = self._next_ping = min(self.heard_at + timers.ping, self._asked_at + timers.idle_ping)
            return None
        active = outstanding or now - self._used_at < timers.active
        self._next_ping = now + (timers.ping if active else timers.idle_ping)
        self._pinged_at = self._asked_at = now
        self._anyway = max(0, self._anyway - 1)
        self.wake_at = now + timers.ping
        last, self._round_trip = self._round_trip, None
        return SayPing(last)
