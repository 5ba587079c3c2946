"""The age of what arrives, between clocks that share nothing."""

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.core.age import FASTEST_DRIFT, REBASE_AFTER, SHORT_ROUND_TRIP, ClockOffset, DriftingOffset

TIMES = st.integers(0, 2**63)


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

    @given(st.lists(st.tuples(TIMES, TIMES), min_size=1, max_size=20))
    @settings(derandomize=True)
    def test_is_what_exceeds_the_smallest_so_far(self, batches):
        base = ClockOffset(*batches[0])
        for index, (arrival, sent) in enumerate(batches):
            smallest = min(a - s for a, s in batches[: index + 1])
            self.assertEqual(base.age(arrival, sent), arrival - sent - smallest)

    @given(st.lists(st.tuples(st.integers(0, 100), st.integers(0, 50)), min_size=1, max_size=20), TIMES, TIMES)
    @settings(derandomize=True)
    def test_offset_of_the_clocks_does_not_matter(self, journeys, ours, theirs):
        def ages(offset):
            base = ClockOffset(ours + 7, offset)
            return [base.age(ours + when + delay, offset + when) for when, delay in journeys]

        self.assertEqual(ages(theirs), ages(0))


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

    def test_backlog_makes_no_base(self):
        """A batch that waited 5 s in a stopped process is 5 s old, also after a PING from the same backlog."""
        self.base.ping(self.later, self.later, 1)
        self.base.ping(self.later + 5000, self.later + 1, 1)  # tells of the one before; its own trip took 5 s
        self.base.ping(self.later + 5001, self.later + 500, 4999)
        self.assertEqual(self.base.age(self.later + 5002, self.later + 2), 5000)

    def test_once_a_minute(self):
        self.base.ping(self.later, REBASE_AFTER, None)
        self.base.ping(self.later + 50, REBASE_AFTER + 50, 1)
        # The next candidate would make what follows seem 10 ms younger, but the base is fresh.
        self.base.ping(self.later + 120, REBASE_AFTER + 100, 1)
        self.base.ping(self.later + 170, REBASE_AFTER + 150, 1)
        self.assertEqual(self.base.age(self.later + 220, REBASE_AFTER + 200), 20)


class Drift(SynchronousTestCase):
    """Of what is published no PING tells; a base grows by what clocks may drift apart, and no faster."""

    def test_beyond_the_fastest(self):
        base = DriftingOffset(1000, 500_000)
        for arrival, sent, age in ((1000, 500_000, 0), (1025, 500_020, 4), (6020, 500_020, 4997), (6030, 505_033, 0)):
            self.assertEqual(base.age(arrival, sent), age, (arrival, sent))

    @given(st.floats(-FASTEST_DRIFT, FASTEST_DRIFT), st.lists(st.integers(0, 86_400_000), max_size=20), TIMES)
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
        self.assertGreaterEqual(age, delay - FASTEST_DRIFT * (passed + delay) - 1)
