"""The driver: what oslo.messaging loads for a ``transport_url`` that begins with ``zmq``."""

from __future__ import annotations

import atexit
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple
from weakref import WeakSet

import attrs
import oslo_messaging
from oslo_messaging._drivers import base
from oslo_messaging.transport import InvalidTransportURL
from twisted.internet.defer import Deferred, DeferredList, succeed

from zmqrpc import errors
from zmqrpc.client import RPCClient
from zmqrpc.node import Node
from zmqrpc.notifier import Notifier
from zmqrpc.oslo.failures import raised_for
from zmqrpc.oslo.listener import ZmqListener
from zmqrpc.oslo.notifications import NotificationEndpoint
from zmqrpc.oslo.opts import settings_of
from zmqrpc.oslo.payload import parts_of, parts_of_notification, value_of
from zmqrpc.oslo.reactor import in_each_fork, is_here, reactor_here
from zmqrpc.oslo.server import AnyMethod, Hand, OsloServer
from zmqrpc.oslo.unawaited import Unawaited
from zmqrpc.oslo.waiting import StillUnderWay, wait_for
from zmqrpc.target import Target
from zmqrpc.transport_url import masked_url

LATE_SECONDS = 5.0
"""After the timeout of a call, after which it ends whatever the reactor does."""

RETRY_SECONDS = 1.0
"""Between two tries of what could not be sent since the matchmaker is away."""

EXIT_SECONDS = 1.0
"""For which what is under way is waited for at the end; where the process exits, the withdrawal of records as well."""

_MOST_TARGETS = 10_000

_drivers: WeakSet[ZmqDriver] = WeakSet()


class _Calling(NamedTuple):
    """What a driver calls with, in one process."""

    reactor: Any
    node: Node
    client: RPCClient
    unawaited: Unawaited


