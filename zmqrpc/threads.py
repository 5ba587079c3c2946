"""The threads in which methods run that block, and those for what blocks in C."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextvars import copy_context
from functools import partial
from inspect import iscoroutine
from threading import Thread
from typing import Any

from twisted.internet._resolver import GAIResolver
from twisted.internet.base import ReactorBase
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

from zmqrpc.forks import leave
from zmqrpc.unpatched import threads_are_green, unpatched

_MOST_AT_ONCE = 10
"""As many threads as Twisted's reactors have."""


class _Daemon(Thread):
    """A thread that does not keep the process from exiting."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords, daemon=True)


class _Pool(ThreadPool):
    threadFactory = _Daemon


class ThreadResult(Deferred[Any]):
    """
    What a method brings that runs in a thread, or waits for one.

    :ivar begun: whether it runs; the thread writes it.
    :ivar cancelled: whether nobody wants it any more; the reactor writes it.
    """

    def __init__(self, threads: Threads, work: Callable[[], Any]) -> None:
        super().__init__()
        self.begun = self.cancelled = False
        self._threads = threads
        self._work = work

    def cancel(self) -> None:
        """
        Do not begin, or take it back.

        What runs in a thread cannot be stopped. It goes on counting as running, and ends as cancelled when the method
        returns, or when that is not waited for any more.
        """
        self.cancelled = True
        if not self.called and (not self.begun or self._threads.abandoned):
            self.errback(CancelledError())

    def work(self) -> Any:
        """Run the method, in the thread."""
        # Each side says what it does before it looks at what the other does: so no lock is needed.
        self.begun = True
        if self.cancelled:
            raise CancelledError
        return self._work()

    def end(self, success: bool, outcome: Any) -> None:
        """Take what the method has brought, in the reactor."""
        if self.called:
            return
        if self.cancelled:
            self.errback(CancelledError())
        elif success:
            self.callback(outcome)
        else:
            self.errback(outcome)


class Threads:
    """
    The pool of one node; it has no threads before the first method needs one.

    :param call_from_thread: has the reactor call something; None where there is nothing but simulated time, then
        methods run in place.
    :param most: how many threads there may be; what is more waits.
    :ivar abandoned: whether the methods that run are not waited for any more.
    """

    def __init__(self, call_from_thread: Callable[..., Any] | None, most: int) -> None:
        self.abandoned = False
        self._call_from_thread = call_from_thread
        self._most = most
        self._pool: _Pool | None = None

    @property
    def used(self) -> int:
        """How many threads run a method."""
        return 0 if self._pool is None else len(self._pool.working)

    def run(self, name: str, method: Callable[..., Any], context: Any, arguments: dict[str, Any]) -> Deferred[Any]:
        """
        Run a method in a thread, with the context variables of its caller.

        :param name: of the method, for errors.
        :return: fires with what it returns; fails with what it raises, or with TypeError when that is asynchronous.
        """
        variables = copy_context()

        def work() -> Any:
            return _plain(name, variables.run(method, context, **arguments))

        if self._call_from_thread is None:
            return maybeDeferred(work)
        if self._pool is None:
            self._pool = _Pool(0, self._most, "zmqrpc")
            self._pool.start()
        result = ThreadResult(self, work)
        self._pool.callInThreadWithCallback(lambda *outcome: self._ended(result, *outcome), result.work)
        return result

    def _ended(self, result: ThreadResult, success: bool, outcome: Any) -> None:
        """Give the reactor what a method has brought; it is the thread that calls this."""
        if not self.abandoned and self._call_from_thread is not None:
            self._call_from_thread(result.end, success, outcome)

    def forked(self) -> None:
        """Take that this process is a fork, which may be a thread that goes on alone: it has nobody to answer to."""
        self._call_from_thread = leave

    def abandon(self) -> None:
        """End the threads that are idle, and wait for no other: a process may exit while they run."""
        self.abandoned = True
        pool, self._pool = self._pool, None
        if pool is not None:
            # It waits for every thread.
            _Daemon(target=pool.stop, name="zmqrpc pool stop").start()


def _plain(name: str, value: Any) -> Any:
    """Return what a method returned in a thread, unless that belongs to the reactor."""
    if iscoroutine(value):
        value.close()
    elif not isinstance(value, Deferred):
        return value
    kind = "coroutine" if iscoroutine(value) else "Deferred"
    raise TypeError(f"{name} returned a {kind} from a thread; return a value, or expose it without thread=True")


class SystemPool:
    """
    The pool of a reactor in a green thread: its threads are of the operating system, and end when nothing is left.

    Twisted's own has locks and queues that are green, and are for one thread of the system only.
    """

    def __init__(self) -> None:
        self._threading = unpatched("threading")
        self._lock = self._threading.Lock()
        self._jobs: deque[tuple[Callable[[bool, Any], None], Callable[[], Any]]] = deque()
        self._threads = 0

    def callInThreadWithCallback(
        self, ended: Callable[[bool, Any], None], work: Callable[..., Any], *arguments: Any, **keywords: Any
    ) -> None:
        """Do something in one of its threads; as `twisted.python.threadpool.ThreadPool`."""
        with self._lock:
            if self._threads < _MOST_AT_ONCE:
                self._threading.Thread(target=self._work, name="zmqrpc-blocks", daemon=True).start()
                self._threads += 1
            self._jobs.append((ended, partial(work, *arguments, **keywords)))

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._jobs:
                    self._threads -= 1
                    return
                ended, work = self._jobs.popleft()
            try:
                outcome = True, work()
            except BaseException:
                outcome = False, Failure()
            ended(*outcome)


def keep_green_threads_going(reactor: Any) -> None:
    """Where eventlet has patched threads, have no green thread held up by what a reactor leaves to them: names."""
    if isinstance(reactor, ReactorBase) and reactor.threadpool is None and threads_are_green():
        pool: Any = SystemPool()
        reactor.threadpool = pool
        reactor.installNameResolver(GAIResolver(reactor, lambda: pool, unpatched("socket").getaddrinfo))
