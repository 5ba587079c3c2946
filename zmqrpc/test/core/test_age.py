"""The age of what arrives, between clocks that share nothing."""

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.core.age import (
    DRIFT_EVERY,
    LATE_MILLISECONDS,
    REBASE_AFTER,
    SHORT_ROUND_TRIP,
    ClockOffset,
    DriftingOffset,
    is_read_late,
)

TIMES = st.integers(0, 2**63)
STAMPS = st.integers(0, 2**64 - 1)


class Age(SynchronousTestCase):
    def test_beyond_the_fastest(self):
        base = ClockOffset(1000, 500_000)
        for arrival, sent, age in (
            (1000, 500_000, 0),
            (1010, 500_010, 0),
            (1025, 500_020, 5),
            (6020, 500_020, 5000),
            # Faster than HELLO: from now on the rest is measured by it.
            (1030, 500_033, 0),
            (1040, 500_040, 3),
        ):
            self.assertEqual(base.age(arrival, sent), age, (arrival, sent))

    @given(TIMES, TIMES, st.lists(st.integers(0, 2**40), min_size=1, max_size=20))
    @settings(derandomize=True)
    def test_is_what_exceeds_the_smallest_so_far(self, arrival, sent, delays):
        """Whatever the delays, where none is smaller than all before it by more than is believed."""
        smallest = delays[0]
        base = ClockOffset(arrival + smallest, sent)
        for delay in delays:
            believed = max(delay, smallest - LATE_MILLISECONDS)
            smallest = min(believed, smallest)
            self.assertEqual(base.age(arrival + believed, sent), believed - smallest)

    def test_too_young_to_be_believed(self):
        for younger, later in ((LATE_MILLISECONDS, LATE_MILLISECONDS), (LATE_MILLISECONDS + 1, 0), (2**63, 0)):
            base = ClockOffset(1000, 1000)
            self.assertEqual(base.age(1000, 1000 + younger), 0)
            self.assertEqual(base.age(1000, 1000), later, younger)

    @given(st.lists(st.tuples(st.integers(0, 100), st.integers(0, 50)), min_size=1, max_size=20), TIMES, TIMES)
    @settings(derandomize=True)
    def test_offset_of_the_clocks_does_not_matter(self, journeys, ours, theirs):
        def ages(offset):
            base = ClockOffset(ours + 7, offset)
            return [base.age(ours + when + delay, offset + when) for when, delay in journeys]

        self.assertEqual(ages(theirs), ages(0))


class Opened(SynchronousTestCase):
    """What follows a HELLO cannot be older than the WELCOME that it follows, whatever its clock shows."""

    def setUp(self):
        self.base = ClockOffset(0, 0)

    def test_a_clock_that_stood(self):
        """For three seconds; a short connection has no time for two PINGs."""
        self.assertEqual(self.base.age(10_000, 7_000), 3000)
        self.base.hello(10_500, 7_500, fresh=True)
        self.assertEqual(self.base.age(10_510, 7_502), 10)
        self.assertEqual(self.base.age(10_600, 7_600), 2)

    def test_what_waited(self):
        """A queue behind WELCOME counts as before."""
        self.base.hello(1000, 1000, fresh=True)
        self.assertEqual(self.base.age(7000, 2000), 5000)
        self.assertEqual(self.base.age(7001, 2001), 5000)

    def test_hellos_that_waited(self):
        """One is no WELCOME to the next: both may have waited for equally long."""
        self.base.hello(6000, 1000, fresh=True)
        self.base.hello(6001, 2000, fresh=True)
        self.assertEqual(self.base.age(7100, 2100), 1099)

    def test_a_stamp_from_before(self):
        """What says that it was written before HELLO was written by no clock that has stood."""
        self.base.hello(6000, 6000, fresh=True)
        self.assertEqual(self.base.age(6010, 1000), 5010)
        self.assertEqual(self.base.age(6010, 5999), 11)

    def test_by_a_way_that_is_not_its_own(self):
        """There may still come what was sent before."""
        self.base.hello(6000, 6000, fresh=True)
        self.base.hello(6100, 6100, fresh=False)
        self.assertEqual(self.base.age(6101, 1000), 5101)


