"""Whose deadline counts."""

from __future__ import annotations

from contextvars import copy_context

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.inherited import IN_PLACE, LENT, Inherited, Lent, bounded, detached, forget, none_left, time_up


def in_method(act, deadline):
    """Do something as a method that is called, and returns at once."""
    IN_PLACE[0] = deadline
    try:
        return act()
    finally:
        IN_PLACE[0] = None


def lending(lent):
    """Copy the context of a method that has been lent a deadline."""

    def copy():
        LENT.set(lent)
        return copy_context()

    return copy_context().run(copy)


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
        lent: Lent = [2.5]
        context = lending(lent)
        self.assertEqual(context.run(bounded, 5.0, 1.0), 2.5)
        self.assertEqual(in_method(lambda: context.run(bounded, 5.0, 1.0), 1.5), 2.5)
        lent[0] = None
        self.assertEqual(context.run(bounded, 5.0, 1.0), 5.0)
        self.assertEqual(in_method(lambda: context.run(bounded, 5.0, 1.0), 1.5), 5.0)

    def test_what_returned_at_once(self):
        """The context of a method that has returned has nothing to lend."""
        context = in_method(copy_context, 2.5)
        self.assertEqual(context.run(bounded, 5.0, 1.0), 5.0)

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
        """What a reactor calls in a context that it has copied is none of a method."""

        def act():
            forget()
            return bounded(5.0, 1.0)

        self.assertEqual(lending([2.5]).run(act), 5.0)


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
