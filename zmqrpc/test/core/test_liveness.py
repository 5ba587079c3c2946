"""Whether a peer still answers: plain calls in, PINGs out; no reactor, no clock."""

from __future__ import annotations

from collections.abc import Iterator

from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.core.agenda import NEVER
from zmqrpc.core.link_effects import SayPing
from zmqrpc.core.link_timers import LinkTimers
from zmqrpc.core.liveness import Liveness

NOW = 1000.0
TIMERS = LinkTimers()
MOST_TICKS = 10_000

ASKED = SayPing(None)
OUTSTANDING, IDLE = "tick, something outstanding", "tick, nothing outstanding"
HEARD, ANSWERED, USED, ASK = "heard", "answered", "used", "ask"

CASES: list[tuple[str, list[tuple[float, str, object, bool, float]]]] = [
    # Seconds after it came up, what happens then, the PING that a tick sends, whether it is mute, when to look next.
    ("nothing yet", [(0.0, HEARD, None, False, 0.5)]),
    ("active after it came up", [(0.5, IDLE, ASKED, False, 1.0)]),
    (
        "answered in time",
        [
            (0.5, OUTSTANDING, ASKED, False, 1.0),
            (0.75, ANSWERED, None, False, 1.0),
            (1.0, OUTSTANDING, SayPing(250), False, 1.5),
        ],
    ),
    (
        "mute after a second and a half, until it is heard",
        [
            (0.5, OUTSTANDING, ASKED, False, 1.0),
            (1.0, OUTSTANDING, ASKED, False, 1.5),
            (1.5, OUTSTANDING, ASKED, False, 2.0),
            (2.0, OUTSTANDING, ASKED, True, 2.5),
            (2.25, HEARD, None, True, 2.5),
            (2.5, OUTSTANDING, ASKED, False, 3.0),
        ],
    ),
    (
        "mute until it answers",
        [
            (0.5, OUTSTANDING, ASKED, False, 1.0),
            (2.0, OUTSTANDING, ASKED, False, 2.5),
            (2.5, OUTSTANDING, ASKED, True, 3.0),
            (2.75, ANSWERED, None, False, 3.0),
            (3.0, OUTSTANDING, SayPing(2250), False, 3.5),
        ],
    ),
    (
        "who speaks is asked every five seconds",
        [
            (0.5, OUTSTANDING, ASKED, False, 1.0),
            (0.5, ANSWERED, None, False, 1.0),
            (1.0, HEARD, None, False, 1.0),
            (1.0, OUTSTANDING, None, False, 1.5),
            (1.25, HEARD, None, False, 1.5),
            (1.5, OUTSTANDING, SayPing(0), False, 2.0),
        ],
    ),
    (
        "idle",
        [
            (10.5, IDLE, ASKED, False, 11.0),
            (10.5, ANSWERED, None, False, 11.0),
            (11.0, IDLE, None, False, 15.5),
            (12.0, USED, None, False, 12.5),
            (12.5, IDLE, SayPing(0), False, 13.0),
        ],
    ),
    ("used while it is asked", [(0.5, IDLE, ASKED, False, 1.0), (0.75, USED, None, False, 1.0)]),
    ("asked at once", [(0.25, ASK, None, False, 0.25), (0.25, IDLE, ASKED, False, 0.75)]),
    ("answered without a question", [(0.25, ANSWERED, None, False, 0.5), (0.5, IDLE, ASKED, False, 1.0)]),
]


def fresh() -> Liveness:
    """Return that of a connection that came up at NOW."""
    liveness = Liveness(TIMERS)
    liveness.opened(NOW)
    return liveness


def happen(liveness: Liveness, what: str, now: float) -> SayPing | None:
    if what == HEARD:
        liveness.heard_at = now
    elif what == ANSWERED:
        liveness.answered(now, int((liveness._pinged_at or 0.0) * 1000))
    elif what == USED:
        liveness.used(now)
    elif what == ASK:
        liveness.ask(now)
    else:
        return liveness.tick(now, what == OUTSTANDING)
    return None


