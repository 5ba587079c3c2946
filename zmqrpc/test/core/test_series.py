"""A series of numbers: each is delivered once or counted, and those that are missing are waited for."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.core.agenda import NEVER
from zmqrpc.core.keys import topic_key
from zmqrpc.core.seen import Seen
from zmqrpc.core.series import GRACE, MOST_GAPS, Series

KEY, CLIENT = topic_key("openstack", "compute"), b"c" * 16


class SeriesTests(SynchronousTestCase):
    def setUp(self):
        self.opened: list[Series] = []
        self.series = Series((KEY, CLIENT, b""), self.opened.append)

    def take(self, *numbers):
        return [number for number in numbers if self.series.admit(number) is Seen.NEW]

    def test_each_once(self):
        self.assertEqual(self.take(1, 2, 2, 3, 1, 3), [1, 2, 3])
        self.assertEqual(self.series.repeats, 3)
        self.assertEqual(self.opened, [])
        self.assertEqual(self.series.wake_at, NEVER)

    def test_a_gap_is_filled_in_time(self):
        self.assertEqual(self.take(1, 4, 2, 3), [1, 4, 2, 3])
        self.assertEqual(self.opened, [self.series])
        self.assertEqual(self.series.close(GRACE), 0)

    def test_a_gap_that_stays_is_missed_and_closed(self):
        """What is counted does not come any more."""
        self.take(1, 5)
        self.series.now = 0.5
        self.take(3, 8)
        self.assertEqual(self.series.close(GRACE - 0.01), 0)
        self.assertEqual(self.series.close(GRACE), 2)
        self.assertEqual(self.take(2, 4), [])
        self.assertEqual(self.take(6), [6])
        self.assertEqual(self.series.close(GRACE + 0.5), 1)
        self.assertEqual(self.series.wake_at, NEVER)

    def test_what_was_before_the_first_is_not_missed(self):
        """It may come within the grace, and what is above it then counts."""
        self.assertEqual(self.take(10, 7), [10, 7])
        self.assertEqual(self.series.close(GRACE), 2)
        self.assertEqual(self.take(9, 3), [])

    def test_reached(self):
        """A counter alone is where a series begins; later it shows what did not come."""
        for first in (0, 7):
            self.setUp()
            self.series.reached(first)
            self.assertEqual(self.take(first + 2), [first + 2])
            self.assertEqual(self.series.close(GRACE), 1)
            self.series.reached(first + 2)
            self.series.reached(first + 5)
            self.assertEqual(self.series.close(GRACE), 3)
            self.series.reached(first)
            self.assertEqual(self.take(*range(first + 1, first + 7)), [first + 6])

    def test_bounded(self):
        """Who leaves too many gaps has the oldest closed at once."""
        for number in range(1, 2 * MOST_GAPS + 100, 2):
            self.series.admit(number)
        self.assertEqual(self.take(2, 98, 100), [100])
        self.assertEqual(self.series.close(0), 49)
        self.assertEqual(self.series.wake_at, GRACE)
        self.assertEqual((self.series.gaps, self.opened), (MOST_GAPS, [self.series] * MOST_GAPS))

    def test_huge(self):
        self.take(1, 2**64 - 1)
        self.assertEqual(self.series.close(GRACE), 2**64 - 3)
        self.assertEqual(self.take(2**63), [])

    @given(st.lists(st.tuples(st.integers(1, 30), st.floats(0, 0.7)), max_size=40), st.none() | st.integers(0, 5))
    @settings(derandomize=True)
    def test_delivered_or_counted(self, arrivals, first):
        """Of what is between the first and the last that came, each is delivered once or counted."""
        series = Series((KEY, CLIENT, b""), lambda series: None)
        now, missed, delivered = 0.0, 0, []
        if first is not None:
            series.reached(first)
        for number, passed in arrivals:
            now += passed
            missed += series.close(now)
            series.now = now
            if series.admit(number) is Seen.NEW:
                delivered.append(number)
        missed += series.close(now + GRACE)
        self.assertEqual(len(delivered), len(set(delivered)))
        if delivered:
            low = min(delivered) if first is None else first + 1
            self.assertEqual(len(delivered) + missed, max(delivered) - low + 1)
        else:
            self.assertEqual(missed, 0)