class Rebase(SynchronousTestCase):
    """A sender whose clock runs 10 ms a minute behind ours: without a new base its batches would seem 10 ms old."""

    later = REBASE_AFTER + 10

    def setUp(self):
        self.base = ClockOffset(0, 0)

    def age(self):
        return self.base.age(self.later + 100, REBASE_AFTER + 100)

    def test_without_a_ping(self):
        self.assertEqual(self.age(), 10)

    def test_short_round_trip(self):
        self.base.ping(self.later, REBASE_AFTER, 1)
        self.assertEqual(self.age(), 10)  # the round trip of that PING is not known yet
        self.base.ping(self.later + 50, REBASE_AFTER + 50, SHORT_ROUND_TRIP - 1)
        self.assertEqual(self.age(), 0)

    def test_refused(self):
        for name, last_round_trip, when in (
            ("long", SHORT_ROUND_TRIP, self.later),
            ("unknown", None, self.later),
            ("early", 1, REBASE_AFTER - 1),
        ):
            self.base = ClockOffset(0, 0)
            self.base.ping(when - 50, when - 60, None)
            self.base.ping(when, when - 10, last_round_trip)
            self.assertEqual(self.age(), 10, name)

    def test_a_step(self):
        """A clock that stood, or a base that was forged: known with the first short round trip, not in a minute."""
        for step in (SHORT_ROUND_TRIP + 1, 10_000, 2**63, -LATE_MILLISECONDS - 1, -(2**62)):
            base = ClockOffset(2**63, 2**63)
            self.assertEqual(base.age(2**63 + 10, 2**63 + 10 - step), max(0, step))
            base.ping(2**63 + 20, 2**63 + 20 - step, None)
            self.assertEqual(base.age(2**63 + 30, 2**63 + 30 - step), max(0, step))
            base.ping(2**63 + 40, 2**63 + 40 - step, 1)
            self.assertEqual(base.age(2**63 + 50, 2**63 + 45 - step), 5)

    @given(st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 20_000), st.integers(0, 20_000)), max_size=30))
    @settings(derandomize=True)
    def test_no_base_of_a_backlog(self, pings):
        """Whatever PINGs and PONGs wait for, a batch seems younger than it is by less than a short round trip."""
        base, now, last_round_trip = ClockOffset(0, 0), 0, None
        for pause, there, back in pings:
            now += pause
            base.age(now + there, now)
            base.ping(now + there, now, last_round_trip)
            now, last_round_trip = now + there + back, there + back
            self.assertGreater(base.age(now + 30_000, now), 30_000 - SHORT_ROUND_TRIP)

    def test_backlog_makes_no_base(self):
        """A batch that waited 5 s in a stopped process is 5 s old, also after a PING from the same backlog."""
        self.base.ping(self.later, self.later, 1)
        self.base.ping(self.later + 5000, self.later + 1, 1)  # tells of the one before; its own trip took 5 s
        self.base.ping(self.later + 5001, self.later + 500, 4999)
        self.assertEqual(self.base.age(self.later + 5002, self.later + 2), 5000)

    def test_a_ping_that_comes_twice(self):
        """So that a queue does not look young: what the copy tells is of the PING before it, and not of itself."""
        for late in (REBASE_AFTER + 500, REBASE_AFTER + 499):  # the last one again, and one from before it
            self.base = ClockOffset(0, 0)
            self.base.ping(self.later + 499, REBASE_AFTER + 499, 1)
            self.base.ping(self.later + 500, REBASE_AFTER + 500, SHORT_ROUND_TRIP)
            self.base.ping(self.later + 5000, late, 1)
            self.base.ping(self.later + 5001, REBASE_AFTER + 5001, SHORT_ROUND_TRIP)
            self.assertEqual(self.base.age(self.later + 5002, REBASE_AFTER + 2), 5010)

    def test_once_a_minute(self):
        self.base.ping(self.later, REBASE_AFTER, None)
        self.base.ping(self.later + 50, REBASE_AFTER + 50, 1)
        # The next candidate would make what follows seem 10 ms younger, but the base is fresh.
        self.base.ping(self.later + 120, REBASE_AFTER + 100, 1)
        self.base.ping(self.later + 170, REBASE_AFTER + 150, 1)
        self.assertEqual(self.base.age(self.later + 220, REBASE_AFTER + 200), 20)


