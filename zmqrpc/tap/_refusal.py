"""How a command refuses to start: one sentence on standard error, and the exit status 2."""

from __future__ import annotations

import atexit
import os
import select
import sys
from typing import Any, NoReturn

from zmqrpc.errors import ConfigError
from zmqrpc.settings import masked_url

STATUS = 2
_PATIENCE = 10.0
"""Seconds that a daemon which has said why it does not start may take to end."""


class StartRefused(ConfigError, SystemExit):
    """
    The process cannot start; the text says why.

    It is a `ConfigError` for whoever composes our services. It is a `SystemExit` too, since Python ends a process with
    that without a traceback. It has to be an ordinary `Exception` as well: `twistd` tells the process that waits for
    its daemon, and removes its pid file, only for those.
    """

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.code = STATUS


class Refusals:
    """
    Where a command says why it does not start.

    :param command: what every sentence begins with.
    :ivar in_log: whether the log has to say it too. Where that goes to the same terminal, once is enough.
    """

    def __init__(self, command: str) -> None:
        self.in_log = True
        self._command = command
        self._before_fork: int | None = None
        self._ends = (-1, -1)

    def outlive_fork(self) -> None:
        """
        Let the process that `twistd` forks its daemon from say it, and end with our status.

        A daemon has no standard error, and what `twistd` itself tells the process that waits is cut at 100 bytes, put
        into two lines of its own, and status 1 whatever it is.
        """
        self._before_fork = os.getpid()
        self._ends = os.pipe()
        os.register_at_fork(after_in_parent=self._wait)

    def started(self) -> None:
        """Let the process that waits go on: nothing is refused any more."""
        reads, writes = self._ends
        self._ends = (-1, -1)
        for end in (reads, writes):
            if end >= 0:
                os.close(end)

    def say(self, sentence: str) -> None:
        """Write a sentence to standard error, that of the process that waits included."""
        line = f"{self._command}: {_masked(sentence)}\n"
        if self._before_fork not in (None, os.getpid()) and self._ends[1] >= 0:
            # Left open until we end: who waits is there for twistd as long as we are.
            os.write(self._ends[1], line.encode(errors="backslashreplace"))
        elif sys.__stderr__ is not None:
            # Not sys.stderr: twistd has turned that into its log by the time a service starts.
            sys.__stderr__.write(line)
            sys.__stderr__.flush()

    def refuse(self, sentence: str) -> NoReturn:
        """
        Say why, and raise.

        :raises StartRefused: always.
        """
        sentence = _masked(sentence)
        self.say(sentence)
        raise StartRefused(sentence)

    def fail(self, sentence: str, reactor: Any) -> None:
        """Say why the process cannot go on, stop its reactor, and have it end with our status."""
        self.say(sentence)
        atexit.register(_end)
        reactor.callWhenRunning(reactor.stop)

    def _wait(self) -> None:
        """Wait for the end of the daemon's start, and end when it was refused; its other forks are none of ours."""
        if os.getpid() != self._before_fork:
            return
        reads, writes = self._ends
        os.close(writes)
        said = os.read(reads, 65536)
        if said:
            while select.select([reads], [], [], _PATIENCE)[0] and os.read(reads, 65536):
                pass
            os.write(2, said)
            os._exit(STATUS)
        os.close(reads)
        self._ends = (-1, -1)


def _masked(sentence: str) -> str:
    """Put it into one line, without passwords: whatever was typed may be in it, such as a URL where none belongs."""
    return " ".join(masked_url(word) for word in sentence.split())


def _end() -> None:
    """End the process; twistd leaves no other way to choose the status when its reactor has stopped."""
    for stream in (sys.__stdout__, sys.__stderr__):
        if stream is not None:
            stream.flush()
    os._exit(STATUS)
