"""The sockets of one process in the network in memory: `ITransport` with what ZeroMQ's ROUTERs do."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from itertools import count
from typing import TYPE_CHECKING, Any

from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import Logger
from zope.interface import implementer

from zmqrpc.core.handshakes import NOT_ZMTP
from zmqrpc.interfaces import (
    GONE,
    IBoundReceiver,
    IBoundRouter,
    IConnectingRouter,
    ILinkReceiver,
    IPublisherReceiver,
    IRouterReceiver,
    ISubscriberReceiver,
    ITransport,
)
from zmqrpc.testing.clock import ProcessClock
from zmqrpc.testing.connection import Connection
from zmqrpc.testing.pipe import Message
from zmqrpc.testing.pubsub import MemoryPublisher, MemorySubscriber

if TYPE_CHECKING:
    from zmqrpc.testing.wiring import Wiring

PASS_ENVELOPES = 256
"""Envelopes after which a pass over a socket ends, as in `zmqrpc.reactor_zmq`."""


class _Router:
    """What the two ROUTERs have in common: reading in bounded passes, and writing."""

    def __init__(self, transport: MemoryTransport, receiver: IRouterReceiver) -> None:
        self.transport = transport
        self.closed = False
        self._receiver = receiver
        self._connections: dict[bytes, Connection] = {}
        self._inbox: deque[tuple[bytes, Connection, Message]] = deque()
        self._scheduled = False

    def _take(self, identity: bytes, connection: Connection, payload: Message) -> bool:
        """Keep what has arrived for the next pass; False when it is too large, which ends its connection."""
        if not self.transport.takes(payload):
            return False
        self._inbox.append((identity, connection, payload))
        self._schedule(self.transport.reading_delay())
        return True

    def _schedule(self, delay: float) -> None:
        if not self._scheduled and not self.closed:
            self._scheduled = True
            self.transport.clock.callLater(delay, self._pass)

    def _pass(self) -> None:
        self._scheduled = False
        if not self.closed:
            self._read(PASS_ENVELOPES)
            self.transport.end_pass()
            if self._inbox:
                self._schedule(0)

    def _read(self, most: float) -> None:
        envelopes = 0
        while self._inbox and envelopes < most:
            identity, connection, payload = self._inbox.popleft()
            if self._unreadable(connection):
                continue
            self._was_read(connection)
            receiver = self._receiver
            try:
                # A view, as ZeroMQ's frames are: who keeps it without copying is found out.
                if type(payload) is tuple:
                    envelopes += receiver.keyed_received(identity, payload[0], memoryview(payload[1]))
                else:
                    envelopes += receiver.payload_received(identity, memoryview(payload))  # type: ignore[arg-type]
            except Exception:
                envelopes += 1
                self.transport.log.failure("a message could not be taken")

    def _unreadable(self, connection: Connection) -> bool:
        raise AssertionError("only its subclasses are used")

    def _was_read(self, connection: Connection) -> None:
        raise AssertionError("only its subclasses are used")

    def _shut(self) -> list[Connection]:
        if self.closed:
            return []
        self.closed = True
        self._inbox.clear()
        connections = list(self._connections.values())
        self._connections.clear()
        return connections


@implementer(IBoundRouter)
class MemoryBoundRouter(_Router):
    """
    A ROUTER that others connect to; made by `MemoryTransport.bound_router`.

    :cvar partner: the kind of socket that may connect to it.
    """

    partner = "ROUTER"

    def __init__(self, transport: MemoryTransport, receiver: IBoundReceiver) -> None:
        super().__init__(transport, receiver)
        self._bound_receiver = receiver

    def bind(self, host: str, ports: Iterable[int]) -> str:
        return self.transport.network.bind(self, self.transport.host, host, ports)

    def bind_path(self, path: str) -> str:
        return self.transport.network.bind_path(self, self.transport.host, path)

    def send(self, identity: bytes, payload: bytes) -> int:
        connection = self._connections.get(identity)
        return GONE if connection is None else connection.write_backward(payload)

    def send_keyed(self, identity: bytes, key: bytes, payload: Any) -> int:
        connection = self._connections.get(identity)
        return GONE if connection is None else connection.write_backward((key, bytes(payload)))

    def close(self, linger: float) -> None:
        self._close(abruptly=linger <= 0)

    def kill(self) -> None:
        """End as the process does that dies."""
        self._close(abruptly=True)

    def _close(self, abruptly: bool) -> None:
        self.transport.network.unbind(self)
        for connection in self._shut():
            connection.leave(abruptly)

    def accept(self, connection: Connection) -> bytes:
        """Take a new connection; return its routing id here."""
        identity = self.transport.new_identity()
        self._connections[identity] = connection
        return identity

    def arrived(self, connection: Connection, payload: Message) -> bool:
        """Take a message; False when it is too large."""
        return self._take(connection.server_identity, connection, payload)

    def gone(self, connection: Connection) -> None:
        """Take that a connection has ended; what it brought can still be read."""
        self._connections.pop(connection.server_identity, None)

    def knocked(self, peer: str) -> None:
        """Take that somebody who is no peer has connected; its receiver hears of it in a pass of its own."""
        self.transport.clock.callLater(self.transport.reading_delay(), self._tell_knock, peer)

    def _tell_knock(self, peer: str) -> None:
        if not self.closed:
            try:
                self._bound_receiver.handshake_failed(peer, NOT_ZMTP)
            except Exception:
                self.transport.log.failure("a failed handshake could not be taken")
            self.transport.end_pass()

    def _unreadable(self, connection: Connection) -> bool:
        return False

    def _was_read(self, connection: Connection) -> None:
        connection.forward.unread -= 1


@implementer(IConnectingRouter)
class MemoryConnectingRouter(_Router):
    """
    A ROUTER that connects to others; made by `MemoryTransport.connecting_router`.

    :cvar kind: the kind of socket that it is.
    """

    kind = "ROUTER"

    def __init__(self, transport: MemoryTransport, receiver: ILinkReceiver) -> None:
        super().__init__(transport, receiver)
        self._link_receiver = receiver
        self._numbers = count(1)
        self._losses: deque[tuple[bytes, str]] = deque()

    def connect(self, address: str) -> bytes:
        identity = b"L%d" % next(self._numbers)
        transport = self.transport
        self._connections[identity] = transport.network.connect(self, transport.host, address, identity)
        return identity

    def disconnect(self, identity: bytes) -> None:
        connection = self._connections.pop(identity, None)
        if connection is not None:
            connection.release()

    def drain(self) -> None:
        if not self.closed:
            self._read(float("inf"))

    def send(self, identity: bytes, payload: bytes) -> int:
        connection = self._connections.get(identity)
        return GONE if connection is None else connection.write_forward(payload)

    def send_keyed(self, identity: bytes, key: bytes, payload: Any) -> int:
        connection = self._connections.get(identity)
        return GONE if connection is None else connection.write_forward((key, bytes(payload)))

    def close(self, linger: float = 0) -> None:
        for connection in self._shut():
            connection.release(abruptly=linger <= 0)

    def kill(self) -> None:
        """End as the process does that dies."""
        self.close()

    def arrived(self, connection: Connection, payload: Message) -> bool:
        """Take a message; False when it is too large."""
        return self._take(connection.identity, connection, payload)

    def opened(self, connection: Connection) -> None:
        """Take that a connection stands."""
        self._link_receiver.connection_progressed(connection.identity)

    def lost(self, connection: Connection, reason: str) -> None:
        """Take that a connection has ended; its receiver hears of it in a pass of its own."""
        self._losses.append((connection.identity, reason))
        if len(self._losses) == 1:
            self.transport.clock.callLater(self.transport.reading_delay(), self._tell_losses)

    def _tell_losses(self) -> None:
        while self._losses and not self.closed:
            identity, reason = self._losses.popleft()
            if identity in self._connections:
                try:
                    self._link_receiver.connection_lost(identity, reason)
                except Exception:
                    self.transport.log.failure("the loss of a connection could not be taken")
        self.transport.end_pass()

    def _unreadable(self, connection: Connection) -> bool:
        return connection.released

    def _was_read(self, connection: Connection) -> None:
        connection.backward.unread -= 1


@implementer(ITransport)
class MemoryTransport:
    """
    The sockets of one process; made by `Network.transport`.

    :param network: the network that it is part of.
    :param host: the name of the host it runs on.
    :param clock: the clock of its process.
    :param max_message_size: messages over it end the connection they come by, bytes.
    """

    log = Logger()

    def __init__(self, network: Wiring, host: str, clock: ProcessClock, max_message_size: int) -> None:
        self.network = network
        self.host = host
        self.clock = clock
        self.max_message_size = max_message_size
        self._sockets: list[MemoryBoundRouter | MemoryConnectingRouter | MemoryPublisher | MemorySubscriber] = []
        self._identities = count(1)
        self._pass_ended: Callable[[], None] | None = None
        self._kicked = False

    def open(self, pass_ended: Callable[[], None]) -> None:
        self._pass_ended = pass_ended

    def bound_router(self, receiver: IBoundReceiver) -> MemoryBoundRouter:
        router = MemoryBoundRouter(self._opened(), receiver)
        self._sockets.append(router)
        return router

    def connecting_router(self, receiver: ILinkReceiver) -> MemoryConnectingRouter:
        router = MemoryConnectingRouter(self._opened(), receiver)
        self._sockets.append(router)
        return router

    def publisher(self, receiver: IPublisherReceiver) -> MemoryPublisher:
        publisher = MemoryPublisher(self._opened(), receiver)
        self._sockets.append(publisher)
        return publisher

    def subscriber(self, receiver: ISubscriberReceiver, address: str) -> MemorySubscriber:
        subscriber = MemorySubscriber(self._opened(), receiver, address)
        self._sockets = [each for each in self._sockets if not each.closed]
        self._sockets.append(subscriber)
        return subscriber

    def resolve(self, host: str, turn: int = 0) -> Deferred[str]:
        if isIPAddress(host):
            return succeed(host)
        if isIPv6Address(host.strip("[]")):
            return succeed(f"[{host.strip('[]')}]")
        numeric = self.network.address_of(host)
        if numeric is None:
            return fail(OSError(f"no host of this network is called {host}"))
        answer: Deferred[str] = Deferred()
        self.clock.callLater(self.reading_delay(), answer.callback, numeric)
        return answer

    def kick(self) -> None:
        if not self._kicked:
            self._kicked = True
            self.clock.callLater(0, self._kick)

    def forked(self, leave: Callable[[], None]) -> None:
        """Read and write nothing any more; there is nothing that a fork shares."""
        self.kill()

    def close(self, linger: float) -> Deferred[None]:
        """
        Give back everything.

        What lingers goes on its way by itself, as it does from a kernel; the Deferred fires at once.
        """
        still_open = [each for each in self._sockets if not each.closed]
        if still_open:
            raise AssertionError(f"close the sockets first: {still_open}")
        self._pass_ended = None
        return succeed(None)

    def kill(self) -> None:
        """End without a goodbye: the sockets are closed as by a kernel whose process has died."""
        self._pass_ended = None
        for each in self._sockets:
            each.kill()

    # For its routers

    def end_pass(self) -> None:
        """Tell that a pass has ended."""
        if self._pass_ended is not None:
            try:
                self._pass_ended()
            except Exception:
                self.log.failure("the end of a pass failed")

    def takes(self, message: Message) -> bool:
        """Tell whether no frame of a message is too large."""
        frames = message if isinstance(message, tuple) else (message,)
        return all(len(frame) <= self.max_message_size for frame in frames)

    def reading_delay(self) -> float:
        """Draw how long it takes until what has arrived is read."""
        return self.network.chance.uniform(*self.network.weather.reading)

    def new_identity(self) -> bytes:
        """Make a routing id, as ZeroMQ does for who names none."""
        return b"\0" + next(self._identities).to_bytes(4, "big")

    def _kick(self) -> None:
        self._kicked = False
        self.end_pass()

    def _opened(self) -> MemoryTransport:
        if self._pass_ended is None:
            raise AssertionError("the transport is not open")
        return self
