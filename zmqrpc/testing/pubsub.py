"""The publishing and subscribing sockets of the network in memory."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable
from itertools import count
from typing import TYPE_CHECKING, Any

from zope.interface import implementer

from zmqrpc.core.handshakes import NOT_ZMTP
from zmqrpc.core.keys import LONGEST_SUBSCRIPTION
from zmqrpc.interfaces import IPublisher, IPublisherReceiver, ISubscriber, ISubscriberReceiver
from zmqrpc.testing.connection import Connection
from zmqrpc.testing.pipe import Message

if TYPE_CHECKING:
    from zmqrpc.testing.transport import MemoryTransport

PASS_MESSAGES = 256
_SUBSCRIBE, _UNSUBSCRIBE = b"\1", b"\0"


@implementer(IPublisher)
class MemoryPublisher:
    """
    An XPUB socket; made by `MemoryTransport.publisher`.

    :cvar partner: the kind of socket that may connect to it.
    :ivar closed: whether it has been closed.
    :ivar transport: what it was made by.
    """

    partner = "SUB"

    def __init__(self, transport: MemoryTransport, receiver: IPublisherReceiver) -> None:
        self.transport = transport
        self.closed = False
        self._receiver = receiver
        self._filters: dict[Connection, set[bytes]] = {}
        self._subscribed: Counter[bytes] = Counter()
        self._told: deque[tuple[bytes, Connection | None]] = deque()
        self._scheduled = False

    def bind(self, host: str, ports: Iterable[int]) -> str:
        return self.transport.network.bind(self, self.transport.host, host, ports)

    def publish(self, *frames: Any) -> None:
        message = tuple(bytes(frame) for frame in frames)
        for connection, filters in list(self._filters.items()):
            if any(message[0].startswith(filter) for filter in filters):
                connection.write_backward(message)

    def close(self, linger: float) -> None:
        self._close(abruptly=linger <= 0)

    def kill(self) -> None:
        """End as the process does that dies."""
        self._close(abruptly=True)

    def _close(self, abruptly: bool) -> None:
        if not self.closed:
            self.closed = True
            self.transport.network.unbind(self)
            for connection in self._filters:
                connection.leave(abruptly)
            self._filters.clear()
            self._told.clear()

    # What its connections tell

    def accept(self, connection: Connection) -> bytes:
        """Take a new connection; return its routing id here."""
        self._filters[connection] = set()
        return self.transport.new_identity()

    def arrived(self, connection: Connection, payload: Message) -> bool:
        """Take a message; False when it is too large."""
        connection.forward.unread -= 1
        if not isinstance(payload, bytes) or len(payload) > LONGEST_SUBSCRIPTION:
            return False
        filters, filter = self._filters.get(connection, set()), payload[1:]
        # As in ZeroMQ the socket follows the subscriptions by itself, and tells of them later.
        if payload[:1] == _SUBSCRIBE:
            self._subscribed[filter] += filter not in filters
            filters.add(filter)
            self._tell(payload, connection)
        elif filter in filters:
            self._drop(filters, [filter])
        return True

    def gone(self, connection: Connection) -> None:
        """Take that a connection has ended."""
        filters = self._filters.pop(connection, set())
        self._drop(filters, list(filters))

    def knocked(self, peer: str) -> None:
        """Take that somebody who is no peer has connected; its receiver hears of it in a pass of its own."""
        self.transport.clock.callLater(self.transport.reading_delay(), self._tell_knock, peer)

    def _tell_knock(self, peer: str) -> None:
        if not self.closed:
            self._guarded(self._receiver.handshake_failed, peer, NOT_ZMTP)
            self.transport.end_pass()

    def _drop(self, filters: set[bytes], gone: list[bytes]) -> None:
        for filter in gone:
            filters.discard(filter)
            self._subscribed[filter] -= 1
            if not self._subscribed[filter]:
                del self._subscribed[filter]
                self._tell(_UNSUBSCRIBE + filter)

    def _tell(self, message: bytes, origin: Connection | None = None) -> None:
        if not self.closed:
            self._told.append((message, origin))
            self._schedule(self.transport.reading_delay())

    def _schedule(self, delay: float) -> None:
        if not self._scheduled:
            self._scheduled = True
            self.transport.clock.callLater(delay, self._pass)

    def _pass(self) -> None:
        self._scheduled = False
        for _ in range(PASS_MESSAGES):
            if self.closed or not self._told:
                break
            message, origin = self._told.popleft()
            if message[:1] == _UNSUBSCRIBE:
                self._guarded(self._receiver.unsubscribed, message[1:])
                continue
            fault = self._guarded(self._receiver.subscribed, message[1:], origin)
            if fault:
                self._refuse(origin, len(message) - 1, fault)
        if not self.closed:
            self.transport.end_pass()
            if self._told:
                self._schedule(0)

    def _refuse(self, origin: Any, size: int, fault: str) -> None:
        """End the connection that a subscription came by."""
        peer = origin.refuse() if origin in self._filters else ""
        self._guarded(self._receiver.refused, peer, size, fault)

    def _guarded(self, act: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return act(*arguments)
        except Exception:
            self.transport.log.failure("what a subscriber does could not be taken")


@implementer(ISubscriber)
class MemorySubscriber:
    """
    A SUB socket with one connection; made by `MemoryTransport.subscriber`.

    :cvar kind: the kind of socket that it is.
    :ivar closed: whether it has been closed.
    :ivar transport: what it was made by.
    """

    kind = "SUB"
    _numbers = count(1)

    def __init__(self, transport: MemoryTransport, receiver: ISubscriberReceiver, address: str) -> None:
        self.transport = transport
        self.closed = False
        self._receiver = receiver
        self._inbox: deque[Message | str | None] = deque()
        self._scheduled = False
        self._connection = transport.network.connect(self, transport.host, address, b"S%d" % next(self._numbers))

    def subscribe(self, filter: bytes) -> None:
        if not self.closed:
            self._connection.write_subscription(_SUBSCRIBE + filter)

    def unsubscribe(self, filter: bytes) -> None:
        if not self.closed:
            self._connection.write_subscription(_UNSUBSCRIBE + filter)

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self._inbox.clear()
            self._connection.release()

    def kill(self) -> None:
        """End as the process does that dies."""
        self.close()

    # What its connection tells

    def opened(self, connection: Connection) -> None:
        """Take that the connection stands."""
        self._take(None)

    def arrived(self, connection: Connection, payload: Message) -> bool:
        """Take a message; False when it is too large."""
        if not self.transport.takes(payload):
            return False
        self._take(payload)
        return True

    def lost(self, connection: Connection, reason: str) -> None:
        """Take that the connection has ended."""
        self._take(reason)

    def _take(self, event: Message | str | None) -> None:
        if not self.closed:
            self._inbox.append(event)
            self._schedule(self.transport.reading_delay())

    def _schedule(self, delay: float) -> None:
        if not self._scheduled:
            self._scheduled = True
            self.transport.clock.callLater(delay, self._pass)

    def _pass(self) -> None:
        self._scheduled = False
        envelopes = 0
        while self._inbox and envelopes < PASS_MESSAGES and not self.closed:
            try:
                envelopes += self._deliver(self._inbox.popleft())
            except Exception:
                envelopes += 1
                self.transport.log.failure("what was published could not be taken")
        if not self.closed:
            self.transport.end_pass()
            if self._inbox:
                self._schedule(0)

    def _deliver(self, event: Message | str | None) -> int:
        if event is None:
            self._receiver.connected()
        elif isinstance(event, str):
            self._receiver.connection_lost(event)
        else:
            self._connection.backward.unread -= 1
            if not isinstance(event, tuple) or not 2 <= len(event) <= 3:
                self._receiver.malformed_received("no key and counter" if len(event) < 2 else "too many frames")
                return 1
            payload = memoryview(event[2]) if len(event) == 3 else None
            return self._receiver.published_received(event[0], event[1], payload)
        return 1
