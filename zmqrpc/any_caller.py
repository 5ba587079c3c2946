"""What running requests needs of who sent them, whether there is a link to it or not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from zmqrpc.core.seen import Seen
from zmqrpc.core.ways import Identity

if TYPE_CHECKING:
    from zmqrpc.running import RunningRequest


class AnyFilter(Protocol):
    """What has come before of one client; a `zmqrpc.core.seen.DuplicateFilter` where there is a link."""

    def admit(self, sequence: int) -> Seen | bytes:
        """Tell what is known of a message."""

    def answered(self, sequence: int, reply: bytes) -> None:
        """Take the reply to a message."""

    def __len__(self) -> int:
        """Return how many messages are unsettled."""


class AnyCaller(Protocol):
    """A client instance: a `zmqrpc.caller.Caller`, or a `zmqrpc.fanout_caller.FanoutCaller` of published fan-outs."""

    running: dict[int, RunningRequest]
    acks: dict[int, None]
    until: float

    @property
    def instance(self) -> bytes:
        """The client's."""

    @property
    def identity(self) -> Identity:
        """Of its newest connection."""

    @property
    def has_link(self) -> bool:
        """Whether it can be told what becomes of its messages."""

    @property
    def filter(self) -> AnyFilter:
        """What came before."""

    @property
    def largest(self) -> int:
        """The largest payload it accepts, bytes."""

    @property
    def limited_by(self) -> str:
        """Who it is that accepts no larger payload, for an error's text."""

    def acknowledge(self, sequence: int) -> None:
        """Acknowledge a message."""

    def acknowledge_soon(self, sequence: int) -> None:
        """Acknowledge a message with whatever is written next, or in a moment."""

    def write(self, encoded: bytes) -> None:
        """Send a message."""
