"""The reactor of this process: in a thread of ours, or the application's own where that runs."""

from __future__ import annotations

import posix
import select
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from importlib import import_module
from typing import Any

from twisted.internet import selectreactor
from twisted.python import threadable
from twisted.python.threadpool import ThreadPool

from zmqrpc.forks import begin_if_forked, in_each_fork
from zmqrpc.oslo import logs
from zmqrpc.oslo.handed_over import hand_over
from zmqrpc.site import use_monotonic_clock
from zmqrpc.threads import keep_green_threads_going
from zmqrpc.unpatched import threads_are_green, unpatched

_Lent: Any = None
if hasattr(select, "epoll"):
    from zmqrpc.oslo.lent import LentReactor as _Lent

STACK_BYTES = 1 << 20
"""Of the thread: some services make the stacks of all threads so small that Twisted would end the process."""

START_SECONDS = 10.0
"""Within which a thread runs, or the machine is in trouble that cannot be mended here."""

EXIT_SECONDS = 1.0
"""For which a process that exits waits for something: who stops a service waits for its end."""


class _Host:
    """
    What this process has.

    :ivar reactor: None before the first use.
    :ivar thread: the ident of the thread in which that runs.
    :ivar with_application: called, in the application's reactor, when that is taken.
    :ivar left: the application's reactor that ran where this process was forked; it does not run here.
    :ivar exits: whether this process exits.
    """

    def __init__(self) -> None:
        self.reactor: Any = None
        self.thread: int | None = None
        # A signal handler of the main thread may come to it again.
        self.lock = threading.RLock()
        self.with_application: list[Callable[[Any], object]] = []
        self.left: Any = None
        self.exits = False

    def of_application(self) -> Any:
        """Return the application's reactor where that runs, else None."""
        # Not imported: that would install one.
        installed = sys.modules.get("twisted.internet.reactor")
        return installed if getattr(installed, "running", False) and installed is not self.left else None

    def take(self, reactor: Any, thread: int | None) -> bool:
        """Take a reactor; return whether it is the first: a signal handler may have been quicker."""
        # No handler comes in between, since nothing is called.
        if self.reactor is not None:
            return False
        self.thread = thread
        self.reactor = reactor
        return True

    def forked(self) -> None:
        """Forget what is the parent's: none of its threads is here, and one of them may have held the lock."""
        was_used, self.reactor, self.thread = self.reactor is not None, None, None
        self.lock, self.exits = threading.RLock(), False
        self.left = self.of_application() or self.left
        if was_used:
            _leave_green_threads()


_host = _Host()


def reactor_here() -> Any:
    """
    Return the reactor of this process, which runs.

    The application's own is taken where that runs already, also when it has ended since. Otherwise there is one in a
    daemon thread, begun at the first use: it does not exist in a fork, whose first use begins another.

    :raises RuntimeError: no thread can be begun.
    """
    begin_if_forked()
    if _host.reactor is not None:
        return _host.reactor
    with _host.lock:
        if _host.reactor is None:
            theirs, thread = _host.of_application(), threadable.ioThread
            if theirs is None:
                reactor, thread = _begun()
                if not _host.take(reactor, thread):
                    reactor.callFromThread(reactor.crash)
            elif _host.take(theirs, thread):
                for act in _host.with_application:
                    theirs.callFromThread(act, theirs)
        return _host.reactor


def first_use() -> Any:
    """Return the lock of what is opened at its first use in this process; it is not to be held by the reactor."""
    return _host.lock


def with_application(act: Callable[[Any], object]) -> None:
    """Have something done in the application's reactor where that is taken; it is given that."""
    _host.with_application.append(act)


def is_here(reactor: Any) -> bool:
    """Tell whether a reactor runs here, and has neither ended nor is that of a process from which this was forked."""
    begin_if_forked()
    return reactor is _host.reactor and reactor.running


def is_this_thread() -> bool:
    """Tell whether this is the thread of the reactor, or the one that does its work."""
    return threading.get_ident() == getattr(_host.reactor, "worker", _host.thread)


def doing(reactor: Any) -> Callable[..., object]:
    """Return what has something done in a reactor, from any thread, as soon as that can be."""
    do: Callable[..., object] = getattr(reactor, "in_turn", reactor.callFromThread)
    return do


