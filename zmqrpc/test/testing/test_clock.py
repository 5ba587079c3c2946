"""The clock of a network, and the shares of its processes."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.core.agenda import NEVER
from zmqrpc.testing.clock import ProcessClock, SortedClock

ACTS = st.lists(st.tuples(st.sampled_from(["call", "cancel", "delay", "reset", "advance"]), st.integers(0, 9)))


def play(clock, acts):
    """Schedule, move and cancel; return what was called, and when."""
    called: list[tuple[float, int]] = []
    calls: list[Any] = []

    def call(number):
        called.append((clock.seconds(), number))

    for name, number in acts:
        waiting = [each for each in calls if each.active()]
        if name == "call":
            calls.append(clock.callLater(number, call, len(calls)))
        elif name == "advance":
            for _ in range(number):
                clock.advance(1)
        elif waiting:
            one = waiting[number % len(waiting)]
            getattr(one, name)(*[number] * (name != "cancel"))
    for _ in range(100):
        clock.advance(1)
    return sorted(called)


class SortedClockTests(SynchronousTestCase):
    @given(ACTS)
    def test_as_a_task_clock(self, acts):
        """Whatever is scheduled, moved and cancelled, it is called at the same times."""
        self.assertEqual(play(SortedClock(), acts), play(Clock(), acts))

    def test_next(self):
        """It tells when the next call is due, which may have been moved."""
        clock = SortedClock()
        self.assertEqual(clock.next_at(), NEVER)
        first, _ = clock.callLater(1, list), clock.callLater(2, list)
        self.assertEqual(clock.next_at(), 1)
        first.delay(4)
        self.assertEqual(clock.next_at(), 2)
        first.reset(0)
        self.assertEqual(clock.next_at(), 0)
        first.cancel()
        self.assertEqual(clock.next_at(), 2)


class ProcessClockTests(SynchronousTestCase):
    def setUp(self):
        self.clock = SortedClock()
        self.share = ProcessClock(self.clock)

    def test_rate(self):
        """A clock that is fast from some time on shows no step, and its calls are due by what it shows."""
        self.clock.advance(10)
        self.share.set_rate(1.25)
        self.assertEqual(self.share.seconds(), 10)
        called: list[float] = []
        self.share.callLater(5, lambda: called.append(self.clock.seconds()))
        self.clock.advance(4)
        self.assertEqual((self.share.seconds(), called), (15, [14]))
        self.share.suspend(2)
        self.clock.advance(2)
        self.assertEqual(self.share.seconds(), 15)
        self.clock.advance(4)
        self.assertEqual(self.share.seconds(), 20)

    def test_what_is_due_at_once(self):
        """Time goes on however often it is asked for in a moment, also where a moment is lost in rounding."""
        self.clock.advance(1e6)
        self.share.set_rate(1.001)
        self.clock.advance(0.1)
        until = self.share.seconds() + 1e-11
        turns = []

        def turn():
            turns.append(self.share.seconds())
            if turns[-1] < until and len(turns) < 100:
                self.share.callLater(until - turns[-1], turn)

        turn()
        while self.clock.next_at() < NEVER:
            self.clock.advance(max(0.0, self.clock.next_at() - self.clock.seconds()))
        self.assertLess(len(turns), 5)
