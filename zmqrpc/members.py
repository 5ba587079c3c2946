"""Every instance that listens on a target: who they are, and what is sent to each of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import repeat
from typing import Any, NamedTuple

import attrs
import msgspec
from msgspec import Raw, msgpack
from twisted.internet.defer import Deferred, DeferredList, fail
from twisted.python.failure import Failure

from zmqrpc.checks import check_request, no_time, odd_mapping, plain_target, unsendable
from zmqrpc.core.batch import BATCH_OVERHEAD
from zmqrpc.core.envelope import NOUNS, Call, Fanout, Flag, Kind, encode_message
from zmqrpc.core.route import Audience, Route
from zmqrpc.core.topic import link_key
from zmqrpc.core.values import check_quickly
from zmqrpc.delivery import Delivery
from zmqrpc.errors import Cancelled, Draining, Journey, MessageTooLarge, NoRoute, ZmqRpcError
from zmqrpc.inherited import bounded
from zmqrpc.publishing import TO_EACH
from zmqrpc.record import Record
from zmqrpc.target import Target
from zmqrpc.waiter import Waiter
from zmqrpc.watches import MembersChanged

_REQUESTS: dict[Kind, type[Call | Fanout]] = {Kind.CALL: Call, Kind.FANOUT: Fanout}
_KINDS = {request: kind for kind, request in _REQUESTS.items()}
_NOT_TAKEN = (Draining, NoRoute)
_CONTEXTS = (dict, type(None))
# Operators of enums take some microseconds.
_ACK_WANTED = int(Flag.ACK_WANTED)
_IDEMPOTENT = int(Flag.ACK_WANTED | Flag.IDEMPOTENT)


class Answer(NamedTuple):
    """
    What one instance answered.

    :ivar member: its name under the topic.
    :ivar instance: 32 hex digits; empty where a fixed table does not know them.
    :ivar result: what the method returned; None when there is an error.
    :ivar error: a `RemoteError` or a `DeliveryError`; None when the method returned.
    :ivar seconds: from the call until the answer, or until the error was known.
    """

    member: str
    instance: str
    result: Any
    error: ZmqRpcError | None
    seconds: float


class Sent(NamedTuple):
    """
    What became of what was sent to everybody.

    :ivar answers: of each that got it by itself, in the order of `Members.listed`; what a fan-out brings is no result
        but its acknowledgement.
    :ivar published: (member, instance) of those that it was published for.
    """

    answers: list[Answer]
    published: tuple[tuple[str, str], ...] = ()


@attrs.frozen
class Reached:
    """
    Whom a fan-out reached, of those that `RPCClient.members` lists; each of them is in one of the three.

    :ivar members: (member, instance) of those that acknowledged it: it was sent to each of them.
    :ivar missing: (member, instance, error) of those that did not, or that it was to be published for and was not.
    :ivar published: (member, instance) of those that it was published for: they subscribe to publishers, and do not
        acknowledge it. What one of them misses is counted there.
    """

    members: tuple[tuple[str, str], ...] = ()
    missing: tuple[tuple[str, str, ZmqRpcError], ...] = ()
    published: tuple[tuple[str, str], ...] = ()


class Members:
    """Lists who listens on a target, and sends to each of them."""

    def __init__(self, delivery: Delivery) -> None:
        self._delivery = delivery
        self._settings = delivery.settings

    def listed(self, target: Target, timeout: float | None) -> Deferred[list[tuple[str, str]]]:
        """See `RPCClient.members`."""
        delivery = self._delivery
        try:
            target = plain_target(target)
            deadline = self._deadline(target, "members", timeout)
            route = self._route(target)
        except ZmqRpcError as error:
            return fail(error)

        def list_them(_: object) -> list[tuple[str, str]]:
            return route.listed()

        def nobody(failure: Failure) -> list[tuple[str, str]]:
            failure.trap(NoRoute)
            return []

        known = delivery.when_known(route, target, deadline)
        return known.addCallbacks(list_them, nobody)

    def watch(self, target: Target, changed: MembersChanged) -> Callable[[], None]:
        """See `RPCClient.watch`."""
        self._delivery.check_process()
        route = self._route(plain_target(target))
        end = self._delivery.watches.add(route, changed)
        if not self._delivery.closed:
            self._delivery.discovery.resolve(route.topic)
        return end

    def known(self, target: Target) -> list[Record]:
        """List the records of a target that are known, without asking anybody."""
        self._delivery.check_process()
        target = plain_target(target)
        exchange = target.exchange or self._settings.control_exchange
        topic = self._delivery.table.known_topic(exchange, target.topic or "")
        return topic.servers(target.server) if topic is not None else []

    def send(
        self,
        kind: Kind,
        target: Target,
        method: str,
        args: dict[str, Any] | None,
        timeout: float | None,
        context: dict[str, Any] | None,
        idempotent: bool,
        wait_for_ready: bool,
    ) -> Deferred[Sent]:
        """
        Send a request to every instance of a target once; parameters as of `RPCClient.call`.

        :param kind: CALL or FANOUT.
        :return: fails when nobody listens, or nobody knows.
        """
        try:
            target = plain_target(target)
            deadline = self._deadline(target, method, timeout)
            route = self._route(target)
            request = self._request(kind, route, target, method, args, context, idempotent)
        except Exception as error:
            return fail(unsendable(error, target, method, args, context, timeout))
        return self._send_when_known(route, target, deadline, request, wait_for_ready, ())

    def _send_when_known(
        self,
        route: Route,
        target: Target,
        deadline: float,
        request: Call | Fanout,
        wait_for_ready: bool,
        tried: tuple[str, ...],
    ) -> Deferred[Sent]:
        kind = _KINDS[type(request)]

        def look(sent: Sent) -> Sent | Deferred[Sent]:
            """Wait on when nobody has taken it after all: one that stops is recorded until it has said so."""
            none_took_it = not sent.published and all(isinstance(each.error, _NOT_TAKEN) for each in sent.answers)
            if not wait_for_ready or not none_took_it or self._delivery.seconds() >= deadline:
                return sent
            refused = (*tried, *self._delivery.connected(route))
            return self._send_when_known(route, target, deadline, request, wait_for_ready, refused)

        known = self._delivery.when_known(route, target, deadline, kind, wait_for_ready, tried)
        if kind is Kind.FANOUT and self._delivery.publishing is not None:
            publishing = self._delivery.publishing
            known.addCallback(lambda _: publishing.undecided(deadline))
        return known.addCallback(lambda _: self._send_each(kind, route, target, deadline, request)).addCallback(look)

    def _route(self, target: Target) -> Route:
        return self._delivery.discovery.route(target, self._settings.control_exchange)

    def _deadline(self, target: Target, method: str, timeout: float | None) -> float:
        seconds = self._settings.rpc_response_timeout if timeout is None else timeout
        check_request(target, method, seconds)
        now = self._delivery.seconds()
        deadline = bounded(now + seconds, now)
        if deadline <= now:
            raise no_time(target, method, deadline)
        return deadline

    def _request(
        self,
        kind: Kind,
        route: Route,
        target: Target,
        method: str,
        args: dict[str, Any] | None,
        context: dict[str, Any] | None,
        idempotent: bool,
    ) -> Call | Fanout:
        args = {} if args is None else args
        if type(args) is not dict or type(context) not in _CONTEXTS:
            raise odd_mapping(method, args, context)
        check_quickly(args, "argument")
        check_quickly(context, "context")
        # Now, and once for all: it may wait, and whoever made the arguments may change them meanwhile.
        arguments: Any = Raw(msgpack.encode(args))
        about: Any = Raw(msgpack.encode(context))
        request = _REQUESTS[kind](
            sequence=0,
            attempt=1,
            flags=_IDEMPOTENT if idempotent else _ACK_WANTED,
            remaining=0,
            exchange=route.topic.exchange,
            topic=route.topic.name,
            member=None,
            namespace=target.namespace,
            interface=target.version,
            method=method,
            arguments=arguments,
            context=about,
        )
        size = len(encode_message(request)) + BATCH_OVERHEAD
        if size > self._settings.max_message_size:
            text = f"{size} bytes are over max_message_size of this client ({self._settings.max_message_size})"
            journey = Journey(str(target), target.server, stage="resolving")
            raise MessageTooLarge(f"the {NOUNS[kind]} failed: {text}", journey)
        return request

    def _send_each(
        self, kind: Kind, route: Route, target: Target, deadline: float, request: Call | Fanout
    ) -> Deferred[Sent]:
        delivery = self._delivery
        began = delivery.seconds()
        audience = route.audience()
        published = self._publish(kind, route, target, deadline, request)
        records = audience.records if published is None else audience.others
        to_some = self._send_to(records, kind, target, deadline, request)

        def ended(calls: Iterable[Deferred[Any]]) -> list[Deferred[Any]]:
            return [call.addBoth(_after, delivery.seconds, began) for call in calls]

        def to_each(result: object) -> Any:
            """Send it to each after all, when it is not published."""
            if result is not TO_EACH:
                return result
            calls = self._send_to(audience.subscribing, kind, target, deadline, request)
            gathered: Deferred[Any] = Deferred(lambda _: _cancel(calls))
            DeferredList(ended(calls)).addCallback(lambda ends: [end for _, end in ends]).chainDeferred(gathered)
            return gathered

        calls = [*to_some] if published is None else [published.addCallback(to_each), *to_some]
        ends = ended(calls)
        cancelled: list[bool] = []

        def cancel(_: object) -> None:
            cancelled.append(True)
            _cancel(calls)

        def gather(outcomes: list[tuple[Any, float]]) -> Sent:
            if published is None:
                sent = Sent([_answer(*each) for each in zip(records, outcomes, strict=True)])
            elif isinstance(outcomes[0][0], Failure):
                sent = Sent(_unpublished(audience, repeat(outcomes[0]), outcomes[1:]))
            elif outcomes[0][0] is not None:
                sent = Sent(_unpublished(audience, outcomes[0][0], outcomes[1:]))
            else:
                answers = [_answer(*each) for each in zip(records, outcomes[1:], strict=True)]
                sent = Sent(answers, audience.subscribers)
            return _gathered(sent, bool(cancelled), kind, target)

        gathered: Deferred[Sent] = Deferred(cancel)
        if len(ends) == 1:
            # What is published to everybody.
            ends[0].addCallback(lambda outcome: gather([outcome])).chainDeferred(gathered)
        else:
            each = DeferredList(ends).addCallback(lambda ended: gather([outcome for _, outcome in ended]))
            each.chainDeferred(gathered)
        return gathered

    def _send_to(
        self, records: Iterable[Record], kind: Kind, target: Target, deadline: float, request: Call | Fanout
    ) -> list[Waiter]:
        """Send a request to each of some instances, and to no others."""
        calls = []
        for record in records:
            request.member = record.member
            call = Waiter(self._delivery.cancel)
            call.begin(kind, target, encode_message(request), deadline, request.flags)
            self._delivery.give_pinned(call, link_key(record))
            calls.append(call)
        return calls

    def _publish(
        self, kind: Kind, route: Route, target: Target, deadline: float, request: Call | Fanout
    ) -> Waiter | None:
        """Publish a fan-out for all members that subscribe; None when it has to be sent to each."""
        delivery = self._delivery
        if kind is not Kind.FANOUT or not delivery.publishes_to(route):
            return None
        assert delivery.publishing is not None
        request.member = None
        call = Waiter(delivery.publishing.cancel)
        call.begin(kind, target, b"", deadline, request.flags & ~_ACK_WANTED)
        call.encoded = encode_message(msgspec.structs.replace(request, flags=call.flags))
        if delivery.closed:
            delivery.outcomes.closed(call)
        else:
            delivery.publishing.publish(call, route.topic.exchange, route.topic.name)
        return call


def _answer(record: Record, outcome: tuple[Any, float]) -> Answer:
    result, seconds = outcome
    if isinstance(result, Failure):
        error: Any = result.value
        return Answer(record.member, record.instance, None, error, seconds)
    return Answer(record.member, record.instance, result, None, seconds)


def _after(outcome: Any, seconds: Callable[[], float], began: float) -> tuple[Any, float]:
    """Return an outcome, and after how many seconds it came."""
    return outcome, seconds() - began


def _cancel(calls: Iterable[Deferred[Any]]) -> None:
    for call in calls:
        call.cancel()


def _unpublished(
    audience: Audience, subscribing: Iterable[tuple[Any, float]], others: Iterable[tuple[Any, float]]
) -> list[Answer]:
    """
    Return what each answered when a fan-out was not published.

    :param subscribing: the outcome for each of those who subscribe, and when it was known; `others` for the others.
    """
    outcomes = {True: iter(subscribing), False: iter(others)}
    return [_answer(record, next(outcomes[record.subscribes])) for record in audience.records]


def _gathered(sent: Sent, cancelled: bool, kind: Kind, target: Target) -> Sent:
    """
    Return what became of it.

    :raises Cancelled: the caller did not wait for all of them.
    """
    if not cancelled:
        return sent
    everybody = len(sent.answers) + len(sent.published)
    done = sum(answer.error is None for answer in sent.answers) + len(sent.published)
    maybe = any(answer.error is not None and answer.error.maybe_executed for answer in sent.answers)
    did, stage = ("answered", "running") if kind is Kind.CALL else ("acknowledged it", "acknowledged")
    raise Cancelled(
        f"the {NOUNS[kind]} failed: its caller cancelled it, {done} of {everybody} members had {did}",
        Journey(str(target), target.server, stage=stage if done else "sent" if maybe else "queued"),
        maybe_executed=bool(done) or maybe,
    )


def reached(sent: Sent) -> Reached:
    """Sum up a fan-out."""
    return Reached(
        tuple((answer.member, answer.instance) for answer in sent.answers if answer.error is None),
        tuple((answer.member, answer.instance, answer.error) for answer in sent.answers if answer.error is not None),
        sent.published,
    )
