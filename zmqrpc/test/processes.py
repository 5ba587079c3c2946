"""Processes for tests: the commands of Twisted and of zmqrpc, as users run them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryFile
from textwrap import dedent

from twisted.trial.unittest import SynchronousTestCase

import zmqrpc
from zmqrpc.test.warm import Fork, Stream, WarmInterpreter

CHECKOUT = Path(zmqrpc.__file__).parents[1]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
"""For the children of tests: this zmqrpc need not be installed, and no transport URL is set."""
ENVIRONMENT.pop("ZMQRPC_URL", None)

LIMIT = 30
"""Seconds within which anything must have happened; reached only by a failure."""


def command(name: str) -> list[str]:
    """Return what runs `twistd`, `twist` or `zmqrpc` with the Python that runs the tests."""
    code = {
        "twistd": "from twisted.scripts.twistd import run; run()",
        "twist": "from twisted.application.twist._twist import Twist; Twist.main()",
        "zmqrpc": "from zmqrpc.cli import main; main()",
    }[name]
    # As for an installed script: -P keeps the current directory off the path.
    return [sys.executable, "-P", "-c", f"import sys; sys.argv[0] = {name!r}; {code}"]


def until(holds, what, limit=LIMIT):
    """Wait until a condition holds, and return its value."""
    give_up = time.monotonic() + limit
    while True:
        value = holds()
        if value:
            return value
        if time.monotonic() > give_up:
            raise AssertionError(f"after {limit} s there is still not: {what() if callable(what) else what}")
        time.sleep(0.01)


WARM = WarmInterpreter(ENVIRONMENT)
"""What runs the commands of Twisted and of zmqrpc for all tests of this process."""


def spawn(
    words: Sequence[str],
    directory: Path,
    environment: Mapping[str, str],
    stdin: Stream,
    stdout: Stream,
    stderr: Stream,
    warm: WarmInterpreter = WARM,
) -> subprocess.Popen[bytes] | Fork:
    """Run a command: as a fork of the warm interpreter where that is the same, else as any process."""
    if warm.can_run(words, environment):
        return warm.run(words, directory, environment, (stdin, stdout, stderr))
    return subprocess.Popen(
        [*warm.prefix, *words],
        cwd=directory,
        env=environment,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        preexec_fn=_heed_ctrl_c,
    )


def run_to_end(
    words: Sequence[str],
    directory: Path,
    environment: Mapping[str, str],
    stdout: Stream | None = None,
    warm: WarmInterpreter = WARM,
) -> subprocess.CompletedProcess[str]:
    """
    Run a command to its end, with nothing to read; return what it has written.

    :param stdout: where it writes, for who does not want that returned.
    """
    with TemporaryFile() as out, TemporaryFile() as err, open(os.devnull) as nothing:
        process = spawn(words, directory, environment, nothing, out if stdout is None else stdout, err, warm)
        try:
            process.wait(LIMIT)
        finally:
            process.kill()
            status = process.wait()
        written = [os.pread(file.fileno(), 1 << 30, 0).decode() for file in (out, err)]
    return subprocess.CompletedProcess(list(words), status, *written)


def _heed_ctrl_c() -> None:
    # A script that runs the tests in the background has them ignore SIGINT, which every child would inherit.
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Running:
    """
    A process that runs beside the test; what it prints is in `out` and `err`.

    :param stdin: its standard input; ours by default.
    """

    def __init__(self, arguments, directory: Path, environment, warm=WARM, stdin: Stream = 0):
        self.files = [directory / f"{time.monotonic_ns()}.{name}" for name in ("out", "err")]
        with self.files[0].open("wb") as out, self.files[1].open("wb") as err:
            self.process = spawn(arguments, directory, environment, stdin, out, err, warm)

    @property
    def out(self) -> str:
        return self.files[0].read_text(errors="replace")

    @property
    def err(self) -> str:
        return self.files[1].read_text(errors="replace")

    def says(self, text, count=1):
        """Wait until the text has been printed, that often; return everything printed until then."""

        def printed():
            if self.out.count(text) >= count:
                return self.out
            if self.process.poll() is not None and self.out.count(text) < count:
                raise AssertionError(f"it ended ({self.process.returncode}) without {text!r}: {self.out}\n{self.err}")
            return None

        return until(printed, lambda: f"{text!r} in {self.out}\n{self.err}")

    def handles(self, number: int = signal.SIGTERM) -> None:
        """Wait until it handles a signal: what it says in its start it says before its reactor does."""
        status = Path(f"/proc/{self.process.pid}/status")

        def handled() -> bool:
            (caught,) = (line.split()[1] for line in status.read_text().splitlines() if line.startswith("SigCgt:"))
            return bool(int(caught, 16) >> (number - 1) & 1)

        until(handled, lambda: f"{number} handled by {self.process.pid}: {self.out}\n{self.err}")

    def signal(self, number: int = signal.SIGTERM) -> None:
        self.process.send_signal(number)

    def ends(self) -> int:
        """Wait for its end and return its status."""
        return self.process.wait(LIMIT)

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


class ProcessTestCase(SynchronousTestCase):
    """Tests that run processes, in a directory of their own in which modules can be imported."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir()
        self.url = f"zmq+sqlite://{self.directory}/matchmaker.db"
        self.environment = dict(ENVIRONMENT)

    def module(self, name: str, source: str) -> None:
        """Write a module."""
        path = self.directory / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(source))

    def start(self, name: str, *arguments: str) -> Running:
        """Run a command beside the test."""
        running = Running([*command(name), *arguments], self.directory, self.environment)
        self.addCleanup(running.kill)
        return running

    def run_to_end(self, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return run_to_end([*command(name), *arguments], self.directory, self.environment)

    def python(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the Python that runs the tests to its end."""
        return run_to_end([sys.executable, *arguments], self.directory, self.environment)

    def serve(self, *options: str, url: str | None = None) -> Running:
        """Run `twistd zmq-rpc-server` in the foreground, until it is registered."""
        running = self.start("twistd", "-n", "--pidfile=", "zmq-rpc-server", "--url", url or self.url, *options)
        running.says("ready: registered")
        return running

    def taken_port(self) -> int:
        """Take a port of the loopback interface for the length of the test."""
        taken = socket.socket()
        self.addCleanup(taken.close)
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        return int(taken.getsockname()[1])

    def assert_one_sentence(self, text: str, err: str) -> None:
        """Check that this is all that standard error shows."""
        self.assertIn(text, err)
        self.assertEqual(len(err.splitlines()), 1, err)
        self.assertNotIn("Traceback", err)
