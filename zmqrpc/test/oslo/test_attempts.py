"""What is sent again, and for how long; on a clock."""

from __future__ import annotations

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.errors import EncodingError, MatchmakerUnavailable, NoRoute, Overloaded
from zmqrpc.oslo.attempts import LAST, LONGEST_PAUSE, Attempts

LATER = (MatchmakerUnavailable, Overloaded)


class AttemptsTests(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        self.sent: list[tuple[float, float]] = []
        self.outcomes: list[Exception | str] = []

    def send(self, timeout):
        self.sent.append((self.clock.seconds(), timeout))
        outcome = self.outcomes.pop(0) if self.outcomes else MatchmakerUnavailable("away")
        return fail(outcome) if isinstance(outcome, Exception) else succeed(outcome)

    def begin(self, most, seconds=10.0, *later):
        return Attempts(self.clock, self.send, seconds, most, *(later or (LATER,))).begin()

    def pass_time(self, seconds):
        for _ in range(int(seconds * 100)):
            self.clock.advance(0.01)

    def test_the_first_is_taken(self):
        self.outcomes = ["done"]
        self.assertEqual(self.successResultOf(self.begin(None)), "done")
        self.assertEqual(self.sent, [(0.0, 10.0)])

    def test_begun_late(self):
        """The time goes on while the reactor does not come to it; who waits has left when it is over."""
        for late, left in ((4, 6.0), (14, 0.0)):
            self.sent.clear()
            self.outcomes = ["done"]
            began = self.clock.seconds()
            attempts = Attempts(self.clock, self.send, 10.0, None, LATER)
            self.clock.advance(late)
            self.successResultOf(attempts.begin())
            self.assertEqual(self.sent, [(began + late, left)])

    def test_until_it_is_taken(self):
        """Each has what is left of the time, and the pauses grow up to a second."""
        self.outcomes = [Overloaded("full"), MatchmakerUnavailable("away"), Overloaded("full"), "done"]
        sent = self.begin(None)
        self.pass_time(1)
        self.assertEqual(self.successResultOf(sent), "done")
        times, left = zip(*self.sent, strict=True)
        for expected, at, seconds in zip((0, 0.05, 0.15, 0.35), times, left, strict=True):
            self.assertAlmostEqual(at, expected, places=1)
            self.assertAlmostEqual(seconds, 10 - at)

    def test_as_often_as_asked(self):
        for most in (0, 2):
            self.sent.clear()
            sent = self.begin(most)
            self.pass_time(10)
            self.failureResultOf(sent, MatchmakerUnavailable)
            self.assertEqual(len(self.sent), most + 1)

    def test_until_the_time_is_up(self):
        """It ends with what was wrong, and no pause goes beyond the time."""
        for most in (None, -1):
            self.sent.clear()
            sent = self.begin(most, 5.0)
            self.pass_time(5)
            self.failureResultOf(sent, MatchmakerUnavailable)
            self.assertGreater(len(self.sent), 5)
            pauses = [later[0] - before[0] for before, later in zip(self.sent, self.sent[1:], strict=False)]
            self.assertLess(max(pauses), LONGEST_PAUSE + 0.02)
            self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_the_last_time(self):
        """It is sent shortly before the end: who was busy may take it just then."""
        for seconds in (1.0, 2.0, 7.3):
            self.clock.advance(1)
            began = self.clock.seconds()
            self.sent.clear()
            sent = self.begin(None, seconds)
            self.pass_time(seconds)
            self.failureResultOf(sent, MatchmakerUnavailable)
            last, left = self.sent[-1]
            self.assertAlmostEqual(last + left, began + seconds)
            self.assertAlmostEqual(left, LAST, places=1)

    def test_what_may_have_run_is_not_sent_again(self):
        for error in (Overloaded("full", maybe_executed=True), NoRoute("nobody"), EncodingError("no")):
            self.outcomes = [error]
            self.sent.clear()
            self.failureResultOf(self.begin(None), type(error))
            self.assertEqual(len(self.sent), 1)

    def test_other_errors_may_be_asked_for(self):
        self.outcomes = [Overloaded("full")]
        self.failureResultOf(self.begin(None, 10.0, (MatchmakerUnavailable,)), Overloaded)

    def test_cancelled(self):
        """Be it in a pause."""
        sent: Deferred[object] = self.begin(None)
        sent.cancel()
        self.failureResultOf(sent)
        self.assertEqual(self.clock.getDelayedCalls(), [])
