"""What SIGHUP does to a process of ours."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, ClassVar

from twisted.logger import Logger


class HangUp:
    """
    Has a function called at SIGHUP, in the reactor; by default the signal ends a process at once.

    Several may wait in one process, and begin and end in any order: they share one handler, which also calls the one
    that was there before.

    :param reactor: the reactor of the process.
    :param called: what is called, without arguments.
    """

    _hook: ClassVar[_Hook | None] = None

    def __init__(self, reactor: Any, called: Callable[[], None]) -> None:
        self._reactor = reactor
        self._called = called
        self._waits = False

    def begin(self) -> None:
        """Begin. Outside the main thread, where nobody may set handlers, nothing happens."""
        if self._waits or threading.current_thread() is not threading.main_thread():
            return
        self._waits = True
        if HangUp._hook is None:
            HangUp._hook = _Hook()
        HangUp._hook.waiting.append(self)

    def end(self) -> None:
        """Wait no more; after the last one the signal does what it did before."""
        hook = HangUp._hook
        if not self._waits or hook is None:
            return
        self._waits = False
        hook.waiting.remove(self)
        if not hook.waiting:
            HangUp._hook = None
            hook.remove()

    def received(self) -> None:
        """Take the signal."""
        # Not from here: it may have come in the middle of a write to the log.
        self._reactor.callFromThread(self._call)

    def _call(self) -> None:
        if self._waits:
            self._called()


class _Hook:
    """
    Our handler of the signal.

    :ivar waiting: who hears of it.
    """

    def __init__(self) -> None:
        self.waiting: list[HangUp] = []
        self._before = signal.signal(signal.SIGHUP, self._received)

    def remove(self) -> None:
        # Somebody else's, set after ours, may call us still: we only call whom we called then.
        if signal.getsignal(signal.SIGHUP) == self._received:
            signal.signal(signal.SIGHUP, self._before)

    def _received(self, number: int, frame: FrameType | None) -> None:
        for hang_up in tuple(self.waiting):
            hang_up.received()
        if callable(self._before):
            self._before(number, frame)


_log = Logger()


def nothing_to_open() -> None:
    """Say why nothing happens; for a daemon that twistd logs for."""
    _log.info("SIGHUP: there is no log to open again; give --log-file after the name of the command for one")