class Published(SynchronousTestCase):
    """Of what is published no PING tells."""

    def assert_ages(self, base, rows):
        for arrival, sent, age in rows:
            self.assertEqual(base.age(arrival, sent), age, (arrival, sent))

    def test_beyond_the_fastest(self):
        base = DriftingOffset(1000, 500_000)
        rows = ((1000, 500_000, 0), (1025, 500_020, 5), (6020, 500_020, 4997), (6030, 505_033, 0), (6040, 505_033, 10))
        self.assert_ages(base, rows)

    @given(st.floats(-1 / DRIFT_EVERY, 1 / DRIFT_EVERY), st.lists(st.integers(0, 86_400_000), max_size=20), TIMES)
    @settings(derandomize=True)
    def test_clocks_that_drift_make_nothing_old(self, drift, pauses, theirs):
        """Whatever time passes between what is sent without delay; a millisecond or two is rounding."""
        base, now = DriftingOffset(0, theirs), 0
        for pause in pauses:
            now += pause
            self.assertLessEqual(base.age(now, theirs + now + int(now * drift)), 2)

    @given(st.integers(0, 3_600_000), st.integers(0, 100_000))
    @settings(derandomize=True)
    def test_a_backlog_is_old(self, passed, delay):
        """By all but the drift of the time since the base was seen."""
        age = DriftingOffset(0, 0).age(passed + delay, passed)
        self.assertLessEqual(age, delay)
        self.assertGreaterEqual(age, delay - (passed + delay) / DRIFT_EVERY - 1)

    @given(
        st.integers(1, 30_000),
        st.integers(0, 7_200_000),
        st.one_of(st.just(0.0), st.floats(0.001, 0.9)),
        st.integers(0, 3),
    )
    @settings(derandomize=True)
    def test_a_queue_that_empties_is_old(self, every, stood, slowness, before):
        """
        Of a publisher that has stood for up to two hours, and then gives out what has come, at once or slowly: whatever
        it gives out is as old as it was when the one before it came.
        """
        base = DriftingOffset(0, 0)
        for number in range(before):
            base.age(number * every, number * every)
        begun = before * every
        late = 0
        for number in range(200):
            sent = begun + number * every
            arrival = max(sent, begun + stood + int(number * every * slowness))
            late = arrival - sent
            self.assertGreaterEqual(base.age(arrival, sent), late - SHORT_ROUND_TRIP - arrival / DRIFT_EVERY - 1)
        self.assertLessEqual(late, stood)

    @given(st.integers(1, 30_000), st.floats(0.01, 10))
    @settings(derandomize=True)
    def test_a_queue_that_grows_is_old(self, every, slowness):
        """Whatever of it has come for a minute and longer."""
        base = DriftingOffset(0, 0)
        for number in range(200):
            sent, late = number * every, int(number * every * slowness)
            least = late - SHORT_ROUND_TRIP - (sent + late) / DRIFT_EVERY - 1
            self.assertGreaterEqual(base.age(sent + late, sent), least)

    def test_a_queue_that_stands(self):
        """What makes everything late by the same time, for a minute, is no queue to us."""
        base = DriftingOffset(0, 0)
        rows = [(20_000 + sent, sent, 20_000 - (20_000 + sent) // DRIFT_EVERY) for sent in range(0, REBASE_AFTER, 1000)]
        self.assert_ages(base, rows)
        self.assertEqual(base.age(20_000 + REBASE_AFTER, REBASE_AFTER), 0)
        # It is empty again. One alone could be anybody's.
        later = REBASE_AFTER + 20_001
        self.assert_ages(base, [(later, later, 0), (later, later, 0), (later + 5000, later, 4998)])

    @given(
        st.integers(0, 86_400_000),
        st.integers(SHORT_ROUND_TRIP + 100, 86_400_000),
        st.integers(1, 3_600_000),
        st.lists(st.integers(0, 90), min_size=5, max_size=5),
    )
    @settings(derandomize=True)
    def test_a_step(self, before, step, every, delays):
        """A clock that stood is known to have stood after a minute, or with the next batch that comes later."""
        base, now = DriftingOffset(0, 0), before
        begun = now
        for number in range(-(-REBASE_AFTER // every) + 1):
            now = begun + number * every
            age = base.age(now + delays[number % 5], now - step)
            if number == 0:
                self.assertGreater(age, step - now / DRIFT_EVERY - SHORT_ROUND_TRIP)
        for number in range(3):
            now += every
            self.assertLess(base.age(now + delays[number], now - step), 2 * SHORT_ROUND_TRIP)

    def test_a_step_forward(self):
        """Ours stood, or what made the base was forged: two in a row are believed, the older of them."""
        base = DriftingOffset(100_000, 100_000)
        rows = [(100_000, 130_000, 0), (100_003, 130_001, 0), (100_103, 130_101, 0), (100_108, 130_101, 5)]
        self.assert_ages(base, rows)

    @given(st.lists(st.tuples(st.integers(0, 90_000), STAMPS), max_size=20), st.integers(0, 60_000))
    @settings(derandomize=True)
    def test_a_stamp_that_nobody_believes(self, forged, delay):
        """Whatever else comes in the name of a client, one batch at a time: what it says itself is not silenced."""
        base, now = DriftingOffset(2**62, 2**62), 2**62
        for pause, stamp in forged:
            now += pause
            if not 0 <= stamp - now <= LATE_MILLISECONDS + now // DRIFT_EVERY:
                base.age(now, stamp)
            self.assertLessEqual(base.age(now, now), pause // DRIFT_EVERY + 1)
        self.assertLessEqual(base.age(now + delay, now), delay)

    @given(STAMPS, STAMPS)
    @settings(derandomize=True)
    def test_two_stamps_that_nobody_should_believe(self, first, second):
        """They silence a client for a minute, and not for longer."""
        base, now = DriftingOffset(2**62, 2**62), 2**62
        base.age(now, first)
        base.age(now, second)
        for later in range(0, REBASE_AFTER + 1, 10_000):
            base.age(now + later, now + later)
        self.assertLessEqual(base.age(now + REBASE_AFTER + 1, now + REBASE_AFTER + 1), SHORT_ROUND_TRIP)


class ReadLate(SynchronousTestCase):
    def test_by_seconds(self):
        """Nobody keeps an instance out by a number of the far future."""
        for ahead, late in (
            (-1, False),
            (0, False),
            (1, True),
            (LATE_MILLISECONDS, True),
            (LATE_MILLISECONDS + 1, False),
        ):
            self.assertEqual(is_read_late(7000, 7000 + ahead), late, ahead)
        self.assertFalse(is_read_late(0, 2**64 - 1))
