"""Load and what is measured of it, on a clock that stands still."""

from __future__ import annotations

from itertools import pairwise
from math import ceil
from random import Random

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.cli._histogram import Histogram
from zmqrpc.cli._load import ClosedLoop, Measurement, OpenLoop
from zmqrpc.errors import NoRoute, Overloaded


def percentile(histogram, percent):
    found = histogram.percentile(percent)
    assert found is not None
    return found


class HistogramTests(SynchronousTestCase):
    @given(st.lists(st.floats(1e-6, 8000), min_size=1), st.sampled_from([50, 90, 99, 99.9, 100]))
    def test_percentiles(self, times, percent):
        """One percent too long at most, and never too short."""
        histogram = Histogram()
        for seconds in times:
            histogram.record(seconds)
        exact = sorted(times)[ceil(len(times) * percent / 100) - 1]
        found = percentile(histogram, percent)
        self.assertLessEqual(exact * (1 - 1e-9), found)
        self.assertLessEqual(found, exact * 1.0101)

    def test_ends(self):
        histogram = Histogram()
        self.assertIsNone(histogram.percentile(50))
        for seconds in (0.0, -1e-9, 1e-9, 1e6):
            histogram.record(seconds)
        self.assertLessEqual(percentile(histogram, 50), 1e-6)
        self.assertLess(percentile(histogram, 100), 1e6)
        self.assertEqual((histogram.count, histogram.longest), (4, 1e6))


class TurningClock(Clock):
    """What is to be called at once is called in the next turn, as a reactor does it."""

    def callLater(self, delay, callable, *args, **kw):
        return super().callLater(max(delay, 1e-9), callable, *args, **kw)


class ClockAlarm:
    """Rings by a `Clock`."""

    def __init__(self, clock, ring):
        self._clock, self._ring = clock, ring
        self.closed = False

    def set(self, wait):
        self._clock.callLater(wait, self._ring)

    def close(self):
        self.closed = True