class ZmqDriver(base.BaseDriver):  # type: ignore[misc]
    """
    Speaks zmqrpc for one transport.

    Nothing is opened before the first use, and nothing that a process has opened is used in a fork of it.

    :raises InvalidTransportURL: an option or value, of the URL or of the configuration, is not valid.
    """

    def __init__(
        self, conf: Any, url: Any, default_exchange: str | None = None, allowed_remote_exmods: Any = None
    ) -> None:
        super().__init__(conf, url, default_exchange, allowed_remote_exmods)
        try:
            self._settings = settings_of(conf, url, default_exchange)
        except errors.ConfigError as error:
            raise InvalidTransportURL(masked_url(str(url)), str(error)) from error
        self.begin_anew()
        _drivers.add(self)

    def begin_anew(self) -> None:
        """Forget what was opened: in a fork it is the parent's."""
        self._lock = threading.Lock()
        self._calling: _Calling | None = None
        self._listeners: WeakSet[ZmqListener] = WeakSet()
        self._notifiers: dict[tuple[str | None, str], Notifier] = {}
        self._targets: dict[tuple[Any, ...], Target] = {}

    def require_features(self, requeue: bool = False) -> None:
        """Raise nothing: notifications can be given back."""

    # Sending

    def send(
        self,
        target: Any,
        ctxt: Any,
        message: Any,
        wait_for_reply: Any = None,
        timeout: Any = None,
        call_monitor_timeout: Any = None,
        retry: Any = None,
        transport_options: Any = None,
    ) -> Any:
        """
        Call, cast or fan out; as `oslo_messaging._drivers.base.BaseDriver.send`.

        :param retry: how often it is tried again while the matchmaker is away and nothing is known from before; None or
            less than 0 for ever, which is until the timeout.
        """
        method, namespace, version, arguments, context = parts_of(ctxt, message)
        whom = self._target(target, namespace, version)
        reactor, _, client, unawaited = self._calling or self._opened()
        at_once = bool(getattr(transport_options, "at_least_once", False))
        if wait_for_reply:
            start = partial(
                client.call,
                whom,
                method,
                arguments,
                timeout=timeout,
                context=context,
                wait_for_ready=not at_once,
                call_monitor_timeout=call_monitor_timeout,
            )
            send = partial(wait_for, reactor, start, self._seconds(timeout) + LATE_SECONDS)
        else:
            tell = client.fanout if target.fanout else client.cast
            start = partial(tell, whom, method, arguments, timeout=timeout, context=context)
            if at_once:
                send = partial(wait_for, reactor, start)
            else:
                send = partial(unawaited.send, attrs.evolve(whom, fanout=True) if target.fanout else whom, start)
        try:
            result = self._retried(send, retry, timeout)
        except StillUnderWay:
            if wait_for_reply:
                text = f"{whom} {method}: the thread of zmqrpc does not answer; something in this process holds it up"
                raise oslo_messaging.MessagingTimeout(text) from None
            return None
        except errors.NoRoute as error:
            if at_once:
                routing_key = f"{whom.topic}.{whom.server}" if whom.server else whom.topic
                raise oslo_messaging.MessageUndeliverable(str(error), whom.exchange, routing_key, message) from None
            if wait_for_reply:
                raise oslo_messaging.MessagingTimeout(str(error)) from None
            return None
        except errors.ZmqRpcError as error:
            raise raised_for(error, self._allowed_remote_exmods, bool(wait_for_reply)) from None
        return value_of(result) if wait_for_reply else None

    def _retried(self, send: Callable[[], Any], retry: int | None, timeout: float | None) -> Any:
        left = float("inf") if retry is None or retry < 0 else retry
        until = time.monotonic() + self._seconds(timeout)
        while True:
            try:
                return send()
            except errors.MatchmakerUnavailable:
                if left <= 0 or time.monotonic() + RETRY_SECONDS >= until:
                    raise
            left -= 1
            time.sleep(RETRY_SECONDS)

    def _seconds(self, timeout: float | None) -> float:
        return self._settings.rpc_response_timeout if timeout is None else timeout

    def send_notification(self, target: Any, ctxt: Any, message: Any, version: Any, retry: Any = None) -> None:
        """
        Notify the listeners of a topic; as `oslo_messaging._drivers.base.BaseDriver.send_notification`.

        It returns when the notification is on its way, since its listeners may take long: they have it until
        ``rpc_response_timeout``, be it tried again and again, and then it is logged as lost.
        """
        parts = parts_of_notification(ctxt, message)
        _, node, _, unawaited = self._calling or self._opened()
        notifier = self._notifier(node, target)
        try:
            unawaited.post(notifier.topics[0], partial(notifier.forward, parts.method, parts.context, parts.arguments))
        except StillUnderWay:
            return
        except errors.ZmqRpcError as error:
            raise raised_for(error, self._allowed_remote_exmods, False) from None

    def _target(self, target: Any, namespace: str | None, version: str | None) -> Target:
        server = None if target.fanout else target.server
        key = (target.exchange, target.topic, server, namespace, version)
        known = self._targets.get(key)
        if known is None:
            if len(self._targets) >= _MOST_TARGETS:
                self._targets.clear()
            exchange = target.exchange or self._default_exchange
            known = self._targets[key] = Target(target.topic, server, exchange, namespace, version)
        return known

    def _notifier(self, node: Node, target: Any) -> Notifier:
        key = (target.exchange, target.topic)
        found = self._notifiers.get(key)
        if found is None:
            if len(self._notifiers) >= _MOST_TARGETS:
                self._notifiers.clear()
            whom = Target(target.topic, exchange=target.exchange or self._default_exchange)
            found = self._notifiers[key] = node.notifier("oslo.messaging", [whom])
        return found

    def _opened(self) -> _Calling:
        """Begin the node that calls, at the first use in this process."""
        reactor = reactor_here()
        with self._lock:
            if self._calling is None:
                self._calling = wait_for(reactor, partial(self._begun, reactor))
        assert self._calling is not None
        return self._calling

    def _begun(self, reactor: Any) -> Deferred[_Calling]:
        node = Node(reactor, self._settings)
        node.startService()
        return succeed(_Calling(reactor, node, node.client(), Unawaited(reactor)))

    # Listening

    def listen(self, target: Any, batch_size: Any, batch_timeout: Any) -> ZmqListener:
        """
        Serve a target; as `oslo_messaging._drivers.base.BaseDriver.listen`.

        :raises ConfigError: it cannot be listened to, or there is no port.
        """
        reactor = reactor_here()
        whom = Target(target.topic, target.server, target.exchange or self._default_exchange)

        def serve(node: Node, hand: Hand) -> Callable[[], None]:
            node.server(whom, [AnyMethod()], partial(OsloServer, hand, reactor))
            return lambda: None

        return self._listening(ZmqListener(reactor, self._settings, serve, batch_size, batch_timeout))

    def listen_for_notifications(
        self, targets_and_priorities: Iterable[Any], pool: Any, batch_size: Any, batch_timeout: Any
    ) -> ZmqListener:
        """
        Listen for notifications; as `oslo_messaging._drivers.base.BaseDriver.listen_for_notifications`.

        :raises ConfigError: as `listen`.
        """
        reactor = reactor_here()
        targets = [
            Target(f"{target.topic}.{priority}", exchange=target.exchange or self._default_exchange)
            for target, priority in targets_and_priorities
        ]

        def serve(node: Node, hand: Hand) -> Callable[[], None]:
            endpoint = NotificationEndpoint(hand, reactor, batch_size, batch_timeout)
            node.listener(targets, [endpoint], pool)
            return endpoint.hurry

        return self._listening(ZmqListener(reactor, self._settings, serve, batch_size, batch_timeout))

    def _listening(self, listener: ZmqListener) -> ZmqListener:
        self._listeners.add(listener)
        return listener

    # The end

    def cleanup(self) -> None:
        """Close what calls, when that is done which nobody waits for; listeners are closed by their servers."""
        with self._lock:
            calling, self._calling, self._notifiers = self._calling, None, {}
        if calling is not None and is_here(calling.reactor):
            with suppress(StillUnderWay):
                wait_for(calling.reactor, lambda: DeferredList(calling.unawaited.ends()), EXIT_SECONDS)
            wait_for(calling.reactor, calling.node.stopService)

    def close(self) -> None:
        """Close what calls and what listens; what runs is waited for up to ``drain_timeout``."""
        for listener in list(self._listeners):
            listener.stop()
            listener.cleanup()
        self.cleanup()

    def leave(self) -> list[Deferred[Any]]:
        """
        Withdraw what is served, since the process exits; in the reactor.

        :return: what is still to come to its end.
        """
        ends: list[Deferred[Any]] = [listener.withdraw() for listener in self._listeners]
        return ends + (self._calling.unawaited.ends() if self._calling else [])

    @property
    def reactor(self) -> Any:
        """The reactor in which something of it is open; None where nothing is."""
        opened = [self._calling.reactor] if self._calling else [each.reactor for each in self._listeners]
        return opened[0] if opened else None


def close_all(conf: Any) -> None:
    """Close every transport that was made with a configuration."""
    for driver in list(_drivers):
        if driver.conf is conf:
            driver.close()


def _leave() -> None:
    """Let nobody look for a process that exits, and send what it has said; it is not kept from exiting."""
    drivers = [driver for driver in _drivers if driver.reactor is not None and driver.reactor.running]
    if drivers:
        with suppress(StillUnderWay, RuntimeError):
            wait_for(
                drivers[0].reactor,
                lambda: DeferredList([end for driver in drivers for end in driver.leave()]),
                EXIT_SECONDS,
            )


def _begin_anew() -> None:
    for driver in _drivers:
        driver.begin_anew()


atexit.register(_leave)
in_each_fork(_begin_anew)