def ticks(liveness: Liveness, until: float) -> Iterator[float]:
    """Give each moment it wants to look next, up to some time; fail when it asks for the same for ever."""
    for _ in range(MOST_TICKS):
        if liveness.wake_at > until:
            return
        yield liveness.wake_at
    raise AssertionError(f"still so after {MOST_TICKS} ticks")


def mute() -> Liveness:
    """Return that of a connection that came up 3 s before NOW, and was never heard."""
    liveness = Liveness(TIMERS)
    liveness.opened(NOW - 3)
    for now in ticks(liveness, NOW):
        liveness.tick(now, True)
    return liveness


class TableTests(SynchronousTestCase):
    def test_cases(self) -> None:
        for name, steps in CASES:
            liveness = fresh()
            for after, what, ping, is_mute, look_at in steps:
                text = f"{name}: {what} after {after} s"
                self.assertEqual(happen(liveness, what, NOW + after), ping, text)
                self.assertEqual(liveness.mute, is_mute, text)
                self.assertEqual(liveness.wake_at, NOW + look_at, text)

    def test_before_it_comes_up(self) -> None:
        liveness = Liveness(TIMERS)
        self.assertEqual((liveness.wake_at, liveness.mute, liveness.gone), (NEVER, False, False))

    def test_gone_after_ten_seconds(self) -> None:
        liveness = fresh()
        for after, gone in ((2.0, False), (10.0, False), (10.5, True)):
            for now in ticks(liveness, NOW + after):
                liveness.tick(now, True)
            self.assertEqual((liveness.mute, liveness.gone), (True, gone), f"{after} s")
        liveness.mute = False
        self.assertFalse(liveness.gone)

    def test_a_new_connection_begins_anew(self) -> None:
        liveness = mute()
        liveness.opened(NOW)
        self.assertFalse(liveness.mute)
        self.assertEqual(liveness.tick(NOW + 0.5, True), ASKED)


# What is said or done at which second, and for how long calls have waited in vain at which second.
SILENCES: list[tuple[str, list[tuple[float, str]], list[tuple[float, float]]]] = [
    ("who is not asked yet is not silent", [(0.0, HEARD)], [(0.4, 0.0), (0.5, 0.0), (0.9, 0.0)]),
    ("from the last word on", [(0.25, HEARD)], [(0.5, 0.0), (1.0, 0.75), (1.5, 1.25), (5.0, 4.75)]),
    ("who spoke long ago: from half a second before it was asked", [(-9.0, HEARD)], [(1.0, 1.0), (5.0, 5.0)]),
    ("a word ends it", [(2.25, HEARD)], [(2.0, 2.0), (2.25, 0.0), (2.5, 0.25), (4.0, 1.75)]),
    ("an answer ends it", [(2.25, HEARD), (2.25, ANSWERED)], [(2.0, 2.0), (2.5, 0.0), (3.0, 0.75), (3.5, 1.25)]),
    ("from when something waits", [(3.2, OUTSTANDING)], [(2.0, 0.0), (3.0, 0.0), (3.5, 0.5), (5.0, 2.0)]),
]


class SilenceTests(SynchronousTestCase):
    def test_rows(self) -> None:
        for name, events, expected in SILENCES:
            liveness = fresh()
            waits = all(what is not OUTSTANDING for _, what in events)
            left = sorted(events)
            for after, silence in expected:
                while left and left[0][0] <= after:
                    moment, what = left.pop(0)
                    self.tick_until(liveness, moment, waits)
                    if what is OUTSTANDING:
                        waits = True
                    else:
                        happen(liveness, what, NOW + moment)
                self.tick_until(liveness, after, waits)
                self.assertEqual(liveness.silence(NOW + after), silence, f"{name}: after {after} s")

    def tick_until(self, liveness: Liveness, after: float, waits: bool) -> None:
        for now in ticks(liveness, NOW + after):
            liveness.tick(now, waits)

    def test_a_late_tick_judges_nobody(self) -> None:
        liveness = fresh()
        liveness.tick(NOW + 0.5, True)
        liveness.tick(NOW + 7, True)
        self.assertEqual(liveness.silence(NOW + 7), 0.0)
        liveness.tick(NOW + 7.5, True)
        self.assertEqual(liveness.silence(NOW + 7.5), 7.5)

    def test_looks_just_when_patience_ends(self) -> None:
        for patience, heard, expected in ((5.0, 0.2, 5.2), (5.0, -9.0, 5.0), (1.75, 0.3, 2.05), (0.2, 0.3, 1.0)):
            liveness = Liveness(LinkTimers(patience=patience))
            liveness.opened(NOW)
            liveness.heard_at = NOW + heard
            for now in ticks(liveness, NOW + 20):
                liveness.tick(now, True)
                if liveness.silence(now) >= patience:
                    break
            self.assertEqual(round(now - NOW, 3), expected)


