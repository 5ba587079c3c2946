"""What one transport calls with, in one process."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred, DeferredList, succeed
from twisted.python.failure import Failure

from zmqrpc.errors import MatchmakerUnavailable, NoRoute
from zmqrpc.members import Reached
from zmqrpc.node import Node
from zmqrpc.notifier import Notifier
from zmqrpc.oslo.attempts import Attempts
from zmqrpc.oslo.monitor import monitored
from zmqrpc.oslo.payload import Parts
from zmqrpc.oslo.unawaited import Unawaited
from zmqrpc.oslo.waiting import StillUnderWay, wait_for
from zmqrpc.settings import Settings
from zmqrpc.target import Target

LATE_SECONDS = 5.0
"""After the time of a call, after which its thread goes on, whatever the reactor does."""

_MOST_KNOWN = 10_000


class Calling:
    """
    A node that only calls, and the threads that wait for it.

    :param reactor: the reactor of this process.
    :raises ConfigError: the settings are not valid.
    """

    def __init__(self, reactor: Any, settings: Settings) -> None:
        self.reactor = reactor
        self._seconds = settings.rpc_response_timeout
        self._exchange = settings.control_exchange
        self._targets: dict[tuple[Any, ...], Target] = {}
        self._notifiers: dict[Target, Notifier] = {}
        self._unawaited = Unawaited(reactor)
        self._node = wait_for(reactor, lambda: self._begin(settings))
        self._client = self._node.client()

    def _begin(self, settings: Settings) -> Deferred[Node]:
        node = Node(self.reactor, settings)
        node.startService()
        return succeed(node)

    def target(self, target: Any, namespace: str | None, version: str | None) -> Target:
        """
        Return our target for one of oslo.messaging.

        :raises ConfigError: a name in it is none that can be sent.
        """
        server = None if target.fanout else target.server
        key = (target.exchange, target.topic, server, namespace, version, target.fanout)
        known = self._targets.get(key)
        if known is None:
            if len(self._targets) >= _MOST_KNOWN:
                self._targets.clear()
            exchange = target.exchange or self._exchange
            made = Target(target.topic, server, exchange, namespace, version, bool(target.fanout))
            known = self._targets[key] = made
        return known

    def call(
        self, target: Target, parts: Parts, timeout: float | None, monitor: float | None, retry: int | None, now: bool
    ) -> Any:
        """
        Call, and wait for the result.

        :param monitor: seconds that the server may be silent; None and 0 for ever.
        :param retry: see `Attempts`.
        :param now: whether somebody has to listen already.
        :raises ZmqRpcError: as `RPCClient.call`.
        :raises StillUnderWay: the reactor is held up by something.
        """
        seconds = self._seconds if timeout is None else timeout
        send = partial(
            self._client.call, target, parts.method, parts.arguments, context=parts.context, wait_for_ready=not now
        )
        if monitor:
            send = partial(self._monitored, partial(send, call_monitor_timeout=monitor), monitor)
        if not now and retry is not None and retry >= 0:
            # Who waits for somebody to listen waits for the matchmaker as well, and may not want that.
            send = partial(self._whoever_comes, send)
        return wait_for(self.reactor, Attempts(self.reactor, send, seconds, retry).begin, seconds + LATE_SECONDS)

    def _monitored(self, send: Any, monitor: float, **more: Any) -> Deferred[Any]:
        return monitored(self.reactor, send(**more), monitor)

    def _whoever_comes(self, send: Any, timeout: float) -> Deferred[Any]:
        until = self.reactor.seconds() + timeout

        def nobody_yet(failure: Failure) -> Any:
            failure.trap(NoRoute)
            return send(timeout=until - self.reactor.seconds())

        found: Deferred[Any] = send(timeout=timeout, wait_for_ready=False)
        return found.addErrback(nobody_yet)

    def cast(self, target: Target, parts: Parts, timeout: float | None, retry: int | None, now: bool) -> None:
        """
        Cast or fan out; parameters as for `call`.

        :raises ZmqRpcError: as `RPCClient.cast`.
        :raises StillUnderWay: what becomes of it will be logged.
        """
        seconds = self._seconds if timeout is None else timeout
        tell = self._fanned_out if target.fanout else self._client.cast
        send = partial(tell, target, parts.method, parts.arguments, context=parts.context)
        begin = Attempts(self.reactor, send, seconds, retry).begin
        if now or (retry is not None and retry >= 0):
            wait_for(self.reactor, begin, seconds + LATE_SECONDS)
        else:
            self._unawaited.send(target, begin)

    def _fanned_out(self, *arguments: Any, **more: Any) -> Deferred[None]:
        reached: Deferred[Any] = self._client.fanout(*arguments, **more)
        return reached.addCallback(_all_reached)

    def notify(self, target: Any, parts: Parts, retry: int | None) -> None:
        """
        Notify, and wait for nobody.

        :raises ZmqRpcError: too much is under way, and it failed at once.
        :raises StillUnderWay: the same, and what becomes of it will be logged.
        """
        topic = self.target(target, None, None)
        notifier = self._notifiers.get(topic)
        if notifier is None:
            if len(self._notifiers) >= _MOST_KNOWN:
                self._notifiers.clear()
            notifier = self._notifiers[topic] = self._node.notifier("oslo.messaging", [topic])
        send = partial(notifier.forward, parts.method, parts.context, parts.arguments)
        # Of several pools those that have it would have it again, if one had none of it for another reason.
        attempts = Attempts(self.reactor, send, self._seconds, retry, (MatchmakerUnavailable,))
        self._unawaited.post(topic, attempts.begin)

    def ends(self) -> list[Deferred[Any]]:
        """List what fires when each of those that nobody waits for has come to its end; in the reactor."""
        return self._unawaited.ends()

    def close(self, patience: float) -> None:
        """
        Close it.

        :param patience: seconds for which it is waited for what nobody else waits for.
        """
        with suppress(StillUnderWay):
            wait_for(self.reactor, lambda: DeferredList(self.ends()), patience)
        wait_for(self.reactor, self._node.stopService)


def _all_reached(reached: Reached) -> None:
    """
    Take a fan-out for one that failed when it failed at one.

    :raises DeliveryError: as that says.
    """
    for _, _, error in reached.missing:
        raise error