def exits() -> bool:
    """Tell whether this process exits: nobody waits then for what is under way, and no thread is to begin."""
    return _host.exits


def begin_to_exit() -> Any:
    """Take that this process exits; return its reactor where it has one that runs, else None."""
    begin_if_forked()
    _host.exits = True
    reactor = _host.reactor
    return reactor if reactor is not None and reactor.running else None


def begin_no_more_threads(reactor: Any) -> None:
    """
    Let a reactor of ours begin no thread from now on, but its pool one now if it has none; in the reactor.

    A process that exits while another thread of it begins one may end with SIGSEGV: CPython 3.11 has the new thread use
    what `Py_FinalizeEx` has given back.
    """
    if hasattr(reactor, "in_turn") and isinstance(reactor.threadpool, ThreadPool):
        # There may be too many threads now.
        with suppress(RuntimeError):
            reactor.threadpool.adjustPoolsize(1, 1)


def _leave_green_threads() -> None:
    """
    Leave the green threads of the parent where they are, as a fork does with its threads.

    They would come back here, the reactor's among them, out of a queue of events that is the parent's as well, and so
    that of every other fork. oslo.service does the same in its workers.
    """
    if not threads_are_green():
        return
    eventlet = sys.modules["eventlet"]
    eventlet.hubs.use_hub()
    # In the first green thread of all the fork ends, and waits for what is to be told then; any may have forked.
    first = eventlet.getcurrent()
    while first.parent is not None:
        first = first.parent
    eventlet.hubs.get_hub().greenlet.parent = first


in_each_fork(_host.forked)
in_each_fork(logs.begin_anew)


def _begun() -> tuple[Any, int]:
    """Begin a reactor; return it, and the ident of its thread."""
    reactor = _made()
    # Not what Twisted takes for the thread of the reactor: that is of the application's, which may begin later.
    reactor._registerAsIOThread = False
    use_monotonic_clock(reactor)
    keep_green_threads_going(reactor)
    reactor.waker.wakeUp = partial(_wake, reactor.waker.o)
    reactor.waker.doRead = partial(_empty, reactor.waker.i)
    logs.say_to_logging()
    running = threading.Event()
    reactor.callWhenRunning(running.set)
    # Green threads have no stack of their own, and eventlet gives nobody a smaller one back.
    size = None if threads_are_green() else threading.stack_size(STACK_BYTES)
    run = partial(reactor.run, installSignalHandlers=False)
    thread = threading.Thread(target=run, name="zmqrpc", daemon=True)
    try:
        try:
            thread.start()
        finally:
            if size is not None:
                threading.stack_size(size)
        if not running.wait(START_SECONDS):
            raise RuntimeError(f"the thread of the reactor did not begin within {START_SECONDS:g} s")
    except BaseException:
        # It has nobody who would use it.
        if thread.ident is None:
            _close(reactor)
        else:
            reactor.callFromThread(reactor.crash)
        raise
    ident = thread.ident
    assert ident is not None
    return reactor, ident


def _close(reactor: Any) -> None:
    """Close what a reactor that never runs has open."""
    reactor.waker.connectionLost(None)
    poller = getattr(reactor, "_poller", None)
    if poller is not None:
        poller.close()


def _made() -> Any:
    """Make the best reactor that there is; in a green thread that is one of select, where it lets others go on."""
    if not threads_are_green() and _Lent is not None:
        return _Lent()
    # Twisted may have either. A green thread that waits in the system's holds up all; a thread of the system that waits
    # in eventlet's may end the process with SIGSEGV at its exit.
    theirs = import_module("eventlet.green.select") if threads_are_green() else unpatched("select")
    selectreactor._select = theirs.select
    made: Any = selectreactor.SelectReactor()
    made.in_turn = partial(hand_over, made)
    return made


def _empty(descriptor: int) -> None:
    """Take what has woken the reactor up; eventlet's `os.read` waits for it, where another process was woken up."""
    with suppress(BlockingIOError):
        posix.read(descriptor, 8192)


def _wake(descriptor: int) -> None:
    """Wake the reactor up; where eventlet has patched `os`, its `write` lets no two write at a time."""
    with suppress(BlockingIOError):
        posix.write(descriptor, b"x")
