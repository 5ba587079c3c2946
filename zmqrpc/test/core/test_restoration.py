"""When what a store has lost is stored there again."""

from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.core.agenda import NEVER
from zmqrpc.core.restoration import RESTORE_FIRST, RESTORE_MOST, STEADY, Restoration

NOW = 1000.0


class RestorationTests(SynchronousTestCase):
    def setUp(self):
        self.restoration = Restoration(lambda: 1.0)

    def test_again_and_again(self):
        """Each time is twice as long after the one before, up to the most, and short again when it has stayed."""
        now, waits = NOW, []
        for _ in range(8):
            self.restoration.lacks(now)
            waits.append(self.restoration.wake_at - now)
            now = self.restoration.wake_at
            self.restoration.begin()
            self.assertEqual(self.restoration.wake_at, NEVER)
            self.restoration.over(now)
        self.assertEqual((RESTORE_FIRST, RESTORE_MOST), (0.25, 10.0))
        self.assertEqual(waits, [min(RESTORE_FIRST * 2**times, RESTORE_MOST) for times in range(8)])
        now += STEADY
        self.restoration.lacks(now)
        self.assertEqual((self.restoration.times, self.restoration.wake_at), (0, now + RESTORE_FIRST))

    def test_jitter(self):
        restoration = Restoration(lambda: 0.5)
        restoration.lacks(NOW)
        self.assertEqual(restoration.wake_at, NOW + RESTORE_FIRST / 2)

    def test_once(self):
        """What is lacking later waits for the same moment."""
        self.restoration.lacks(NOW)
        self.restoration.lacks(NOW + 0.1)
        self.assertEqual(self.restoration.wake_at, NOW + RESTORE_FIRST)

    def test_nothing_lacked(self):
        """What was there after all does not count."""
        self.restoration.lacks(NOW)
        self.restoration.cancel()
        self.restoration.over(NOW)
        self.assertEqual(self.restoration.wake_at, NEVER)
        self.restoration.lacks(NOW)
        self.assertEqual((self.restoration.times, self.restoration.wake_at), (0, NOW + RESTORE_FIRST))

    def test_away(self):
        self.restoration.lacks(NOW)
        self.restoration.begin()
        self.restoration.rest()
        self.restoration.over(NOW)
        self.restoration.lacks(NOW)
        self.restoration.rest()
        self.assertEqual((self.restoration.times, self.restoration.wake_at), (0, NEVER))
