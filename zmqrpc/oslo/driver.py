"""The driver: what oslo.messaging loads for a ``transport_url`` that begins with ``zmq``."""

from __future__ import annotations

import atexit
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import Any
from weakref import WeakSet

import oslo_messaging
from oslo_messaging._drivers import base
from oslo_messaging.transport import InvalidTransportURL
from twisted.internet.defer import Deferred, DeferredList

from zmqrpc import errors
from zmqrpc.node import Node
from zmqrpc.oslo.calling import Calling
from zmqrpc.oslo.failures import raised_for
from zmqrpc.oslo.listener import ZmqListener
from zmqrpc.oslo.notifications import NotificationEndpoint
from zmqrpc.oslo.opts import settings_of
from zmqrpc.oslo.payload import Parts, parts_of, parts_of_notification, value_of
from zmqrpc.oslo.reactor import in_each_fork, is_here, reactor_here, with_application
from zmqrpc.oslo.server import AnyMethod, Hand, OsloServer
from zmqrpc.oslo.waiting import StillUnderWay, wait_for
from zmqrpc.settings import Settings
from zmqrpc.target import Target
from zmqrpc.transport_url import masked_url

CLOSE_SECONDS = 2.0
"""For which it is waited at the end of a transport for what is under way and nobody else waits for."""

EXIT_SECONDS = 1.0
"""The same where the process exits, and for the withdrawal of its records: who stops a service waits for its end."""

_drivers: WeakSet[ZmqDriver] = WeakSet()

_callings: set[Calling] = set()
"""Held here, since they go on when nobody has their transport any more: services often drop it before they exit."""

