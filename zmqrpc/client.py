"""
The RPC client.

Hot path: `RPCClient._send` is written flat, because each function call in it costs 2 % of the client.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure

from zmqrpc.checks import LONGEST, check_target, is_patience, odd_mapping, odd_patience, odd_request, unsendable
from zmqrpc.core.batch import BATCH_OVERHEAD
from zmqrpc.core.envelope import Flag, Kind, encode_message
from zmqrpc.core.route import Route
from zmqrpc.core.values import SCALARS, check_quickly, check_value
from zmqrpc.delivery import Delivery
from zmqrpc.errors import ConfigError, MessageTooLarge, ZmqRpcError
from zmqrpc.hints import Hints
from zmqrpc.inherited import LENT, bounded
from zmqrpc.members import Answer, Members, Reached, reached
from zmqrpc.record import Record
from zmqrpc.target import Target
from zmqrpc.waiter import Waiter
from zmqrpc.watches import MembersChanged

__all__ = ["Answer", "RPCClient", "Reached", "Stub"]

_FLAGS = (int(Flag.ACK_WANTED), int(Flag.ACK_WANTED | Flag.IDEMPOTENT))
"""The flags of a request that is not idempotent, and of one that is."""

_CALL, _CAST = int(Kind.CALL), int(Kind.CAST)
_MOST_REASON = 300
_NO_ARGUMENTS: dict[str, Any] = {}
_lent = LENT.get


class RPCClient:
    """Calls methods of servers; made by `Node.client`."""

    def __init__(self, delivery: Delivery, hints: Hints) -> None:
        self._delivery = delivery
        self._hints = hints
        self._seconds = delivery.seconds
        self._link = delivery.links.get
        self._exchange = delivery.settings.control_exchange
        self._timeout = delivery.settings.rpc_response_timeout
        self._most = delivery.settings.max_message_size - BATCH_OVERHEAD
        self._routes = delivery.table.routes
        self._members = Members(delivery)
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
        check_target(target)
        self._delivery.check_process()
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
        call_monitor_timeout: float | None = None,
    ) -> Deferred[Any]:
        """
        Call a method of one member and bring its result.

        :param args: the arguments by name; of the values that can cross the wire, as the reference lists them.
        :param timeout: seconds; None is ``rpc_response_timeout``.
        :param context: handed to the method as its first argument.
        :param idempotent: whether it may run more than once, so that it may go to another member after a loss.
        :param wait_for_ready: whether to wait, up to the timeout, for somebody to listen.
        :param call_monitor_timeout: seconds that the instance which has the call may be silent; then it ends as
            `ServerLost`, or goes elsewhere when it is idempotent. 0 is for ever, None the option of that name.
        :return: fires with the result. Fails with a `DeliveryError` when there is none (its `maybe_executed` tells
            whether the method may have run), or with a `RemoteError` when the method raised. Cancelling it cancels the
            call.
        """
        if call_monitor_timeout is None:
            return self._send(_CALL, target, method, args, timeout, context, idempotent, wait_for_ready)
        if not is_patience(call_monitor_timeout):
            return fail(odd_patience(method, call_monitor_timeout))
        call = self._send(_CALL, target, method, args, timeout, context, idempotent, wait_for_ready)
        if isinstance(call, Waiter):
            # Nothing of its instance is read before this returns.
            call.monitor = call_monitor_timeout
            call.monitored_from = self._delivery.seconds()
        return call

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
                raise odd_mapping(method, args, context)
            for key, item in args.items():
                if type(item) not in SCALARS or type(key) is not str:
                    check_value(args, "argument")
                    break
            if context is not None:
                check_quickly(context, "context")
            seconds = self._timeout if timeout is None else timeout
            if type(method) is not str or not seconds < LONGEST:
                raise odd_request(method, seconds)
            call = Waiter(delivery.cancel)
            call.kind = kind
            call.target = target
            call.deadline = deadline = now + seconds
            if _lent()[0] is not None:
                call.deadline = deadline = bounded(deadline, now)
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
            if link is not None and link.ready and deadline > now:
                link.hand_over(call, request, now)
                if delivery.casts_fire_early:
                    delivery.handed_over(call)
                return call
            call.unsent(encode_message((kind, 0, 1, call.flags, 0, *request)))
        except Exception as error:
            return fail(unsendable(error, target, method, args, context, timeout))
        if deadline <= now:
            delivery.outcomes.too_late(call)
        elif len(call.encoded) > self._most:
            size = len(call.encoded) + BATCH_OVERHEAD
            text = f"{size} bytes are over max_message_size of this client ({self._most + BATCH_OVERHEAD})"
            delivery.outcomes.fail(call, MessageTooLarge, text)
        elif link is not None:
            delivery.give(call, link, now)
        else:
            delivery.deliver(call, now)
        return call

    def _route(self, target: Target) -> Route:
        """Return the one route to a target: its turns are kept between calls."""
        check_target(target)
        return self._delivery.discovery.route(target, self._exchange)

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

        :return: fires with `Reached` when every instance that `members` lists has acknowledged it (``members``) or
            failed to (``missing``), or it was published for it (``published``); fails with `NoRoute` when that is
            nobody, and with `MatchmakerUnavailable`. Cancelling it cancels what no member has acknowledged yet.
        """
        sent = self._members.send(Kind.FANOUT, target, method, args, timeout, context, idempotent, wait_for_ready)
        return sent.addCallback(reached)

    def call_each(
        self,
        target: Target,
        method: str,
        args: dict[str, Any] | None = None,
        *,
        timeout: float | None = None,
        context: dict[str, Any] | None = None,
        idempotent: bool = False,
        wait_for_ready: bool = False,
    ) -> Deferred[list[Answer]]:
        """
        Call a method of every member and bring what each answered; parameters as for `call`.

        :param idempotent: is told to the members; a call never goes to another instance than the one it is for.
        :return: fires with an `Answer` of every instance that `members` lists, in that order, when the last has
            answered or failed to; each was called once. Fails with `NoRoute` when that is nobody, and with
            `MatchmakerUnavailable`. Cancelling it cancels every call that has not ended.
        """
        sent = self._members.send(Kind.CALL, target, method, args, timeout, context, idempotent, wait_for_ready)
        return sent.addCallback(lambda sent: sent.answers)

    def members(self, target: Target, *, timeout: float | None = None) -> Deferred[list[tuple[str, str]]]:
        """
        List who listens on a target.

        That is every instance with a record, reachable or not, and after those the ones whose record vanished from the
        store while they were connected: they are listed until their link ends, or they say that they serve it no more.

        :return: fires with (member, instance) of each, empty when there is none; fails with `MatchmakerUnavailable`
            when nothing is known.
        """
        return self._members.listed(target, timeout)

    def watch(self, target: Target, callback: MembersChanged) -> Callable[[], None]:
        """
        Hear who listens on a target: at once when that is known, and after each change.

        As long as it is watched, the target is looked up and connected to as for calls, used or not. Changes may be
        merged; the last call has the newest list. A callback that raises is logged, and called again at the next
        change. When the client is stopped it is called no more.

        :param callback: called with the list of (member, instance) that `members` would bring; may be asynchronous.
        :return: a callable that ends the watch; calling it again does nothing.
        :raises ConfigError: the target has no topic, or the callback cannot be called.
        :raises Overloaded: too many targets are in use (``max_routes``).
        """
        return self._members.watch(target, callback)

    # What consuming applications know better

    def neg_acknowledge(self, target: Target, reason: str) -> list[tuple[str, str]]:
        """
        Say that the instances of a target do not do what they should, though they can be reached.

        They are in quarantine then, for the clients of this node: calls and casts to a target go to others as long as
        there are others, and only then to them. After ``quarantine_time`` they come back by themselves. The
        matchmaker is told, as a hint; `members`, fan-outs and `call_each` are as before.

        A target that was not looked up yet is looked up, and it takes effect then. What concerns nobody is counted
        (``hint_unheeded``) and logged.

        :param target: with a member, all instances of it; else every instance that is known to listen on the topic.
        :param reason: what is wrong, for the log.
        :return: (member, instance) of those it concerns; empty when none is known yet.
        :raises ConfigError: the target has no topic, or the reason is no text.
        """
        if not isinstance(reason, str):
            raise ConfigError(f"the reason {reason!r} is no str; say what is wrong")
        return self._hint(target, lambda records: self._hints.neg_acknowledge(records, reason[:_MOST_REASON]))

    def acknowledge(self, target: Target) -> list[tuple[str, str]]:
        """
        Take back what `neg_acknowledge` said of the instances of a target; parameters and result as there.

        Calls go to them again at once, and their next quarantine is as short as the first.
        """
        return self._hint(target, self._hints.acknowledge)

    def _hint(self, target: Target, hint: Callable[[list[Record]], None]) -> list[tuple[str, str]]:
        """Give a hint about whom is known to listen, or as soon as that was looked up."""
        if records := self._members.known(target):
            hint(records)
            return [(record.member, record.instance) for record in records]

        def looked_up(_: object) -> None:
            if records := self._members.known(target):
                hint(records)
            else:
                self._hints.unheeded(target, "nobody listens there")

        def failed(failure: Failure) -> None:
            failure.trap(ZmqRpcError)
            self._hints.unheeded(target, str(failure.value))

        self._members.listed(target, None).addCallbacks(looked_up, failed)
        return []

    def stub(self, target: Target, **options: Any) -> Stub:
        """
        Make an object whose methods are those of a server: ``await stub.add(a=1, b=2)``.

        :param options: given to each `call`: `timeout`, `context`, `idempotent`, `wait_for_ready`,
            `call_monitor_timeout`.
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

        def call(*unnamed: Any, **arguments: Any) -> Deferred[Any]:
            if unnamed:
                raise TypeError(f"{method}() takes its arguments by name; write {method}(NAME=VALUE, ...)")
            return self._client.call(self._target, method, arguments, **self._options)

        return call
