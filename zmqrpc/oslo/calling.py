"""What one transport calls with, in one process."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache, partial
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from zmqrpc.checks import LONGEST
from zmqrpc.errors import DeliveryError, Draining, MatchmakerUnavailable, NoRoute, Overloaded, ServerLost
from zmqrpc.members import Reached
from zmqrpc.notifier import Notifier
from zmqrpc.oslo.attempts import Attempts
from zmqrpc.oslo.hosted import HostedNode
from zmqrpc.oslo.monitor import monitored
from zmqrpc.oslo.payload import Parts
from zmqrpc.oslo.unawaited import Unawaited
from zmqrpc.oslo.waiting import LATE_SECONDS, StillUnderWay, wait_for
from zmqrpc.settings import Settings
from zmqrpc.target import Target

MOST_CASTS = 256
"""Casts and fan-outs to one topic or server that nobody waits for. They end when they are acknowledged."""

MOST_NOTIFICATIONS = 1000
"""The same of notifications, which end when a listener has handled them: be it as one of a batch, after some time."""

_MOST_KNOWN = 10_000


class Calling:
    """
    A node that only calls, and the threads that wait for it.

    :param reactor: the reactor of this process.
    :param conf: the configuration of the transport.
    :ivar hosted: the node.
    :raises ConfigError: the settings are not valid.
    :raises StillUnderWay: something holds the reactor up.
    """

    def __init__(self, reactor: Any, conf: Any, settings: Settings) -> None:
        self.hosted = HostedNode(reactor, conf, settings)
        self._reactor = reactor
        self._seconds = settings.rpc_response_timeout
        self._exchange = settings.control_exchange
        self._targets: dict[tuple[Any, ...], Target] = {}
        self._notifiers: dict[Target, Notifier] = {}
        self._casts = Unawaited(reactor, MOST_CASTS, settings.max_queued_calls)
        self._notifications = Unawaited(reactor, MOST_NOTIFICATIONS, settings.max_queued_calls)
        self.hosted.ends = lambda: self._casts.ends() + self._notifications.ends()
        self.hosted.start()
        self._client = self.hosted.node.client()

    @property
    def is_open(self) -> bool:
        """Whether it can be used in this process."""
        return self.hosted.is_open

    def target(self, target: Any, namespace: str | None, version: str | None) -> Target:
        """
        Return our target for one of oslo.messaging.

        :raises ConfigError: a name in it is none that can be sent.
        """
        server = None if target.fanout else target.server or None
        key = (target.exchange, target.topic, server, namespace, version, target.fanout)
        known = self._targets.get(key)
        if known is None:
            if len(self._targets) >= _MOST_KNOWN:
                self._targets.clear()
            exchange = target.exchange or self._exchange
            made = Target(target.topic, server, exchange, namespace, version, bool(target.fanout))
            known = self._targets[key] = made
        return known

    def _time(self, timeout: float | None) -> float:
        """Return for how long something may take: for ever, or less than nothing, is no error of oslo.messaging."""
        return max(0.0, min(self._seconds if timeout is None else timeout, LONGEST - 1))

    def call(
        self, target: Target, parts: Parts, timeout: float | None, monitor: float | None, retry: int | None, now: bool
    ) -> Any:
        """
        Call, and wait for the result.

        :param monitor: seconds that the server may be silent; None, and 0 or less, for ever.
        :param retry: see `Attempts`.
        :param now: whether somebody has to listen already.
        :raises ZmqRpcError: as `RPCClient.call`.
        :raises StillUnderWay: the reactor is held up by something.
        """
        seconds = self._time(timeout)
        send = partial(
            self._client.call, target, parts.method, parts.arguments, context=parts.context, wait_for_ready=not now
        )
        if monitor is not None and monitor > 0:
            monitor = min(monitor, LONGEST - 1)
            send = partial(self._monitored, partial(send, call_monitor_timeout=monitor), monitor)
        if not now and retry is not None and retry >= 0:
            # Who waits for somebody to listen waits for the matchmaker as well, and may not want that.
            send = partial(self._whoever_comes, send)
        return wait_for(
            self._reactor, Attempts(self._reactor, send, seconds, retry, _CALL_LATER).begin, seconds + LATE_SECONDS
        )

    def _monitored(self, send: Any, monitor: float, **more: Any) -> Deferred[Any]:
        return monitored(self._reactor, send(**more), monitor)

    def _whoever_comes(self, send: Any, timeout: float) -> Deferred[Any]:
        until = self._reactor.seconds() + timeout

        def nobody_yet(failure: Failure) -> Any:
            failure.trap(NoRoute)
            return send(timeout=until - self._reactor.seconds())

        found: Deferred[Any] = send(timeout=timeout, wait_for_ready=False)
        return found.addErrback(nobody_yet)

    def cast(self, target: Target, parts: Parts, timeout: float | None, retry: int | None, now: bool) -> None:
        """
        Cast or fan out; parameters as for `call`.

        :raises ZmqRpcError: as `RPCClient.cast`.
        :raises StillUnderWay: it is waited for, and the reactor is held up by something.
        """
        seconds = self._time(timeout)
        waits = now or (retry is not None and retry >= 0)
        if not waits:
            parts = parts.copied()
        tell = self._fanned_out if target.fanout else self._client.cast
        send = partial(tell, target, parts.method, parts.arguments, context=parts.context)
        later = _CALL_LATER if now else _CAST_LATER
        begin = Attempts(self._reactor, send, seconds, retry, later).begin
        if waits:
            wait_for(self._reactor, begin, seconds + LATE_SECONDS)
        else:
            with suppress(StillUnderWay):
                # What becomes of it will be logged.
                self._casts.send(_servers_of(target), begin, seconds)

    def _fanned_out(self, *arguments: Any, **more: Any) -> Deferred[None]:
        reached: Deferred[Any] = self._client.fanout(*arguments, **more)
        return reached.addCallback(_all_reached)

    def notify(self, target: Any, parts: Parts, retry: int | None) -> None:
        """
        Notify, and wait for nobody.

        :param retry: see `Attempts`; each pool is another matter.
        :raises ConfigError: the topic is none that can be sent.
        :raises Overloaded: too much is under way, and there was no place for one more for the length of a timeout.
        """
        topic = self.target(target, None, None)
        notifier = self._notifiers.get(topic)
        if notifier is None:
            if len(self._notifiers) >= _MOST_KNOWN:
                self._notifiers.clear()
            notifier = self._notifiers[topic] = self.hosted.node.notifier("oslo.messaging", [topic])

        def attempt(send: Callable[..., Deferred[Any]], seconds: float) -> Deferred[Any]:
            # A broker would give it to another listener, as often as one dies.
            return Attempts(self._reactor, send, seconds, retry, _CALL_LATER, (ServerLost,)).begin()

        parts = parts.copied()
        send = partial(notifier.forward, parts.method, parts.context, parts.arguments, attempt=attempt)
        self._notifications.post(topic, send, self._seconds)


@lru_cache(_MOST_KNOWN)
def _servers_of(target: Target) -> Target:
    """Return the target without what is within its servers: who has taken nothing of one version takes none."""
    return Target(target.topic, target.server, target.exchange, fanout=target.fanout)


_CALL_LATER = (MatchmakerUnavailable, Overloaded)
# Who stops is not asked again: either somebody else is there by then, or nobody.
_CAST_LATER = (*_CALL_LATER, Draining)


def _all_reached(reached: Reached) -> None:
    """
    Take a fan-out for one that failed when it failed at one.

    :raises DeliveryError: as the first says; where any has it, or may have it, it may have run, so that nobody gets it
        again.
    """
    errors = [error for _, _, error in reached.missing]
    if errors:
        error = errors[0]
        if isinstance(error, DeliveryError):
            reason = (
                error.reason if len(errors) == 1 else f"{error.reason} (and {len(errors) - 1} more did not take it)"
            )
            may_have = reached.members or reached.published or any(each.maybe_executed for each in errors)
            error = type(error)(reason, error.journey, bool(may_have), error.did_run)
        raise error
