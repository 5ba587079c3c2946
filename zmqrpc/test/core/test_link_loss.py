"""How a link is lost: silence and what it means, giving up, and how long the next try is put off."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.core.evidence import Evidence
from zmqrpc.core.link import LinkState
from zmqrpc.core.link_effects import (
    Connect,
    Doubt,
    Drop,
    Flush,
    Lose,
    Reroute,
    SayPing,
)
from zmqrpc.core.link_timers import through_proxies
from zmqrpc.test.core.link_states import (
    CONNECTING,
    GONE_SILENT,
    NOW,
    OTHER_WAY,
    SERVER,
    TIMERS,
    WAY,
    carried,
    connecting,
    go_away,
    grow_late,
    idle,
    lose,
    mute,
    tick_until,
    up,
    withdraw,
)


class GivenUpTests(SynchronousTestCase):
    """Those who are silent behind a proxy."""

    def test_who_is_given_up_behind_a_proxy_has_a_second_as_well(self):
        """Where a loss takes longer to judge, since the proxy that is asked may be silent."""
        link = LinkState(SERVER, lambda: 1.0, through_proxies(TIMERS))
        link.wanted(NOW - 100)
        link.connected(NOW - 100, WAY)
        link.welcome(NOW - 100, SERVER, 0.001)
        link.given_up(NOW)
        link.connected(NOW, OTHER_WAY)
        self.assertEqual(link.tick(NOW + TIMERS.resume - 0.001, True), [])
        self.assertEqual(link.tick(link.wake_at, True), [Lose(GONE_SILENT), Doubt(GONE_SILENT)])
        # The next loss is judged as any other.
        link.welcome(NOW + 2, SERVER, 0.001)
        link.lost(NOW + 100, "reset")
        link.connected(NOW + 100, WAY)
        self.assertEqual(link.tick(NOW + 102, True), [])
        self.assertEqual(link.tick(NOW + 102.5, True)[0], Lose("no link for 2.5 s after: reset"))

    def test_who_is_given_up_while_there_is_no_proxy_is_not_lost(self):
        link = carried()
        link.given_up(NOW)
        link.postponed("no proxy")
        self.assertEqual(link.tick(NOW + 1e6, True), [])
        later = NOW + 1e6
        link.connected(later, OTHER_WAY)
        self.assertEqual(link.welcome(later + 0.001, SERVER, 0.001), [Flush()])


class CrowdedTests(SynchronousTestCase):
    """A peer that knows as many clients as it may."""

    def test_it_is_asked_again_and_not_doubted(self):
        link = connecting()
        for _ in range(5):
            link.turned_away()
            self.assertEqual(link.lost(link.wake_at, "full"), [Drop(b"1"), Reroute("full")])
            self.assertTrue(link.crowded)
            (connect,) = link.tick(link.wake_at, False)
            self.assertIsInstance(connect, Connect)
            self.assertFalse(link.crowded)
            link.connected(link.wake_at, b"1")
        # Who is not there at all when it is tried next is doubted, as ever.
        self.assertIn(Doubt("refused"), link.lost(NOW + 100, "refused"))

    def test_who_was_lost_is_not_doubted_either(self):
        """It has forgotten us, and what it had is lost."""
        link = up()
        link.lost(NOW, "reset")
        link.connected(NOW, b"2")
        link.turned_away()
        self.assertEqual(link.lost(NOW, "full"), [Drop(b"2"), Lose("full"), Reroute("full")])


class BackOffTests(SynchronousTestCase):
    def waits(self, jitter: float, failures: int) -> list[float]:
        link = LinkState(SERVER, lambda: jitter, TIMERS)
        link.wanted(NOW)
        now, waits = NOW, []
        for _ in range(failures):
            link.lost(now, "refused")
            waits.append(link.wake_at - now)
            now = link.wake_at
            link.tick(now, False)
        return waits

    def test_grows_to_its_longest(self):
        waits = self.waits(1.0, 60)
        for wait, expected in zip(waits, [0.2, 0.4, *[0.7] * 9, 6.9 / 9, 6.9 * 10 / 81], strict=False):
            self.assertAlmostEqual(wait, expected)
        self.assertEqual((sorted(waits), waits[-1]), (waits, TIMERS.longest_backoff))

    def test_what_was_away_for_seconds_is_found_soon(self):
        """A storm of resets, say, that takes six seconds: the next try is within one, and there were twenty at most."""
        waits = self.waits(1.0, 60)
        tries = next(number for number in range(60) if sum(waits[:number]) > 6)
        self.assertLess(tries, 20)
        self.assertLess(waits[tries - 1], 0.75)

    def test_what_is_dead_is_not_hammered(self):
        """In the first hour there are no more tries than if each were ten seconds after the one before, but for 30."""
        waits = self.waits(1.0, 1200)
        self.assertLess(next(number for number in range(1200) if sum(waits[:number]) > 3600), 390)

    def test_jitter_halves_it_at_most(self):
        for wait, longest in zip(self.waits(0.5, 8), self.waits(1.0, 8), strict=True):
            self.assertAlmostEqual(wait, longest / 2)

    def test_never_overflows(self):
        self.assertAlmostEqual(self.waits(1.0, 1200)[-1], TIMERS.longest_backoff)

    def test_starts_anew_after_the_link_was_up(self):
        link = up()
        link.lost(NOW, "reset")
        link.lost(NOW, "refused")
        self.assertAlmostEqual(link.wake_at - NOW, 0.2)

    def test_a_peer_that_welcomes_and_leaves_is_not_hammered(self):
        link = idle()
        connects, now = len(link.wanted(NOW)), NOW
        while now < NOW + 1 and connects < 1000:
            if link.phase is CONNECTING:
                link.connected(now, b"x")
                link.welcome(now, SERVER, 0.001)
                effects = link.lost(now, "closed")
            else:
                now = max(now, link.wake_at)
                effects = link.tick(now, False)
            connects += sum(type(effect) is Connect for effect in effects)
        self.assertLess(connects, 25)


class LateTests(SynchronousTestCase):
    """Who takes long to answer HELLO gets nothing that others can take."""

    def test_late(self):
        link = connecting()
        self.assertTrue(link.available)
        self.assertAlmostEqual(grow_late(link), NOW + TIMERS.late)
        self.assertFalse(link.available)
        self.assertTrue(link.last_resort)

    def test_in_time(self):
        link = connecting()
        link.tick(link.wake_at, False)
        link.welcome(NOW + TIMERS.late - 0.001, SERVER, 0.001)
        self.assertFalse(link.late)

    def test_its_connection_comes_about(self):
        """Each step shows that it lives, and is followed by as much time again, but for what is too long anyway."""
        link = connecting()
        for number in (1, 2, 3):
            link.progressed(NOW + number * (TIMERS.late - 0.01))
        self.assertAlmostEqual(grow_late(link), NOW + 3 * (TIMERS.late - 0.01) + TIMERS.late)
        link = connecting()
        for number in range(1, 13):
            link.progressed(NOW + number * (TIMERS.late - 0.01))
        self.assertAlmostEqual(grow_late(link), NOW + TIMERS.late_anyway)

    def test_its_connection_comes_about_too_late(self):
        """It is late until it has answered."""
        link = connecting()
        grow_late(link)
        link.progressed(link.wake_at)
        self.assertTrue(link.late)

    def test_our_process_stands(self):
        """What is not read meanwhile may be its WELCOME: it has as much time as before."""
        link = connecting()
        stood = 10 * TIMERS.late - 0.1
        link.tick(NOW + stood, False)
        self.assertAlmostEqual(grow_late(link), NOW + stood + TIMERS.late)

    def test_our_process_has_no_time_at_all(self):
        """It is late some time."""
        link = connecting()
        for number in range(1, 10):
            link.tick(NOW + number * TIMERS.late, False)
            self.assertFalse(link.late)
        link.tick(NOW + TIMERS.late_anyway, False)
        self.assertTrue(link.late)


class LivenessTests(SynchronousTestCase):
    """PINGs on a link that is up, and what their absence of answers means."""

    def fresh(self) -> LinkState:
        link = connecting()
        link.welcome(NOW, SERVER, 0.001)
        return link

    def test_use_elsewhere_than_up_only_counts(self):
        link = connecting()
        link.liveness.used(NOW)
        self.assertAlmostEqual(grow_late(link), NOW + TIMERS.late)
        self.assertEqual(link.wake_at, NOW + TIMERS.hello)

    def test_a_ping_tells_the_round_trip_of_the_one_before(self):
        link = self.fresh()
        self.assertEqual(link.tick(NOW + 0.5, False), [SayPing(None)])
        link.ponged(NOW + 0.75, int((NOW + 0.5) * 1000))
        self.assertEqual(link.tick(NOW + 1, False), [SayPing(250)])
        # Unanswered, it is repeated: it or its answer may be lost.
        self.assertEqual(link.tick(NOW + 1.5, False), [SayPing(None)])
        link.ponged(NOW + 1.75, int((NOW + 1) * 1000))
        self.assertEqual(link.tick(NOW + 2, False), [SayPing(750)])

    def test_long_silence_is_no_evidence(self):
        link = self.fresh()
        link.tick(NOW + 0.5, True)
        for after, evidence in (
            (1.5, Evidence.ALIVE),
            (2.0, Evidence.UNSURE),
            (10.0, Evidence.UNSURE),
            (10.5, Evidence.NONE),
        ):
            tick_until(link, NOW + after)
            self.assertEqual(link.evidence, evidence, f"{after} s")
        link.liveness.mute = False
        self.assertEqual(link.evidence, Evidence.ALIVE)

    def test_only_a_link_that_is_up_is_mute(self):
        for change in (withdraw, go_away, lose):
            link = mute()
            self.assertTrue(link.mute)
            change(link)
            self.assertFalse(link.mute, change.__name__)
