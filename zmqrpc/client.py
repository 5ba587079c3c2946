"""
The RPC client.

Hot path: `RPCClient._send` is written flat, because each function call in it costs 2 % of the client.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
from twisted.internet.defer import Deferred, DeferredList, fail, succeed
from twisted.python.failure import Failure as TwistedFailure

from zmqrpc.core.envelope import BATCH_OVERHEAD, Fanout, Flag, Kind, encode_message
from zmqrpc.core.route import Route
from zmqrpc.core.topic import link_key
from zmqrpc.core.values import SCALARS, check_value, ensure
from zmqrpc.delivery import Delivery
from zmqrpc.errors import (
    Cancelled,
    ConfigError,
    DeadlineExceeded,
    EncodingError,
    Journey,
    MessageTooLarge,
    NoRoute,
    Overloaded,
    ZmqRpcError,
)
from zmqrpc.record import Role
from zmqrpc.target import Target
from zmqrpc.waiter import Waiter

_FLAGS = (int(Flag.ACK_WANTED), int(Flag.ACK_WANTED | Flag.IDEMPOTENT))
"""The flags of a request that is not idempotent, and of one that is."""

_CALL, _CAST = int(Kind.CALL), int(Kind.CAST)
_LONGEST = 1e9
"""Seconds; a timeout below it (30 years) fits every clock and the milliseconds of the wire."""

_CONTEXTS = (dict, type(None))
_NO_ARGUMENTS: dict[str, Any] = {}


@attrs.frozen
class Reached:
    """
    Whom a fan-out reached, of those that `RPCClient.members` lists.

    :ivar members: (member, instance) of those that acknowledged it.
    :ivar missing: (member, instance, error) of those that did not.
    """

    members: tuple[tuple[str, str], ...] = ()
    missing: tuple[tuple[str, str, ZmqRpcError], ...] = ()


class RPCClient:
    """Calls methods of servers; made by `Node.client`."""

    def __init__(self, delivery: Delivery) -> None:
        self._delivery = delivery
        self._seconds = delivery.seconds
        self._link = delivery.links.get
        self._exchange = delivery.settings.control_exchange
        self._timeout = delivery.settings.rpc_response_timeout
        self._most = delivery.settings.max_message_size - BATCH_OVERHEAD
        self._routes = delivery.table.routes
        self._close: Callable[[], Deferred[None]] = lambda: succeed(None)

    def closes_with(self, close: Callable[[], Deferred[None]]) -> None:
        """Have `close` do this: for a client that owns its node."""
        self._close = close

    def close(self) -> Deferred[None]:
        """
        Close the client; one that `zmqrpc.connect` made stops its node, for others the node's `stopService` does.

        :return: fires when that is done; never fails.
        """
        return self._close()

    def prepare(self, target: Target) -> None:
        """Look the target up and connect to its servers before the first call, and stay connected."""
        _check_target(target)
        self._delivery.discovery.prepare(target, self._exchange)

    def call(
        self,
        target: Target,
        method: str,
        args: dict[str, Any] | None = None,
        *,
        timeout: float | None = None,
        context: dict[str, Any] | None = None,
        idempotent: bool = False,
        wait_for_ready: bool = False,
    ) -> Deferred[Any]:
        """
        Call a method of one member and bring its result.

        :param args: the arguments by name; values as the surface lists them.
        :param timeout: seconds; None is ``rpc_response_timeout``.
        :param context: handed to the method as its first argument.
        :param idempotent: whether it may run more than once, so that it may go to another member after a loss.
        :param wait_for_ready: whether to wait, up to the timeout, for somebody to listen.
        :return: fires with the result. Fails with a `DeliveryError` when there is none (its `maybe_executed` tells
            whether the method may have run), or with a `RemoteError` when the method raised. Cancelling it cancels the
            call.
        """
        return self._send(_CALL, target, method, args, timeout, context, idempotent, wait_for_ready)

    def cast(
        self,
        target: Target,
        method: str,
        args: dict[str, Any] | None = None,
        *,
        timeout: float | None = None,
        context: dict[str, Any] | None = None,
        idempotent: bool = False,
        wait_for_ready: bool = False,
    ) -> Deferred[None]:
        """
        Have one member run a method, without its result; parameters as for `call`.

        :return: fires with None when the member has acknowledged it (with ``rpc_use_acks`` false: when it was handed
            to the connection); fails with a `DeliveryError`.
        """
        return self._send(_CAST, target, method, args, timeout, context, idempotent, wait_for_ready)

    def _send(
        self,
        kind: int,
        target: Target,
        method: str,
        args: dict[str, Any] | None,
        timeout: float | None,
        context: dict[str, Any] | None,
        idempotent: bool,
        wait_for_ready: bool,
    ) -> Deferred[Any]:
        delivery = self._delivery
        now = self._seconds()
        try:
            route = self._routes.get(target)
            if route is None:
                route = self._route(target)
            if args is None:
                args = _NO_ARGUMENTS
            if type(args) is not dict or (context is not None and type(context) is not dict):
                raise _odd_mapping(method, args, context)
            for key, item in args.items():
                if type(item) not in SCALARS or type(key) is not str:
                    check_value(args, "argument")
                    break
            if context is not None:
                ensure(context, "context")
            seconds = self._timeout if timeout is None else timeout
            if type(method) is not str or not seconds < _LONGEST:
                raise _odd_request(method, seconds)
            call = Waiter(delivery.cancel)
            call.kind = kind
            call.target = target
            call.deadline = now + seconds
            call.flags = _FLAGS[idempotent]
            call.wait_for_ready = wait_for_ready
            call.route = route
            request = (
                target.exchange or self._exchange,
                target.topic,
                target.server,
                target.namespace,
                target.version,
                method,
                args,
                context,
                None,
                None,
                None,
            )
            link = self._link(route.choose() or "")
            if link is not None and link.ready and seconds > 0:
                link.hand_over(call, request, now)
                if delivery.casts_fire_early:
                    delivery.handed_over(call)
                return call
            call.unsent(encode_message((kind, 0, 1, call.flags, 0, *request)))
        except Exception as error:
            return fail(self._unsendable(error, target, method, args, context, timeout))
        if seconds <= 0:
            delivery.outcomes.fail(call, DeadlineExceeded, "its timeout was over at once")
        elif len(call.encoded) > self._most:
            text = f"{len(call.encoded)} bytes are over max_message_size ({self._most + BATCH_OVERHEAD})"
            delivery.outcomes.fail(call, MessageTooLarge, text)
        elif link is not None:
            delivery.give(call, link, now)
        else:
            delivery.deliver(call, now)
        return call

    def _deadline(self, method: str, timeout: float | None) -> float:
        seconds = self._timeout if timeout is None else timeout
        if type(method) is not str or type(seconds) not in (int, float) or not seconds < _LONGEST:
            raise _odd_request(method, seconds)
        if seconds <= 0:
            raise DeadlineExceeded(f"{method!r} failed: its timeout was over at once", Journey("", stage="resolving"))
        return self._seconds() + seconds

    def _route(self, target: Target) -> Route:
        """Return the one route to a target: its turns are kept between calls."""
        _check_target(target)
        route = self._delivery.discovery.route(target, self._exchange)
        route.used = True
        return route

    @staticmethod
    def _unsendable(
        error: Exception,
        target: Target,
        method: str,
        args: dict[str, Any] | None,
        context: dict[str, Any] | None,
        timeout: Any,
    ) -> ZmqRpcError:
        """Say what cannot be sent, and where in it; the encoder itself names no place."""
        if isinstance(error, (ConfigError, DeadlineExceeded, Overloaded)):
            return error
        if isinstance(error, TypeError) and type(timeout) not in (int, float, type(None)):
            return _odd_request(method, timeout)
        try:
            for what, value in (("argument", args), ("context", context), ("the method's name", method)):
                check_value(value, what)
        except EncodingError as found:
            error = found
        return EncodingError(f"{method!r} cannot be sent: {error}", Journey(str(target)))

    def fanout(
        self,
        target: Target,
        method: str,
        args: dict[str, Any] | None = None,
        *,
        timeout: float | None = None,
        context: dict[str, Any] | None = None,
        idempotent: bool = False,
        wait_for_ready: bool = False,
    ) -> Deferred[Reached]:
        """
        Have every member run a method, without their results; parameters as for `call`.

        :return: fires with `Reached` when every instance that `members` lists has acknowledged it or failed to; fails
            with `NoRoute` when that is nobody, and with `MatchmakerUnavailable`. Cancelling it cancels what no member
            has acknowledged yet.
        """
        try:
            deadline = self._deadline(method, timeout)
            route = self._route(attrs.evolve(target, fanout=False))
            args = _NO_ARGUMENTS if args is None else args
            if type(args) is not dict or type(context) not in _CONTEXTS:
                raise _odd_mapping(method, args, context)
            ensure(args, "argument")
            ensure(context, "context")
            request = Fanout(
                0,
                1,
                _FLAGS[idempotent],
                0,
                route.topic.exchange,
                route.topic.name,
                None,
                target.namespace,
                target.version,
                method,
                args,
                context,
            )
            encode_message(request)
        except Exception as error:
            return fail(self._unsendable(error, target, method, args, context, timeout))
        known = self._delivery.await_topic(route, target, deadline, wait_for_ready)
        return known.addCallback(lambda _: self._fan(route, target, deadline, request, idempotent))

    def _fan(
        self, route: Route, target: Target, deadline: float, request: Fanout, idempotent: bool
    ) -> Deferred[Reached]:
        waiters: list[Deferred[Any]] = []
        recipients: list[tuple[str, str]] = []
        for sighting in route.topic.sightings:
            record = sighting.record
            if record.role is not Role.SERVER or target.server not in (None, record.member):
                continue
            request.member = record.member
            call = Waiter(self._delivery.cancel)
            call.begin(Kind.FANOUT, target, encode_message(request), deadline, _FLAGS[idempotent])
            waiters.append(call)
            recipients.append((record.member, record.instance))
            self._delivery.give_pinned(call, link_key(record))
        if not waiters:
            error = NoRoute(
                "FANOUT failed: nobody listens there, start a server or check the name", Journey(str(target))
            )
            return fail(error)
        gathered = DeferredList(waiters, consumeErrors=True)
        return gathered.addCallback(lambda outcomes: _reached(target, recipients, outcomes))

    def members(self, target: Target, *, timeout: float | None = None) -> Deferred[list[tuple[str, str]]]:
        """
        List who listens on a target.

        That is every instance with a record, reachable or not, and after those the ones whose record vanished from the
        store while they were connected: they are listed until their link ends, or they say that they serve it no more.

        :return: fires with (member, instance) of each, empty when there is none; fails with `MatchmakerUnavailable`
            when nothing is known.
        """
        try:
            deadline = self._deadline("members", timeout)
            route = self._route(attrs.evolve(target, fanout=False))
        except ZmqRpcError as error:
            return fail(error)

        def listed(_: object) -> list[tuple[str, str]]:
            records = [sighting.record for sighting in route.topic.sightings]
            return [
                (record.member, record.instance)
                for record in records
                if record.role is Role.SERVER and target.server in (None, record.member)
            ]

        def nobody(failure: TwistedFailure) -> list[tuple[str, str]]:
            failure.trap(NoRoute)
            return []

        known = self._delivery.await_topic(route, target, deadline, False)
        return known.addCallback(listed).addErrback(nobody)

    def stub(self, target: Target, **options: Any) -> Stub:
        """
        Make an object whose methods are those of a server: ``await stub.add(a=1, b=2)``.

        :param options: given to each `call`: `timeout`, `context`, `idempotent`, `wait_for_ready`.
        """
        return Stub(self, target, options)


class Stub:
    """Calls with a target and options filled in; made by `RPCClient.stub`."""

    def __init__(self, client: RPCClient, target: Target, options: dict[str, Any]) -> None:
        self._client = client
        self._target = target
        self._options = options

    def __getattr__(self, method: str) -> Callable[..., Deferred[Any]]:
        """Return what calls the method of that name; names that begin with an underscore are never remote."""
        if method.startswith("_"):
            raise AttributeError(method)
        return lambda **arguments: self._client.call(self._target, method, arguments, **self._options)


def _check_target(target: Target) -> None:
    if not isinstance(target, Target):
        raise ConfigError(f"the target {target!r} is a {type(target).__name__}; give a zmqrpc.Target")
    if target.topic is None:
        raise ConfigError(f"the target {target!r} has no topic; give one")
    if target.fanout:
        raise ConfigError(f"the target {target} is a fan-out, which has no single answer; use fanout()")


def _odd_request(method: Any, timeout: Any) -> ConfigError:
    """Say what is wrong with a method's name, or else with a timeout."""
    if type(method) is not str:
        return ConfigError(f"the method {method!r} is no str; give its name")
    return ConfigError(f"the timeout {timeout!r} of {method!r} is no number of seconds below {_LONGEST:g}; give one")


