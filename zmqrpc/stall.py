"""Notices a method that blocks the reactor, and logs where it stands."""

from __future__ import annotations

import sys
import threading
import traceback
from collections.abc import Callable
from functools import partial
from time import monotonic, process_time
from typing import Any

from twisted.logger import Logger

from zmqrpc.unpatched import threads_are_green, unpatched

STALL_SECONDS = 1.0
_LOOK_SECONDS = STALL_SECONDS / 4


class StallWatch:
    """
    A thread that asks the reactor, four times a second, to have a turn.

    Only a thread can say where the reactor's own thread is stuck while it is. It asks, rather than being told when
    methods begin, because one that has waited for something goes on from wherever that came.

    The thread does not run either while code holds the interpreter: a regular expression that backtracks, work on large
    numbers, an extension in C. It reads that from the time of the processor that the process has used meanwhile.

    A reactor in a green thread is blocked whenever any of these blocks. What is said of that is logged when it is over:
    the lock of a log is green.
    """

    log = Logger()

    def __init__(self) -> None:
        self._worker: Callable[[], int] = lambda: 0
        self._threading: Any = unpatched("threading")
        self._stopped = self._threading.Event()
        self._turned = self._threading.Event()
        self._thread: threading.Thread | None = None
        self._tell: Callable[[float], object] = lambda seconds: None
        self._log: Callable[..., object] = self.log.error

    def start(
        self,
        call_from_thread: Callable[[Callable[[], None]], object],
        blocked: Callable[[float], None] = lambda seconds: None,
        worker: Callable[[], int] | None = None,
    ) -> None:
        """
        Watch the calling thread, which is that of the reactor whose `callFromThread` is given.

        :param blocked: called in the reactor when it has its turn again, with the seconds after which that was noticed.
        :param worker: tells the thread that does the reactor's work, where that is not always the same.
        """
        here = self._threading.get_ident()
        self._worker = worker or (lambda: here)
        if self._thread is None:
            self._turned.set()
            self._tell = lambda seconds: call_from_thread(partial(blocked, seconds))
            if threads_are_green():
                self._log = lambda *words, **facts: call_from_thread(partial(self.log.error, *words, **facts))
            self._thread = thread = self._threading.Thread(
                target=self._watch, args=(call_from_thread,), name="zmqrpc-stall", daemon=True
            )
            thread.start()

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
        self._log(
            "the reactor has been blocked for {seconds:.1f} s, every call waits; it stands at:\n{stack}",
            seconds=seconds,
            stack=self._stack(),
        )

    def _report_held(self, seconds: float) -> None:
        self._tell(seconds)
        # We come here when the code gives the interpreter back, most often before the next line of who called it.
        self._log(
            "the reactor was blocked for {seconds:.1f} s by code that holds the interpreter, every call waited; when "
            "that was over it stood at:\n{stack}",
            seconds=seconds,
            stack=self._stack(),
        )

    def _stack(self) -> str:
        frame = sys._current_frames().get(self._worker())
        return "".join(traceback.format_stack(frame)) if frame is not None else "(no stack)"
