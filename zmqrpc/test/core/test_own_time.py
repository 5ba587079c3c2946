"""How much of some time our own process has had."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.core.own_time import STEP, OwnTime

NOW = 1000.0


class OwnTimeTests(SynchronousTestCase):
    def over_at(self, *late, seconds=0.05, most=0.5):
        """
        Look when it is time, but for the first looks, which come so many seconds late.

        :return: after how many seconds it is over.
        """
        time, now = OwnTime(seconds, most, NOW), NOW
        lateness = iter(late)
        while True:
            self.assertGreaterEqual(time.look_at, now)
            now = time.look_at + next(lateness, 0.0)
            if time.look(now):
                return round(now - NOW, 6)

    def test_punctual(self):
        """Who looks when it is time has all of it."""
        self.assertEqual(self.over_at(), 0.05)
        self.assertEqual(self.over_at(0.001, 0.009, 0.005), 0.05)

    def test_shorter_than_a_step(self):
        self.assertEqual(self.over_at(seconds=STEP / 2), STEP / 2)

    def test_process_stood(self):
        """The step in which it did does not count, and it may do so more than once."""
        self.assertEqual(self.over_at(0.06), 0.12)
        self.assertEqual(self.over_at(0.0, 0.06, 0.0, 0.04), 0.17)

    def test_process_has_no_time_at_all(self):
        """It is over some time."""
        self.assertEqual(self.over_at(*[0.06] * 100), 0.56)

    def test_looked_at_more_often(self):
        """Looks between are no harm."""
        time = OwnTime(0.05, 0.5, NOW)
        looks = [time.look(NOW + number / 1000) for number in range(1, 51)]
        self.assertEqual(looks, [False] * 49 + [True])
