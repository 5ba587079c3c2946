"""Notices a method that blocks the reactor, and logs where it stands."""

from __future__ import annotations

import sys
import traceback
from threading import Event, Thread, get_ident
from time import monotonic

from twisted.logger import Logger

STALL_SECONDS = 1.0


class StallWatch:
    """
    A thread that looks, four times a second, for how long methods have kept the reactor.

    Only a thread can say where the reactor's own thread is stuck while it is.
    """

    log = Logger()

    def __init__(self) -> None:
        self._since: float | None = None
        self._watched = 0
        self._stopped = Event()
        self._thread: Thread | None = None

    def start(self) -> None:
        """Watch the calling thread."""
        self._watched = get_ident()
        if self._thread is None:
            self._thread = Thread(target=self._watch, name="zmqrpc-stall", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Watch no more; returns when the thread has ended."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()

    def begin(self, now: float) -> None:
        """Methods begin to run; `now` is by `time.monotonic`."""
        self._since = now

    def end(self) -> None:
        """They have returned."""
        self._since = None

    def _watch(self) -> None:
        reported = None
        while not self._stopped.wait(STALL_SECONDS / 4):
            since = self._since
            if since is not None and since != reported and monotonic() - since >= STALL_SECONDS:
                reported = since
                frame = sys._current_frames().get(self._watched)
                stack = "".join(traceback.format_stack(frame)) if frame is not None else "(no stack)"
                self.log.error(
                    "the reactor has been blocked for {seconds:.1f} s, every call waits; it stands at:\n{stack}",
                    seconds=monotonic() - since,
                    stack=stack,
                )
