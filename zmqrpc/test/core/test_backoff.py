"""How the waits between tries grow."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.core.backoff import backoff


class BackoffTests(SynchronousTestCase):
    def test_doubled_up_to_the_longest(self) -> None:
        waits = [backoff(0.25, fails, 1.5) for fails in range(5)]
        self.assertEqual(waits, [0.25, 0.5, 1.0, 1.5, 1.5])

    def test_no_number_of_failures_is_too_large(self) -> None:
        self.assertEqual(backoff(0.1, 10**9, 10.0), 10.0)
