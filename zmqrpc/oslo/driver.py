"""The driver: what oslo.messaging loads for a ``transport_url`` that begins with ``zmq``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import oslo_messaging
from oslo_messaging._drivers import base
from oslo_messaging.server import ServerListenError
from oslo_messaging.transport import InvalidTransportURL

from zmqrpc import errors
from zmqrpc.core.notification import PRIORITIES
from zmqrpc.forks import begin_if_forked
from zmqrpc.node import Node
from zmqrpc.oslo.calling import MOST_NOTIFICATIONS, Calling
from zmqrpc.oslo.failures import raised_for
from zmqrpc.oslo.listener import ZmqListener
from zmqrpc.oslo.notifications import NotificationEndpoint
from zmqrpc.oslo.opts import settings_of
from zmqrpc.oslo.payload import Parts, parts_of, parts_of_notification, value_of
from zmqrpc.oslo.reactor import first_use, reactor_here
from zmqrpc.oslo.server import AnyMethod, Hand, OsloServer
from zmqrpc.oslo.waiting import StillUnderWay, check_waiting
from zmqrpc.settings import Settings
from zmqrpc.target import Target
from zmqrpc.transport_url import masked_url


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
        self._calling: Calling | None = None
        self._has_timeout = "rpc_response_timeout" in url.query
        self._read()

    def _read(self) -> Settings:
        """Read the settings, as they are now: oslo.messaging makes its own options known later than the transport."""
        try:
            return settings_of(self.conf, self._url, self._default_exchange)
        except errors.ConfigError as error:
            raise InvalidTransportURL(masked_url(str(self._url)), str(error)) from error

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
        :raises InvalidTarget: a name is none that can be sent.
        """
        parts = parts_of(ctxt, message)
        calling = self._opened()
        with _naming(target):
            whom = calling.target(target, parts.namespace, parts.version)
        if self._has_timeout and timeout == getattr(self.conf, "rpc_response_timeout", None):
            # A client that was given none gives that of the configuration. What the URL says counts before it.
            timeout = None
        now = bool(getattr(transport_options, "at_least_once", False))
        try:
            if wait_for_reply:
                return self._value(calling.call(whom, parts, timeout, call_monitor_timeout, retry, now), whom, parts)
            calling.cast(whom, parts, timeout, retry, now)
        except StillUnderWay as error:
            kind = oslo_messaging.MessagingTimeout if wait_for_reply else oslo_messaging.MessageDeliveryFailure
            raise kind(f"{whom} {parts.method}: {error}") from None
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
        try:
            with _naming(target):
                self._opened().notify(target, parts, retry)
        except errors.ZmqRpcError as error:
            raise raised_for(error, self._allowed_remote_exmods, False) from None

    def _opened(self) -> Calling:
        """
        Begin what calls, at the first use in this process.

        :raises RuntimeError: as `check_waiting`.
        """
        begin_if_forked()
        calling = self._calling
        if calling is not None and calling.is_open:
            return calling
        reactor = reactor_here()
        # Before the lock: who has that waits for the reactor, which must not wait for it.
        check_waiting(reactor)
        with first_use():
            while True:
                calling = self._calling
                if calling is not None and calling.is_open:
                    return calling
                made = self._begun(reactor)
                # A signal handler may have been quicker. None comes in between here, since nothing is called.
                if self._calling is calling:
                    self._calling = made
                    return made
                made.hosted.drop()

    def _begun(self, reactor: Any) -> Calling:
        settings = self._read()
        try:
            return Calling(reactor, self.conf, settings)
        except (errors.ConfigError, StillUnderWay) as error:
            # What a client of oslo.messaging expects; a server has `_listening`.
            raise base.TransportDriverError(str(error)) from error

    # Listening

    def listen(self, target: Any, batch_size: Any, batch_timeout: Any) -> ZmqListener:
        """
        Serve a target; as `oslo_messaging._drivers.base.BaseDriver.listen`.

        :raises InvalidTarget: a name is none that can be sent.
        :raises ServerListenError: there is no port.
        :raises StillUnderWay: something holds the reactor up, and has for ten seconds; an error of oslo.messaging's.
        """
        reactor = reactor_here()
        with _naming(target):
            whom = Target(target.topic, target.server or None, target.exchange)

        def serve(node: Node, hand: Hand) -> Callable[[], None]:
            node.server(whom, [AnyMethod()], partial(OsloServer, hand, reactor))
            return lambda: None

        with _listening(target):
            return ZmqListener(reactor, self.conf, self._read(), serve, batch_size, batch_timeout)

    def listen_for_notifications(
        self, targets_and_priorities: Iterable[Any], pool: Any, batch_size: Any, batch_timeout: Any
    ) -> ZmqListener:
        """
        Listen for notifications; as `oslo_messaging._drivers.base.BaseDriver.listen_for_notifications`.

        A batch holds no more than one sender may have under way, or a server may run, whatever `batch_size` says.

        :raises ServerListenError: as `listen`.
        :raises StillUnderWay: as `listen`.
        """
        targets = []
        for target, priority in targets_and_priorities:
            with _naming(target):
                targets.append(Target(f"{target.topic}.{priority}", exchange=target.exchange))
        if not targets:
            priorities = ", ".join(PRIORITIES)
            reason = f"no endpoint has a method for a priority; give one that is called as any of {priorities}"
            raise ServerListenError(None, reason)
        reactor = reactor_here()

        settings = self._read()
        # One that cannot be filled by a single sender would wait for its time, or for ever, and its sender with it.
        most = min(MOST_NOTIFICATIONS, settings.max_running_calls)

        def serve(node: Node, hand: Hand) -> Callable[[], None]:
            endpoint = NotificationEndpoint(hand, reactor, batch_size, batch_timeout, most)
            node.listener(targets, [endpoint], pool)
            return endpoint.hurry

        with _listening(", ".join(map(str, targets))):
            return ZmqListener(reactor, self.conf, settings, serve, batch_size, batch_timeout)

    # The end

    def cleanup(self) -> None:
        """Close what calls, when that is done which nobody waits for; listeners are closed by their servers."""
        calling = self._calling
        if calling is not None:
            calling.hosted.close()

    def __del__(self, is_finalizing: Callable[[], bool] = sys.is_finalizing) -> None:
        # Many build transports, and drop them.
        calling = getattr(self, "_calling", None)
        # At the very end there is no reactor any more that could do something, and no name in any module.
        if calling is not None and not is_finalizing():
            calling.hosted.drop()


@contextmanager
def _listening(target: Any) -> Iterator[None]:
    """
    Say in the terms of oslo.messaging that nobody can listen.

    Its own servers do so for a `TransportDriverError`, and fail over it: they tell of their ``target``, which an
    `RPCServer` has not (18.3.1).
    """
    try:
        yield
    except errors.ConfigError as error:
        raise ServerListenError(target, error) from error


@contextmanager
def _naming(target: Any) -> Iterator[None]:
    """Say in the terms of oslo.messaging that a name of a target is none."""
    try:
        yield
    except errors.ConfigError as error:
        raise oslo_messaging.InvalidTarget(str(error), target) from None
