"""The promises of the front page, kept under every fault that a seed can think of."""

from __future__ import annotations

import os

from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.errors import RemoteError
from zmqrpc.test.scenarios.storm import Storm

SEEDS = int(os.environ.get("ZMQRPC_STORMS", "60"))
"""How many storms there are, more with `make soak`; a failure names its seed: `Storm(seed)` is the same storm again."""


class StormTests(SynchronousTestCase):
    def test_storms(self):
        self.check(range(SEEDS))

    def test_storms_with_proxies(self):
        """One of the clients calls through router proxies, which fail as well."""
        self.check(range(SEEDS // 3), routed=True)

    def test_dynamic_connections(self):
        self.check(range(1000, 1000 + SEEDS // 3), zmq_topology="dynamic-direct")

    def check(self, seeds, **options):
        for seed in seeds:
            storm = Storm(seed, **options)
            try:
                storm.run()
                broken = storm.verdict()
                storm.network.run(3)
                left = storm.network.clock.getDelayedCalls()
            except Exception as error:
                error.add_note(f"storm {seed} at {storm.network.clock.seconds():.4f} s")
                raise
            self.assertEqual((seed, broken), (seed, []), f"storm {seed}")
            self.assertEqual((seed, left), (seed, []))
            self.flushLoggedErrors(RemoteError)
            self.assertEqual([], self.flushLoggedErrors(), f"storm {seed}")
