"""What is typed after `zmqrpc`."""

from __future__ import annotations

import json
import os
import sys
from io import StringIO

from twisted.trial.unittest import SynchronousTestCase

from zmqrpc import errors
from zmqrpc.cli import run
from zmqrpc.cli._commands import COMMANDS
from zmqrpc.cli._exit import MEANINGS, Exit, exit_for
from zmqrpc.cli._parser import choose, parse
from zmqrpc.cli._request import arguments_of, context_of, target_of
from zmqrpc.target import Target

URL = "zmq+sqlite:///run/matchmaker.db"


class ParserTests(SynchronousTestCase):
    def setUp(self):
        self.patch(os, "environ", {})

    def parse(self, *arguments):
        return parse(choose(["call"]), ["--url", URL, *arguments])

    def test_least(self):
        options = self.parse("calc", "reset")
        self.assertEqual((options.url, options.config_file), (URL, []))
        self.assertEqual(target_of(options), Target("calc"))
        self.assertEqual((options.method, options.arguments), ("reset", []))
        self.assertEqual((options.context, options.timeout, options.wait, options.json), (None, None, False, False))

    def test_most(self):
        options = self.parse(
            *("--server", "node.1", "--namespace", "math", "--version", "1.2", "--context", '{"user": "ada"}'),
            *("--timeout", "2.5", "--wait", "--json", "--exchange", "other", "calc.x", "add", "a=1", "b=two"),
        )
        self.assertEqual((options.namespace, options.version), ("math", "1.2"))
        self.assertEqual(target_of(options), Target("calc.x", server="node.1", exchange="other"))
        self.assertEqual(arguments_of(options.arguments), {"a": 1, "b": "two"})
        self.assertEqual(context_of(options.context), {"user": "ada"})
        self.assertEqual((options.timeout, options.wait, options.json), (2.5, True, True))

    def test_options_anywhere(self):
        options = self.parse("calc", "--timeout", "3", "add", "a=1", "--wait", "b=2")
        self.assertEqual((options.arguments, options.timeout, options.wait), (["a=1", "b=2"], 3, True))

    def test_topic(self):
        """The first dot splits; with --server nothing does, and an empty one is any member."""
        self.assertEqual(target_of(self.parse("a.b.c", "m")), Target("a", server="b.c"))
        self.assertEqual(target_of(self.parse("a.b.c", "m", "--server", "")), Target("a.b.c"))
        self.assertEqual(target_of(self.parse("a.b.c", "m", "--server", "s")), Target("a.b.c", server="s"))

    def test_short(self):
        options = parse(choose(["ls"]), ["--url", URL, "-c", "one.conf", "--config-file", "two.conf"])
        self.assertEqual((options.url, options.config_file), (URL, ["one.conf", "two.conf"]))

    def test_every_command(self):
        """Each has a module that runs it, and names of its own for what it takes."""
        for command in COMMANDS:
            module = __import__(f"zmqrpc.cli.{command.module}", fromlist=["run"])
            self.assertTrue(callable(module.run))
            flags = [option.flag for option in command.options]
            self.assertEqual(len(set(flags)), len(flags))
            self.assertIn("--json", flags)


