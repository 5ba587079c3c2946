"""Notices a method that blocks the reactor, and logs where it stands."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from threading import Event, Thread, get_ident
from time import monotonic

from twisted.logger import Logger

STALL_SECONDS = 1.0
_LOOK_SECONDS = STALL_SECONDS / 4


class StallWatch:
    """
    A thread that asks the reactor, four times a second, to have a turn.

    Only a thread can say where the reactor's own thread is stuck while it is. It asks, rather than being told when
    methods begin, because one that has waited for something goes on from wherever that came.
    """

    log = Logger()

    def __init__(self) -> None:
        self._watched = 0
        self._stopped = Event()
        self._turned = Event()
        self._thread: Thread | None = None

    def start(self, call_from_thread: Callable[[Callable[[], None]], object]) -> None:
        """Watch the calling thread, which is that of the reactor whose `callFromThread` is given."""
        self._watched = get_ident()
        if self._thread is None:
            self._turned.set()
            self._thread = Thread(target=self._watch, args=(call_from_thread,), name="zmqrpc-stall", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Watch no more; returns when the thread has ended."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()

    def _watch(self, call_from_thread: Callable[[Callable[[], None]], object]) -> None:
        asked = before = monotonic()
        reported = False
        while not self._stopped.wait(_LOOK_SECONDS):
            now = monotonic()
            if now - before > 2 * _LOOK_SECONDS:
                # The whole process stood still (SIGSTOP, a suspended machine), which is nobody's fault.
                asked = now
            before = now
            if self._turned.is_set():
                self._turned.clear()
                asked, reported = now, False
                call_from_thread(self._turned.set)
            elif not reported and now - asked >= STALL_SECONDS:
                reported = True
                self._report(now - asked)

    def _report(self, seconds: float) -> None:
        frame = sys._current_frames().get(self._watched)
        self.log.error(
            "the reactor has been blocked for {seconds:.1f} s, every call waits; it stands at:\n{stack}",
            seconds=seconds,
            stack="".join(traceback.format_stack(frame)) if frame is not None else "(no stack)",
        )