class LivenessTests(SynchronousTestCase):
    """PINGs, and what their absence of answers means."""

    def pings(self, liveness: Liveness, seconds: float, outstanding: bool) -> list[float]:
        """Tick on time, answer each PING, and list when they were sent."""
        sent: list[float] = []
        for now in ticks(liveness, NOW + seconds):
            if liveness.tick(now, outstanding):
                sent.append(now - NOW)
                liveness.heard_at = now + 0.002
                liveness.answered(now + 0.002, int(now * 1000))
        return sent

    def test_every_half_second_while_active(self) -> None:
        sent = self.pings(fresh(), 8.9, outstanding=False)
        self.assertEqual(sent, [0.5 * turn for turn in range(1, 18)])

    def test_every_five_seconds_when_idle(self) -> None:
        sent = self.pings(fresh(), 39.9, outstanding=False)
        idle_ones = [round(after, 3) for after in sent if after >= TIMERS.active]
        self.assertEqual(idle_ones, [10.0, 15.0, 20.0, 25.0, 30.0, 35.0])

    def speaking(self, liveness: Liveness, begin: float, end: float) -> list[float]:
        """Hear something every 100 ms and answer each PING; list when they were sent."""
        sent: list[float] = []
        for turn in range(int(begin * 10), int(end * 10) + 1):
            now = liveness.heard_at = NOW + turn / 10
            if now >= liveness.wake_at and liveness.tick(now, True):
                sent.append(turn / 10)
                liveness.answered(now, int(now * 1000))
        return sent

    def test_who_speaks_is_asked_every_five_seconds(self) -> None:
        liveness = fresh()
        self.assertEqual(self.speaking(liveness, 0.1, 12), [0.5, 5.5, 10.5])
        self.assertFalse(liveness.mute)

    def test_who_thinks_that_we_are_late_is_asked_twice(self) -> None:
        """Now, and half a second later, however much it says meanwhile; what it refuses meanwhile asks for no more."""
        liveness = fresh()
        self.assertEqual(self.speaking(liveness, 0.1, 2), [0.5])
        liveness.ask_twice(NOW + 2)
        self.assertEqual(liveness.wake_at, NOW + 2)
        self.assertEqual(self.speaking(liveness, 2.1, 2.3), [2.1])
        liveness.ask_twice(NOW + 2.3)
        self.assertEqual(self.speaking(liveness, 2.4, 10), [2.6, 7.6])

    def test_who_thinks_that_we_are_late_while_it_is_asked(self) -> None:
        """What waits for its answer is not asked again; the next two are."""
        liveness = fresh()
        now = NOW + 0.5
        liveness.tick(now, False)
        wake_at = liveness.wake_at
        liveness.ask_twice(now + 0.1)
        self.assertEqual(liveness.wake_at, wake_at)
        liveness.answered(now + 0.2, int(now * 1000))
        self.assertEqual(self.speaking(liveness, 0.7, 9), [1.0, 1.5, 6.5])

    def test_who_speaks_is_asked_anyway(self) -> None:
        """Now and once; where an answer is waited for already it is not asked again."""
        liveness = fresh()
        self.assertEqual(self.speaking(liveness, 0.1, 2), [0.5])
        liveness.ask_anyway(NOW + 2)
        self.assertEqual(liveness.wake_at, NOW + 2)
        self.assertEqual(self.speaking(liveness, 2.1, 7), [2.1])
        now = liveness.wake_at
        liveness.tick(now, False)
        wake_at = liveness.wake_at
        liveness.ask_anyway(now + 0.1)
        self.assertEqual(liveness.wake_at, wake_at)

    def test_who_falls_silent_is_asked_half_a_second_later(self) -> None:
        liveness = fresh()
        self.speaking(liveness, 0.1, 3.3)
        sent = self.pings(liveness, 4.9, outstanding=True)
        self.assertEqual([round(after, 1) for after in sent], [3.8, 4.3, 4.8])

    def test_something_outstanding_keeps_it_active(self) -> None:
        self.assertEqual(len(self.pings(fresh(), 39.9, outstanding=True)), 79)

    def test_use_ends_idleness_at_once(self) -> None:
        liveness = fresh()
        self.pings(liveness, 21.9, outstanding=False)
        self.assertEqual(liveness.wake_at, NOW + 25)
        liveness.used(NOW + 22)
        self.assertEqual(liveness.wake_at, NOW + 22.5)
        self.assertEqual(self.pings(liveness, 23.9, outstanding=False), [22.5, 23.0, 23.5])

    def test_steady_use_does_not_hide_silence(self) -> None:
        liveness = fresh()
        now = NOW
        while now < NOW + 3:
            now += 0.1
            liveness.used(now)
            if now >= liveness.wake_at:
                liveness.tick(now, True)
        self.assertTrue(liveness.mute)

    def test_a_frame_after_the_ping_does_not_hide_the_silence_that_follows(self) -> None:
        # The frame was written before the peer read the PING; then the peer was stopped.
        liveness = fresh()
        liveness.tick(NOW + 0.5, True)
        liveness.heard_at = NOW + 0.6
        for turn in range(2, 8):
            liveness.tick(NOW + turn / 2, True)
        self.assertTrue(liveness.mute)

    def test_frames_without_pong_are_a_busy_peer(self) -> None:
        liveness = fresh()
        liveness.tick(NOW + 0.5, True)
        for turn in range(2, 12):
            liveness.heard_at = NOW + turn / 2 - 0.1
            liveness.tick(NOW + turn / 2, True)
            self.assertFalse(liveness.mute)

    def test_the_answer_to_an_earlier_ping_tells_no_round_trip(self) -> None:
        """It waited in a queue, as the one after it does: how long that is on its way is not known."""
        for newest, told in ((True, SayPing(250)), (False, SayPing(None))):
            liveness = fresh()
            self.assertEqual(liveness.tick(NOW + 0.5, True), ASKED)
            self.assertEqual(liveness.tick(NOW + 1.0, True), ASKED)
            liveness.answered(NOW + 1.48, int((NOW + 0.5) * 1000))
            self.assertEqual(liveness.tick(NOW + 1.5, True), SayPing(980))
            liveness.answered(NOW + 1.75, int((NOW + (1.5 if newest else 1.0)) * 1000))
            self.assertEqual(liveness.tick(NOW + 2.0, True), told)

    def test_any_frame_brings_it_back(self) -> None:
        liveness = mute()
        liveness.heard_at = NOW + 0.1
        liveness.tick(liveness.wake_at, True)
        self.assertFalse(liveness.mute)
        liveness = mute()
        liveness.answered(NOW + 0.1, int(NOW * 1000))
        self.assertFalse(liveness.mute)

    def test_a_late_tick_judges_nobody(self) -> None:
        # We ourselves were blocked: what the peer sent meanwhile has not been read.
        liveness = fresh()
        liveness.tick(NOW + 0.5, True)
        liveness.tick(NOW + 5, True)
        self.assertFalse(liveness.mute)
        liveness.tick(liveness.wake_at, True)
        self.assertTrue(liveness.mute)