def _odd_mapping(method: str, args: Any, context: Any) -> EncodingError:
    """Say which of arguments and context is no dict."""
    what, value = ("arguments", args) if type(args) is not dict else ("context", context)
    return EncodingError(f"the {what} of {method!r} are a {type(value).__name__}; give a dict with str keys")


def _reached(target: Target, recipients: list[tuple[str, str]], outcomes: list[tuple[bool, Any]]) -> Reached:
    """
    Sum up a fan-out.

    :raises Cancelled: its caller did not wait for all; that alone cancels one of its messages.
    """
    members, missing = [], []
    cancelled = False
    for (member, instance), (acknowledged, outcome) in zip(recipients, outcomes, strict=True):
        if acknowledged:
            members.append((member, instance))
        else:
            missing.append((member, instance, outcome.value))
            cancelled = cancelled or isinstance(outcome.value, Cancelled)
    if not cancelled:
        return Reached(tuple(members), tuple(missing))
    sent = any(error.maybe_executed for _, _, error in missing)
    raise Cancelled(
        f"FANOUT failed: its caller cancelled it, {len(members)} of {len(recipients)} members had acknowledged it",
        Journey(str(target), stage="acknowledged" if members else "sent" if sent else "queued"),
        maybe_executed=bool(members) or sent,
    )
