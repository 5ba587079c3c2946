"""The listener: hands notifications to its endpoints."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from zmqrpc.core.envelope import Request, Served
from zmqrpc.core.gathering import Gathering
from zmqrpc.core.notification import HANDLED, PRIORITIES, REQUEUE, Handled, Notification, notification_of
from zmqrpc.dispatcher import blocks, named
from zmqrpc.errors import ConfigError
from zmqrpc.notices import Notices
from zmqrpc.target import Target, check_name
from zmqrpc.threads import Threads

_SINGLE = ("context", "publisher_id", "event_type", "payload", "metadata")
_BATCH = ("notifications",)
_LONGEST_WAIT = 1e6

Method = Callable[..., Any]


class Listener:
    """
    What one node does with notifications of one pool; made by `Node.listener`.

    :param batch_size: how many notifications a batch holds at most; None for no batches.
    :param batch_timeout: how many seconds the first one of a batch waits for the last; None for 1.
    :param seconds: the monotonic clock.
    :param wake_by: asks that `sweep` is called at a time.
    :ivar targets: exchange, topic and member of each, all set.
    :ivar pool: None for the pool without a name.
    :raises ConfigError: something of it is not valid.
    """

    log = Logger()

    def __init__(
        self,
        targets: Iterable[Target],
        endpoints: Iterable[object],
        pool: str | None,
        batch_size: int | None,
        batch_timeout: float | None,
        threads: Threads,
        notices: Notices,
        seconds: Callable[[], float],
        wake_by: Callable[[float], None],
    ) -> None:
        self.targets = tuple(dict.fromkeys(targets))
        if not self.targets:
            raise ConfigError("a listener without a target hears nothing; give at least one, as in [Target('events')]")
        self.pool = pool if pool is None else check_name("pool", pool)
        self._gathering = _gathering(batch_size, batch_timeout)
        self._threads = threads
        self._notices = notices
        self._seconds = seconds
        self._wake_by = wake_by
        self._methods = _methods_of(endpoints, _SINGLE if self._gathering is None else _BATCH)

    def served(self) -> list[Served]:
        """List what it listens to, as WELCOME says it."""
        return [Served(t.exchange or "", t.topic or "", t.server, self.pool) for t in self.targets]

    def run(self, request: Request) -> Any:
        """
        Hand a notification to the endpoints.

        :return: a `Handled`, or a Deferred of one, which never fails.
        """
        methods = self._methods[request.method]
        if not methods:
            self._notices.count("priority_not_listened_to")
            return HANDLED
        notification = notification_of(request)
        if self._gathering is None:
            return self._hand_on(methods, notification)
        return self._gather(request.method, notification)

    def _hand_on(self, methods: list[Method], arguments: tuple[Any, ...]) -> Any:
        """Call one endpoint after the other, until one gives it back."""
        for place, method in enumerate(methods):
            result = self._call(method, arguments)
            if isinstance(result, Deferred):
                rest = methods[place + 1 :]
                return result.addCallback(lambda value: self._go_on(value, rest, arguments))  # noqa: B023
            if result is REQUEUE:
                return REQUEUE
        return HANDLED

    def _go_on(self, value: Any, rest: list[Method], arguments: tuple[Any, ...]) -> Any:
        return REQUEUE if value is REQUEUE else self._hand_on(rest, arguments)

    def _call(self, method: Method, arguments: tuple[Any, ...]) -> Any:
        try:
            if blocks(method):
                result: Any = self._threads.run(_name_of(method), lambda _: method(*arguments), None, {})
            else:
                result = method(*arguments)
            if inspect.iscoroutine(result):
                result = Deferred.fromCoroutine(result)
        except BaseException:
            # SystemExit too: a method may end its own work, not the listener.
            return self._failed(Failure(), method)
        if isinstance(result, Deferred):
            result.addErrback(self._failed, method)
        return result

    def _failed(self, failure: Failure, method: Method) -> Handled:
        """Log what an endpoint raised; to give the notification to others would only have them raise it too."""
        if failure.check(CancelledError) and self._threads.abandoned:
            # The node stops, and does not wait any more: somebody else may do it.
            return REQUEUE
        self.log.failure("{method} raised, and is not called with this again", failure, method=_name_of(method))
        return HANDLED

    # Batches

    def _gather(self, priority: str, notification: Notification) -> Any:
        assert self._gathering is not None
        now = self._seconds()
        waiting = _Waiting(notification)
        batch = self._gathering.add(priority, waiting, now)
        if batch is not None:
            self._hand_on_batch(priority, batch)
        else:
            self._wake_by(self._gathering.wake_at)
        return waiting.outcome

    def _hand_on_batch(self, priority: str, batch: list[_Waiting]) -> None:
        notifications = [waiting.notification for waiting in batch]
        result = self._hand_on(self._methods[priority], (notifications,))
        if isinstance(result, Deferred):
            for waiting in batch:
                waiting.work = result
            result.addCallback(_tell, batch)
        else:
            _tell(result, batch)

    @property
    def wake_at(self) -> float:
        """When `sweep` has to be called next."""
        return float("inf") if self._gathering is None else self._gathering.wake_at

    def sweep(self, now: float) -> None:
        """Hand on the batches whose time is up."""
        for priority, batch in self._gathering.take_due(now) if self._gathering is not None else ():
            self._hand_on_batch(priority, batch)

    def hurry(self) -> None:
        """Let no batch wait from now on: the node stops when what it has is done."""
        if self._gathering is not None:
            self._gathering.hurry()
            self._wake_by(self._seconds())


class _Waiting:
    """
    One notification of a batch.

    :ivar outcome: what becomes of it.
    :ivar work: what its batch waits for, once it has been handed on.
    """

    __slots__ = ("notification", "outcome", "work")

    def __init__(self, notification: Notification) -> None:
        self.notification = notification
        self.work: Deferred[Any] | None = None
        self.outcome: Deferred[Handled] = Deferred(self._cancel)

    def _cancel(self, _: object) -> None:
        if self.work is not None:
            self.work.cancel()


def _tell(result: Handled, batch: list[_Waiting]) -> None:
    for waiting in batch:
        if not waiting.outcome.called:
            waiting.outcome.callback(result)


def _gathering(batch_size: int | None, batch_timeout: float | None) -> Gathering[_Waiting] | None:
    if batch_size is None:
        if batch_timeout is not None:
            raise ConfigError("batch_timeout is given without batch_size; give both, or neither for no batches")
        return None
    if type(batch_size) is not int or batch_size < 1:
        raise ConfigError(f"batch_size is {batch_size!r}; give a whole number, 1 or more")
    seconds = 1.0 if batch_timeout is None else batch_timeout
    if type(seconds) not in (int, float) or not 0 <= seconds <= _LONGEST_WAIT:
        raise ConfigError(f"batch_timeout is {batch_timeout!r}; give a number of seconds, 0 or more")
    return Gathering(batch_size, seconds)


def _name_of(method: Method) -> str:
    """Name a method for people; it may be anything that can be called, which has no name of its own."""
    return getattr(method, "__qualname__", None) or named(method)


def _methods_of(endpoints: Iterable[object], parameters: tuple[str, ...]) -> dict[str, list[Method]]:
    """
    Find the methods for each priority.

    :param parameters: what each is called with.
    :raises ConfigError: an endpoint has none, or one that cannot be called so.
    """
    if not isinstance(endpoints, Iterable):
        raise ConfigError(f"the endpoints are an object of type {type(endpoints).__name__}; give a list of objects")
    found: dict[str, list[Method]] = {priority: [] for priority in PRIORITIES}
    endpoints = list(endpoints)
    if not endpoints:
        raise ConfigError(f"there is no endpoint; give at least one object with a method for {_any_priority()}")
    for endpoint in endpoints:
        # On the class first, so that no property of the endpoint is run.
        names = [name for name in PRIORITIES if callable(getattr(type(endpoint), name, None))]
        if not names:
            raise ConfigError(f"{named(endpoint)} has no method for a priority; give it one for {_any_priority()}")
        for name in names:
            method = getattr(endpoint, name)
            _check(f"{type(endpoint).__name__}.{name}", method, parameters)
            found[name].append(method)
    return found


def _any_priority() -> str:
    return f"{', '.join(PRIORITIES[:-1])} or {PRIORITIES[-1]}"


def _check(name: str, method: Method, parameters: tuple[str, ...]) -> None:
    """Refuse at the start what no notification could be handed to."""
    try:
        inspect.signature(method).bind(*parameters)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"{name} is called as {name}({', '.join(parameters)}), which does not fit: {error}"
        ) from error
    if blocks(method) and inspect.iscoroutinefunction(method):
        raise ConfigError(f"the method {name} is asynchronous and cannot run in a thread; leave out thread=True")
    if inspect.isasyncgenfunction(method) or inspect.isgeneratorfunction(method):
        raise ConfigError(f"the method {name} is a generator; write it without yield")
