"""What SIGHUP and SIGUSR2 do to a process of ours."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, ClassVar

from twisted.logger import Logger


class OnSignal:
    """
    Has a function called at a signal, in the reactor; by default these signals end a process at once.

    Several may wait in one process, and begin and end in any order: they share one handler, which also calls the one
    that was there before.

    :param reactor: the reactor of the process.
    :param number: the signal.
    :param called: what is called, without arguments.
    """

    _hooks: ClassVar[dict[int, _Hook]] = {}

    def __init__(self, reactor: Any, number: int, called: Callable[[], None]) -> None:
        self._reactor = reactor
        self._number = number
        self._called = called
        self._waits = False

    def begin(self) -> None:
        """Begin. Outside the main thread, where nobody may set handlers, nothing happens."""
        if self._waits or threading.current_thread() is not threading.main_thread():
            return
        self._waits = True
        if self._number not in self._hooks:
            self._hooks[self._number] = _Hook(self._number)
        self._hooks[self._number].waiting.append(self)

    def end(self) -> None:
        """Wait no more; after the last one the signal does what it did before."""
        hook = self._hooks.get(self._number)
        if not self._waits or hook is None:
            return
        self._waits = False
        hook.waiting.remove(self)
        if not hook.waiting:
            del self._hooks[self._number]
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
    Our handler of one signal.

    :ivar waiting: who hears of it.
    """

    def __init__(self, number: int) -> None:
        self.waiting: list[OnSignal] = []
        self._number = number
        self._before = signal.signal(number, self._received)

    def remove(self) -> None:
        # Somebody else's, set after ours, may call us still: we only call whom we called then.
        if signal.getsignal(self._number) == self._received:
            signal.signal(self._number, self._before)

    def _received(self, number: int, frame: FrameType | None) -> None:
        for each in tuple(self.waiting):
            each.received()
        if callable(self._before):
            self._before(number, frame)


_log = Logger()


def nothing_to_open() -> None:
    """Say why nothing happens; for a daemon that twistd logs for."""
    _log.info("SIGHUP: there is no log to open again; give --log-file after the name of the command for one")
