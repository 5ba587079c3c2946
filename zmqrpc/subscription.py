"""One subscription to one publisher: it does what its state machine (`zmqrpc.core.subscription`) says."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

from zope.interface import implementer

from zmqrpc.connector import resolve
from zmqrpc.core.subscription import (
    Close,
    Confirmed,
    Effect,
    Lost,
    Open,
    Subscribe,
    SubscriptionPhase,
    SubscriptionState,
    Unsubscribe,
)
from zmqrpc.errors import ConfigError
from zmqrpc.interfaces import ISubscriber, ISubscriberReceiver, ITransport


class Subscribing(Protocol):
    """Who has a subscription, and is told what comes of it."""

    def published(self, subscription: Subscription, key: bytes, counter: bytes, payload: Any) -> int:
        """
        Take what was published under a topic-key.

        :param counter: the counter frame; it was not read.
        :param payload: None where the counter came alone, else as `ISubscriberReceiver.published_received` has it.
        :return: how many envelopes it held, at least 1.
        """

    def confirmed(self, subscription: Subscription) -> None:
        """Hear that `SubscriptionState.confirmed` has grown."""

    def lost(self, subscription: Subscription, reason: str) -> None:
        """Hear that the connection has ended or came to nothing; it is made anew without being asked."""

    def malformed(self, subscription: Subscription, reason: str) -> None:
        """Hear of a message that was dropped."""


@implementer(ISubscriberReceiver)
class Subscription:
    """
    One subscription; nothing is connected before `open`.

    Its owner calls `sweep` at `wake_at`, and looks at that again after each event.

    :param address: of the publisher, ``tcp://host:port``; the host may be a name.
    :param wake_by: asks for a sweep at a time, or sooner.
    :ivar state: where it stands; only to be looked at.
    """

    def __init__(
        self,
        address: str,
        state: SubscriptionState,
        owner: Subscribing,
        transport: ITransport,
        seconds: Callable[[], float],
        wake_by: Callable[[float], None],
    ) -> None:
        self.address = address
        self.state = state
        self._owner = owner
        self._transport = transport
        self._seconds = seconds
        self._wake_by = wake_by
        self._socket: ISubscriber | None = None

    # What its owner wants

    def open(self) -> None:
        """Connect, and connect anew whenever the connection is lost."""
        self._perform(self.state.open(self._seconds()))

    def close(self) -> None:
        """End; its owner hears nothing more."""
        self._perform(self.state.close())

    def subscribe(self, filters: Iterable[bytes]) -> None:
        """Hear of these filters as well; `confirmed` is called when they are in place."""
        self._perform(self.state.subscribe(filters, self._seconds()))

    def unsubscribe(self, filters: Iterable[bytes]) -> None:
        """Hear of these filters no more."""
        self._perform(self.state.unsubscribe(filters))

    @property
    def wake_at(self) -> float:
        """When `sweep` has to be called next; infinity for never."""
        return self.state.wake_at

    def sweep(self, now: float) -> None:
        """Do what time asks for."""
        self._perform(self.state.tick(now))

    # ISubscriberReceiver

    def connected(self) -> None:
        self._perform(self.state.connected(self._seconds()))

    def connection_lost(self, reason: str) -> None:
        self._perform(self.state.lost(self._seconds(), reason))

    def malformed_received(self, reason: str) -> None:
        self._owner.malformed(self, reason)

    def published_received(self, key: bytes, counter: bytes, payload: Any) -> int:
        now = self._seconds()
        self.state.heard_at = now
        if key[:1] == b"T":
            return self._owner.published(self, key, counter, payload)
        if payload is None:
            self._perform(self.state.returned(key, now))
        else:
            self._owner.malformed(self, f"{len(key)} bytes are no topic-key")
        return 1

    # Effects

    def _perform(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Open():
                    self._resolve()
                case Subscribe(filter=filter):
                    self._opened().subscribe(filter)
                case Unsubscribe(filter=filter):
                    self._opened().unsubscribe(filter)
                case Close():
                    socket, self._socket = self._socket, None
                    if socket is not None:
                        socket.close()
                case Confirmed():
                    self._owner.confirmed(self)
                case Lost(reason=reason):
                    self._owner.lost(self, reason)
        self._wake_by(self.state.wake_at)

    def _opened(self) -> ISubscriber:
        assert self._socket is not None
        return self._socket

    def _resolve(self) -> None:
        attempt = self.state.attempt
        resolve(
            self._transport,
            self.address,
            self.state.fails,
            lambda numeric: self._connect(attempt, numeric),
            lambda reason: self._unresolved(attempt, reason),
        )

    def _connect(self, attempt: int, address: str) -> None:
        if not self._waits(attempt):
            return
        try:
            self._socket = self._transport.subscriber(self, address)
        except ConfigError as error:
            self._perform(self.state.lost(self._seconds(), str(error)))
        # It is looked at by a pass whether it can be read already.
        self._transport.kick()

    def _unresolved(self, attempt: int, reason: str) -> None:
        if self._waits(attempt):
            self._perform(self.state.lost(self._seconds(), reason))

    def _waits(self, attempt: int) -> bool:
        """Tell whether it waits for this answer still; it may have been closed meanwhile."""
        state = self.state
        return state.phase is SubscriptionPhase.CONNECTING and state.attempt == attempt and self._socket is None
