"""What is typed after `zmqrpc`."""

from __future__ import annotations

import os
import sys
from io import StringIO

from twisted.trial.unittest import SynchronousTestCase

from zmqrpc import errors
from zmqrpc.cli._exit import Exit, exit_for
from zmqrpc.cli._parser import parse
from zmqrpc.target import Target

URL = "zmq+sqlite:///run/matchmaker.db"


class ParserTests(SynchronousTestCase):
    def setUp(self):
        self.patch(os, "environ", {})
        self.out, self.err = StringIO(), StringIO()
        self.patch(sys, "stdout", self.out)
        self.patch(sys, "stderr", self.err)

    def parse(self, *arguments):
        return parse(["call", "--url", URL, *arguments])

    def test_least(self):
        request = self.parse("calc", "reset")
        self.assertEqual((request.command, request.settings.url), ("call", URL))
        self.assertEqual((request.target, request.method, request.arguments), (Target("calc"), "reset", {}))
        self.assertEqual(
            (request.context, request.timeout, request.wait, request.json_errors), (None, None, False, False)
        )

    def test_most(self):
        request = self.parse(
            *("--server", "node.1", "--namespace", "math", "--version", "1.2", "--context", '{"user": "ada"}'),
            *("--timeout", "2.5", "--wait", "--json", "calc.x", "add", "a=1", "b=two"),
        )
        self.assertEqual(request.target, Target("calc.x", server="node.1", namespace="math", version="1.2"))
        self.assertEqual(request.arguments, {"a": 1, "b": "two"})
        self.assertEqual(request.context, {"user": "ada"})
        self.assertEqual((request.timeout, request.wait, request.json_errors), (2.5, True, True))

    def test_options_anywhere(self):
        request = self.parse("calc", "--timeout", "3", "add", "a=1", "--wait", "b=2")
        self.assertEqual((request.arguments, request.timeout, request.wait), ({"a": 1, "b": 2}, 3, True))

    def test_topic(self):
        """The first dot splits; with --server nothing does, and an empty one is any member."""
        self.assertEqual(self.parse("a.b.c", "m").target, Target("a", server="b.c"))
        self.assertEqual(self.parse("a.b.c", "m", "--server", "").target, Target("a.b.c"))
        self.assertEqual(self.parse("a.b.c", "m", "--server", "s").target, Target("a.b.c", server="s"))

    def test_url_from_environment(self):
        os.environ["ZMQRPC_URL"] = "zmq+sqlite:///other"
        self.assertEqual(parse(["cast", "calc", "reset"]).settings.url, "zmq+sqlite:///other")
        self.assertEqual(self.parse("calc", "reset").settings.url, URL)

    def test_wrong(self):
        for arguments, text in (
            ([], "give a command: call, cast, fanout"),
            (["bogus"], "invalid choice: 'bogus'"),
            (["--bogus"], "--bogus"),
            (["call"], "TOPIC, METHOD"),
            (["call", "calc"], "required: METHOD;"),
            (["call", "calc", "add"], "no transport URL; give --url, or set ZMQRPC_URL"),
            (["call", "--url", "http://x", "calc", "add"], "does not start with zmq://"),
            (["call", "--url", URL, "calc", "add", "1"], "'1' has no name"),
            (["call", "--url", URL, "calc", "add", "=1"], "'=1' has no name"),
            (["call", "--url", URL, "calc", "add", "a=1", "a=2"], "'a' is given twice"),
            (["call", "--url", URL, "calc", "add", 'a={"$bytes": "*"}'], "not base64"),
            (["call", "--url", URL, "calc", "add", "--context", "ada"], "--context is not JSON"),
            (["call", "--url", URL, "calc", "add", "--context", "[]"], "--context is no JSON object"),
            (["call", "--url", URL, "calc", "add", "--timeout", "soon"], "'soon'"),
            (["call", "--url", URL, "calc", "add", "--timeout", "0"], "more than 0"),
            (["call", "--url", URL, "calc", "add", "--timeout", "nan"], "more than 0"),
            (["call", "--url", URL, "calc", "add", "--version", "new"], "the version 'new'"),
            (["call", "--url", URL, "calc.", "add"], "the server ''"),
            (["call", "--url", URL, "calc", "add", "--bogus"], "--bogus"),
            (["call", "--url", URL, "calc", "add", "--time", "1"], "--time"),
        ):
            self.err.truncate(0)
            self.err.seek(0)
            ended = self.assertRaises(SystemExit, parse, arguments)
            said = self.err.getvalue()
            self.assertEqual(ended.code, 2, arguments)
            self.assertIn(text, said)
            self.assertEqual(len(said.splitlines()), 1, said)
        self.assertEqual(self.out.getvalue(), "")

    def test_help(self):
        for arguments in (["--help"], ["call", "--help"], ["cast", "--help"], ["fanout", "--help"]):
            self.assertEqual(self.assertRaises(SystemExit, parse, arguments).code, 0)
        said = self.out.getvalue()
        for option in ("--url", "--server", "--namespace", "--version", "--context", "--timeout", "--wait", "--json"):
            self.assertIn(option, said)
        self.assertIn("8  outcome unknown", said)


class ExitTests(SynchronousTestCase):
    def test_every_error(self):
        """Each error that a command can end with has a status, in the order of their first printing."""
        for error, status in (
            (errors.ConfigError("x"), 2),
            (errors.PortRangeExhausted("x"), 2),
            (errors.NoRoute("x"), 3),
            (errors.DeadlineExceeded("x"), 4),
            (errors.RemoteError("ValueError", "x"), 5),
            (errors.NoSuchMethod("x", "x"), 5),
            (errors.InvalidArguments("x", "x"), 5),
            (errors.UnsupportedVersion("x", "x"), 5),
            (errors.MatchmakerUnavailable("x"), 6),
            (errors.Overloaded("x"), 7),
            (errors.Draining("x"), 7),
            (errors.AuthenticationFailed("x"), 7),
            (errors.AccessDenied("x", "x"), 7),
            (errors.ServerLost("x"), 8),
            (errors.NotAcknowledged("x"), 8),
            (errors.EncodingError("x"), 2),
            (errors.EncodingError("x", maybe_executed=True), 5),
            (errors.MessageTooLarge("x"), 2),
            (errors.MessageTooLarge("x", maybe_executed=True), 5),
            (errors.Cancelled("x"), 130),
            (errors.ClientClosed("x"), 1),
            (errors.RemoteProtocolError("x"), 1),
            (ZeroDivisionError(), 1),
        ):
            self.assertEqual(exit_for(error), status, error)
        self.assertEqual(Exit.DONE, 0)
