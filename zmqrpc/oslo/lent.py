"""
A reactor whose work is done by who has work for it, while its own thread waits for events.

To hand something to another thread costs a write to its waker, an epoll that returns and a turn of the interpreter's
lock: on both sides of a call together a fifth of its time (:doc:`/adr/0044-who-waits-does-the-work-of-the-reactor`).
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from contextvars import Context
from functools import partial
from math import inf
from time import monotonic
from typing import Any

from twisted.internet.epollreactor import EPollReactor

from zmqrpc.oslo.handed_over import hand_over

_ROUNDS = 3
"""Of timers that are due, one of which may ask for another: after each pass over a socket it is looked at again."""

_NEAR_SECONDS = 0.001
"""By which a timer may come before the one that the thread of the reactor waits for, and be left to that."""

RESERVE = 700
"""
Frames that a thread must have left, up to the limit of Python, to do the reactor's work: that needs 80, or 120 for a
result that is nested as deep as any may be. Python counts more than frames, in a recursion through constructors one for
each: there may be 400 levels where 700 are left, and fewer behind a recursion in C (of `repr`), which no look can see.
"""


class LentReactor(EPollReactor):
    """
    A reactor of epoll, whose timers go by the monotonic clock.

    It is one thread's at any time, of who has the turn: nothing that runs in it can tell the difference. ZeroMQ allows
    its sockets to change threads with a lock in between.

    :ivar worker: the ident of the thread that has the turn, or of its own where none has.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        # A thread is what the one is that begins it, which may be one that the process waits for at its exit.
        pool: Any = self.getThreadPool()
        pool.threadFactory = partial(threading.Thread, daemon=True)
        self._turn = threading.Lock()
        self._waits_until = -inf
        self._is_wanted = False
        self._context = Context()
        self._own = self.worker = threading.get_ident()
        self._main = threading.main_thread().ident

    def startRunning(self, installSignalHandlers: bool = True) -> None:
        """See `IReactorCore`."""
        self._turn.acquire()
        self._own = self.worker = threading.get_ident()
        super().startRunning(installSignalHandlers=installSignalHandlers)

    def doPoll(self, timeout: float | None) -> None:
        """Wait for events, which is nobody's turn, and handle them."""
        if timeout != 0:
            self._waits_until = inf if timeout is None else monotonic() + timeout
            self._turn.release()
            try:
                self._poller.poll(timeout, 1)
            finally:
                # The lock goes to who asks first, which is most often who has just had it.
                self._is_wanted = True
                self._turn.acquire()
                self._is_wanted = False
            self.worker = self._own
        super().doPoll(0)  # type: ignore[no-untyped-call]

    doIteration = doPoll

    def in_turn(self, act: Callable[..., object], *arguments: object) -> None:
        """
        Do something in the reactor, soon, and after all that was to be done before; from any thread.

        It is done at once, in this thread, unless the reactor is at work or has events. The main thread hands it over:
        there a signal handler may raise anything anywhere. So does who is deep in its stack: what runs out of that is
        left half done.
        """
        here = threading.get_ident()
        if here == self._main or self._is_wanted or _is_deep() or not self._turn.acquire(blocking=False):
            hand_over(self, act, *arguments)
            return
        self.worker, wakes = here, True
        try:
            # Where it is the first, nobody has to wake the reactor for what comes after it.
            self.woken_for: dict[str, Any] = {}
            self.threadCallQueue.append((act, arguments, self.woken_for))
            wakes = self._context.run(self._work)
        finally:
            self.worker = self._own
            self._turn.release()
            if wakes:
                self.wakeUp()

    def _work(self) -> bool:
        """Do what is due; return whether the thread of the reactor has to be woken for what is left."""
        for _ in range(_ROUNDS):
            self.runUntilCurrent()
            timeout = self.timeout()
            if timeout != 0:
                break
        return timeout is not None and monotonic() + timeout < self._waits_until - _NEAR_SECONDS


def _is_deep() -> bool:
    """Tell whether this thread has less of its stack left than the work of the reactor may need."""
    try:
        # It goes through all frames: 0.2 us where there are few.
        sys._getframe(sys.getrecursionlimit() - RESERVE)
    except ValueError:
        return False
    return True
