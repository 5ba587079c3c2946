"""The sockets of a proxy with a line in the log for each message that it dispatches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from zope.interface import directlyProvides, providedBy

from zmqrpc.core.batch import decode_batch
from zmqrpc.core.envelope import Nack, Refusal
from zmqrpc.core.keys import SELF_KEY, decode_counter, describe
from zmqrpc.interfaces import SENT
from zmqrpc.tap._trace import MessageLog


class TracedProxy:
    """
    The sockets of a proxy that are logged; a proxy reads no payload by itself.

    :param transport: the `ITransport`.
    :param seconds: the monotonic clock.
    """

    def __init__(self, transport: Any, seconds: Callable[[], float]) -> None:
        self._transport = transport
        self._passage = _Passage(MessageLog(seconds))
        directlyProvides(self, providedBy(transport))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def open(self, pass_ended: Callable[[], None]) -> None:
        """Open the transport."""
        self._passage.pass_ended = pass_ended
        self._transport.open(pass_ended)

    def bound_router(self, receiver: Any) -> Any:
        """Make the ROUTER of one side."""
        router = self._transport.bound_router(_TracedReceiver(receiver, self._passage))
        return _TracedRouter(router, self._passage)

    def publisher(self, receiver: Any) -> Any:
        """Make an XPUB."""
        return _TracedPublisher(self._transport.publisher(receiver), self._passage)


class _Passage:
    """
    What becomes of the message that is being dispatched, if one is.

    :ivar fate: that, as far as it is known.
    :ivar pass_ended: has the proxy write what it says itself.
    """

    def __init__(self, lines: MessageLog) -> None:
        self.lines = lines
        self.dispatches = False
        self.fate = ""
        self.pass_ended: Callable[[], None] = lambda: None


class _TracedReceiver:
    def __init__(self, receiver: Any, passage: _Passage) -> None:
        self._receiver = receiver
        self._passage = passage

    def __getattr__(self, name: str) -> Any:
        return getattr(self._receiver, name)

    def keyed_received(self, identity: bytes, key: bytes, payload: Any) -> int:
        passage = self._passage
        if key == SELF_KEY:
            return int(self._receiver.keyed_received(identity, key, payload))
        passage.dispatches, passage.fate = True, "dropped"
        try:
            held = int(self._receiver.keyed_received(identity, key, payload))
            if passage.fate == "dropped":
                # It may be given back, which is written at the end of a pass: this is the only message of one.
                passage.pass_ended()
            return held
        finally:
            passage.dispatches = False
            passage.lines.tell(payload, f"from connection {identity.hex()} for {describe(key)}, {passage.fate}")


class _TracedRouter:
    def __init__(self, router: Any, passage: _Passage) -> None:
        self._router = router
        self._passage = passage

    def __getattr__(self, name: str) -> Any:
        return getattr(self._router, name)

    def send_keyed(self, identity: bytes, key: bytes, payload: Any) -> int:
        fate = int(self._router.send_keyed(identity, key, payload))
        passage = self._passage
        if passage.dispatches and fate == SENT:
            if key == SELF_KEY:
                passage.fate = f"given back: {_reason(payload)}"
            elif passage.fate == "dropped":
                passage.fate = f"to connection {identity.hex()}"
        return fate


class _TracedPublisher:
    def __init__(self, publisher: Any, passage: _Passage) -> None:
        self._publisher = publisher
        self._passage = passage

    def __getattr__(self, name: str) -> Any:
        return getattr(self._publisher, name)

    def publish(self, *frames: Any) -> None:
        self._publisher.publish(*frames)
        if len(frames) < 3:
            # A counter alone repeats what was said, or answers a subscription.
            return
        passage = self._passage
        passage.fate = f"published as number {decode_counter(bytes(frames[1])).count}"
        if not passage.dispatches:
            passage.lines.tell(frames[2], f"for {describe(bytes(frames[0]))}, {passage.fate}")


def _reason(payload: bytes) -> str:
    """Write why a proxy does not take something, which it says in one NACK."""
    [nack] = [message for message in decode_batch(payload).messages if isinstance(message, Nack)]
    return nack.text or Refusal(nack.reason).words
