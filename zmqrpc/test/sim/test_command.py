"""What ``make sim`` prints, and how it ends."""

from __future__ import annotations

import subprocess
import sys
from io import StringIO

from twisted.logger import globalLogBeginner
from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.test.processes import ENVIRONMENT
from zmqrpc.test.sim import __main__ as command
from zmqrpc.test.sim.pool import Verdict, tell


class CommandTests(SynchronousTestCase):
    def run_command(self, *arguments):
        """Run it in a process of its own; return its status and what it printed."""
        words = [sys.executable, "-m", "zmqrpc.test.sim", *arguments]
        done = subprocess.run(words, check=False, env=ENVIRONMENT, capture_output=True, text=True, timeout=60)
        return done.returncode, done.stdout + done.stderr

    def test_many(self):
        status, text = self.run_command("--seeds", "4", "--from", "7")
        self.assertEqual(status, 0, text)
        self.assertRegex(text, r"(?m)^4 of 4 seeds, [\d.]+ a second, 0 with violations$")

    def test_one(self):
        """It is the same story in another process."""
        status, text = self.run_command("--seed", "7", "--verbose")
        self.assertEqual(status, 0, text)
        story = tell(7, verbose=True)
        self.flushLoggedErrors()
        self.assertEqual(text.splitlines(), [*story.events, *story.history, "seed 7: no violations"])

    def test_violations(self):
        """Each is printed with the command that replays it, at once, and the status is 1."""
        told = [Verdict(5, []), Verdict(6, ["ran twice: call 3", "never ended: cast 4"])]
        self.patch(command, "tell_all", lambda seeds: told)
        self.patch(globalLogBeginner, "beginLoggingTo", lambda *_, **__: None)
        out = StringIO()
        self.assertEqual(command.main(["--seeds", "2", "--from", "5"], out), 1)
        *lines, last = out.getvalue().splitlines()
        again = "  again: python -m zmqrpc.test.sim --seed 6 --verbose"
        self.assertEqual(lines, ["seed 6: ran twice: call 3", "seed 6: never ended: cast 4", again])
        self.assertRegex(last, "^2 of 2 seeds, .* 1 with violations$")

    def test_what_raises(self):
        """A story that fails is a violation of its seed, and the others go on."""

        def fail(seed):
            raise ZeroDivisionError(f"in story {seed}")

        self.patch(sys.modules["zmqrpc.test.sim.pool"], "Story", fail)
        (violation,) = tell(3).violations
        self.assertRegex(violation, r"(?s)^raised: Traceback.*ZeroDivisionError: in story 3")

    def test_bad_arguments(self):
        for words, text in ((["--seeds", "-1"], "-1 is below 0"), (["--verbose"], "give --seed S")):
            status, printed = self.run_command(*words)
            self.assertEqual(status, 2)
            self.assertIn(text, printed)
