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
from zmqrpc.oslo.payload import parts_of, parts_of_notification, value_of
from zmqrpc.oslo.reactor import in_each_fork, is_here, reactor_here
from zmqrpc.oslo.server import AnyMethod, Hand, OsloServer
from zmqrpc.oslo.waiting import StillUnderWay, wait_for
from zmqrpc.settings import Settings
from zmqrpc.target import Target
from zmqrpc.transport_url import masked_url

EXIT_SECONDS = 2.0
"""For which what is under way is waited for at the end; where the process exits, the withdrawal of records as well."""

_drivers: WeakSet[ZmqDriver] = WeakSet()


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
                return value_of(calling.call(whom, parts, timeout, call_monitor_timeout, retry, now))
            calling.cast(whom, parts, timeout, retry, now)
        except StillUnderWay:
            if wait_for_reply:
                text = f"{whom} {parts.method}: the thread of zmqrpc does not answer; something holds it up"
                raise oslo_messaging.MessagingTimeout(text) from None
        except errors.NoRoute as error:
            if now:
                exchange = whom.exchange or self._default_exchange
                routing_key = f"{whom.topic}.{whom.server}" if whom.server else whom.topic
                raise oslo_messaging.MessageUndeliverable(str(error), exchange, routing_key, message) from None
            if wait_for_reply:
                raise oslo_messaging.MessagingTimeout(str(error)) from None
        except errors.ZmqRpcError as error:
            raise raised_for(error, self._allowed_remote_exmods, bool(wait_for_reply)) from None
        return None

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
                self._calling = Calling(reactor, self._read())
            return self._calling

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
        return listener

    # The end

    def cleanup(self) -> None:
        """Close what calls, when that is done which nobody waits for; listeners are closed by their servers."""
        with self._lock:
            calling, self._calling = self._calling, None
        if calling is not None and is_here(calling.reactor):
            calling.close(EXIT_SECONDS)

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
        return ends + (self._calling.ends() if self._calling else [])

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
