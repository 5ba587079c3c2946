"""Who talks to a proxy in the contract of proxies: a client or a server that writes the wire by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from zope.interface import implementer

from zmqrpc.core.batch import Batch, decode_batch, encode_batch
from zmqrpc.core.envelope import WIRE_VERSION, Goaway, Hello, Message, encode_message
from zmqrpc.core.keys import SELF_KEY, instance_key
from zmqrpc.interfaces import ILinkReceiver, ISubscriberReceiver

if TYPE_CHECKING:
    from zmqrpc.testing.network import Network


@implementer(ILinkReceiver)
class ProxyPeer:
    """
    One connection to a proxy.

    :param address: of the proxy, with the name of its host.
    :param host: where it is.
    :ivar instance: its own.
    :ivar received: key and payload of what has come, but what the proxy says itself.
    :ivar said: what the proxy says itself, message by message.
    :ivar lost: why the connection has ended; empty while it stands.
    """

    def __init__(self, network: Network, address: str, host: str) -> None:
        self.instance = network.chance.randbytes(16)
        self.received: list[tuple[bytes, bytes]] = []
        self.said: list[Any] = []
        self.lost = ""
        self._network = network
        self._transport = transport = network.transport(host)
        transport.open(lambda: None)
        self._router = transport.connecting_router(self)
        name, _, port = address.removeprefix("tcp://").rpartition(":")
        self._there = self._router.connect(f"tcp://{network.address_of(name) or name}:{port}")

    def hello(self, role: str, **limits: int) -> None:
        """Say HELLO."""
        self.say(Hello(WIRE_VERSION, WIRE_VERSION, role, [], {"message": 2**20, **limits}, []))

    def say(self, *messages: Message, destination: bytes | None = None) -> None:
        """Say something to the proxy."""
        self.send(SELF_KEY, self.batch(*messages, destination=destination))

    def batch(self, *messages: Message, destination: bytes | None = None) -> bytes:
        """Write a batch of this instance."""
        now = int(self._network.clock.seconds() * 1000)
        return encode_batch(self.instance, destination, now, (), [encode_message(message) for message in messages])

    def send(self, key: bytes, payload: bytes) -> int:
        """Send anything under any key."""
        return self._router.send_keyed(self._there, key, payload)

    def send_to(self, other: ProxyPeer, payload: bytes) -> int:
        """Send something to another instance."""
        return self.send(instance_key(other.instance), payload)

    def send_bare(self, payload: bytes) -> int:
        """Send a message without a key."""
        return self._router.send(self._there, payload)

    def kinds(self) -> list[str]:
        """List the names of what the proxy has said."""
        return [type(message).__name__ for message in self.said]

    def leave(self) -> None:
        """Say GOAWAY."""
        self.say(Goaway())

    def close(self) -> None:
        """End the connection."""
        self._router.close()
        self._transport.close(0)

    # ILinkReceiver

    def payload_received(self, identity: bytes, payload: Any) -> int:
        self.received.append((b"", bytes(payload)))
        return 1

    def keyed_received(self, identity: bytes, key: bytes, payload: Any) -> int:
        if key != SELF_KEY:
            self.received.append((key, bytes(payload)))
            return 1
        batch: Batch = decode_batch(payload)
        if batch.destination not in (None, self.instance):
            raise AssertionError(f"the proxy says something to {batch.destination!r} that is for somebody else")
        self.said += batch.messages
        return len(batch.messages) or 1

    def malformed_received(self, identity: bytes, reason: str) -> None:
        raise AssertionError(f"the proxy has sent a message that is malformed: {reason}")

    def connection_progressed(self, identity: bytes) -> None:
        """Go on: only what the proxy says counts."""

    def connection_lost(self, identity: bytes, reason: str) -> None:
        self.lost = reason


@implementer(ISubscriberReceiver)
class ProxySubscriber:
    """
    One who subscribes to a proxy that publishes.

    :param address: where it publishes, with the name of its host.
    :ivar received: counter and payload of what has come, by filter; the payload is None where the counter came alone.
    :ivar subscribe: subscribes to a filter, `ISubscriber.subscribe`.
    """

    def __init__(self, network: Network, address: str) -> None:
        self.received: dict[bytes, list[tuple[bytes, bytes | None]]] = {}
        self._transport = transport = network.transport("host-of-subscriber")
        transport.open(lambda: None)
        name, _, port = address.removeprefix("tcp://").rpartition(":")
        self._socket = transport.subscriber(self, f"tcp://{network.address_of(name) or name}:{port}")
        self.subscribe = self._socket.subscribe

    def counters(self, key: bytes) -> list[bytes]:
        """List the counters that have come under a filter."""
        return [counter for counter, _ in self.received.get(key, [])]

    def payloads(self, key: bytes) -> list[bytes]:
        """List what was published under a filter."""
        return [payload for _, payload in self.received.get(key, []) if payload is not None]

    def close(self) -> None:
        """End the connection."""
        self._socket.close()
        self._transport.close(0)

    # ISubscriberReceiver

    def published_received(self, key: bytes, counter: bytes, payload: Any) -> int:
        self.received.setdefault(key, []).append((bytes(counter), None if payload is None else bytes(payload)))
        return 1

    def malformed_received(self, reason: str) -> None:
        raise AssertionError(f"the proxy has published a message that is malformed: {reason}")

    def connected(self) -> None:
        pass

    def connection_lost(self, reason: str) -> None:
        pass
