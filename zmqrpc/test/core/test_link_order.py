"""Whatever happens to a link, in whatever order: what must hold all the same."""

from __future__ import annotations

from itertools import count

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.core.agenda import NEVER
from zmqrpc.core.evidence import Evidence
from zmqrpc.core.link import LinkState
from zmqrpc.core.link_effects import (
    LAST_TOKEN,
    Connect,
    Drop,
    Effect,
    Flush,
    Lose,
    SayGoodbye,
    SayHello,
    SayPing,
)
from zmqrpc.test.core.link_states import (
    CONNECTING,
    DRAINING,
    IDLE,
    LEAVING,
    NOW,
    OTHER,
    SERVER,
    TIMERS,
    UP,
    going_on,
)


class Shell:
    """Performs the effects of one link as the real shell does, on a network that does what a test tells it."""

    def __init__(self, jitter: float) -> None:
        self.now = NOW
        self.link = LinkState(SERVER, lambda: jitter, TIMERS)
        self.identities = count(1)
        self.used_identities: set[bytes] = set()
        self.connection = False
        self.waits_for_identity = False
        self.outstanding = False
        self.lost_at: float | None = None

    def perform(self, effects: list[Effect]) -> None:
        link = self.link
        for effect in effects:
            match effect:
                case Connect(attempt):
                    assert not self.connection, "Connect twice without a Drop between"
                    assert attempt == next(self.identities), "an attempt was used twice"
                    self.connection = self.waits_for_identity = True
                case Drop(identity):
                    assert self.connection, "Drop without a connection"
                    assert (identity is None) is self.waits_for_identity
                    self.connection = self.waits_for_identity = False
                case SayHello():
                    assert link.phase is CONNECTING
                case Flush():
                    assert link.phase is UP
                    self.lost_at = None
                case SayPing():
                    assert link.phase is UP or (link.phase is DRAINING and self.outstanding)
                case SayGoodbye():
                    assert link.phase is LEAVING
                case Lose():
                    self.outstanding = False
                    self.lost_at = None
        self.check()

    def check(self) -> None:
        link = self.link
        assert self.connection is (link.phase in (CONNECTING, UP, DRAINING, LEAVING))
        assert (link.identity is not None) is (self.connection and not self.waits_for_identity)
        assert (link.wake_at == NEVER) is (link.phase is IDLE), "a state without its timer, or idle with one"
        assert not link.mute or link.phase is UP
        assert link.evidence is Evidence.NONE or link.recorded
        if self.outstanding and link.phase not in (UP, DRAINING):
            assert self.lost_at is not None, "what was handed over is forgotten"

    def connected(self) -> None:
        if self.waits_for_identity:
            self.waits_for_identity = False
            identity = b"id %d" % len(self.used_identities)
            assert identity not in self.used_identities
            self.used_identities.add(identity)
            self.perform(self.link.connected(self.now, identity))

    def lost(self) -> None:
        if self.connection:
            if self.outstanding and self.link.phase in (UP, DRAINING):
                self.lost_at = self.now
            self.perform(self.link.lost(self.now, "reset", self.outstanding))

    def give_up(self) -> None:
        """As the shell does, when calls wait for a peer that is silent."""
        if self.outstanding and self.link.phase in (UP, DRAINING):
            self.lost_at = self.now
            self.perform(self.link.given_up(self.now))
            assert not self.link.available

    def open(self) -> None:
        self.wanted()
        self.connected()
        self.welcome(SERVER, 0.001)

    def welcome(self, instance: bytes, round_trip: float, misfit: str = "") -> None:
        if self.connection and not self.waits_for_identity:
            self.link.liveness.heard_at = self.now
            self.perform(self.link.welcome(self.now, instance, round_trip, misfit))

    def go_away(self) -> None:
        if self.connection and not self.waits_for_identity:
            self.perform(self.link.going_away(self.now, "stopping"))

    def hand_over(self) -> None:
        if self.link.phase is UP:
            self.outstanding = True
            self.link.liveness.used(self.now)
            self.check()

    def answer(self) -> None:
        if self.link.phase in (UP, DRAINING):
            self.outstanding = False
            self.link.liveness.heard_at = self.now
            self.link.liveness.mute = False

    def pong(self) -> None:
        if self.connection and not self.waits_for_identity:
            self.link.liveness.heard_at = self.now
            self.link.ponged(self.now, 1)

    def last_pong(self) -> None:
        if self.connection and not self.waits_for_identity:
            self.link.liveness.heard_at = self.now
            self.link.ponged(self.now, LAST_TOKEN)

    def release(self) -> None:
        if self.outstanding:
            self.link.kept = False
        else:
            self.perform(self.link.released(self.now))

    def withdrawn(self) -> None:
        self.perform(self.link.withdrawn(self.now, "gone"))

    def wanted(self) -> None:
        self.perform(self.link.wanted(self.now))

    def tick(self) -> None:
        """Tick until nothing more is due now; that must come to an end."""
        for _ in range(4):
            self.perform(self.link.tick(self.now, self.outstanding))
            if self.link.wake_at > self.now:
                break
        else:
            raise AssertionError(f"{self.link.phase} wants to be woken again and again at {self.link.wake_at}")
        lost_at = self.lost_at
        assert lost_at is None or self.now < lost_at + TIMERS.lost, "the link is lost, and so are its calls"

    def late(self, seconds: float) -> None:
        """Let time pass unseen: our own reactor is blocked."""
        self.now += seconds
        self.tick()

    def pass_time(self, seconds: float) -> None:
        end = self.now + seconds
        for _ in going_on(lambda: self.link.wake_at <= end):
            self.now = max(self.now, self.link.wake_at)
            self.tick()
        self.now = end

    def recover(self) -> None:
        """Let the peer be well from now on; the link must come up by its own timers."""
        self.wanted()
        give_up = self.now + TIMERS.drain + TIMERS.longest_backoff + TIMERS.hello
        for _ in going_on(lambda: self.link.phase is not UP):
            assert self.now < give_up, f"still {self.link.phase}"
            self.connected()
            if self.link.phase is CONNECTING:
                self.welcome(SERVER, 0.001)
            elif self.link.phase is IDLE:
                self.wanted()
            else:
                self.now = max(self.now, self.link.wake_at)
                self.tick()


EVENTS = st.one_of(
    st.sampled_from(
        (
            *("connected", "lost", "go_away", "hand_over", "answer", "pong", "withdrawn", "wanted"),
            *("release", "last_pong", "give_up", "open", "open"),
        )
    ).map(lambda name: (name,)),
    st.tuples(
        st.just("welcome"),
        st.sampled_from((SERVER, SERVER, SERVER, OTHER)),
        st.sampled_from((0.001, 0.5)),
        st.sampled_from(("", "", "", "it is a 'client'")),
    ),
    st.tuples(st.sampled_from(("pass_time", "late")), st.sampled_from((0.0, 0.05, 0.3, 1.0, 1.7, 6.0, 40.0))),
)


class AnyOrderTests(SynchronousTestCase):
    """Whatever happens in whatever order: `Shell` asserts what must hold after each event."""

    @settings(derandomize=True, max_examples=400)
    @given(st.floats(0.5, 1), st.lists(EVENTS, max_size=60))
    def test_no_order_of_events_breaks_it(self, jitter, events):
        shell = Shell(jitter)
        for name, *arguments in events:
            getattr(shell, name)(*arguments)
        shell.recover()
