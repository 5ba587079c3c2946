"""Nothing is lost, and nothing comes twice, while proxies, publishers and servers join and leave."""

from __future__ import annotations

import os

from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.test.sim.churn import Churn

SEEDS = int(os.environ.get("ZMQRPC_CHURNS", "12"))
"""How many churns there are; a failure names its seed, and `Churn(seed)` is the same churn again."""


class ChurnTests(SynchronousTestCase):
    def test_churns(self):
        for seed in range(SEEDS):
            churn = Churn(seed)
            try:
                churn.run()
            except Exception as error:
                error.add_note(f"churn {seed} at {churn.network.clock.seconds():.4f} s: {churn.events}")
                raise
            self.assertEqual((seed, churn.verdict()), (seed, []), churn.events)
            self.assertEqual(self.flushLoggedErrors(), [], f"churn {seed}")