_listeners: WeakSet[ZmqListener] = WeakSet()
"""Those that run are held by their nodes."""


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
        self._read()
        self.begin_anew()
        _drivers.add(self)

    def _read(self) -> Settings:
        """Read the settings, as they are now: oslo.messaging makes its own options known later than the transport."""
        try:
            return settings_of(self.conf, self._url, self._default_exchange)
        except errors.ConfigError as error:
            raise InvalidTransportURL(masked_url(str(self._url)), str(error)) from error

    def begin_anew(self) -> None:
        """Forget what was opened: in a fork it is the parent's."""
        self._lock = threading.Lock()
        self._calling: Calling | None = None
        self._listeners: WeakSet[ZmqListener] = WeakSet()

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

        :param retry: how often it is sent again when it could not be sent; None or less than 0 for ever, which is until
            the timeout.
        :raises MessagingTimeout: there is no answer within the time, or in silence.
        :raises MessageUndeliverable: nobody listens, and ``at_least_once`` asked for somebody.
        :raises MessageDeliveryFailure: it could not be sent.
        """
        parts = parts_of(ctxt, message)
        calling = self._calling or self._opened()
        whom = calling.target(target, parts.namespace, parts.version)
        now = bool(getattr(transport_options, "at_least_once", False))
        try:
            if wait_for_reply:
                return self._value(calling.call(whom, parts, timeout, call_monitor_timeout, retry, now), whom, parts)
            calling.cast(whom, parts, timeout, retry, now)
        except StillUnderWay:
            if wait_for_reply:
                text = f"{whom} {parts.method}: the thread of zmqrpc does not answer; something holds it up"
                raise oslo_messaging.MessagingTimeout(text) from None
        except (errors.NoRoute, errors.Draining) as error:
            if now:
                routing_key = f"{whom.topic}.{whom.server}" if whom.server else whom.topic
                raise oslo_messaging.MessageUndeliverable(str(error), whom.exchange, routing_key, message) from None
            if wait_for_reply:
                raise oslo_messaging.MessagingTimeout(str(error)) from None
        except errors.ZmqRpcError as error:
            raise raised_for(error, self._allowed_remote_exmods, bool(wait_for_reply)) from None
        return None

    def _value(self, result: Any, whom: Target, parts: Parts) -> Any:
        try:
            return value_of(result)
        except ValueError as error:
            raise oslo_messaging.RemoteError("ValueError", f"the result of {whom} {parts.method}: {error}") from None

    def send_notification(self, target: Any, ctxt: Any, message: Any, version: Any, retry: Any = None) -> None:
        """
        Notify the listeners of a topic; as `oslo_messaging._drivers.base.BaseDriver.send_notification`.

        It returns when the notification is on its way, since its listeners may take long: they have it until
        ``rpc_response_timeout``, be it tried again and again, and then it is logged as lost.
        """
        parts = parts_of_notification(ctxt, message)
        calling = self._calling or self._opened()
        try:
            calling.notify(target, parts, retry)
        except StillUnderWay:
            return
        except errors.ZmqRpcError as error:
            raise raised_for(error, self._allowed_remote_exmods, False) from None

    def _opened(self) -> Calling:
        """Begin what calls, at the first use in this process."""
        reactor = reactor_here()
        with self._lock:
            if self._calling is None:
                self._calling = self._begun(reactor)
                _callings.add(self._calling)
            return self._calling

    def _begun(self, reactor: Any) -> Calling:
        settings = self._read()
        try:
            return Calling(reactor, settings)
        except errors.ConfigError as error:
            # What a client of oslo.messaging expects; its servers cannot make anything of it.
            raise base.TransportDriverError(str(error)) from error

    # Listening

    def listen(self, target: Any, batch_size: Any, batch_timeout: Any) -> ZmqListener:
        """
        Serve a target; as `oslo_messaging._drivers.base.BaseDriver.listen`.

        :raises ConfigError: it cannot be listened to, or there is no port.
        """
        reactor = reactor_here()
        whom = Target(target.topic, target.server, target.exchange)

        def serve(node: Node, hand: Hand) -> Callable[[], None]:
            node.server(whom, [AnyMethod()], partial(OsloServer, hand, reactor))
            return lambda: None

        return self._listening(ZmqListener(reactor, self._read(), serve, batch_size, batch_timeout))

    def listen_for_notifications(
        self, targets_and_priorities: Iterable[Any], pool: Any, batch_size: Any, batch_timeout: Any
    ) -> ZmqListener:
        """
        Listen for notifications; as `oslo_messaging._drivers.base.BaseDriver.listen_for_notifications`.

        :raises ConfigError: as `listen`.
        """
        reactor = reactor_here()
        targets = [
            Target(f"{target.topic}.{priority}", exchange=target.exchange)
            for target, priority in targets_and_priorities
        ]

        def serve(node: Node, hand: Hand) -> Callable[[], None]:
            endpoint = NotificationEndpoint(hand, reactor, batch_size, batch_timeout)
            node.listener(targets, [endpoint], pool)
            return endpoint.hurry

        return self._listening(ZmqListener(reactor, self._read(), serve, batch_size, batch_timeout))

    def _listening(self, listener: ZmqListener) -> ZmqListener:
        self._listeners.add(listener)
        _listeners.add(listener)
        return listener

    # The end

    def cleanup(self) -> None:
        """Close what calls, when that is done which nobody waits for; listeners are closed by their servers."""
        with self._lock:
            calling, self._calling = self._calling, None
        if calling is not None and is_here(calling.reactor):
            calling.close(CLOSE_SECONDS)
            _callings.discard(calling)

    def close(self) -> None:
        """Close what calls and what listens; what runs is waited for up to ``drain_timeout``."""
        for listener in list(self._listeners):
            listener.stop()
            listener.cleanup()
        self.cleanup()


def close_all(conf: Any) -> None:
    """Close every transport that was made with a configuration."""
    for driver in list(_drivers):
        if driver.conf is conf:
            driver.close()


def _leave() -> None:
    """Let nobody look for a process that exits, and send what it has said; it is not kept from exiting."""
    opened = [calling.reactor for calling in _callings] + [listener.reactor for listener in _listeners]
    if opened and opened[0].running:
        with suppress(StillUnderWay, RuntimeError):
            wait_for(opened[0], _withdrawn, EXIT_SECONDS)


def _withdrawn() -> Deferred[Any]:
    """Withdraw what is served; what is returned fires when that, and each of what is still sent, has ended."""
    ends: list[Deferred[Any]] = [listener.withdraw() for listener in _listeners]
    return DeferredList(ends + [end for calling in _callings for end in calling.ends()])


def _begin_anew() -> None:
    _callings.clear()
    _listeners.clear()
    for driver in _drivers:
        driver.begin_anew()


def _leave_application(reactor: Any) -> None:
    """Do the same where the application ends its own reactor, which no longer runs when the process exits."""

    def leave() -> Deferred[None]:
        over: Deferred[None] = Deferred()
        timer = reactor.callLater(EXIT_SECONDS, over.callback, None)

        def ended(_: object) -> None:
            if timer.active():
                timer.cancel()
                over.callback(None)

        _withdrawn().addCallback(ended)
        return over

    reactor.addSystemEventTrigger("before", "shutdown", leave)


atexit.register(_leave)
with_application(_leave_application)
in_each_fork(_begin_anew)
