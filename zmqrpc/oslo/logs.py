"""
What is said in the reactor reaches the application's handlers in a thread of its own.

A handler may itself send: oslo.messaging has one that makes a notification of each line. Who logs holds the lock of the
handler meanwhile, and waits for the reactor, which must not wait for that lock.
"""

from __future__ import annotations

import logging
import queue
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from itertools import count
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
    """
    The thread; it begins with the first line, or before the process exits.

    Whatever a filter or a handler raises, it goes on. Where it ends all the same, as a green one does that is killed
    while it waits, the next line begins another.
    """

    def __init__(self) -> None:
        self._lines: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
        # A signal handler of the main thread may come to it again.
        self._lock = threading.RLock()
        self._runs = False
        # It counts what is dropped, and each look at it: several threads may say something at a time, and to add one
        # and read it is one step.
        self._drops = count()
        self._known = 0

    def do(self, act: Callable[[], object]) -> None:
        if self._lines.qsize() >= MOST_LINES:
            next(self._drops)
            return
        self._lines.put(act)
        if not self._runs:
            self.begin()

    def begin(self) -> None:
        with self._lock:
            if self._runs:
                return
            self._runs = True
            try:
                threading.Thread(target=self._run, name="zmqrpc-log", daemon=True).start()
            except BaseException as error:
                self._runs = False
                # There may be too many threads now: who says something is not to blame, and the next line tries again.
                if not isinstance(error, RuntimeError):
                    raise

    def _run(self) -> None:
        try:
            while True:
                _try(self._lines.get())
                _try(self._tell_dropped)
        finally:
            self._runs = False

    def _tell_dropped(self) -> None:
        dropped = next(self._drops) - self._known
        self._known += dropped + 1
        if dropped:
            LOG.warning("%d lines of the log were dropped, since its handlers are too slow", dropped)

    def flush(self, seconds: float) -> None:
        if self._runs:
            said = threading.Event()
            self._lines.put(said.set)
            said.wait(seconds)


def _try(act: Callable[[], object]) -> None:
    """Do something that the application may have a part in."""
    try:
        act()
    except BaseException:
        # There is nobody else to tell, and perhaps no standard error either.
        with suppress(BaseException):
            sys.stderr.write(traceback.format_exc())


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
