"""What SIGTERM and SIGINT do to a process that stops already."""

from __future__ import annotations

import signal
from functools import partial
from types import FrameType
from typing import Any

from twisted.logger import Logger


class StopSignals:
    """
    The signals that stop a reactor.

    The first one does what Twisted has it do. For each one after it Twisted would stop the reactor again, which fails,
    with a traceback in the log. Here the second is answered by a line in the log, and from then on SIGINT ends the
    process as it does by default, at once; more of SIGTERM, which supervisors repeat, do nothing.

    :param reactor: the reactor of the process; where something else than it handles a signal, that is left alone.
    """

    log = Logger()

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._stopping = False
        self._said = False

    def watch(self) -> None:
        """Begin when the reactor runs: it sets its own handlers at its start."""
        self._reactor.callWhenRunning(self._take_over)

    def _take_over(self) -> None:
        for number, stop in ((signal.SIGTERM, self._reactor.sigTerm), (signal.SIGINT, self._reactor.sigInt)):
            if signal.getsignal(number) == stop:
                signal.signal(number, partial(self._received, stop))
        # What runs in the process may stop it too.
        self._reactor.addSystemEventTrigger("before", "shutdown", self._stops)

    def _stops(self) -> None:
        self._stopping = True

    def _received(self, stop: Any, number: int, frame: FrameType | None) -> None:
        if not self._stopping:
            # Not only in `_stops`: a reactor that is blocked gets there long after the second signal.
            self._stopping = True
            stop(number, frame)
        elif not self._said:
            self._said = True
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            # Not from here: the signal may have come in the middle of a write to the log.
            self._reactor.callFromThread(self._say)

    def _say(self) -> None:
        self.log.info("stopping already, and waiting for what runs; SIGINT (Ctrl-C) ends this process at once now")
