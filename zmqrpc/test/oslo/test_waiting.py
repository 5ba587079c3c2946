"""A thread that waits for the reactor: it has the outcome, or is told that it goes on; never both, never neither."""

from __future__ import annotations

import threading
from functools import partial
from typing import Any

import oslo_messaging
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.oslo.waiting import StillUnderWay, _Waiting


class Turns:
    """A lock in which the other side does something at each place where it may."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()
        self.before: dict[str, Any] = {}

    def _other(self, place: str) -> None:
        # Only once, since the other side comes here as well.
        self.before.pop(place, lambda: None)()

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        if timeout >= 0:
            self._other("wait")
            got = self._lock.acquire(blocking=False)
            self._other("over")
            return got
        self._other("look")
        got = self._lock.acquire(blocking=False)
        self._other("looked")
        return got

    def release(self) -> None:
        self._lock.release()
        self._other("released")


def _itself(deferred: Deferred[Any]) -> Deferred[Any]:
    return deferred


class WaitingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.deferred: Deferred[Any] = Deferred()
        self.late: list[Any] = []
        self.waiting = _Waiting(lambda: self.deferred, self.late.append)
        self.turns = Turns()
        self.waiting._done = self.turns  # type: ignore[assignment]
        self.waiting.begin()

    def wait(self) -> list[Any]:
        """Return what the thread was given."""
        try:
            return [self.waiting.outcome(1)]
        except StillUnderWay:
            return []

    def bring(self) -> None:
        self.deferred.callback("outcome")

    def test_in_time(self) -> None:
        """It is the thread's, also when it comes at the last moment."""
        for place in ("wait", "over", "look"):
            with self.subTest(place):
                self.setUp()
                self.turns.before[place] = self.bring
                got = self.wait()
                self.assertEqual(got + self.late, ["outcome"], place)
                if place == "wait":
                    self.assertEqual(got, ["outcome"])

    def test_late(self) -> None:
        """It is told as late when the thread has left, once."""
        self.assertEqual(self.wait(), [])
        self.bring()
        self.assertEqual(self.late, ["outcome"])

    def test_just_when_it_looks(self) -> None:
        """It is told as late when it comes where the thread has looked for the last time."""
        self.turns.before["looked"] = self.bring
        self.assertEqual(self.wait(), [])
        self.assertEqual(self.late, ["outcome"])

    def test_left_just_when_it_comes(self) -> None:
        """The thread has it that leaves, and looks once more, while it is brought."""
        got: list[Any] = []

        def wait() -> None:
            got.extend(self.wait())

        for place in ("released", "look"):
            with self.subTest(place):
                self.setUp()
                got.clear()
                self.turns.before[place] = wait
                # Where it looks the thread has left before, in vain.
                self.waiting._left = place == "look"
                self.bring()
                self.assertEqual(got + self.late, ["outcome"], place)

    def test_failure_is_told_once(self) -> None:
        """A failure is raised, or told; so is one with nobody to tell."""
        self.turns.before["over"] = lambda: self.deferred.errback(Failure(ValueError("wrong")))
        outcome: list[Any] = []
        try:
            self.waiting.outcome(1)
        except (ValueError, StillUnderWay) as error:
            outcome.append(error)
        self.assertEqual(len(outcome), 1)
        self.assertEqual(isinstance(outcome[0], StillUnderWay), len(self.late) == 1)
        waiting = _Waiting(Deferred, None)
        waiting.begin()
        self.assertRaises(StillUnderWay, waiting.outcome, 0)
        waiting._bring("outcome")

    def test_many(self) -> None:
        """Two threads come to the same end, whoever is quicker."""
        for number in range(2000):
            late: list[Any] = []
            deferred: Deferred[Any] = Deferred()
            waiting = _Waiting(partial(_itself, deferred), late.append)
            waiting.begin()
            thread = threading.Thread(target=deferred.callback, args=(number,))
            thread.start()
            try:
                got = [waiting.outcome(0.00001 * (number % 20))]
            except StillUnderWay:
                got = []
            thread.join()
            self.assertEqual(got + late, [number])

    def test_an_error_of_oslo_messaging(self) -> None:
        """Who listens while the reactor is held up gets what a service expects: an error of oslo.messaging's own."""
        self.assertTrue(issubclass(StillUnderWay, oslo_messaging.MessagingException))
