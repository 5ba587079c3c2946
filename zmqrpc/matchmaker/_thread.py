"""One thread beside the reactor, for a store that blocks."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

import attrs
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorFromThreads, IReactorTime
from twisted.logger import Logger

from zmqrpc.errors import MatchmakerUnavailable
from zmqrpc.matchmaker._room import Room

PAUSE = 0.002
"""Seconds after work in which whoever waits for it goes on first: the interpreter serves one thread at a time."""


class IThreadedReactor(IReactorTime, IReactorFromThreads):
    """What the thread needs of a reactor."""


@attrs.define(eq=False)
class _Job:
    """`deferred` is None for what nobody waits for; `over` is set when nobody waits any more."""

    work: Callable[[], Any]
    deferred: Deferred[Any] | None = None
    timer: IDelayedCall | None = None
    over: bool = False


class WorkThread:
    """
    A thread that runs one piece of work after the other, and something else whenever it is idle.

    It starts with the first work, so that a process may fork before, and does not keep the process from exiting.
    Every Deferred fires within the time limit, also when the thread hangs in the kernel; what has not begun by then is
    not begun any more.

    :param reactor: where answers are delivered.
    :param name: what the thread works for, for errors and logs.
    :param idle: called in the thread soon after work, and again after as many seconds as it returns; None is not again.
    :param last: called in the thread as its last work.
    :param limit: seconds that work may take, waiting included.
    :param bound: how many may wait while it works (`Room`); what was given up counts until the thread comes to it.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: IThreadedReactor,
        name: str,
        idle: Callable[[], float | None],
        last: Callable[[], None],
        limit: float = 2.0,
        bound: int = 1000,
    ) -> None:
        self._reactor = reactor
        self._name = name
        self._idle = idle
        self._last = last
        self._limit = limit
        self._room = Room(reactor, limit, bound)
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._waiting = 0
        # What was given up stays in the queue until it is taken. Each of these two has one writer, so that no lock is
        # needed: the reactor's thread counts what `run` puts there, the other what it takes of that.
        self._put = 0
        self._taken = 0
        self._thread: Thread | None = None
        self._closed = False
        self._closing: Deferred[None] | None = None
        self._patience: IDelayedCall | None = None

    def run(self, work: Callable[..., Any], *args: Any) -> Deferred[Any]:
        """
        Run work in the thread.

        :return: fires with what it returns; fails with what it raises, or with `MatchmakerUnavailable` when it took
            too long, when too much waits already, or after `close`.
        """
        if self._closed:
            return fail(MatchmakerUnavailable(f"{self._name} is closed; make a new Node"))
        waiting = max(self._waiting, self._put - self._taken)
        most = self._room.most(waiting)
        if waiting >= most:
            return fail(MatchmakerUnavailable(f"{most} operations wait for {self._name} already"))
        try:
            self._start()
        except RuntimeError as error:  # the machine has no room for another thread
            return fail(MatchmakerUnavailable(f"{self._name} cannot be used: {error}"))
        deferred: Deferred[Any] = Deferred(lambda _: self._give_up(job))
        job = _Job(lambda: work(*args), deferred)
        job.timer = self._reactor.callLater(self._limit, self._time_is_up, job)
        self._waiting += 1
        self._put += 1
        self._jobs.put(job)
        return deferred

    def send(self, work: Callable[[], None]) -> None:
        """
        Run work, which must not raise, in the thread some time; without a limit, and without an answer.

        It is never refused, as nobody would hear of that: how much of it may wait is up to who sends it.
        """
        if not self._closed:
            self._jobs.put(_Job(work))
            with suppress(RuntimeError):  # no thread can be started now; the next use tries again
                self._start()

    def close(self) -> Deferred[None]:
        """
        End the thread after the work it has.

        :return: fires when it has ended, or when it has not within the time limit, which is logged.
        """
        if self._closed or self._thread is None:
            self._closed = True
            return succeed(None)
        self._closed = True
        self._closing = Deferred()
        self._patience = self._reactor.callLater(self._limit, self._left_behind)
        self._jobs.put(None)
        return self._closing

    def _start(self) -> None:
        if self._thread is None:
            thread = Thread(target=self._work, name=self._name, daemon=True)
            thread.start()
            self._thread = thread

    def _give_up(self, job: _Job) -> None:
        job.over = True
        self._waiting -= 1
        if job.timer is not None and job.timer.active():
            job.timer.cancel()

    def _time_is_up(self, job: _Job) -> None:
        self._room.missed()
        self._give_up(job)
        assert job.deferred is not None
        job.deferred.errback(MatchmakerUnavailable(f"{self._name} did not answer within {self._limit:g} s"))

    def _done(self, job: _Job, result: Any, error: Exception | None) -> None:
        if job.deferred is None or job.over:
            return
        self._give_up(job)
        if error is None:
            self._room.answered()
            job.deferred.callback(result)
        else:
            self._room.missed()
            job.deferred.errback(error)

    def _ended(self) -> None:
        assert self._thread is not None
        self._thread.join()  # it has said its last word: this takes microseconds
        if self._patience is not None and self._patience.active():
            self._patience.cancel()
            self._settle_close()

    def _left_behind(self) -> None:
        self._log.warn("{name} hangs; its thread is left behind", name=self._name)
        self._settle_close()

    def _settle_close(self) -> None:
        assert self._closing is not None
        self._closing.callback(None)

    # What follows runs in the thread.

    def _work(self) -> None:
        due: float | None = None
        while True:
            try:
                job = self._jobs.get(timeout=None if due is None else max(0.0, due - time.monotonic()))
            except Empty:
                wait = self._look_around()
                due = None if wait is None else time.monotonic() + wait
                continue
            if job is None:
                break
            if job.deferred is not None:
                self._taken += 1
            if not job.over:
                self._perform(job)
            at = time.monotonic() + PAUSE
            due = at if due is None else min(due, at)
        self._last()
        self._reactor.callFromThread(self._ended)

    def _look_around(self) -> float | None:
        try:
            return self._idle()
        except Exception:
            # A defect, or a file that somebody else has written into. The thread has to live on for other work.
            self._log.failure("Idle work for {name} raised", name=self._name)
            return self._limit

    def _perform(self, job: _Job) -> None:
        result: Any = None
        caught: Exception | None = None
        try:
            result = job.work()
        except Exception as error:
            caught = error
        self._reactor.callFromThread(self._done, job, result, caught)
