"""How long calls took of late."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.core.observed import ObservedTimes


class ObservedTimesTests(SynchronousTestCase):
    def test_too_few_tell_nothing(self):
        times = ObservedTimes()
        for _ in range(19):
            self.assertIsNone(times.slow)
            times.add(0.1)
        self.assertIsNone(times.slow)
        times.add(0.1)
        self.assertIsNotNone(times.slow)

    @given(st.lists(st.floats(0.0002, 100), min_size=20, max_size=400))
    def test_in_this_time_95_of_100_ended(self, seconds):
        times = ObservedTimes()
        for each in seconds:
            times.add(each)
        found = times.slow
        assert found is not None
        ordered = sorted(seconds)
        least, most = ordered[int(len(seconds) * 0.95) - 1], ordered[min(len(seconds) - 1, int(len(seconds) * 0.95))]
        self.assertTrue(least <= found * 1.0001 and found <= most * 1.19, (least, found, most))

    def test_it_follows_what_changes(self):
        times = ObservedTimes()
        for seconds in (0.01, 1.0, 0.01):
            for _ in range(3000):
                times.add(seconds)
            self.assertLess(abs((times.slow or 0) - seconds), 0.2 * seconds)

    def test_what_is_out_of_range(self):
        times = ObservedTimes()
        for seconds in (0.0, 1e-9, -1.0) * 10:
            times.add(seconds)
        self.assertLessEqual(times.slow or 0, 0.001)
        for _ in range(900):
            times.add(1e9)
        self.assertGreater(times.slow or 0, 1000)
