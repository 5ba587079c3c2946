"""
What a router proxy does with each message: looks at its routing key, and at HELLOs to itself, and at nothing else.

Pure: frames in, effects out. The sockets, WELCOME's contents and publishing are the shell's.
"""

from __future__ import annotations

from enum import Enum
from typing import TypeAlias

from msgspec import Struct

from zmqrpc.core.batch import Batch, decode_batch
from zmqrpc.core.envelope import Hello, Refusal
from zmqrpc.core.keys import SELF_KEY, read_instance, read_topic
from zmqrpc.errors import RemoteProtocolError


class Side(Enum):
    """Which ROUTER a connection belongs to; one with a single socket uses FRONTEND for both."""

    FRONTEND = "frontend"
    BACKEND = "backend"


class Forward(Struct, frozen=True):
    """Send key and payload, untouched, to this connection."""

    side: Side
    identity: bytes
    key: bytes
    payload: bytes


class Publish(Struct, frozen=True):
    """Publish the payload under the key."""

    key: bytes
    payload: bytes


class Answer(Struct, frozen=True):
    """A batch was for the proxy itself: answer HELLO and PING of it."""

    side: Side
    identity: bytes
    batch: Batch


class GiveBack(Struct, frozen=True):
    """Send the payload back to where it came from, as a NACK with this reason."""

    side: Side
    identity: bytes
    reason: Refusal
    payload: bytes


class Discard(Struct, frozen=True):
    """The message is malformed: count it and say why."""

    reason: str


Effect: TypeAlias = Forward | Publish | Answer | GiveBack | Discard


class Relay:
    """The dispatch of a router proxy, and which connection is the newest of each instance."""

    def __init__(self) -> None:
        self._newest: dict[bytes, tuple[Side, bytes]] = {}
        self._behind: dict[tuple[Side, bytes], bytes] = {}

    def __len__(self) -> int:
        """Return how many instances are known."""
        return len(self._newest)

    def dispatch(self, side: Side, identity: bytes, frames: list[bytes]) -> Effect:
        """
        Decide what becomes of one message.

        :param frames: what followed the routing id: key and payload.
        """
        if len(frames) != 2:
            return Discard(f"{len(frames)} frames where a key and a payload belong")
        key, payload = frames
        instance = read_instance(key)
        if instance is not None:
            way = self._newest.get(instance)
            if way is None:
                return GiveBack(side, identity, Refusal.UNROUTABLE, payload)
            return Forward(*way, key, payload)
        if key == SELF_KEY:
            return self._own(side, identity, payload)
        if read_topic(key) is not None:
            return Publish(key, payload)
        return Discard(f"a key of {len(key)} bytes that is none of ours")

    def undeliverable(self, forward: Forward, side: Side, identity: bytes, gone: bool) -> GiveBack:
        """
        Take that the socket refused a `Forward` that had come from `identity`.

        :param gone: whether the connection is gone; else it is full.
        """
        if gone:
            self.disconnected(forward.side, forward.identity)
        reason = Refusal.UNROUTABLE if gone else Refusal.OVERLOADED
        return GiveBack(side, identity, reason, forward.payload)

    def disconnected(self, side: Side, identity: bytes) -> None:
        """Forget the instance behind a connection, unless it has a newer one."""
        instance = self._behind.pop((side, identity), None)
        if instance is not None:
            del self._newest[instance]

    def _own(self, side: Side, identity: bytes, payload: bytes) -> Effect:
        try:
            batch = decode_batch(payload)
        except RemoteProtocolError as error:
            return Discard(str(error))
        if any(type(message) is Hello for message in batch.messages):
            self._learn(batch.source, (side, identity))
        return Answer(side, identity, batch)

    def _learn(self, instance: bytes, way: tuple[Side, bytes]) -> None:
        """Take that the newest connection of an instance is this one, behind which is no other instance."""
        self.disconnected(*way)
        older = self._newest.get(instance)
        if older is not None:
            del self._behind[older]
        self._newest[instance] = way
        self._behind[way] = instance
