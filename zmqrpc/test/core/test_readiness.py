"""When a node is ready, and when that is said."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.core.agenda import NEVER
from zmqrpc.core.outage import AGAIN_SECONDS
from zmqrpc.core.readiness import PATIENCE, Readiness

NOW = 1000.0


class ReadinessTests(SynchronousTestCase):
    def setUp(self):
        self.readiness = Readiness()

    def test_not_yet(self):
        """Before it is ready for the first time it is not, at once, and nothing is said of that."""
        self.assertEqual(self.readiness.trouble, "not registered with the matchmaker yet")
        for after in (0, 10 * PATIENCE, 2 * AGAIN_SECONDS):
            self.assertFalse(self.readiness.ill("no answer", NOW + after))
        self.assertEqual((self.readiness.trouble, self.readiness.wake_at), ("no answer", NEVER))
        self.assertIsNone(self.readiness.well(NOW + 1))
        self.assertEqual(self.readiness.trouble, "")

    def test_a_blink(self):
        self.readiness.well(NOW)
        self.assertFalse(self.readiness.ill("no answer", NOW))
        self.assertEqual((self.readiness.trouble, self.readiness.wake_at), ("", NOW + PATIENCE))
        self.assertFalse(self.readiness.ill("no answer", NOW + PATIENCE - 0.1))
        self.assertIsNone(self.readiness.well(NOW + PATIENCE - 0.1))
        self.assertEqual((self.readiness.trouble, self.readiness.wake_at), ("", NEVER))

    def test_an_outage(self):
        """It is said once, again after a long time, and at the end; the newest reason is the one that is told."""
        self.readiness.well(NOW)
        self.readiness.ill("no answer", NOW)
        self.assertTrue(self.readiness.ill("no answer", NOW + PATIENCE))
        self.assertEqual(self.readiness.trouble, "no answer")
        self.assertFalse(self.readiness.ill("it is lost", NOW + PATIENCE + 1))
        self.assertEqual(self.readiness.trouble, "it is lost")
        self.assertTrue(self.readiness.ill("it is lost", NOW + PATIENCE + AGAIN_SECONDS))
        self.assertEqual(self.readiness.well(NOW + 500), 500)
        self.assertEqual((self.readiness.trouble, self.readiness.wake_at), ("", NEVER))
        self.assertIsNone(self.readiness.well(NOW + 501))

    @given(st.lists(st.tuples(st.booleans(), st.floats(0, 20)), max_size=40))
    def test_what_is_said(self, steps):
        """Each end that is said follows a begin that was; trouble is told exactly between the two."""
        readiness, now, said = Readiness(), NOW, False
        readiness.well(now)
        for is_well, seconds in steps:
            now += seconds
            if is_well:
                self.assertEqual(readiness.well(now) is not None, said)
                said = False
            elif readiness.ill("no answer", now):
                said = True
            self.assertEqual(bool(readiness.trouble), said)
