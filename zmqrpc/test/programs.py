"""Programs of others that tests run for real: on ports of their own, in directories of their own, never as daemons."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from zmqrpc.test.ports import free_port

LIMIT = 30
"""Seconds within which a program must have started or ended, and must have answered."""


def program(name: str, package: str) -> str:
    """Return the path of a program; fail, saying how to install it, when there is none."""
    # Debian has some daemons where only root looks.
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if path is None:
        raise AssertionError(
            f"this test needs the program {name}: run make test, which installs it, or sudo apt-get install {package}"
        )
    return path


class Program:
    """
    One that listens on loopback; it ends with the test at the latest. Its kinds say `command` and `answers`.

    :param port: 0 for one that is free.
    :param environment: of its process; None for ours.
    :ivar port: stays the same when it is started again.
    :ivar directory: where it runs and writes; what it prints is there in ``log``.
    """

    keeps = "data"
    """Where in its directory it writes what it is to have again after a restart."""

    def __init__(self, case: Any, port: int = 0, environment: dict[str, str] | None = None) -> None:
        self.port = port or free_port()
        self.directory = Path(case.mktemp()).absolute()
        self.directory.mkdir(parents=True)
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None
        case.addCleanup(self._end)

    def command(self) -> list[str]:
        """Return the words that run it."""
        raise NotImplementedError

    def answers(self) -> bool:
        """Ask it something, blocking."""
        raise NotImplementedError

    @property
    def runs(self) -> bool:
        """Whether it was started, hangs or not."""
        return self._process is not None

    @property
    def pid(self) -> int:
        """The id of its process."""
        assert self._process is not None
        return self._process.pid

    def begin(self) -> None:
        """Start it, without waiting."""
        assert self._process is None
        # Linux ends it when we are gone, however we went.
        words = ["setpriv", "--pdeathsig", "KILL", *self.command()]
        with open(self.directory / "log", "ab") as log:
            self._process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self._environment
            )

    def wait(self) -> None:
        """Wait, blocking, until it answers."""
        give_up = time.monotonic() + LIMIT
        while not self.answers():
            if self._process is None or self._process.poll() is not None or time.monotonic() > give_up:
                self.kill()
                name = Path(self.command()[0]).name
                raise AssertionError(f"{name} did not start; its log says:\n{(self.directory / 'log').read_text()}")
            time.sleep(0.01)

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self.begin()
        self.wait()

    def kill(self) -> None:
        """End it as a crash does; what it has written stays."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait(LIMIT)

    def lose(self) -> None:
        """Have it forget what it has written; to be called while it does not run."""
        shutil.rmtree(self.directory / self.keeps, ignore_errors=True)

    def restart(self, empty: bool = False) -> None:
        """Kill it and start it again."""
        self.kill()
        if empty:
            self.lose()
        self.start()

    def stop_answering(self) -> None:
        """Have it hang: it accepts connections and answers nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED)  # until the last of its threads does nothing more

    def answer_again(self) -> None:
        """End the hanging."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def _end(self) -> None:
        self.kill()
        self.lose()  # an etcd has 64 MB at once: those of all tests would fill a disk
