"""That forks of the warm interpreter are as interpreters that were started."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from textwrap import dedent

from zmqrpc.test.processes import ENVIRONMENT, WARM, ProcessTestCase, command, run_to_end, spawn, until
from zmqrpc.test.warm import Fork, WarmInterpreter

WHAT_IS_THERE = """
    import gc, json, os, signal, sys, threading
    from twisted.python.runtime import platform
    print(json.dumps({
        "arguments": sys.argv,
        "directory": os.getcwd(),
        "environment": dict(os.environ),
        "name": __name__,
        "path": sys.path,
        "garbage": [gc.isenabled(), gc.get_threshold()],
        "signals": {number: str(signal.getsignal(number)).split(" at ")[0] for number in range(1, 30)},
        "masked": len(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
        "descriptors": sorted(os.listdir("/proc/self/fd")),
        "streams": [[s.encoding, s.line_buffering, s.isatty()] for s in (sys.stdin, sys.stdout, sys.stderr)],
        "reactor": "twisted.internet.reactor" in sys.modules,
        "threads": threading.active_count(),
        "umask": os.umask(0o22),
    }, default=str))
"""


class WarmTests(ProcessTestCase):
    def setUp(self):
        super().setUp()
        self.warm = WARM
        self.cold = WarmInterpreter({})
        """It is for nobody, so that an interpreter is started."""

    def words(self, code, *arguments):
        return [sys.executable, "-P", "-c", dedent(code), *arguments]

    def both(self, words):
        """Run it as a fork, and with an interpreter of its own."""
        self.assertTrue(self.warm.can_run(words, self.environment))
        self.assertFalse(self.cold.can_run(words, self.environment))
        return [run_to_end(words, self.directory, self.environment, warm=warm) for warm in (self.warm, self.cold)]

    def assert_same(self, words, status):
        forked, started = self.both(words)
        self.assertEqual(vars(forked), vars(started))
        self.assertEqual(forked.returncode, status)
        return forked

    def test_what_is_there(self):
        self.environment["ZMQRPC_URL"] = self.url
        forked, started = (json.loads(ended.stdout) for ended in self.both(self.words(WHAT_IS_THERE, "a", "b c")))
        self.assertEqual(forked, started)
        self.assertEqual(forked["directory"], str(self.directory))
        self.assertEqual(forked["arguments"], ["-c", "a", "b c"])

    def test_ends(self):
        """As they may: well, with a status, with what is not caught, and by a signal."""
        self.assert_same(self.words("print('out')"), 0)
        self.assertEqual(self.assert_same(self.words("import sys; sys.exit('why')"), 1).stderr, "why\n")
        self.assert_same(self.words("import sys; sys.exit(7)"), 7)
        self.assert_same(self.words("import os; os.kill(os.getpid(), 9)"), -signal.SIGKILL)
        self.assert_same(self.words("import atexit; atexit.register(print, 'at the end')"), 0)
        for ended in self.both(self.words("1 / 0")):
            self.assertEqual(ended.returncode, 1)
            self.assertTrue(ended.stderr.endswith("ZeroDivisionError: division by zero\n"), ended.stderr)

    def test_commands(self):
        """Each of our commands, which then imports what it needs itself."""
        for name, *arguments in (
            ("zmqrpc", "--version"),
            ("zmqrpc", "config", "--json"),
            ("twistd", "zmq-rpc-server", "--help"),
            ("twist", "zmq-rpc-server", "--help"),
        ):
            self.assert_same([*command(name), *arguments], 0)
        self.assert_same([*command("zmqrpc"), "call", "calc", "add", "--url", self.url], 3)
        self.assert_same([*command("twistd"), "-n", "zmq-rpc-server", "--app", "nothing", "--url", self.url], 2)

    def test_not_the_same(self):
        """What an interpreter heeds when it starts, and what is no such command."""
        words = self.words("pass")
        for name, value in (("PYTHONPATH", "/elsewhere"), ("PYTHONOPTIMIZE", "1"), ("COVERAGE_PROCESS_START", "x")):
            self.assertFalse(self.warm.can_run(words, {**self.environment, name: value}), name)
        self.environment.pop("PYTHONPATH")
        self.assertFalse(self.warm.can_run(words, self.environment))
        self.assertFalse(self.warm.can_run(["/bin/sh", "-P", "-c", "true"], ENVIRONMENT))

    def run_beside(self, code):
        with open(os.devnull, "w+") as nothing:
            process = self.warm.run(self.words(code), self.directory, self.environment, [nothing] * 3)
        self.addCleanup(process.kill)
        return process

    def test_signals(self):
        process = self.run_beside("open('begun', 'w'); import time; time.sleep(60)")
        until((self.directory / "begun").exists, "it runs")
        self.assertIsNone(process.poll())
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(10), -signal.SIGTERM)
        self.assertEqual(process.poll(), -signal.SIGTERM)
        process.kill()

    def test_ends_with_it(self):
        """A fork does not outlive the interpreter, which ends with those who started it."""
        self.warm = WarmInterpreter(ENVIRONMENT)
        self.addCleanup(self.warm.close)
        process = self.run_beside("import time; time.sleep(60)")
        self.warm.close()
        self.assertRaises(ProcessLookupError, os.kill, process.pid, 0)
        self.assertEqual(process.wait(10), -signal.SIGKILL)
        # It starts again for the next.
        self.assertEqual(self.run_beside("pass").wait(10), 0)

    def test_others_are_started(self):
        with open(os.devnull, "w+") as nothing:
            process = spawn([sys.executable, "-c", "pass"], Path(), ENVIRONMENT, nothing, nothing, nothing)
        self.assertNotIsInstance(process, Fork)
        self.assertEqual(process.wait(), 0)
