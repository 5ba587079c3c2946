"""The sockets of a node with a line in the log for each message that it sends or is sent, as client and as server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from zope.interface import directlyProvides, providedBy

from zmqrpc.core.keys import SELF_KEY
from zmqrpc.interfaces import SENT
from zmqrpc.tap._trace import MessageLog

Name = Callable[[bytes], str]
"""Writes who is at the other end of a connection."""


class TracedNode:
    """
    The sockets of a node that are logged.

    :param transport: the `ITransport`.
    :param seconds: the monotonic clock.
    """

    def __init__(self, transport: Any, seconds: Callable[[], float]) -> None:
        self._transport = transport
        self._lines = MessageLog(seconds)
        directlyProvides(self, providedBy(transport))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def bound_router(self, receiver: Any) -> Any:
        """Make the ROUTER that others connect to."""
        name = _named_by_id
        return _TracedRouter(
            self._transport.bound_router(_TracedReceiver(receiver, self._lines, name)), self._lines, name
        )

    def connecting_router(self, receiver: Any) -> Any:
        """Make the ROUTER that connects to others."""
        addresses: dict[bytes, str] = {}

        def name(identity: bytes) -> str:
            return addresses.get(identity) or _named_by_id(identity)

        router = self._transport.connecting_router(_TracedReceiver(receiver, self._lines, name))
        return _TracedRouter(router, self._lines, name, addresses)

    def subscriber(self, receiver: Any, address: str) -> Any:
        """Make a SUB."""
        return self._transport.subscriber(_TracedSubscriber(receiver, self._lines, address), address)


class _TracedReceiver:
    def __init__(self, receiver: Any, lines: MessageLog, name: Name) -> None:
        self._receiver = receiver
        self._lines = lines
        self._name = name

    def __getattr__(self, name: str) -> Any:
        return getattr(self._receiver, name)

    def payload_received(self, identity: bytes, payload: Any) -> int:
        self._lines.tell(payload, f"from {self._name(identity)}")
        return int(self._receiver.payload_received(identity, payload))

    def keyed_received(self, identity: bytes, key: bytes, payload: Any) -> int:
        if key != SELF_KEY:
            self._lines.tell(payload, f"from the proxy at {self._name(identity)}")
        return int(self._receiver.keyed_received(identity, key, payload))


class _TracedRouter:
    def __init__(self, router: Any, lines: MessageLog, name: Name, addresses: dict[bytes, str] | None = None) -> None:
        self._router = router
        self._lines = lines
        self._name = name
        self._addresses = {} if addresses is None else addresses

    def __getattr__(self, name: str) -> Any:
        return getattr(self._router, name)

    def connect(self, address: str) -> bytes:
        identity = bytes(self._router.connect(address))
        self._addresses[identity] = address
        return identity

    def disconnect(self, identity: bytes) -> None:
        self._router.disconnect(identity)
        self._addresses.pop(identity, None)

    def send(self, identity: bytes, payload: bytes) -> int:
        fate = int(self._router.send(identity, payload))
        if fate == SENT:
            self._lines.tell(payload, f"to {self._name(identity)}")
        return fate

    def send_keyed(self, identity: bytes, key: bytes, payload: Any) -> int:
        fate = int(self._router.send_keyed(identity, key, payload))
        if fate == SENT and key != SELF_KEY:
            self._lines.tell(payload, f"to the proxy at {self._name(identity)}")
        return fate


class _TracedSubscriber:
    def __init__(self, receiver: Any, lines: MessageLog, address: str) -> None:
        self._receiver = receiver
        self._lines = lines
        self._address = address

    def __getattr__(self, name: str) -> Any:
        return getattr(self._receiver, name)

    def published_received(self, key: bytes, counter: bytes, payload: Any) -> int:
        if payload is not None:
            self._lines.tell(payload, f"from the publisher at {self._address}")
        return int(self._receiver.published_received(key, counter, payload))


def _named_by_id(identity: bytes) -> str:
    return f"connection {identity.hex()}"
