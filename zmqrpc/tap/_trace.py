"""What ``zmq-proxy --debug`` logs: each message that a proxy takes, writes or publishes."""

from __future__ import annotations

from typing import Any

from twisted.logger import Logger
from zope.interface import directlyProvides, providedBy

from zmqrpc.core.keys import read_topic

_FATES = ("sent", "not sent, the connection is full", "not sent, there is no such connection")


class TracedTransport:
    """
    The sockets of a proxy, with a line in the log for each message; only when asked for, since it costs more than they.

    :param transport: the `ITransport`.
    """

    log = Logger()

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        directlyProvides(self, providedBy(transport))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def bound_router(self, receiver: Any) -> Any:
        """Make a ROUTER whose messages are logged."""
        return _TracedRouter(self._transport.bound_router(_TracedReceiver(receiver, self.log)), self.log)

    def publisher(self, receiver: Any) -> Any:
        """Make an XPUB whose messages are logged."""
        return _TracedPublisher(self._transport.publisher(receiver), self.log)


class _TracedReceiver:
    def __init__(self, receiver: Any, log: Logger) -> None:
        self._receiver = receiver
        self._log = log

    def __getattr__(self, name: str) -> Any:
        return getattr(self._receiver, name)

    def keyed_received(self, identity: bytes, key: bytes, payload: Any) -> int:
        self._log.debug(
            "{size} bytes from connection {peer}, for {key}", size=len(payload), peer=identity.hex(), key=_named(key)
        )
        return int(self._receiver.keyed_received(identity, key, payload))


class _TracedRouter:
    def __init__(self, router: Any, log: Logger) -> None:
        self._router = router
        self._log = log

    def __getattr__(self, name: str) -> Any:
        return getattr(self._router, name)

    def send_keyed(self, identity: bytes, key: bytes, payload: Any) -> int:
        fate = int(self._router.send_keyed(identity, key, payload))
        self._log.debug(
            "{size} bytes to connection {peer}, for {key}: {fate}",
            size=len(payload),
            peer=identity.hex(),
            key=_named(key),
            fate=_FATES[fate],
        )
        return fate


class _TracedPublisher:
    def __init__(self, publisher: Any, log: Logger) -> None:
        self._publisher = publisher
        self._log = log

    def __getattr__(self, name: str) -> Any:
        return getattr(self._publisher, name)

    def publish(self, *frames: Any) -> None:
        self._publisher.publish(*frames)
        size = len(frames[2]) if len(frames) > 2 else 0
        self._log.debug("{size} bytes published, for {key}", size=size, key=_named(bytes(frames[0])))


def _named(key: bytes) -> str:
    """Name whom a key is for."""
    if not key:
        return "the proxy itself"
    topic = read_topic(key)
    return f"topic {topic[0]}/{topic[1]}" if topic is not None else f"instance {key[1:17].hex()}"
