"""A process that runs tests."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from zmqrpc.test.oslo.suite.results import Result
from zmqrpc.test.ports import free_port
from zmqrpc.test.processes import CHECKOUT, ENVIRONMENT

TEST_SECONDS = 120.0
"""For which a test may run; one that takes longer hangs, and its process has then written where."""


class Ended(Exception):
    """A process does not answer."""


class Child:
    """
    A process that runs tests, as `zmqrpc.test.oslo.suite_child` says.

    :param directory: where it runs.
    :param log: where it writes what it prints.
    """

    def __init__(self, executor: str, url: str, directory: Path, log: Path) -> None:
        directory.mkdir()
        environment = {
            **ENVIRONMENT,
            "RPC_TRANSPORT_URL": url,
            "NOTIFY_TRANSPORT_URL": url,
            "OS_OSLO_METRICS__METRICS_SOCKET_FILE": str(directory / "metrics.sock"),
            "OS_OSLO_METRICS__PROMETHEUS_PORT": str(free_port()),
            # Tests start python3, which has to be this one.
            "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}",
            "PYTHONWARNINGS": "ignore",
        }
        environment.pop("TRANSPORT_DRIVER", None)
        words = [
            "setpriv",
            "--pdeathsig",
            "KILL",
            sys.executable,
            "-P",
            str(CHECKOUT / "zmqrpc/test/oslo/suite_child.py"),
        ]
        with open(log, "ab") as written:
            self._process = subprocess.Popen(
                [*words, executor],
                cwd=directory,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=written,
                text=True,
                start_new_session=True,
            )

    def names(self) -> list[str]:
        """Return the ids of all tests; called once, before any is run."""
        names: list[str] = self._answer()
        return names

    def run(self, name: str) -> Result:
        """Run a test."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(f"{name}\n")
            self._process.stdin.flush()
        except OSError as error:
            raise Ended from error
        return Result(*self._answer())

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        timer = threading.Timer(TEST_SECONDS, self._process.kill)
        timer.start()
        try:
            line = self._process.stdout.readline()
        finally:
            timer.cancel()
        if not line:
            raise Ended
        return json.loads(line)

    def end(self) -> int:
        """Have it exit, and end what its tests have left running; return its exit status."""
        assert self._process.stdin is not None and self._process.stdout is not None
        with suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(TEST_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
        status = self._process.wait()
        self._process.stdout.close()
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        return status