class CommandLineTests(SynchronousTestCase):
    """What is said, where nothing is sent."""

    def setUp(self):
        self.patch(os, "environ", {})
        self.out, self.err = StringIO(), StringIO()
        self.patch(sys, "stdout", self.out)
        self.patch(sys, "stderr", self.err)

    def refusal(self, *arguments):
        """Run what is refused, and return what is said about it."""
        self.err.truncate(0)
        self.err.seek(0)
        self.assertEqual(run(arguments), 2, arguments)
        said = self.err.getvalue()
        self.assertEqual(len(said.splitlines()), 1, said)
        self.assertEqual(self.out.getvalue(), "")
        return said

    def test_wrong(self):
        deep = "[" * 100000
        for arguments, text in (
            ([], "give a command: call, cast, fanout, notify, listen, ls"),
            (["--bogus"], "give a command"),
            (["bogus"], "no command 'bogus'; valid are call, cast"),
            (["cal"], "zmqrpc: there is no command 'cal'; did you mean call?; see zmqrpc --help"),
            (["notify"], "TOPIC, PRIORITY, EVENT_TYPE"),
            (["notify", "events", "loud", "x"], "invalid choice: 'loud' (choose from 'audit', 'critical', 'debug'"),
            (["notify", "--url", URL, "", "info", "x"], "the topic '' is empty"),
            (["notify", "--url", URL, "events", "info", "x", "7"], "the argument '7' has no name"),
            (["notify", "--url", URL, "events", "info", "x", "--context", "[]"], "--context is no JSON object"),
            (["notify", "--url", URL, "events", "info", "x", "--publisher", ""], "the publisher '' is empty"),
            (
                ["notify", "--url", URL, "events", "info", "x", "--timeout", "0"],
                "'0' is not a number of seconds above 0",
            ),
            (["listen"], "required: TOPIC"),
            (["listen", "--url", URL, "events", "a\nb"], "holds a control character"),
            (["listen", "--url", URL, "events", "--pool", ""], "the pool '' is empty"),
            (["call"], "TOPIC, METHOD"),
            (["call", "calc"], "required: METHOD;"),
            (["call", "calc", "add"], "no transport URL; give --url, or set ZMQRPC_URL"),
            (
                ["call", "--url", "http://x", "calc", "add"],
                "'http://x' does not start with zmq:// or zmq+MATCHMAKER://; matchmakers are dummy, etcd, file, "
                "redis, sentinel, sqlite, and those of plugins (--url)",
            ),
            (
                ["call", "--url", URL, "calc", "add", "--url", URL],
                "--url is given twice; give it once; see zmqrpc call",
            ),
            (["call", "--timeout", "1", "calc", "--timeout", "2"], "--timeout is given twice"),
            (["call", "--url", URL, "calc", "add", "1"], "'1' has no name"),
            (["call", "--url", URL, "calc", "add", "=1"], "'=1' has no name"),
            (["call", "--url", URL, "calc", "add", "a=1", "a=2"], "'a' is given twice"),
            (["call", "--url", URL, "calc", "add", 'a={"$bytes": "*"}'], "not base64"),
            (["call", "--url", URL, "calc", "add", f"a={deep}"], "'a' is not valid: it is nested too deeply"),
            (["call", "--url", URL, "calc", "add", f"a={'9' * 5000}"], "has 5000 digits; 64 bits are the most"),
            (["call", "--url", URL, "calc", "add", "--context", "ada"], "--context is not valid JSON"),
            (["call", "--url", URL, "calc", "add", "--context", "[]"], "--context is no JSON object"),
            (["call", "--url", URL, "calc", "add", "--context", deep], "nested too deeply"),
            (["call", "--url", URL, "calc", "add", "--timeout", "soon"], "'soon' is not a number of seconds above 0"),
            (["call", "--url", URL, "calc", "add", "--timeout", "0"], "'0' is not a number of seconds above 0"),
            (["call", "--url", URL, "calc", "add", "--timeout", "nan"], "above 0"),
            (["call", "--url", URL, "calc", "add", "--timeout", "1e300"], "above 0"),
            (["call", "--url", URL, "calc", "add", "--version", "new"], "the version 'new'"),
            (["call", "--url", URL, "calc.", "add"], "the server ''"),
            (
                ["call", "--url", URL, "calc", "add", "--bogus"],
                "there is no argument --bogus; see zmqrpc call --help",
            ),
            (["call", "--url", URL, "calc", "add", "--tiemout", "1"], "did you mean --timeout?"),
            (["call", "--url", URL, "calc", "add", "--time", "1"], "--time"),
            (["ls", "--url", URL, "calc", "more"], "there is no argument more"),
            (["ping", "--url", URL, "calc", "--count", "-1"], "'-1' is not a whole number, 0 or more"),
            (["ping", "--url", URL, "calc", "--interval", "-1"], "'-1' is not a number of seconds, 0 or more"),
            (["bench", "--url", URL, "calc", "--rate", "0"], "'0' is not a number above 0"),
            (["bench", "--url", URL, "calc", "--outstanding", "0"], "'0' is not a whole number, 1 or more"),
            (["bench", "--url", URL, "calc", "--rate", "1", "--outstanding", "1"], "give one of them"),
            (["plan", "--hosts", "0"], "'0' is not a whole number, 1 or more"),
            (["bench", "--url", URL, "calc", "a=1"], "there is no METHOD before 'a=1'"),
            (["bench", "--url", URL, "calc", "--namespace", "math"], "need a METHOD"),
            (["completion", "fish"], "invalid choice: 'fish'"),
        ):
            self.assertIn(text, self.refusal(*arguments))

    def test_json(self):
        """With --json what is wrong with the command line is JSON too."""
        for arguments in (["bogus", "--json"], ["call", "--json", "calc"], ["call", "--json", "calc", "add"]):
            told = json.loads(self.refusal(*arguments))
            self.assertEqual((told["error"], told["exit_status"], told["maybe_executed"]), ("ConfigError", 2, False))

    def test_passwords(self):
        """A URL that stands where none belongs keeps its password to itself."""
        url = "zmq+redis://ada:sesame@127.0.0.1/0"
        for arguments in (
            ["call", "calc", "add", url],
            ["call", url, "add", "--bogus"],
            [url],
            ["call", "--timeout", url, "calc", "add"],
            ["call", "--url", url.replace("redis", "rredis"), "calc", "add"],
            ["call", "--url", url.replace("zmq+", ""), "calc", "add"],
            ["call", "--url", f"{url}?bogus=1", "calc", "add", "--json"],
        ):
            self.assertNotIn("sesame", self.refusal(*arguments))

    def test_help(self):
        for command in COMMANDS:
            self.assertEqual(self.assertRaises(SystemExit, run, [command.name, "--help"]).code, 0)
            said = self.out.getvalue()
            for option in command.options:
                self.assertIn(option.flag, said)
            for word in command.words:
                self.assertIn(word.name, said)
            self.assertIn("8    outcome unknown", said)
            self.out.truncate(0)
        self.assertEqual(self.assertRaises(SystemExit, run, ["--help"]).code, 0)
        for command in COMMANDS:
            self.assertIn(f"{command.name:11} {command.summary}", self.out.getvalue())


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
        self.assertEqual(set(MEANINGS), set(Exit))
