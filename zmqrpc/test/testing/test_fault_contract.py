"""The suite of matchmakers under faults finds those that are broken, and no fault in one that is not."""

import contextlib
import gc
from typing import Any

from twisted.internet.defer import maybeDeferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase

from zmqrpc.test.testing.shelf import BROKEN, FaultyShelf, ShelfMatchmaker
from zmqrpc.testing.matchmaker import FaultContract

LONGEST = 120
"""Seconds after which a test counts as one that does not end."""

NAMES = [name for name in dir(FaultContract) if name.startswith("test_")]


class Suite:
    """What becomes of one test of the suite, on a clock of its own."""

    def __init__(self, kind, name):
        self._cleanups: list[Any] = []
        self._clock = Clock()
        suite = self

        class Case(FaultContract, TestCase):
            reactor = suite._clock
            seconds = staticmethod(suite._clock.seconds)

            def make_store(self):
                return FaultyShelf(suite._clock, kind)

            def addCleanup(self, call, *arguments):  # type: ignore[override]
                suite._cleanups.append((call, arguments))

        self._case = Case(name)
        self._test = getattr(self._case, name)

    def run(self):
        """Run it; return what was found, None for nothing."""
        self._case.setUp()
        ended = maybeDeferred(self._test)
        while not ended.called and self._clock.seconds() < LONGEST:
            self._clock.advance(0.01)
        found: list[object] = [] if ended.called else ["it does not end"]
        ended.addErrback(lambda failure: found.append(failure.value))
        for call, arguments in reversed(self._cleanups):
            with contextlib.suppress(Exception):
                call(*arguments)
        return found[0] if found else None


class SuiteTests(SynchronousTestCase):
    def test_sound(self):
        """One that does all that is owed passes."""
        self.assertEqual([(name, found) for name in NAMES if (found := Suite(ShelfMatchmaker, name).run())], [])

    def test_broken(self):
        """Each that breaks one promise fails one test at least."""
        # What a test that failed did not wait for.
        self.addCleanup(self.flushLoggedErrors)
        self.addCleanup(gc.collect)
        passing = [kind.__name__ for kind in BROKEN if not any(Suite(kind, name).run() for name in NAMES)]
        self.assertEqual(passing, [])
