"""
The state of one link: one connection after the other to one instance.

Every way a link changes is a method of `LinkState`; each returns the effects the shell has to perform, in order. The
machine and its timers are those that ran the soak under kills and stops: ZeroMQ is trusted with a connection, never
with reconnecting or with a queue (design D2). Nothing but HELLO is handed to ZeroMQ before the link is up.

======================  =========================================================  ======================
state                   event                                                      next
======================  =========================================================  ======================
IDLE                    wanted                                                     CONNECTING
CONNECTING              WELCOME of the right instance, round trip short            UP
CONNECTING              WELCOME of another instance or misfit, loss, none in time  BACKOFF
CONNECTING              none in time, not kept, and heard within the last 10 s     CONNECTING (at once)
UP                      GOAWAY, record withdrawn                                   DRAINING
UP                      released                                                   LEAVING
LEAVING                 the peer has read our GOAWAY, loss, its time is up         IDLE
UP, DRAINING            loss                                                       CONNECTING (at once)
UP, DRAINING            loss a moment after it came up                             BACKOFF
UP, DRAINING            loss of the proxy that carried it                          CONNECTING (at once)
UP, DRAINING            given up: silent for too long while calls wait             as at a loss, but late
DRAINING                record came back                                           UP
DRAINING                nothing outstanding, or its time is up                     IDLE
DRAINING after GOAWAY   its time is up                                             BACKOFF
LEAVING after GOAWAY    any of these                                               BACKOFF
BACKOFF                 its time is up                                             CONNECTING
all but UP, DRAINING    record withdrawn                                           IDLE
DRAINING                record withdrawn, and loss                                 IDLE
CONNECTING              WELCOME after a loss of the proxy, record withdrawn        DRAINING
======================  =========================================================  ======================

A link is **kept** unless its strategy has released it: it is then connected only while something is to be sent over it,
or is outstanding. Of one that is not kept and has nothing outstanding, a loss leads to IDLE, and so does the end of a
BACKOFF after GOAWAY. After a connection that failed it is tried again with nothing to send, until it comes up: no call
has to find out that the peer is still dead, and it comes back by itself.

A peer that has failed, or takes long to answer HELLO, is **late**: nothing new goes there that others can take.

While it is UP, or DRAINING with something outstanding, `zmqrpc.core.liveness` asks the peer whether it is still there.
How long calls wait for one that is silent is said by `zmqrpc.core.pending`.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from zmqrpc.core.agenda import NEVER
from zmqrpc.core.evidence import Evidence
from zmqrpc.core.link_effects import (
    LAST_TOKEN,
    Connect,
    Doubt,
    Drop,
    Effect,
    Flush,
    Lose,
    Reroute,
    SayGoodbye,
    SayHello,
)
from zmqrpc.core.link_timers import LinkTimers
from zmqrpc.core.liveness import Liveness
from zmqrpc.core.own_time import OwnTime
from zmqrpc.core.trials import Trials
from zmqrpc.core.ways import Identity, Through

SILENT = "stopped, blocked or cut off"
"""What a peer is that says nothing, for error texts."""

_DOUBTED_FAILS = 2
_UNANSWERED = "stopped, blocked, cut off, or no zmqrpc"


class Phase(Enum):
    """Where a link stands; how far a call got is its `zmqrpc.core.call.Stage`."""

    IDLE = "idle"
    CONNECTING = "connecting"
    UP = "up"
    DRAINING = "draining"
    LEAVING = "leaving"
    BACKOFF = "backing off"


class LinkState:
    """
    One link.

    :param jitter: gives a number from 0.5 to 1, by which a back-off is multiplied.
    :ivar instance: the instance it leads to; None until WELCOME where the record does not say.
    :ivar learns: whether the record does not say: then it follows whoever answers at the address and serves what the
        record promises.
    :ivar kept: whether it stays connected, and connects again, with nothing to send.
    :ivar held: whether it does so for a while: nothing else shows that its instance lives.
    :ivar phase: where it stands.
    :ivar identity: routing id of the present connection, or the way through a proxy.
    :ivar late: whether it has failed before, or not answered HELLO, nor shown otherwise that it lives, for
        `LinkTimers.late` of the time that our process has had; while CONNECTING.
    :ivar unheard: whether nobody has known a way to the peer so far, who are asked again; while CONNECTING.
    :ivar trouble: why the last connection failed, for error texts; empty when none did.
    :ivar crowded: whether the peer has answered the last HELLO with that it knows as many of us as it may.
    :ivar liveness: whether the peer still answers.
    :ivar up_since: when it last came up.
    """

    __slots__ = (
        "_drain_until",
        "_due",
        "_going_away",
        "_grace",
        "_hello_until",
        "_hellos",
        "_late",
        "_lost_at",
        "_moving",
        "_proved",
        "_resume_at",
        "_timers",
        "_trials",
        "_wanted",
        "crowded",
        "held",
        "identity",
        "instance",
        "kept",
        "late",
        "learns",
        "liveness",
        "phase",
        "trouble",
        "unheard",
        "up_since",
    )

    def __init__(self, instance: bytes | None, jitter: Callable[[], float], timers: LinkTimers) -> None:
        self.instance = instance
        self.phase = Phase.IDLE
        self.identity: Identity | None = None
        self.liveness = Liveness(timers)
        self.late = self.unheard = self.crowded = False
        self.trouble = ""
        self.up_since = -NEVER
        self.kept = True
        self.held = self._proved = False
        self.learns = instance is None
        self._timers = timers
        self._trials = Trials(timers, jitter)
        self._wanted = True
        self._hellos = 0
        self._hello_until = self._drain_until = self._resume_at = 0.0
        self._due = NEVER
        self._late: OwnTime | None = None
        self._lost_at: float | None = None
        self._grace = timers.lost
        self._going_away = self._moving = False

    @property
    def fails(self) -> int:
        """How many connections in a row have come to nothing."""
        return self._trials.fails

    @property
    def mute(self) -> bool:
        """Whether the peer has not answered for `LinkTimers.mute`."""
        return self.liveness.mute

    @property
    def available(self) -> bool:
        """Whether calls may be given to this link: recorded, not backing off, stopping, mute or late."""
        if self.phase is Phase.LEAVING:
            # What comes meanwhile waits, for as long as a round trip, and is sent over the next connection.
            return self._wanted and not self._going_away
        return self._wanted and not self._aside and self.phase in (Phase.IDLE, Phase.CONNECTING, Phase.UP)

    @property
    def last_resort(self) -> bool:
        """Whether calls that nobody else can take may wait for it."""
        return self._wanted and self._aside

    @property
    def _aside(self) -> bool:
        return self.liveness.mute or (self.phase is Phase.CONNECTING and (self.late or self.unheard))

    @property
    def hopeless(self) -> bool:
        """Whether what only the peer can take need not wait: nobody knows a way to it, as when it was tried before."""
        return self.phase is Phase.CONNECTING and self.unheard and self.fails > 0

    @property
    def promising(self) -> bool:
        """Whether what is given to this link should get there: it is up, or is connected only when it is needed."""
        return self.phase is Phase.UP or (not self.kept and self.available)

    @property
    def recorded(self) -> bool:
        """Whether a record leads here."""
        return self._wanted

    @property
    def stopping(self) -> bool:
        """Whether the peer has said that it stops, and is connected yet."""
        return self._going_away and self.phase is Phase.DRAINING

    @property
    def standing(self) -> str:
        """Where it stands in one word: that its peer stops or is mute, else its phase."""
        return "stopping" if self.stopping else "mute" if self.mute else self.phase.value

    @property
    def evidence(self) -> Evidence:
        """What the link shows of its instance now."""
        if self.phase is Phase.UP:
            liveness = self.liveness
            return Evidence.NONE if liveness.gone else Evidence.UNSURE if liveness.mute else Evidence.ALIVE
        if self._lost_at is not None:
            return Evidence.UNSURE
        proved = self._proved and not self.kept and self._wanted and self.phase is not Phase.DRAINING
        return Evidence.UNASKED if proved else Evidence.NONE

    @property
    def wake_at(self) -> float:
        """When `tick` has to be called next; infinity for never."""
        return self.liveness.wake_at if self.phase is Phase.UP else self._due

    @property
    def _stays(self) -> bool:
        return self.kept or self.held

    # What its node wants

    def found(self, now: float) -> None:
        """A record leads here, perhaps again."""
        self._wanted = True
        if self.phase is Phase.DRAINING and not self._going_away:
            self.phase = Phase.UP
            self.trouble = ""
            self.liveness.ask(now)

    def wanted(self, now: float) -> list[Effect]:
        """A record leads here and something is to be sent (or static connections are configured)."""
        self.found(now)
        return self._connect(now) if self.phase is Phase.IDLE else []

    def look(self, now: float) -> list[Effect]:
        """Somebody else doubts the peer: find out now whether it answers, and not when that would be due."""
        if self.phase is Phase.UP:
            self.liveness.ask(now)
        elif self.phase is Phase.IDLE and self._wanted:
            return self._connect(now)
        return []

    def refused_early(self, now: float) -> list[Effect]:
        """The peer has refused something as too late whose time is not up: let it see how fast we reach it."""
        if self.phase is Phase.UP:
            self.liveness.ask_twice(now)
        return []

    def released(self, now: float) -> list[Effect]:
        """Keep it no longer than it is needed; to be called when nothing is outstanding, and nothing waits."""
        self.kept = False
        if self.phase is not Phase.UP:
            return []
        self.phase = Phase.LEAVING
        self.liveness.mute = False
        self._due = now + self._timers.leave
        return [SayGoodbye()]

    def withdrawn(self, now: float, reason: str) -> list[Effect]:
        """No record leads here any more: what was handed over may still be answered, nothing new is sent."""
        self._wanted = self.held = False
        effects: list[Effect] = [Reroute(reason)]
        if self.phase is Phase.UP:
            self.trouble = reason
            self._drain(now)
        elif self.phase not in (Phase.DRAINING, Phase.LEAVING):
            if self._moving and self._lost_at is not None:
                # What was handed over is asked for yet: the loss was not that of the peer.
                return effects
            if self._lost_at is not None:
                effects.append(self._lose(reason))
            effects += self._rest()
        return effects

    # What the connection does

    def connected(self, now: float, identity: Identity) -> list[Effect]:
        """ZeroMQ was told to connect under this routing id, or a proxy was found that may know the peer."""
        self.identity = identity
        self._hellos = 1
        if self._hello_until == NEVER:
            # What it was postponed for is over.
            self.trouble = ""
            self._hello_until = now + self._timers.hello
            if self._lost_at is not None:
                self._lost_at, self._grace = now, self._timers.lost
        if not self.late and self._late is None:
            self._late = OwnTime(self._timers.late, self._timers.late_anyway, now)
        self._rearm()
        return [SayHello()]

    def progressed(self, now: float) -> None:
        """The connection comes about: the peer's system has taken it, or the peer speaks ZeroMQ's protocol."""
        if self.phase is Phase.CONNECTING and self._late is not None:
            self._late.begin_again(self._timers.late, now)

    def postponed(self, reason: str) -> None:
        """
        There is no proxy to connect through: wait for `connected`, however long that takes.

        What was handed over is not lost meanwhile. That there is no proxy says nothing of the peer, which remembers it.
        """
        self.trouble = reason
        self._hello_until = NEVER
        self._late = None
        self._rearm()

    def moved(self, now: float, reason: str) -> list[Effect]:
        """The proxy that carried the link is of no use any more: ask for the peer another way, at once."""
        if self.phase in (Phase.UP, Phase.DRAINING):
            self._lost_at, self._grace = now, self._timers.lost
        elif self.phase is not Phase.CONNECTING:
            return []
        self.trouble = reason
        self._moving = True
        return [Drop(self.identity), *self._connect(now)]

    def welcome(self, now: float, instance: bytes, round_trip: float, misfit: str = "") -> list[Effect]:
        """
        WELCOME came; on a link that is open already it changes nothing.

        :param instance: who sent it.
        :param round_trip: seconds since the HELLO it echoes.
        :param misfit: what is wrong with it, as `zmqrpc.core.welcome` says.
        """
        if self.phase is not Phase.CONNECTING:
            return []
        known = self.instance
        usurped = f" in place of {known.hex()}" if known is not None and instance != known else ""
        trouble = f"instance {instance.hex()} answered{usurped}"
        if misfit or (usurped and not self.learns):
            self._trials.met_another()
            return self._fail(now, f"{trouble}: {misfit}" if misfit else trouble, doubt=True)
        effects: list[Effect] = []
        if usurped and self._lost_at is not None:
            effects.append(self._lose(trouble))
        self.instance = instance
        if round_trip >= self._timers.short_round_trip and self._hellos < self._timers.hellos:
            # A slow HELLO would make a bad base for the ages of messages (core.age); the server keeps the fastest.
            self._hellos += 1
            self._hello_until = now + self._timers.hello
            self._rearm()
            return [*effects, SayHello()]
        self.phase = Phase.UP
        self.late = False
        self.trouble = ""
        self._proved = True
        self._trials.succeeded()
        self._lost_at = None
        self._moving = False
        self.up_since = now
        self.liveness.opened(now)
        if not self._wanted:
            self._drain(now)
        return [*effects, Flush()]

    def turned_away(self) -> None:
        """HELLO was refused, as the peer knows as many of us as it may: `lost` follows. It is there, so not doubted."""
        self.crowded = True

    def lost(self, now: float, reason: str, outstanding: bool = True) -> list[Effect]:
        """
        The connection has ended, or could not be made, or is of no use (another wire version, ourselves).

        :param outstanding: as of `tick`.
        """
        if self.phase is Phase.CONNECTING:
            # Who was there a moment ago and refuses is gone: that needs no second try.
            return self._fail(now, reason, doubt=self._lost_at is not None and not self._moving)
        if self.phase is Phase.LEAVING:
            return self._left(now)
        if self.phase not in (Phase.UP, Phase.DRAINING):
            return []
        drop = Drop(self.identity)
        self.trouble = reason
        self._proved = False
        if not self._stays and not outstanding and self._wanted:
            if self._going_away or now < self.up_since + self._timers.steady:
                self._back_off(now)
                return [drop, Reroute(reason)]
            return [drop, Reroute(reason), *self._rest()]
        self._lost_at, self._grace = now, self._timers.lost
        if not self._wanted:
            return [drop, Reroute(reason), self._lose(reason), *self._rest()]
        if now < self.up_since + self._timers.steady:
            # A peer that welcomes and leaves is not to be asked as fast as it answers.
            self._back_off(now)
            return [drop, Reroute(reason)]
        # At once and once: the answer tells whether the same instance is still there (design D17).
        return [drop, *self._connect(now)]

    def given_up(self, now: float) -> list[Effect]:
        """The peer is silent, and what waits for it waits no longer: ask for it over another connection, at once."""
        patience = self._timers.patience
        effects = self.lost(now, f"silent for {patience:g} s (call_monitor_timeout): {SILENT}")
        if self._lost_at is not None:
            self._grace = self._timers.resume
            self.late = self.phase is Phase.CONNECTING
            self._rearm()
        return effects

    def going_away(self, now: float, text: str) -> list[Effect]:
        """GOAWAY came: the peer stops."""
        self._proved = False
        if self.phase is Phase.LEAVING:
            self.trouble = text
            self._going_away = True
            self._due = now
            return [Reroute(text)]
        if self.phase not in (Phase.UP, Phase.DRAINING):
            return []
        self.trouble = text
        self._going_away = True
        if self.phase is Phase.UP:
            self._drain(now)
        return [Reroute(text)]

    def ponged(self, now: float, token: int = LAST_TOKEN + 1) -> bool:
        """
        PONG came; tells whether it shows that our GOAWAY has arrived, with all that was sent before it.

        :param token: that of the PING it answers.
        """
        if self.phase is Phase.LEAVING and token == LAST_TOKEN:
            self._due = now
            return True
        self.liveness.answered(now, token)
        return False

    # Time

    def tick(self, now: float, outstanding: bool) -> list[Effect]:
        """
        Do what time asks for; to be called at `wake_at` or later.

        :param outstanding: whether anything was handed over and is not answered.
        """
        if now < self.wake_at and (self.phase is not Phase.DRAINING or outstanding):
            return []
        if self.phase is Phase.UP:
            was_mute = self.liveness.mute
            ping = self.liveness.tick(now, outstanding)
            effects: list[Effect] = [] if ping is None else [ping]
            if self.liveness.mute and not was_mute:
                effects.append(Doubt(f"silent for {self._timers.mute:g} s"))
            return effects
        if self.phase is Phase.DRAINING:
            return self._drained(now, outstanding)
        if self.phase is Phase.LEAVING:
            return self._left(now)
        effects = []
        waits = self._hello_until == NEVER
        if self._lost_at is not None and not waits and now >= self._lost_at + self._grace:
            lost = self._lose(f"no link for {self._grace:g} s after: {self.trouble}")
            effects += [lost] if self._moving else [lost, *self._trials.doubt(lost.reason)]
        if self.phase is Phase.CONNECTING and self._late is not None and self._late.look(now):
            self.late = True
            self._late = None
        if self.phase is Phase.CONNECTING and now >= self._hello_until:
            if self._answered_lately(now):
                effects += [Drop(self.identity), *self._connect(now)]
                self.late = True
            else:
                effects += self._fail(now, f"no WELCOME within {self._timers.hello:g} s: {_UNANSWERED}")
        elif self.phase is Phase.BACKOFF and now >= self._resume_at:
            if not self._stays and not outstanding and not self.fails:
                self._lost_at = None
                return [*effects, *self._rest()]
            effects += self._connect(now)
        self._rearm()
        return effects

    # Transitions

    def _answered_lately(self, now: float) -> bool:
        """
        Tell whether to connect once more before anything is given up.

        A new connection has to be lucky where packets are lost: TCP repeats the first ones after a second and more. One
        that is kept is made once; one that is made for each message would fail many of them.
        """
        if self._stays or not self._wanted or not self._proved or self._lost_at is not None:
            return False
        return now < max(self.up_since, self.liveness.heard_at) + self._timers.silent

    def _connect(self, now: float) -> list[Effect]:
        self.phase = Phase.CONNECTING
        self.identity = None
        self.liveness.mute = self.unheard = self.crowded = False
        self.late = self.fails > 0
        self._late = None
        self._going_away = False
        self._hello_until = now + self._timers.hello
        self._rearm()
        return [Connect(self._trials.begin())]

    def _fail(self, now: float, reason: str, doubt: bool = False) -> list[Effect]:
        """CONNECTING came to nothing."""
        self._proved = False
        effects: list[Effect] = [Drop(self.identity)]
        self.trouble = reason
        if self._lost_at is not None:
            effects.append(self._lose(reason))
        effects.append(Reroute(reason))
        self._trials.failed(now)
        if (doubt or self._trials.fails >= _DOUBTED_FAILS) and not self.crowded:
            effects += self._trials.doubt(reason)
        self._moving = False
        if not self._wanted:
            self.phase = Phase.IDLE
            return effects + self._rest()
        self._back_off(now)
        return effects

    def _back_off(self, now: float) -> None:
        self.phase = Phase.BACKOFF
        self.late = False
        self.identity = None
        self._resume_at = now + self._trials.pause(now)
        self._rearm()

    def _drain(self, now: float) -> None:
        self.phase = Phase.DRAINING
        self.liveness.mute = False
        self._drain_until = now + self._timers.drain
        self._due = now

    def _drained(self, now: float, outstanding: bool) -> list[Effect]:
        if outstanding:
            # However long the peer takes: each call has its own deadline, and a loss is noticed. That it has ended is
            # told by its proxy, when something is to be written there.
            ping = self.liveness.tick(now, outstanding)
            self.liveness.mute = False
            self._due = self.liveness.wake_at
            return [] if ping is None else [ping]
        closes = self._wanted or not isinstance(self.identity, Through)
        if self._going_away and closes and now < self._drain_until:
            # After GOAWAY the peer closes: a disconnect by us could swallow our answer to it.
            self._due = self._drain_until
            return []
        effects: list[Effect] = [Drop(self.identity)]
        if self._going_away and self._wanted:
            self._back_off(now)
        else:
            effects += self._rest()
        return effects

    def _left(self, now: float) -> list[Effect]:
        """LEAVING has come to its end."""
        drop: list[Effect] = [Drop(self.identity)]
        if self._going_away and self._wanted:
            self._back_off(now)
            return drop
        return drop + self._rest()

    def _rest(self) -> list[Effect]:
        drop: list[Effect] = [Drop(self.identity)] if self.phase is Phase.CONNECTING else []
        self.phase = Phase.IDLE
        self.identity = None
        self.liveness.mute = self.late = False
        self._due = NEVER
        return drop

    def _lose(self, reason: str) -> Lose:
        self._lost_at = None
        return Lose(reason)

    def _rearm(self) -> None:
        due = self._hello_until if self.phase is Phase.CONNECTING else self._resume_at
        if self._lost_at is not None and due < NEVER:
            due = min(due, self._lost_at + self._grace)
        if self.phase is Phase.CONNECTING and self._late is not None:
            due = min(due, self._late.look_at)
        self._due = due
