"""Nodes that run in the reactor of this process and are used from threads, and their end: all that transports open."""

from __future__ import annotations

import atexit
import logging
from collections.abc import Callable, Iterable
from contextlib import suppress
from multiprocessing import util
from typing import Any

from twisted.internet.defer import Deferred, DeferredList, succeed

# Not at the first use: a signal handler that sends would find it half loaded.
import zmqrpc.reactor_zmq  # noqa: F401
from zmqrpc.forks import in_each_fork
from zmqrpc.node import Node
from zmqrpc.oslo import logs
from zmqrpc.oslo.reactor import EXIT_SECONDS, begin_no_more_threads, begin_to_exit, exits, is_here, with_application
from zmqrpc.oslo.waiting import StillUnderWay, check_waiting, wait_for
from zmqrpc.settings import Settings

HELD_UP_SECONDS = 5.0
"""For which the reactor may be held up by something, and a start or an end of ours still waits for it."""

CLOSE_SECONDS = 2.0
"""For which a thread waits, at the end of a node, for what is under way and nobody waits for."""

LOG = logging.getLogger(__name__)

_open: set[HostedNode] = set()
"""Held here, since they go on when nobody has their transport any more: services often drop it before they exit."""


class HostedNode:
    """
    A node of this process.

    :param reactor: that of this process.
    :param conf: the configuration of its transport.
    :ivar is_open: whether it can be used: it was not closed, and is not that of a process from which this was forked.
    :ivar ends: lists what fires when each of what is sent, and nobody waits for, has come to its end; in the reactor.
    :raises ConfigError: the settings are not valid.
    """

    def __init__(self, reactor: Any, conf: Any, settings: Settings) -> None:
        self.reactor = reactor
        self.conf = conf
        self.is_open = True
        self.ends: Callable[[], list[Deferred[Any]]] = list
        self._ends: list[Deferred[None]] = []
        self.node = Node(reactor, settings)
        self._patience = settings.drain_timeout + HELD_UP_SECONDS
        self._longest = settings.rpc_response_timeout

    def start(self, prepare: Callable[[], object] = lambda: None, seconds: float = 0.0) -> bool:
        """
        Start it; from a thread.

        :param prepare: what is done to it before; in the reactor.
        :param seconds: for which it is waited until others can find it.
        :return: whether they can.
        :raises ConfigError: as `Node.startService`; it is closed then.
        :raises StillUnderWay: something holds the reactor up; it is closed when nothing does any more.
        """

        def start() -> Deferred[bool]:
            prepare()
            self.node.startService()
            if not seconds:
                return succeed(True)
            ready = self.node.when_ready()
            return _within(self.reactor, seconds, [ready]).addCallback(lambda _: ready.called)

        _open.add(self)
        try:
            return bool(wait_for(self.reactor, start, seconds + HELD_UP_SECONDS))
        except BaseException:
            self.drop()
            raise

    def do(self, act: Callable[[], Deferred[Any]]) -> None:
        """
        Do something to it that takes no longer than a drain; from a thread.

        :param act: called in the reactor; not in a fork, and where the reactor has ended, since there is nothing to do.
        """
        if is_here(self.reactor):
            try:
                wait_for(self.reactor, act, self._patience)
            except StillUnderWay as error:
                LOG.warning("a node at %s is not waited for any more: %s", self.node.address, error)

    def close(self) -> None:
        """
        Close it when what is under way has ended; from a thread.

        What nobody waits for has `CLOSE_SECONDS` for that, and what runs has ``drain_timeout`` then.

        :raises RuntimeError: as `check_waiting`; it is as it was.
        """
        if is_here(self.reactor):
            check_waiting(self.reactor)
        self.is_open = False
        self.do(self.end)

    def drop(self) -> None:
        """Close it when all has ended that nobody waits for, and wait for nothing; from any thread."""
        self.is_open = False
        if is_here(self.reactor):
            self.reactor.callFromThread(self.end, awaited=False)

    def leave(self) -> Deferred[None]:
        """
        Return what fires when nobody finds it any more, and what nobody waits for has ended; in the reactor.

        Who was called is told that nothing follows, as far as that is so: it keeps what it has answered until then.
        """
        under_way = [self.node.drain(), *self.ends(), *self._ends]
        return DeferredList(under_way).addCallback(lambda _: self.node.rest())

    def end(self, awaited: bool = True) -> Deferred[None]:
        """
        As `close`; in the reactor.

        :param awaited: whether a thread waits for it. Else what is under way has all of its time, and the node is not
            stopped when the process exits meanwhile, as that begins a thread.
        """
        self.is_open = False

        def stop(_: object) -> Any:
            return self.node.rest() if exits() and not awaited else self.node.stopService()

        ended = _within(self.reactor, CLOSE_SECONDS if awaited else self._longest, self.ends())
        ended.addCallback(stop).addCallback(lambda _: _open.discard(self))
        self._ends.append(ended)
        return ended

    def forget(self) -> None:
        """Take that it is the parent's."""
        self.is_open = False


def close_all(conf: Any) -> None:
    """Close all that was opened with a configuration; from a thread."""
    # Who listens first: what that runs may send.
    for hosted in sorted(_open, key=lambda hosted: hosted.node.address is None):
        if hosted.conf is conf:
            hosted.close()


def _within(reactor: Any, seconds: float, awaited: Iterable[Deferred[Any]]) -> Deferred[None]:
    """Return what fires when all of them have, be it with an error, or after some seconds; those go on then."""
    over: Deferred[None] = Deferred()
    timer = reactor.callLater(seconds, over.callback, None)

    def ended(_: object) -> None:
        if timer.active():
            timer.cancel()
            over.callback(None)

    DeferredList(awaited, consumeErrors=True).addCallback(ended)
    return over


def _leave() -> None:
    """Let nobody look for a process that exits, and send what it has said; it is not kept from exiting."""
    reactor = begin_to_exit()
    if reactor is not None:

        def leave() -> Deferred[Any]:
            begin_no_more_threads(reactor)
            return DeferredList([hosted.leave() for hosted in list(_open)])

        logs.begin()
        with suppress(StillUnderWay, RuntimeError):
            wait_for(reactor, leave, EXIT_SECONDS)
    logs.flush(EXIT_SECONDS)


def _leave_multiprocessing(_: object) -> None:
    """Do the same in a process that multiprocessing has forked, which ends without what is registered for an exit."""
    # After what other finalizers may send.
    util.Finalize(None, _leave, exitpriority=-100)


def _leave_application(reactor: Any) -> None:
    """Do the same where the application ends its own reactor, which no longer runs when the process exits."""

    def leave() -> Deferred[None]:
        left = _within(reactor, EXIT_SECONDS, [hosted.leave() for hosted in list(_open)])
        return left.addCallback(lambda _: _within(reactor, EXIT_SECONDS, [hosted.end() for hosted in list(_open)]))

    reactor.addSystemEventTrigger("before", "shutdown", leave)


def _begin_anew() -> None:
    for hosted in list(_open):
        hosted.forget()
    _open.clear()


atexit.register(_leave)
util.register_after_fork(_leave, _leave_multiprocessing)
with_application(_leave_application)
in_each_fork(_begin_anew)
