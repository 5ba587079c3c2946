"""The one timer of a node."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.core.agenda import NEVER
from zmqrpc.sweep import Sweep


class Part:
    """
    Is swept when it wants to be.

    :param sweep: what it does then.
    """

    def __init__(self, times, sweep):
        self.wake_at = NEVER
        self.swept: list[float] = []
        self._times = times
        self._sweep = sweep

    def sweep(self, now):
        self.swept.append(now)
        self.wake_at = next(self._times, NEVER)
        self._sweep()


class SweepTests(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        self.worked = 0.0
        self.sweep = Sweep(self.clock, self.seconds)

    def seconds(self):
        return self.clock.seconds() + self.worked

    def part(self, *times, takes=0.0):
        """Have a part swept at these times; each time takes some seconds."""

        def work():
            self.worked += takes

        part = Part(iter(times), work)
        part.wake_at = next(part._times)
        self.sweep.parts = (*self.sweep.parts, part)
        self.sweep.wake_by(part.wake_at)
        return part

    def run_for(self, seconds, step=0.0005):
        until = self.seconds() + seconds
        while self.seconds() < until:
            self.clock.advance(step)

    def test_each_at_its_time(self):
        first, second = self.part(1.0, 3.0), self.part(2.0)
        self.run_for(5, step=0.25)
        self.assertEqual((first.swept, second.swept, self.sweep.at), ([1.0, 3.0], [2.0], NEVER))

    def test_sooner(self):
        """Who asks for an earlier time gets it."""
        part = self.part(9.0)
        part.wake_at = 1.0
        self.sweep.wake_by(1.0)
        self.run_for(2, step=0.25)
        self.assertEqual(part.swept, [1.0])

    def test_raises(self):
        """What a part raises is logged, and the others are swept."""
        self.sweep.parts = (Part(iter(()), lambda: 1 / 0),)
        self.sweep.parts[0].wake_at = 1.0
        other = self.part(1.0)
        self.run_for(2, step=0.25)
        self.assertEqual((len(other.swept), len(self.flushLoggedErrors(ZeroDivisionError))), (1, 1))

    def test_no_time(self):
        """A part that cannot tell when it wants to be swept is not, which is said once; the others are."""

        class Faulty:
            def __init__(self, tell):
                self.tell = tell

            @property
            def wake_at(self):
                return self.tell()

            def sweep(self, now):
                raise AssertionError("it never wanted to be swept")

        kinds = (lambda: 1 / 0, lambda: float("nan"), lambda: "soon", lambda: None)
        self.sweep.parts = tuple(Faulty(tell) for tell in kinds)
        other = self.part(1.0, 2.0, 3.0)
        self.sweep.parts = (*self.sweep.parts[::-1], *self.sweep.parts)
        self.run_for(4, step=0.25)
        self.assertEqual(other.swept, [1.0, 2.0, 3.0])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError, ValueError, TypeError)), len(kinds))

    def test_stop(self):
        part = self.part(1.0)
        self.sweep.stop()
        self.run_for(2, step=0.25)
        self.assertEqual((part.swept, self.clock.calls), ([], []))

    def share(self, takes):
        """Return what part of a second goes into a part that asks for its next time at once."""
        part = self.part(*(number * 0.0001 for number in range(1, 100_000)), takes=takes)
        before = self.seconds()
        self.run_for(1)
        return len(part.swept) * takes / (self.seconds() - before)

    def test_share(self):
        """A part that always wants to be swept leaves most of the time to others."""
        self.assertLess(self.share(0.002), 0.4)

    def test_share_when_somebody_asks(self):
        """Also when each pass looks whether the time has come, and calls ask for a sweep all the time."""
        part = self.part(*(number * 0.0001 for number in range(1, 100_000)), takes=0.002)
        before = self.seconds()
        while self.seconds() < before + 1:
            self.worked += 0.0001
            self.sweep.wake_by(self.seconds())
            if self.seconds() >= self.sweep.at:
                self.sweep.run()
        self.assertLess(len(part.swept) * 0.002 / (self.seconds() - before), 0.4)

    def test_deadlines_come_first(self):
        """However long a sweep takes, the next one waits for 10 ms at most."""
        part = self.part(*(number * 0.0001 for number in range(1, 100_000)), takes=0.3)
        self.run_for(3)
        rests = [after - before - 0.3 for before, after in zip(part.swept, part.swept[1:], strict=False)]
        self.assertLess(max(rests), 0.0121)
        self.assertGreater(min(rests), 0.0099)
