"""What a command prints about an error."""

from __future__ import annotations

import json
import sys
from io import StringIO

from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.cli._report import Report
from zmqrpc.errors import Journey, NoRoute, Overloaded
from zmqrpc.matchmaker._redis.errors import RedisRefusal


class ErrorTests(SynchronousTestCase):
    def said(self, error, as_json=False, absence=lambda: "there is no file"):
        err = StringIO()
        self.patch(sys, "stderr", err)
        report = Report("zmqrpc call", as_json)
        report.absence = absence
        report.error(error)
        return err.getvalue()

    def test_absence(self):
        """What is missing is said behind the error, which stays as it is however often it is printed."""
        error = NoRoute("nobody", Journey("calc"))
        for _ in range(2):
            text = "nobody (target calc, stage queued; it did not run); there is no file"
            self.assertEqual(self.said(error), f"zmqrpc call: NoRoute: {text}\n")
            self.assertEqual(json.loads(self.said(error, as_json=True))["message"], text)
        self.assertEqual(error.reason, "nobody")

    def test_absence_that_raises(self):
        """A fault of a plugin does not take the place of the error."""
        text = self.said(NoRoute("nobody"), absence=lambda: 1 / 0)
        self.assertIn("NoRoute: nobody; the matchmaker, asked what is missing, raised ZeroDivisionError: ", text)

    def test_kind(self):
        """An error has the name under which the documentation has it, also where the class is one of our own."""
        error = RedisRefusal("it refuses", "NOAUTH")
        self.assertEqual(self.said(error), "zmqrpc call: MatchmakerUnavailable: it refuses\n")
        self.assertEqual(json.loads(self.said(error, as_json=True))["error"], "MatchmakerUnavailable")
        self.assertEqual(self.said(KeyError("x")), "zmqrpc call: KeyError: 'x'\n")

    def test_absence_of_others(self):
        """It is no cause of an error that somebody was found for."""
        self.assertEqual(self.said(Overloaded("full")), "zmqrpc call: Overloaded: full\n")
