"""How far one measurement counts."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.core.damping import damped


class DampedTests(SynchronousTestCase):
    def test_half_to_twice(self):
        for measured, counts in ((0.0, 0.5), (0.4, 0.5), (0.7, 0.7), (1.0, 1.0), (1.9, 1.9), (60.0, 2.0)):
            self.assertEqual(damped(measured, 1.0), counts)
