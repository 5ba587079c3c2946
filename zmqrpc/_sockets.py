"""
The interfaces of the sockets of a node, and of those who are told what arrives there.

They are imported from `zmqrpc.interfaces`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import Any

from twisted.internet.defer import Deferred
from zope.interface import Interface


class IRouterReceiver(Interface):
    """Who is told what arrives on a ROUTER socket. Its methods must not raise; what they raise is logged."""

    def payload_received(identity: bytes, payload: Any) -> int:
        """
        Take one message.

        :param identity: the ZeroMQ routing id of the connection it came by.
        :param payload: the one frame after it, bytes or an object with the buffer interface.
        :return: how many envelopes it held, at least 1 (a pass over the socket is bounded by them).
        """

    def keyed_received(identity: bytes, key: bytes, payload: Any) -> int:
        """
        Take one message that goes through a proxy: with a routing key before its payload (docs/spec/wire, Legs).

        :param payload: as of `payload_received`.
        :return: as of `payload_received`.
        """

    def malformed_received(identity: bytes, reason: str) -> None:
        """Hear of a message that was dropped whole because it had the wrong number of frames."""


class IBoundReceiver(IRouterReceiver):
    """Who is told about the bound ROUTER: also of the connections to it that come to nothing."""

    def handshake_failed(peer: str, reason: str) -> None:
        """
        Hear that a connection ended before it was one: its peer does not speak ZeroMQ's protocol, or left too soon.

        :param peer: the numeric address it came from, without the port; empty where that could not be learnt.
        """


class ILinkReceiver(IRouterReceiver):
    """Who is told about the connecting ROUTER: also of the fate of each connection."""

    def connection_progressed(identity: bytes) -> None:
        """
        Hear that a connection comes about: the peer's system has taken it, or the peer speaks ZeroMQ's protocol.

        A transport that does not know tells nobody.
        """

    def connection_lost(identity: bytes, reason: str) -> None:
        """Hear that a connection has failed or ended; frames of it may still be unread."""


SENT, FULL, GONE = 0, 1, 2
"""What became of one message given to a ROUTER: written; not now; the connection does not exist any more."""


class IBoundRouter(Interface):
    """A ROUTER socket that others connect to."""

    def bind(host: str, ports: Iterable[int]) -> str:
        """
        Bind the first of `ports` that is free, and start to read.

        :param host: ``*``, a numeric address or an Ethernet adapter.
        :return: the bound address, ``tcp://host:port`` with numbers.
        :raises PortRangeExhausted: none of them could be bound; the text says why the last could not.
        :raises ConfigError: the host is none of this machine.
        """

    def bind_path(path: str) -> str:
        """
        Bind an IPC socket beside what is bound, and start to read; what is left of a dead process there is replaced.

        :param path: of a file in a directory that exists.
        :return: the bound address, ``ipc://path``.
        :raises ConfigError: the path cannot be bound, or somebody listens there already.
        """

    def send(identity: bytes, payload: bytes) -> int:
        """Write one message; return `SENT`, `FULL` or `GONE`."""

    def send_keyed(identity: bytes, key: bytes, payload: Any) -> int:
        """
        Write one message with a routing key before its payload; returns as `send`.

        :param payload: bytes, or what `keyed_received` was given, which is forwarded as it is.
        """

    def close(linger: float) -> None:
        """Close at once; what was written is delivered in the background for up to `linger` seconds."""


class IConnectingRouter(Interface):
    """A ROUTER socket that connects to others, one routing id for each connection, never used twice."""

    def connect(address: str) -> bytes:
        """
        Begin to connect; ZeroMQ tries once, and `ILinkReceiver.connection_lost` tells when that failed.

        :param address: ``tcp://`` with a numeric host, or ``ipc://``.
        :return: the routing id of the new connection.
        :raises ConfigError: ZeroMQ does not accept the address.
        """

    def disconnect(identity: bytes) -> None:
        """Drop the connection and what it still holds, in both directions; an unknown id is no error."""

    def drain() -> None:
        """Deliver everything that has arrived, now; not to be called from `payload_received`."""

    def send(identity: bytes, payload: bytes) -> int:
        """Write one message; return `SENT`, `FULL` or `GONE`."""

    def send_keyed(identity: bytes, key: bytes, payload: Any) -> int:
        """As `IBoundRouter.send_keyed`."""

    def close(linger: float = 0) -> None:
        """Drop every connection and close; what was written is delivered for up to `linger` seconds."""


class IPublisherReceiver(Interface):
    """Who is told who subscribes. Its methods must not raise; what they raise is logged."""

    def subscribed(filter: bytes, connection: Hashable) -> str:
        """
        Hear that a subscription to a filter has arrived; also when others subscribe to it already.

        :param connection: by which it has come; while that stands no other one has the same.
        :return: empty; or why it is refused, a clause about the filter: then that connection is ended, and `refused`
            tells whose it was.
        """

    def refused(peer: str, size: int, fault: str) -> None:
        """
        Hear that a connection is ended since `subscribed` has refused its filter.

        :param peer: the numeric address of who had it; empty when that is not known any more.
        :param size: of the filter, bytes.
        :param fault: what `subscribed` has said of it.
        """

    def unsubscribed(filter: bytes) -> None:
        """Hear that nobody subscribes to a filter any more."""

    def malformed_received(size: int) -> None:
        """Hear of a message of a subscriber that is no subscription, and was dropped."""

    def handshake_failed(peer: str, reason: str) -> None:
        """As `IBoundReceiver.handshake_failed`."""


class IPublisher(Interface):
    """An XPUB socket: subscribers connect to it, and get what begins with one of their filters."""

    def bind(host: str, ports: Iterable[int]) -> str:
        """As `IBoundRouter.bind`."""

    def publish(*frames: Any) -> None:
        """
        Write one message to everybody who subscribes to its first frame; a subscriber that is full does not get it.

        :param frames: bytes, or what `ISubscriberReceiver.published_received` was given.
        """

    def close(linger: float) -> None:
        """Close at once; what was written is delivered in the background for up to `linger` seconds."""


class ISubscriberReceiver(Interface):
    """Who is told what a publisher publishes. Its methods must not raise; what they raise is logged."""

    def published_received(key: bytes, counter: bytes, payload: Any) -> int:
        """
        Take one message.

        :param payload: bytes or an object with the buffer interface; None where the counter came alone.
        :return: how many envelopes it held, at least 1.
        """

    def malformed_received(reason: str) -> None:
        """Hear of a message that was dropped whole because it had the wrong number of frames."""

    def connected() -> None:
        """Hear that the handshake with the publisher is done."""

    def connection_lost(reason: str) -> None:
        """Hear that the connection has failed or ended; the socket is of no use any more, and is to be closed."""


class ISubscriber(Interface):
    """A SUB socket with one connection, to one publisher."""

    def subscribe(filter: bytes) -> None:
        """Subscribe; the publisher gets the subscriptions in the order they were made."""

    def unsubscribe(filter: bytes) -> None:
        """Take a subscription back."""

    def close() -> None:
        """Drop the connection and close; closing again does nothing."""


class ITransport(Interface):
    """
    The sockets of one Node.

    `zmqrpc.reactor_zmq` has the real one, `zmqrpc.testing` one over a seeded network in memory.
    """

    def open(pass_ended: Callable[[], None]) -> None:
        """
        Get ready; nothing is held before that.

        :param pass_ended: called after each pass over a socket, when everything that was readable in it has been
            delivered and what was gathered meanwhile should be written.
        :raises ConfigError: it cannot work on this reactor, in this process, or there are too few file descriptors.
        """

    def bound_router(receiver: IBoundReceiver) -> IBoundRouter:
        """
        Make the socket for what comes in.

        :raises ConfigError: there are no file descriptors for it; so do those that make the others.
        """

    def connecting_router(receiver: ILinkReceiver) -> IConnectingRouter:
        """Make the socket for what goes out."""

    def publisher(receiver: IPublisherReceiver) -> IPublisher:
        """Make the socket of a publisher proxy."""

    def subscriber(receiver: ISubscriberReceiver, address: str) -> ISubscriber:
        """
        Make a socket and begin to connect it to a publisher, once.

        :param address: as for `IConnectingRouter.connect`.
        :raises ConfigError: as above, or ZeroMQ does not accept the address.
        """

    def resolve(host: str, turn: int = 0) -> Deferred[str]:
        """
        Turn a host name into a numeric address; a numeric one is returned as it is.

        :param turn: which one, where a name has several; those of IPv4 come first, and after the last the first again.
        :return: fires with the address, IPv6 in brackets; fails with `OSError` when there is none.
        """

    def kick() -> None:
        """Have a pass soon, once, however often it is asked for; for what is to be written outside a pass."""

    def forked(leave: Callable[[], None]) -> None:
        """
        Take that this process is a fork of the one that opened it: nothing is read, written or closed any more.

        :param leave: called where a pass would end; it does not return.
        """

    def close(linger: float) -> Deferred[None]:
        """
        Give back everything; every socket must have been closed.

        :return: fires when what lingers has been written or `linger` seconds have passed; never fails.
        """
