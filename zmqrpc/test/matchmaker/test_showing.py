"""When the list of a topic is passed on, on a clock."""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.matchmaker._showing import SHOW_EACH, SHOW_SECONDS, Showing


class ShowingTests(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        self.shown: list[float] = []
        self.showing = Showing(self.clock, lambda: self.shown.append(self.clock.seconds()))

    def advance(self, seconds):
        self.clock.pump([0.001] * round(seconds * 1000))

    def test_first(self):
        """The first after a rest is passed on at once, and what comes until then with it."""
        self.showing.soon(500)
        self.showing.soon(500)
        self.clock.advance(0)
        self.assertEqual(self.shown, [0.0])

    def test_paced(self):
        """Long lists are passed on less often."""
        for count, pace in ((1, SHOW_SECONDS), (500, 500 * SHOW_EACH)):
            self.setUp()
            for _ in range(1000):
                self.showing.soon(count)
                self.clock.advance(0.001)
            self.assertAlmostEqual(self.shown[2] - self.shown[1], pace, places=2)
            self.showing.cancel()

    def test_later(self):
        self.showing.soon(1, 0.5)
        self.showing.soon(1)
        self.advance(0.49)
        self.assertEqual(self.shown, [])
        self.advance(0.02)
        self.assertEqual(len(self.shown), 1)

    def test_sooner(self):
        """What was put off comes at once when somebody wants that, and not before its pace."""
        self.showing.soon(1, 0.5)
        self.showing.soon(1, sooner=True)
        self.advance(0.001)
        self.assertEqual(len(self.shown), 1)
        self.showing.soon(1, 0.5)
        self.showing.soon(1, sooner=True)
        self.advance(SHOW_SECONDS - 0.002)
        self.assertEqual(len(self.shown), 1)
        self.advance(0.004)
        self.assertEqual(len(self.shown), 2)

    def test_cancelled(self):
        self.showing.soon(1)
        self.showing.cancel()
        self.showing.cancel()
        self.assertEqual(self.clock.getDelayedCalls(), [])