class LoadTests(SynchronousTestCase):
    def setUp(self):
        self.clock = TurningClock()
        self.calls: list[tuple[float, Deferred[None]]] = []
        self.service: float | None = 0.001
        self.measurement = Measurement(self.call, self.clock.seconds, begins=1.0, ends=3.0)

    def call(self):
        """Make a call that is answered after `service` seconds, or never when that is None."""
        answer: Deferred[None] = Deferred()
        self.calls.append((self.clock.seconds(), answer))
        if self.service is not None:
            self.clock.callLater(self.service, answer.callback, None)
        return answer

    def assert_near(self, found, wanted, most):
        self.assertLessEqual(abs(found - wanted), most, (found, wanted))

    def advance(self, seconds, step=0.0001):
        self.clock.pump([step] * round(seconds / step))

    def open(self, rate):
        return OpenLoop(self.measurement, rate, Random(1), lambda ring: ClockAlarm(self.clock, ring))

    def test_open(self):
        """Calls come at their rate and by chance, and what was due before the time is not counted."""
        load = self.open(500)
        load.start()
        self.advance(3.1)
        self.successResultOf(load.finished)
        measured = self.measurement
        self.assertEqual(measured.due, sum(1.0 <= at < 3.0 for at, _ in self.calls))
        self.assertTrue(900 < measured.due < 1100, measured.due)
        self.assertEqual((measured.latencies.count, measured.unsent, measured.unfinished), (measured.due, 0, 0))
        self.assertEqual((measured.late, measured.in_flight, measured.elapsed), (0, 0, 2.0))
        self.assert_near(percentile(measured.latencies, 99), 0.001, 0.0003)
        gaps = sorted(b - a for (a, _), (b, _) in zip(self.calls, self.calls[1:], strict=False))
        self.assertLess(gaps[len(gaps) // 10], 0.0005)
        self.assertGreater(gaps[-len(gaps) // 10], 0.004)

    def test_open_does_not_wait(self):
        """Where nothing is answered, calls go on, and are waited for at the end."""
        self.service = None
        load = self.open(500)
        load.start()
        self.advance(3.1)
        self.assertNoResult(load.finished)
        self.assertEqual(self.measurement.in_flight, len(self.calls))
        for _, answer in self.calls:
            answer.errback(NoRoute("nobody"))
        self.successResultOf(load.finished)
        self.assertEqual(self.measurement.failed["NoRoute"].count, self.measurement.due)
        self.assertEqual(self.measurement.latencies.count, 0)

    def test_no_coordinated_omission(self):
        """A sender that is held up sends what was due meanwhile, and its wait is part of the latencies."""
        load = self.open(500)
        load.start()
        self.advance(1.5)
        self.clock.advance(0.5)
        self.advance(1.1)
        self.successResultOf(load.finished)
        measured = self.measurement
        self.assertTrue(900 < measured.due < 1100, measured.due)
        self.assertEqual((measured.unsent, measured.latencies.count), (0, measured.due))
        self.assertTrue(200 < measured.late < 300, measured.late)
        self.assert_near(measured.lateness.longest, 0.5, 0.02)
        self.assertGreater(percentile(measured.latencies, 90), 0.2)

    def test_unsent(self):
        """What could not be sent before the end is told."""
        load = self.open(500)
        load.start()
        self.advance(2.0)
        self.clock.advance(1.5)
        self.advance(0.1)
        self.successResultOf(load.finished)
        self.assertTrue(450 < self.measurement.unsent < 550, self.measurement.unsent)
        self.assertTrue(900 < self.measurement.due < 1100, self.measurement.due)

    def test_more_than_can_be_sent(self):
        """Answers are read between calls, however many are due; and there is an end."""
        load = self.open(1e7)
        load.start()
        self.advance(3.1, step=0.01)
        self.successResultOf(load.finished)
        self.assertLess(len(self.calls), 64 * 320)
        self.assertGreater(self.measurement.answers, 0)
        self.assertGreater(self.measurement.unsent, 1.9e7)

    def test_closed(self):
        load = ClosedLoop(self.clock, self.measurement, 4)
        load.start()
        self.advance(2.0)
        self.assertEqual(self.measurement.in_flight, 4)
        self.advance(1.1)
        self.successResultOf(load.finished)
        self.assert_near(self.measurement.answers, 4 * 2 / 0.001, 0.1 * 8000)
        self.assertEqual(self.measurement.latencies.count, self.measurement.due)

    def test_closed_is_never_late(self):
        """However slow the process is: its calls are due when those before them have ended."""

        def seconds():
            # Each look at the clock takes two milliseconds.
            self.clock.advance(0.002)
            return self.clock.seconds()

        self.measurement = Measurement(self.call, seconds, 0.0, 1.0)
        ClosedLoop(self.clock, self.measurement, 3).start()
        self.advance(1.1)
        self.assertGreater(self.measurement.due, 50)
        self.assertEqual((self.measurement.late, self.measurement.lateness.longest), (0, 0.0))

    def test_open_is_late_where_the_clock_is_slow(self):
        self.measurement = Measurement(self.call, self.clock.seconds, 0.0, 10.0)
        for late, counted in ((0.0, 0), (0.0009, 0), (0.0011, 1), (0.5, 2)):
            self.clock.advance(1)
            self.measurement.send(self.clock.seconds() - late)
            self.assertEqual(self.measurement.late, counted)
            self.assert_near(self.measurement.lateness.longest, late, 1e-9)

    def test_closed_with_failures(self):
        """After calls that fail at once there is a pause, longer with each, and the end is in time."""
        self.measurement = Measurement(lambda: fail(Overloaded("full")), self.clock.seconds, 1.0, 3.0)
        load = ClosedLoop(self.clock, self.measurement, 2)
        load.start()
        self.advance(3.01, step=0.001)
        self.successResultOf(load.finished)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        failed = self.measurement.failed["Overloaded"]
        self.assertEqual((failed.count, str(failed.first)), (self.measurement.due, "full"))
        self.assertTrue(2 * 2 / 0.1 - 4 <= failed.count <= 2 * 2 / 0.1, failed.count)

    def test_closed_with_a_failure(self):
        """The pause is short again once a call is answered."""
        times: list[float] = []

        def call():
            times.append(self.clock.seconds())
            if len(times) == 11:
                return self.call()
            return fail(Overloaded("full"))

        self.measurement = Measurement(call, self.clock.seconds, 0.0, 3.0)
        ClosedLoop(self.clock, self.measurement, 1).start()
        self.advance(1.0)
        gaps = [after - before for before, after in pairwise(times[:14])]
        doubled = [0.001 * 2**n for n in range(7)]
        for gap, wanted in zip(gaps, [*doubled, 0.1, 0.1, 0.1, 0.001, 0.001, 0.002], strict=True):
            self.assert_near(gap, wanted, 0.0005)

    def test_closed_stops_in_a_pause(self):
        """Nothing is called any more once it is stopped."""
        self.measurement = Measurement(lambda: fail(Overloaded("full")), self.clock.seconds, 0.0, 3.0)
        load = ClosedLoop(self.clock, self.measurement, 2)
        load.start()
        self.measurement.stop()
        load.close()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def assert_stops(self, load):
        """What has ended by then counts, and the rest is unfinished; it does not count when it ends later."""
        load.start()
        self.advance(2.0)
        self.service = None
        self.advance(0.5)
        self.measurement.stop()
        load.close()
        measured = self.measurement
        counted = (measured.due, measured.latencies.count, measured.unfinished)
        self.assert_near(measured.elapsed, 1.5, 0.001)
        self.assertEqual(counted[0], counted[1] + counted[2])
        self.assertGreater(measured.unfinished, 0)
        for _, answer in self.calls:
            if not answer.called:
                answer.errback(NoRoute("nobody"))
        self.assertEqual((measured.due, measured.latencies.count, measured.unfinished), counted)
        self.assertEqual(measured.failed, {})

    def test_open_stops(self):
        self.assert_stops(self.open(100))

    def test_closed_stops(self):
        self.assert_stops(ClosedLoop(self.clock, self.measurement, 3))
