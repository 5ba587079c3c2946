"""Whose deadline counts."""

from __future__ import annotations

from contextvars import copy_context

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.inherited import (
    DEADLINE,
    IN_PLACE,
    Inherited,
    began,
    bounded,
    detached,
    ended,
    forget,
    none_left,
    time_up,
)


def in_method(act, deadline):
    """Do something as a method that is called."""

    def run():
        DEADLINE.set(deadline)
        IN_PLACE[0] = deadline
        try:
            return act()
        finally:
            IN_PLACE[0] = None

    return copy_context().run(run)


class Bounded(SynchronousTestCase):
    def test_nothing_is_inherited(self):
        """Outside of methods a call has its own time."""
        self.assertEqual(bounded(5.0, 1.0), 5.0)
        self.assertNotIsInstance(bounded(5.0, 1.0), Inherited)

    @given(st.floats(1, 100), st.floats(1, 100))
    def test_the_earlier_one(self, deadline, given):
        """It has until the earlier of its own deadline and the method's."""
        until = in_method(lambda: bounded(deadline, 1.0), given)
        self.assertEqual(until, min(deadline, given))
        self.assertEqual(isinstance(until, Inherited), given < deadline)

    def test_while_it_runs(self):
        """A deadline counts as long as its method runs, wherever its context was copied to."""
        deadline = float("2.5")
        context = in_method(copy_context, deadline)
        self.assertEqual(context.run(bounded, 5.0, 1.0), 5.0)
        began(deadline)
        self.assertEqual(context.run(bounded, 5.0, 1.0), 2.5)
        ended(deadline)
        self.assertEqual(context.run(bounded, 5.0, 1.0), 5.0)
        ended(deadline)

    def test_equal_deadlines(self):
        """One method's end is not that of another with an equal deadline."""
        one, other = float("2.5"), float("2.5")
        contexts = [in_method(copy_context, each) for each in (one, other)]
        began(one)
        began(other)
        ended(one)
        self.assertEqual([context.run(bounded, 5.0, 1.0) for context in contexts], [5.0, 2.5])
        ended(other)

    def test_detached(self):
        """Within `detached` nothing is inherited, whatever ends it."""

        def act():
            with detached():
                within = bounded(5.0, 1.0)
            self.assertRaises(ValueError, detached()(int), "no number")
            return within, bounded(5.0, 1.0)

        self.assertEqual(in_method(act, 2.5), (5.0, 2.5))
        with detached():
            self.assertEqual(bounded(5.0, 1.0), 5.0)

    def test_forget(self):
        def act():
            forget()
            return bounded(5.0, 1.0)

        self.assertEqual(in_method(act, 2.5), 5.0)


class Words(SynchronousTestCase):
    def test_own(self):
        self.assertEqual(time_up(5.0), "its time was up")
        self.assertEqual(none_left(5.0), "its timeout was over at once")

    def test_inherited(self):
        inherited = in_method(lambda: bounded(5.0, 1.0), 2.25)
        self.assertEqual(
            time_up(inherited), "its time was up, 1.250 s, which was all that the method that made it had left"
        )
        self.assertIn("zmqrpc.detached()", none_left(inherited))
