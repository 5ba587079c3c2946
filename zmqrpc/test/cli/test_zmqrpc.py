"""`zmqrpc` as users run it: real processes."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
from contextlib import closing

from zmqrpc import __version__
from zmqrpc.test.processes import ProcessTestCase, command, run_to_end, until

CALC = """
    from twisted.internet.defer import Deferred
    from zmqrpc import Target, errors, expose

    class Calc:
        notes = []

        @expose
        def add(self, context, a, b):
            return a + b

        @expose
        def user(self, context):
            return context.get("user")

        @expose
        def note(self, context, text):
            self.notes.append(text)

        @expose
        def read(self, context):
            return self.notes

        @expose
        def deny(self, context):
            raise errors.AccessDenied("AccessDenied", "only for ada")

        @expose
        def hang(self, context):
            open("hangs", "w").close()
            return Deferred()

    class Newer(Calc):
        target = Target(namespace="math", version="1.2")
"""


class CommandTests(ProcessTestCase):
    def setUp(self):
        super().setUp()
        self.environment["ZMQRPC_URL"] = self.url
        self.module("calc", CALC)

    def serve_calc(self, *options, url=None):
        apps = ("--app", "calc:Calc", "--app", "calc:Newer")
        return self.serve(*apps, "--topic", "calc", "--server", "node-1", *options, url=url)

    def zmqrpc(self, *arguments):
        """Run it, and return status, standard output and standard error."""
        ended = self.run_to_end("zmqrpc", *arguments)
        self.assertLessEqual(len(ended.stdout.splitlines()), 1, ended.stdout)
        self.assertLessEqual(len(ended.stderr.splitlines()), 1, ended.stderr)
        return ended.returncode, ended.stdout, ended.stderr

    def assertFails(self, status, text, *arguments):
        found, out, err = self.zmqrpc(*arguments)
        self.assertEqual((found, out), (status, ""), err)
        self.assertIn(text, err)

    def test_answers(self):
        self.serve_calc()
        for arguments, answer in (
            (("call", "calc", "add", "a=1", "b=2"), 3),
            (("call", "calc.node-1", "add", "a=1", "b=2"), 3),
            (("call", "calc", "--server", "node-1", "add", "a=x", "b=y"), "xy"),
            (("call", "calc", "user", "--context", '{"user": "ada"}'), "ada"),
            (("call", "calc", "add", "--namespace", "math", "--version", "1.1", "a=1", "b=2"), 3),
            (("call", "calc", "add", 'a={"$bytes": "aGk="}', 'b={"$bytes": "IQ=="}'), {"$bytes": "aGkh"}),
            (("cast", "calc", "note", "text=cast"), None),
        ):
            status, out, err = self.zmqrpc(*arguments)
            self.assertEqual((status, err), (0, ""), arguments)
            self.assertEqual(json.loads(out), answer)
        status, out, err = self.zmqrpc("fanout", "calc", "note", "text=fanout")
        self.assertEqual((status, err), (0, ""))
        reached = json.loads(out)
        self.assertEqual([entry["member"] for entry in reached["members"]], ["node-1"])
        self.assertEqual(reached["missing"], [])
        self.assertEqual(json.loads(self.zmqrpc("call", "calc", "read")[1]), ["cast", "fanout"])

    def test_errors(self):
        self.serve_calc()
        for status, text, *arguments in (
            (2, "outside -2", "call", "calc", "add", f"a={2**127}", "b=1"),
            (3, "NoRoute", "call", "nobody", "add"),
            (3, "NoRoute", "call", "calc.node-9", "add"),
            (3, "NoRoute", "fanout", "nobody", "add"),
            (4, "DeadlineExceeded", "call", "calc", "hang", "--timeout", "0.3"),
            (5, "TypeError", "call", "calc", "add", "a=1", "b=x"),
            (5, "InvalidArguments: add: the parameter 'b' is missing", "call", "calc", "add", "a=1"),
            (5, "NoSuchMethod", "call", "calc", "subtract"),
            (5, "UnsupportedVersion", "call", "calc", "add", "--namespace", "math", "--version", "1.3"),
            (7, "AccessDenied", "call", "calc", "deny"),
        ):
            self.assertFails(status, text, *arguments)

    def test_json_errors(self):
        status, out, err = self.zmqrpc("call", "nobody", "add", "--json")
        self.assertEqual((status, out), (3, ""))
        told = json.loads(err)
        self.assertEqual((told["error"], told["maybe_executed"], told["exit_status"]), ("NoRoute", False, 3))

    def test_terminal_without_the_letters(self):
        self.environment["PYTHONIOENCODING"] = "ascii"
        self.serve_calc()
        status, out, err = self.zmqrpc("call", "calc", "add", "a=\u00fc", "b=x")
        self.assertEqual((status, out, err), (0, '"\\u00fcx"\n', ""))

    def test_output_that_cannot_be_written(self):
        self.serve_calc()
        with open("/dev/full", "w") as full:
            ended = self.run_words(["call", "calc", "add", "a=1", "b=2"], full)
        self.assertEqual((ended.returncode, len(ended.stderr.splitlines())), (1, 1), ended.stderr)
        self.assertIn("No space left", ended.stderr)

    def test_output_that_nobody_reads(self):
        """Also of the commands that start no reactor."""
        for words in (["config"], ["config", "--json"], ["completion", "zsh"]):
            with open("/dev/full", "w") as full:
                ended = self.run_words(words, full)
            self.assertEqual((ended.returncode, len(ended.stderr.splitlines())), (1, 1), ended.stderr)
            self.assertIn("No space left", ended.stderr)
            self.assert_quiet(words)

    def test_output_whose_reader_has_left(self):
        """`head` has seen enough: every command ends without a word about it."""
        self.serve_calc()
        called = ["calc", "add", "a=1", "b=2"]
        for words in (
            *(
                ["call", *called],
                ["cast", *called],
                ["fanout", *called],
                ["describe", "calc"],
                ["ls"],
                ["ls", "--json"],
            ),
            *(["ping", "calc"], ["bench", "calc", "--duration", "0.1", "--warmup", "0"], ["notify", "t", "info", "e"]),
            *(["plan"], ["plan", "--json"], ["--help"], ["plan", "--help"], ["--version"]),
        ):
            self.assert_quiet(words)

    def assert_quiet(self, words):
        reading, writing = os.pipe()
        os.close(reading)
        ended = self.run_words(words, writing)
        os.close(writing)
        self.assertEqual((ended.returncode, ended.stderr), (141, ""), words)

    def test_errors_whose_reader_has_left(self):
        """The status is that of the error, also where nobody hears of it (``2>&1 | true``, ``2>&-``)."""
        reading, writing = os.pipe()
        os.close(reading)
        pipe = subprocess.PIPE
        for words, status in ((["ls", "nobody"], 3), (["ls", "--bad"], 2), (["ls", "--url", "zmq+none://"], 2)):
            zmqrpc = [*command("zmqrpc"), *words]
            # A shell may know descriptors of one digit only, so the pipe is given to it as its standard error.
            for closed, errors in ((">&-", pipe), ("2>&-", pipe), (">&- 2>&-", pipe), ("", writing)):
                ended = subprocess.run(
                    ["/bin/sh", "-c", f'exec "$@" {closed}', "sh", *zmqrpc],
                    cwd=self.directory,
                    env=self.environment,
                    stdout=pipe,
                    stderr=errors,
                    check=False,
                )
                self.assertEqual(ended.returncode, status, (words, closed, ended.stderr))
                self.assertNotIn(b"Traceback", ended.stderr or b"")
        os.close(writing)

    def run_words(self, words, stdout):
        return run_to_end([*command("zmqrpc"), *words], self.directory, self.environment, stdout)

    def test_nested_context(self):
        nested = '{"a": ' + "[" * 20000 + "]" * 20000 + "}"
        self.assertFails(
            2, "--context is not valid JSON: it is nested too deeply", "call", "calc", "add", "--context", nested
        )

    def test_no_matchmaker(self):
        self.assertFails(
            6, "its directory does not exist", "call", "--url", "zmq+sqlite:///no/such/directory/m.db", "calc", "add"
        )

    def test_no_url(self):
        del self.environment["ZMQRPC_URL"]
        self.assertFails(2, "no transport URL", "call", "calc", "add")

    def test_overloaded(self):
        self.serve_calc(url=f"{self.url}?max_running_calls=1")
        self.start("zmqrpc", "call", "calc", "hang")
        until((self.directory / "hangs").exists, "the call runs")
        self.assertFails(7, "Overloaded", "call", "calc", "add", "a=1", "b=2")

    def test_one_after_the_other(self):
        """A server that remembers one client at a time serves many that come and go."""
        self.serve_calc(url=f"{self.url}?max_clients=1")
        for word, arguments in (("call", ["add", "a=1", "b=2"]), ("cast", ["note", "text=x"]), ("fanout", ["read"])):
            self.assertEqual(self.zmqrpc(word, "calc", *arguments)[0], 0)
        self.assertEqual(self.zmqrpc("call", "calc", "add", "a=1", "b=2"), (0, "3\n", ""))

    def test_draining(self):
        """A member that stops and cannot withdraw its record, since another process keeps the file locked."""
        running = self.serve_calc()
        caller = self.start("zmqrpc", "call", "calc", "hang", "--timeout", "20")
        until((self.directory / "hangs").exists, "the call runs")
        with closing(sqlite3.connect(self.directory / "matchmaker.db", isolation_level=None)) as lock:
            lock.execute("BEGIN IMMEDIATE")
            running.signal()
            running.says("stopping")
            until(
                lambda: self.zmqrpc("call", "calc", "add", "a=1", "b=2")[0] == 7,
                lambda: self.zmqrpc("call", "calc", "add", "a=1", "b=2"),
            )
            self.assertFails(7, "Draining: the call failed: only members that are stopping", "call", "calc", "read")
        caller.kill()

    def test_server_killed(self):
        """Whether the method has run to its end cannot be known; this is said at once, not after the deadline."""
        running = self.serve_calc()
        caller = self.start("zmqrpc", "call", "calc", "hang", "--timeout", "60")
        until((self.directory / "hangs").exists, "the call runs")
        running.kill()
        self.assertEqual(caller.ends(), 8, caller.err)
        self.assertIn("ServerLost", caller.err)
        self.assertIn("it may have run", caller.err)

    def test_wait(self):
        caller = self.start("zmqrpc", "call", "calc", "add", "a=1", "b=2", "--wait", "--timeout", "30")
        self.serve_calc()
        self.assertEqual(caller.ends(), 0, caller.err)
        self.assertEqual(caller.out, "3\n")

    def test_interrupted(self):
        self.serve_calc()
        caller = self.start("zmqrpc", "call", "calc", "hang")
        until((self.directory / "hangs").exists, "the call runs")
        caller.signal(signal.SIGINT)
        self.assertEqual(caller.ends(), 130, caller.err)
        self.assertIn("Cancelled", caller.err)

    def test_interrupted_twice(self):
        """A second signal while the first is being obeyed adds no traceback to the line."""
        self.serve_calc()
        caller = self.start("zmqrpc", "call", "calc", "hang")
        until((self.directory / "hangs").exists, "the call runs")
        # One of each: two that are alike may be one when they come together.
        caller.signal(signal.SIGINT)
        caller.signal(signal.SIGTERM)
        # When the second comes after everything is done, it has its default.
        self.assertIn(caller.ends(), (130, -signal.SIGTERM), caller.err)
        self.assertEqual(len(caller.err.splitlines()), 1, caller.err)

    def test_version(self):
        self.assertEqual(self.zmqrpc("--version"), (0, f"zmqrpc {__version__}\n", ""))
