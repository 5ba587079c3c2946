"""Signals that come when a process stops already; `test_twistd` and `test_zmqrpc` have real ones."""

from __future__ import annotations

import os
import signal

from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.signals import StopSignals
from zmqrpc.test.logs import LogLines


class PretendedReactor:
    """As much of a reactor as handles signals; `ran` is what it was asked to stop for."""

    def __init__(self):
        self.ran: list[int] = []
        self.triggers = []

    def callWhenRunning(self, act):
        self.start = act

    def addSystemEventTrigger(self, phase, event, act):
        assert (phase, event) == ("before", "shutdown")
        self.triggers.append(act)

    def callFromThread(self, act):
        act()

    def sigTerm(self, number, frame=None):
        self.ran.append(number)

    sigInt = sigTerm


class StopSignalsTests(SynchronousTestCase):
    def setUp(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            self.addCleanup(signal.signal, number, signal.getsignal(number))
        self.lines = LogLines(self)
        self.reactor = PretendedReactor()
        signal.signal(signal.SIGTERM, self.reactor.sigTerm)
        signal.signal(signal.SIGINT, self.reactor.sigInt)
        StopSignals(self.reactor).watch()

    def get(self, *numbers):
        for number in numbers:
            os.kill(os.getpid(), number)

    def test_first(self):
        """Until the reactor runs, and for the first signal, nothing is other than it was."""
        self.assertEqual(signal.getsignal(signal.SIGTERM), self.reactor.sigTerm)
        self.reactor.start()
        self.get(signal.SIGINT)
        self.assertEqual((self.reactor.ran, self.lines), ([signal.SIGINT], []))

    def test_again(self):
        """The reactor is stopped once, the second signal is said once, and SIGINT has its default after that."""
        self.reactor.start()
        self.get(signal.SIGTERM)
        self.assertEqual(self.lines, [])
        self.get(signal.SIGTERM, signal.SIGTERM, signal.SIGTERM)
        self.assertEqual(self.reactor.ran, [signal.SIGTERM])
        self.assertEqual(len(self.lines.about("stopping already")), 1)
        self.assertEqual(signal.getsignal(signal.SIGINT), signal.SIG_DFL)

    def test_one_of_each(self):
        """A SIGINT after SIGTERM, as a terminal and a supervisor may send, does not end the process."""
        self.reactor.start()
        self.get(signal.SIGTERM, signal.SIGINT)
        self.assertEqual(self.reactor.ran, [signal.SIGTERM])
        self.assertEqual(len(self.lines.about("stopping already")), 1)

    def test_stopped_by_itself(self):
        """A signal to a process that something else has stopped does not stop it again."""
        self.reactor.start()
        self.reactor.triggers[0]()
        self.get(signal.SIGINT)
        self.assertEqual(self.reactor.ran, [])
        self.assertEqual(len(self.lines.about("stopping already")), 1)

    def test_handlers_of_others(self):
        """What the application itself does about a signal is left alone."""
        got = []
        signal.signal(signal.SIGTERM, lambda number, frame: got.append(number))
        self.reactor.start()
        self.get(signal.SIGTERM, signal.SIGTERM)
        self.assertEqual((got, self.reactor.ran), ([signal.SIGTERM] * 2, []))
