"""
Threads that wait for what the reactor does.

Hot path: each blocking call goes through `wait_for`. A lock that is released by who brings the outcome costs 1 us less
than `concurrent.futures.Future`, and 10 less than `twisted.internet.threads.blockingCallFromThread`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from oslo_messaging.exceptions import MessagingException
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from zmqrpc.oslo.reactor import doing, is_this_thread

LATE_SECONDS = 1.0
"""
After the time of a call, after which its thread goes on, whatever the reactor does: all calls end by then.

But one that does the reactor's work itself at that time goes on when that is done, as any thread does that works.
"""


class StillUnderWay(MessagingException):  # type: ignore[misc]
    """What was waited for goes on; services expect errors of oslo.messaging's own, from `listen` too."""

    def __init__(self) -> None:
        super().__init__("the thread of zmqrpc does not answer; something holds it up")


def check_waiting(reactor: Any) -> None:
    """
    Refuse to have this thread wait for the reactor.

    :raises RuntimeError: this is the reactor's thread, which would wait for itself, or the reactor has ended.
    """
    check_running(reactor)
    if is_this_thread():
        raise RuntimeError(
            "a blocking call of oslo.messaging was made in the thread of the reactor, which would wait for itself; "
            "make it with deferToThread, or use zmqrpc.Node, whose calls do not block"
        )


def check_running(reactor: Any) -> None:
    """
    Refuse what needs the reactor when that has ended.

    :raises RuntimeError: it has, as only one of the application's does.
    """
    if not reactor.running:
        raise RuntimeError(
            "the reactor of the application has ended, and with it all that oslo.messaging did in this process; "
            "send and listen before it ends"
        )


def wait_for(
    reactor: Any,
    start: Callable[[], Deferred[Any]],
    patience: float,
    late: Callable[[Any], object] | None = None,
) -> Any:
    """
    Do something in the reactor, and wait in this thread until it is done.

    :param start: called in the reactor.
    :param patience: seconds that it is waited for. They begin when this thread has done what it does of the reactor's
        work, its own start among that; what holds up the reactor then holds up this thread, for as long as it takes.
    :param late: called in the reactor with the outcome when that comes later than it was waited for, and only then.
    :return: what its Deferred brings.
    :raises StillUnderWay: that takes longer.
    :raises RuntimeError: as `check_waiting`.
    """
    check_waiting(reactor)
    waiting = _Waiting(start, late)
    doing(reactor)(waiting.begin)
    return waiting.outcome(patience)


class _Waiting:
    """One thread that waits."""

    __slots__ = ("_done", "_late", "_left", "_outcome", "_start")

    def __init__(self, start: Callable[[], Deferred[Any]], late: Callable[[Any], object] | None) -> None:
        self._start = start
        self._late = late
        self._left = False
        self._outcome: Any = None
        self._done = threading.Lock()
        self._done.acquire()

    def begin(self) -> None:
        try:
            deferred = self._start()
        except BaseException:
            self._bring(Failure())
            return
        deferred.addBoth(self._bring)

    def _bring(self, outcome: Any) -> None:
        self._outcome = outcome
        self._done.release()
        # Whoever has the lock has the outcome: the thread looks once more when it has left.
        if self._left and self._late is not None and self._done.acquire(blocking=False):
            self._late(outcome)

    def outcome(self, patience: float) -> Any:
        if not self._done.acquire(timeout=patience):
            self._left = True
            # It may have come in between, and not be told as late.
            if not self._done.acquire(blocking=False):
                raise StillUnderWay
        outcome = self._outcome
        if isinstance(outcome, Failure):
            raise outcome.value  # type: ignore[misc]
        return outcome
