"""
What is said in the reactor reaches the application's handlers in a thread of its own.

A handler may itself send: oslo.messaging has one that makes a notification of each line. Who logs holds the lock of the
handler meanwhile, and waits for the reactor, which must not wait for that lock.
"""

from __future__ import annotations

import logging
import queue
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from twisted.logger import (
    FilteringLogObserver,
    ILogFilterPredicate,
    LogLevel,
    PredicateResult,
    STDLibLogObserver,
    globalLogBeginner,
)
from zope.interface import implementer

LOG = logging.getLogger(__name__)

MOST_LINES = 10_000
"""That wait for handlers; what is said while there are as many is dropped, and how much that was is said later."""


class _LogThread:
    """The thread; it begins with the first line, or before the process exits."""

    def __init__(self) -> None:
        self._lines: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._runs = False
        self._dropped = 0

    def do(self, act: Callable[[], object]) -> None:
        if self._lines.qsize() >= MOST_LINES:
            self._dropped += 1
            return
        self._lines.put(act)
        if not self._runs:
            self.begin()

    def begin(self) -> None:
        with self._lock:
            if not self._runs:
                threading.Thread(target=self._run, name="zmqrpc-log", daemon=True).start()
                self._runs = True

    def _run(self) -> None:
        while True:
            act = self._lines.get()
            try:
                act()
            except Exception:
                # A filter of the application's: there is nobody else to tell.
                traceback.print_exc()
            if self._dropped:
                dropped, self._dropped = self._dropped, 0
                LOG.warning("%d lines of the log were dropped, since its handlers are too slow", dropped)

    def flush(self, seconds: float) -> None:
        if self._runs:
            said = threading.Event()
            self._lines.put(said.set)
            said.wait(seconds)


_thread = _LogThread()


class QueuedLogger(logging.Logger):
    """
    A logger that may be used in the reactor.

    :param logger: whose level counts, and whose handlers get what is said.
    """

    def __init__(self, logger: logging.Logger) -> None:
        super().__init__(logger.name)
        self._logger = logger

    def isEnabledFor(self, level: int) -> bool:
        return self._logger.isEnabledFor(level)

    def handle(self, record: logging.LogRecord) -> None:
        with suppress(Exception):
            # What it tells of may be another when the thread comes to it. The handlers say what is wrong with it.
            record.msg, record.args = record.getMessage(), None
        _thread.do(partial(self._logger.handle, record))


def logger(name: str) -> logging.Logger:
    """Return the logger of a module whose code runs in the reactor."""
    return QueuedLogger(logging.getLogger(name))


def begin() -> None:
    """Begin the thread, if there was nothing to tell yet."""
    _thread.begin()


def flush(seconds: float) -> None:
    """Wait until all that was said has reached the handlers, up to some seconds."""
    _thread.flush(seconds)


def begin_anew() -> None:
    """Take that this is a fork: it has no such thread, and what was said before is the parent's to tell."""
    global _thread  # noqa: PLW0603
    _thread = _LogThread()


def say_to_logging() -> None:
    """Have what is logged by Twisted go where the application's logging goes, unless it has set that up itself."""
    if globalLogBeginner._temporaryObserver is None:
        return
    observer = STDLibLogObserver(name="zmqrpc")
    queued = QueuedLogger(observer.logger)
    # It finds who has logged behind the publisher of Twisted.
    queued.findCaller = observer.logger.findCaller  # type: ignore[method-assign]
    observer.logger = queued
    filtered = FilteringLogObserver(observer, [_Ours()])
    globalLogBeginner.beginLoggingTo([filtered], redirectStandardIO=False, discardBuffer=True)


@implementer(ILogFilterPredicate)
class _Ours:
    """Lets pass what zmqrpc says, and of the rest what is wrong."""

    def __call__(self, event: Any) -> Any:
        ours = event.get("log_namespace", "").startswith("zmqrpc")
        level = event.get("log_level")
        return PredicateResult.yes if ours or level is None or level >= LogLevel.warn else PredicateResult.no
