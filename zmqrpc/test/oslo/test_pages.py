"""What the pages about oslo.messaging show is typed, and what they say is printed."""

from __future__ import annotations

import re
import shlex
import sys

from zmqrpc.test.processes import ProcessTestCase, Running, run_to_end, until
from zmqrpc.test.test_examples import DOCS, EXAMPLES, pattern, steps

PAGE = DOCS / "howto" / "oslo-messaging.rst"


def narrow(text: str) -> str:
    return re.sub(" +", " ", text).strip()


class PageTests(ProcessTestCase):
    """docs/howto/oslo-messaging, with examples/oslo: compute.py, compute.conf, caller.py and test_compute.py."""

    def setUp(self) -> None:
        super().setUp()
        self.environment["PYTHONWARNINGS"] = "ignore"
        for path in (EXAMPLES / "oslo").iterdir():
            if path.is_file():
                (self.directory / path.name).write_text(self.here(path.read_text()))

    def here(self, text: str) -> str:
        return text.replace("/tmp/", f"{self.directory}/")

    def beside(self, words: list[str]) -> Running:
        running = Running(words, self.directory, self.environment)
        self.addCleanup(running.kill)
        return running

    def assert_printed(self, shown: str, said: str) -> None:
        self.assertTrue(pattern(narrow(shown)).fullmatch(narrow(said)), f"{shown}\n{said}")

    def test_steps(self) -> None:
        typed = set()
        for command, printed in steps(PAGE):
            name, *arguments = shlex.split(self.here(command))
            shown = self.here(printed)
            typed.add(name)
            if name == "export":
                variable, _, value = arguments[0].partition("=")
                self.environment[variable] = value
            elif arguments[0] == "compute.py":
                service = self.beside([sys.executable, *arguments])
                wanted = pattern(shown)
                until(lambda p=service, w=wanted: w.search(p.err), lambda p=service: p.err)
            elif arguments[0] == "listen":
                self.listen(arguments, shown)
            elif name == "python":
                ended = self.python(*arguments)
                self.assertEqual(ended.returncode, 0, ended.stderr)
                self.assert_printed(shown, ended.stdout if arguments[0] == "caller.py" else ended.stderr)
            elif name == "oslo-config-generator":
                code = "from oslo_config.generator import main; main()"
                words = [sys.executable, "-c", code, *arguments]
                self.assert_printed(shown, run_to_end(words, self.directory, self.environment).stdout)
            else:
                ended = self.run_to_end(name, *arguments)
                self.assert_printed(shown, ended.stdout + ended.stderr)
        self.assertEqual(typed, {"export", "oslo-config-generator", "python", "zmqrpc"})

    def listen(self, arguments: list[str], shown: str) -> None:
        listening = self.start("zmqrpc", *arguments)
        until(lambda: "listening to" in listening.err, lambda: listening.err)
        self.run_to_end("zmqrpc", "call", "compute.node-1", "boot", "name=web")
        until(lambda: "\n" in listening.out, lambda: listening.err)
        self.assert_printed(shown, listening.out)

    def test_misspelt(self) -> None:
        """What oslo.config does not notice zmqrpc config refuses, as the page says."""
        (self.directory / "compute.conf").write_text("[oslo_messaging_zmq]\ndrain_timeuot = 1\n")
        self.assertEqual(self.run_to_end("zmqrpc", "config", "--config-file", "compute.conf").returncode, 2)
        words = [sys.executable, "-c", "import sys; from oslo_config.validator import main; sys.exit(main())"]
        validated = run_to_end(
            [*words, "--namespace", "zmqrpc", "--input-file", "compute.conf"], self.directory, self.environment
        )
        self.assertEqual(validated.returncode, 1)
        self.assertIn("drain_timeuot is not part", validated.stderr)

    def test_clean(self) -> None:
        """The service stops at SIGTERM, and is found no more."""
        service = self.beside([sys.executable, "compute.py", "node-1", "--config-file", "compute.conf"])
        until(lambda: "serving topic" in service.err, lambda: service.err)
        service.signal()
        self.assertEqual(service.ends(), 0, service.err)
        listed = self.run_to_end("zmqrpc", "ls", "--config-file", "compute.conf")
        self.assertIn("nobody is registered", listed.stdout + listed.stderr)
