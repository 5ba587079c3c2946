"""The endpoint of a listener that hands notifications to oslo.messaging."""

from __future__ import annotations

import threading
from functools import partialmethod
from typing import Any

from twisted.internet.interfaces import IDelayedCall

from zmqrpc.core.gathering import Gathering
from zmqrpc.core.notification import HANDLED
from zmqrpc.oslo.incoming import IncomingNotification
from zmqrpc.oslo.logs import logger
from zmqrpc.oslo.payload import Parts, notification_of
from zmqrpc.oslo.server import Hand

LOG = logger(__name__)


class NotificationEndpoint:
    """
    The endpoint of a listener for notifications: hands them on, in batches.

    :param hand: takes a batch.
    :param size: how many a batch holds at most; None for as many as come within its time, or one where it has none.
    :param seconds: for which the first of a batch waits for the last; None for ever.
    :param most: how many a batch holds at most, whatever its size.
    """

    def __init__(self, hand: Hand, reactor: Any, size: int | None, seconds: float | None, most: int) -> None:
        self._hand = hand
        self._reactor = reactor
        if size is None:
            size = 1 if seconds is None else most
        self._gathering: Gathering[IncomingNotification] = Gathering(
            min(size, most), threading.TIMEOUT_MAX if seconds is None else seconds
        )
        self._timer: IDelayedCall | None = None

    def _take(
        self, priority: str, context: Any, publisher_id: str, event_type: str, payload: Any, metadata: dict[str, str]
    ) -> Any:
        arguments = {"publisher_id": publisher_id, "event_type": event_type, "payload": payload, **metadata}
        try:
            message, context = notification_of(Parts(priority, None, None, arguments, context))
        except ValueError as error:
            LOG.warning("a notification of the type %s cannot be read, and is dropped: %s", event_type, error)
            return HANDLED
        incoming = IncomingNotification(context, message, metadata["message_id"], self._reactor)
        batch = self._gathering.add("", incoming, self._reactor.seconds())
        if batch is not None:
            self._hand(batch)
        self._wake()
        return incoming.outcome

    audit = partialmethod(_take, "audit")
    critical = partialmethod(_take, "critical")
    debug = partialmethod(_take, "debug")
    error = partialmethod(_take, "error")
    info = partialmethod(_take, "info")
    sample = partialmethod(_take, "sample")
    warn = partialmethod(_take, "warn")

    def _wake(self) -> None:
        if self._timer is None and self._gathering.wake_at < threading.TIMEOUT_MAX:
            delay = max(0.0, self._gathering.wake_at - self._reactor.seconds())
            self._timer = self._reactor.callLater(delay, self._time_is_up)

    def _time_is_up(self) -> None:
        self._timer = None
        for _, batch in self._gathering.take_due(self._reactor.seconds()):
            self._hand(batch)
        self._wake()

    def hurry(self) -> None:
        """Let no batch wait from now on."""
        if self._timer is not None:
            self._timer.cancel()
        self._gathering.hurry()
        self._time_is_up()
