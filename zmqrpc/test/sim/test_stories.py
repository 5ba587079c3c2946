"""The promises of the front page, kept on every bad day that a seed can think of."""

from __future__ import annotations

import gc

from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.errors import RemoteError
from zmqrpc.test.sim.pool import tell

EACH = 25
SEEDS = 8 * EACH


class StoryTests(SynchronousTestCase):
    """Two hundred of them, in portions that ``trial -j`` can share out; ``make sim`` runs ten thousand."""

    def setUp(self):
        # Each story collects what it leaves, and not what tests before it have.
        gc.collect()
        gc.freeze()
        self.addCleanup(gc.unfreeze)

    def check(self, portion):
        for seed in range(portion * EACH, (portion + 1) * EACH):
            told = tell(seed)
            again = f"again: python -m zmqrpc.test.sim --seed {seed} --verbose"
            self.assertEqual(told.violations, [], again)
        self.flushLoggedErrors(RemoteError)

    def test_0(self):
        self.check(0)

    def test_1(self):
        self.check(1)

    def test_2(self):
        self.check(2)

    def test_3(self):
        self.check(3)

    def test_4(self):
        self.check(4)

    def test_5(self):
        self.check(5)

    def test_6(self):
        self.check(6)

    def test_7(self):
        self.check(7)
