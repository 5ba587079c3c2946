"""The notifier: says that something has happened, to one listener of each pool."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, DeferredList, fail
from twisted.python.failure import Failure

from zmqrpc.checks import check_request, odd_mapping, plain_target, unsendable
from zmqrpc.core.batch import BATCH_OVERHEAD
from zmqrpc.core.envelope import Flag, Kind
from zmqrpc.core.notification import Said, arguments_of, encode_copy, said_of
from zmqrpc.core.route import Route
from zmqrpc.core.values import check_quickly
from zmqrpc.delivery import Delivery
from zmqrpc.errors import ConfigError, DeliveryError, Journey, MessageTooLarge, NoRoute
from zmqrpc.notices import Notices
from zmqrpc.target import Pool, Target, check_name
from zmqrpc.waiter import Waiter

_NOTIFY = int(Kind.NOTIFY)
_FLAGS = int(Flag.ACK_WANTED | Flag.IDEMPOTENT)
_CONTEXTS = (dict, type(None))

_Outcome = TypeVar("_Outcome")
_Send = Callable[..., Deferred[_Outcome]]
Attempt = Callable[[_Send[Any], float], Deferred[Any]]
"""
Does something that brings a notification nearer to its listeners, and perhaps again.

It is given what does it, which takes the seconds that it has as ``timeout``, and the seconds for all of it.
"""


def _once(send: _Send[_Outcome], seconds: float) -> Deferred[_Outcome]:
    return send(timeout=seconds)


class Notifier:
    """
    Sends notifications of one publisher to some topics; made by `Node.notifier`.

    Each method is a priority. It takes the context (a dict, or None), the type of the event and its payload, any value
    that can cross the wire, and a `timeout` in seconds (None is ``rpc_response_timeout``): how long there may be nobody
    who takes it, or how long it may take.

    It returns a Deferred, which fires with the number of pools that have it, over all topics: 0 when nobody listens,
    which is no error, and is counted. A pool has it when an endpoint of one of its listeners has returned. It fails
    when a pool that is recorded does not have it in the end, with the `DeliveryError` of the first one:
    `DeadlineExceeded` when no listener of the pool came, or each gave it back, until the time was up; `Overloaded` when
    too much waits or runs; `MatchmakerUnavailable`; `MessageTooLarge`; `EncodingError`; `ClientClosed`. Cancelling it
    takes back what no endpoint has begun.

    :param delivery: brings each copy to its pool.
    :param make_id: makes a message id.
    :param wall: tells the time by the clock on the wall, seconds since 1970.
    :raises ConfigError: the publisher has no name, or there is no topic.
    """

    def __init__(
        self,
        delivery: Delivery,
        notices: Notices,
        publisher_id: str,
        topics: Iterable[Target | str],
        make_id: Callable[[], str],
        wall: Callable[[], float],
    ) -> None:
        self.publisher_id = check_name("publisher", publisher_id)
        self.topics = tuple(
            dict.fromkeys(_pool(topic, delivery.settings.control_exchange) for topic in _listed(topics))
        )
        self._delivery = delivery
        self._notices = notices
        self._make_id = make_id
        self._wall = wall

    def debug(
        self, context: dict[str, Any] | None, event_type: str, payload: Any, *, timeout: float | None = None
    ) -> Deferred[int]:
        """Send a notification with the priority ``debug``."""
        return self._notify("debug", context, event_type, payload, timeout)

    def audit(
        self, context: dict[str, Any] | None, event_type: str, payload: Any, *, timeout: float | None = None
    ) -> Deferred[int]:
        """Send a notification with the priority ``audit``."""
        return self._notify("audit", context, event_type, payload, timeout)

    def info(
        self, context: dict[str, Any] | None, event_type: str, payload: Any, *, timeout: float | None = None
    ) -> Deferred[int]:
        """Send a notification with the priority ``info``."""
        return self._notify("info", context, event_type, payload, timeout)

    def warn(
        self, context: dict[str, Any] | None, event_type: str, payload: Any, *, timeout: float | None = None
    ) -> Deferred[int]:
        """Send a notification with the priority ``warn``."""
        return self._notify("warn", context, event_type, payload, timeout)

    def error(
        self, context: dict[str, Any] | None, event_type: str, payload: Any, *, timeout: float | None = None
    ) -> Deferred[int]:
        """Send a notification with the priority ``error``."""
        return self._notify("error", context, event_type, payload, timeout)

    def critical(
        self, context: dict[str, Any] | None, event_type: str, payload: Any, *, timeout: float | None = None
    ) -> Deferred[int]:
        """Send a notification with the priority ``critical``."""
        return self._notify("critical", context, event_type, payload, timeout)

    def sample(
        self, context: dict[str, Any] | None, event_type: str, payload: Any, *, timeout: float | None = None
    ) -> Deferred[int]:
        """Send a notification with the priority ``sample``."""
        return self._notify("sample", context, event_type, payload, timeout)

    def _notify(
        self, priority: str, context: dict[str, Any] | None, event_type: str, payload: Any, timeout: float | None
    ) -> Deferred[int]:
        timestamp = datetime.fromtimestamp(self._wall(), UTC).isoformat(timespec="microseconds")
        arguments = arguments_of(self.publisher_id, event_type, payload, self._make_id(), timestamp)
        return self.forward(priority, context, arguments, timeout=timeout)

    def forward(
        self,
        priority: str,
        context: dict[str, Any] | None,
        arguments: dict[str, Any],
        *,
        timeout: float | None = None,
        attempt: Attempt = _once,
    ) -> Deferred[int]:
        """
        Send what somebody else has written: its publisher, id and time stay what they are.

        :param priority: one of `PRIORITIES`.
        :param arguments: as `arguments_of` writes them.
        :param attempt: decides how often it is asked for the pools of a topic, and the copy of each is sent.
        """
        delivery = self._delivery
        target = Target(self.topics[0].topic, exchange=self.topics[0].exchange)
        seconds = delivery.settings.rpc_response_timeout if timeout is None else timeout
        event_type = arguments["event_type"]
        try:
            if type(event_type) is not str:
                raise ConfigError(f"the event type {event_type!r} is no str; give its name")
            check_request(target, event_type, seconds)
            if type(context) not in _CONTEXTS:
                raise odd_mapping(event_type, {}, context)
            check_quickly(arguments, "argument")
            check_quickly(context, "context")
            routes = [delivery.discovery.route(topic, topic.exchange) for topic in self.topics]
            said = said_of(priority, context, arguments)
            self._check_size(routes[0], said)
        except Exception as error:
            return fail(unsendable(error, target, event_type, arguments, context, timeout))
        deadline = delivery.seconds() + seconds
        return _summed([self._to_topic(route, said, deadline, attempt) for route in routes])

    def _check_size(self, route: Route, said: Said) -> None:
        """Refuse at once what is too large for every pool."""
        size = len(encode_copy(self.topics[0], said, _FLAGS)) + BATCH_OVERHEAD
        most = self._delivery.settings.max_message_size
        if size > most:
            journey = Journey(str(route.target), stage="resolving")
            text = f"{size} bytes are over max_message_size of this notifier ({most})"
            raise MessageTooLarge(f"the notification failed: {text}", journey)

    def _to_topic(self, route: Route, said: Said, deadline: float, attempt: Attempt) -> Deferred[int]:
        """Send a copy to each pool of a topic, when they are known."""
        delivery = self._delivery
        if route.topic.pools and not delivery.closed:
            return self._to_pools(route, said, deadline, attempt)

        def known(timeout: float) -> Deferred[None]:
            return delivery.when_known(route, route.target, delivery.seconds() + timeout, _NOTIFY)

        return attempt(known, deadline - delivery.seconds()).addCallbacks(
            lambda _: self._to_pools(route, said, deadline, attempt), self._nobody
        )

    def _to_pools(self, route: Route, said: Said, deadline: float, attempt: Attempt) -> Deferred[int]:
        seconds = deadline - self._delivery.seconds()
        return _summed([attempt(partial(self._to_pool, pool, said), seconds) for pool in route.topic.pools])

    def _to_pool(self, pool: Pool, said: Said, timeout: float) -> Deferred[int]:
        delivery = self._delivery
        call = Waiter(delivery.cancel)
        deadline = delivery.seconds() + timeout
        call.begin(_NOTIFY, pool, encode_copy(pool, said, _FLAGS), deadline, _FLAGS)
        # Whoever is recorded may be away for a moment; what waits is bounded, and its time as well.
        call.wait_for_ready = True
        try:
            call.route = delivery.discovery.route(pool, pool.exchange)
        except DeliveryError as error:
            return fail(error)
        delivery.deliver(call, delivery.seconds())
        return call.addCallback(_one)

    def _nobody(self, failure: Failure) -> int:
        failure.trap(NoRoute)
        self._notices.count("nobody_notified")
        return 0


def _listed(topics: Iterable[Target | str]) -> list[Target | str]:
    if isinstance(topics, (str, Target)) or not isinstance(topics, Iterable):
        raise ConfigError(f"the topics are {topics!r}; give a list of topics, as in ['notifications']")
    listed = list(topics)
    if not listed:
        raise ConfigError("a notifier without a topic reaches nobody; give at least one, as in ['notifications']")
    return listed


def _pool(topic: Target | str, exchange: str) -> Pool:
    target = plain_target(Target(topic) if isinstance(topic, str) else topic)
    if target.server is not None:
        raise ConfigError(f"{target} names a member; a notification goes to pools, give Target({target.topic!r})")
    return Pool(target.exchange or exchange, target.topic or "")


def _one(_: object) -> int:
    return 1


def _summed(parts: list[Deferred[int]]) -> Deferred[int]:
    """Sum up; fails when all have ended, with the first error, if there is one."""
    if len(parts) == 1:
        return parts[0]
    summed: Deferred[int] = Deferred(lambda _: _cancel(parts))
    DeferredList(parts, consumeErrors=True).addCallback(partial(_gather, summed))
    return summed


def _cancel(parts: list[Deferred[int]]) -> None:
    for part in parts:
        part.cancel()


def _gather(summed: Deferred[int], outcomes: list[tuple[bool, Any]]) -> None:
    failures = [outcome for success, outcome in outcomes if not success]
    if not failures:
        summed.callback(sum(outcome for _, outcome in outcomes))
        return
    error = failures[0].value
    # One that was cancelled between two attempts tells nothing of that.
    if any(outcome if success else getattr(outcome.value, "maybe_executed", False) for success, outcome in outcomes):
        # Another pool has it, or may have it.
        error.maybe_executed = True
    summed.errback(failures[0])
