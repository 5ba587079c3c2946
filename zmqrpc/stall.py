"""Notices a method that blocks the reactor, and logs where it stands."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from functools import partial
from threading import Event, Thread, get_ident
from time import monotonic, process_time

from twisted.logger import Logger

STALL_SECONDS = 1.0
_LOOK_SECONDS = STALL_SECONDS / 4


class StallWatch:
    """
    A thread that asks the reactor, four times a second, to have a turn.

    Only a thread can say where the reactor's own thread is stuck while it is. It asks, rather than being told when
    methods begin, because one that has waited for something goes on from wherever that came.

    The thread does not run either while code holds the interpreter: a regular expression that backtracks, work on large
    numbers, an extension in C. It reads that from the time of the processor that the process has used meanwhile.
    """

    log = Logger()

    def __init__(self) -> None:
        self._watched = 0
        self._stopped = Event()
        self._turned = Event()
        self._thread: Thread | None = None
        self._tell: Callable[[float], object] = lambda seconds: None

    def start(
        self,
        call_from_thread: Callable[[Callable[[], None]], object],
        blocked: Callable[[float], None] = lambda seconds: None,
    ) -> None:
        """
        Watch the calling thread, which is that of the reactor whose `callFromThread` is given.

        :param blocked: called in the reactor when it has its turn again, with the seconds after which that was noticed.
        """
        self._watched = get_ident()
        if self._thread is None:
            self._turned.set()
            self._tell = lambda seconds: call_from_thread(partial(blocked, seconds))
            self._thread = Thread(target=self._watch, args=(call_from_thread,), name="zmqrpc-stall", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Watch no more; returns when the thread has ended."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()

    def _watch(self, call_from_thread: Callable[[Callable[[], None]], object]) -> None:
        asked = before = monotonic()
        used_before = process_time()
        reported = False
        while not self._stopped.wait(_LOOK_SECONDS):
            now, used = monotonic(), process_time()
            gap, busy = now - before, used - used_before
            before, used_before = now, used
            if gap > 2 * _LOOK_SECONDS:
                # While the whole process stood still (SIGSTOP, a suspended machine), nobody is at fault.
                asked += max(0.0, gap - busy)
                if not reported and busy >= STALL_SECONDS:
                    reported = True
                    self._report_held(min(gap, busy))
            if self._turned.is_set():
                self._turned.clear()
                asked, reported = now, False
                call_from_thread(self._turned.set)
            elif not reported and now - asked >= STALL_SECONDS:
                reported = True
                self._report(now - asked)

    def _report(self, seconds: float) -> None:
        self._tell(seconds)
        self.log.error(
            "the reactor has been blocked for {seconds:.1f} s, every call waits; it stands at:\n{stack}",
            seconds=seconds,
            stack=self._stack(),
        )

    def _report_held(self, seconds: float) -> None:
        self._tell(seconds)
        # We come here when the code gives the interpreter back, most often before the next line of who called it.
        self.log.error(
            "the reactor was blocked for {seconds:.1f} s by code that holds the interpreter, every call waited; when "
            "that was over it stood at:\n{stack}",
            seconds=seconds,
            stack=self._stack(),
        )

    def _stack(self) -> str:
        frame = sys._current_frames().get(self._watched)
        return "".join(traceback.format_stack(frame)) if frame is not None else "(no stack)"
