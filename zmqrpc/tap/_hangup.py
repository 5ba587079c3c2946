"""What SIGHUP does to a process of ours."""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType
from typing import Any

from twisted.logger import Logger


class HangUp:
    """
    Has a function called at SIGHUP, in the reactor; by default the signal ends a process at once.

    Several may wait in one process: each calls the handler that was there before it as well.

    :param reactor: the reactor of the process.
    :param called: what is called, without arguments.
    """

    def __init__(self, reactor: Any, called: Callable[[], None]) -> None:
        self._reactor = reactor
        self._called: Callable[[], None] | None = called
        self._before: Any = None

    def begin(self) -> None:
        """Begin. Outside the main thread, where nobody may set handlers, nothing happens."""
        try:
            self._before = signal.signal(signal.SIGHUP, self._received)
        except ValueError:
            self._called = None

    def end(self) -> None:
        """Have the signal do what it did before."""
        if self._called is None:
            return
        self._called = None
        # One that began later calls us still, and we call whom we called.
        if signal.getsignal(signal.SIGHUP) == self._received:
            signal.signal(signal.SIGHUP, self._before)

    def _received(self, number: int, frame: FrameType | None) -> None:
        if self._called is not None:
            # Not from here: the signal may have come in the middle of a write to the log.
            self._reactor.callFromThread(self._call)
        if callable(self._before):
            self._before(number, frame)

    def _call(self) -> None:
        if self._called is not None:
            self._called()


_log = Logger()


def nothing_to_open() -> None:
    """Say why nothing happens; for a daemon that twistd logs for."""
    _log.info("SIGHUP: there is no log to open again; give --log-file after the name of the command for one")
