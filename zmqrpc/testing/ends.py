"""What the two ends of a connection of the network in memory have to be able to do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from zmqrpc.testing.connection import Connection
    from zmqrpc.testing.pipe import Message


class Connecting(Protocol):
    """
    A socket that connects.

    :ivar kind: ``ROUTER`` or ``SUB``.
    """

    kind: str

    def opened(self, connection: Connection) -> None:
        """Take that a connection stands."""

    def arrived(self, connection: Connection, payload: Message) -> bool:
        """Take a message; False when it is too large."""

    def lost(self, connection: Connection, reason: str) -> None:
        """Take that a connection has ended; its receiver hears of it in a pass of its own."""


class Bound(Protocol):
    """
    A socket that others connect to.

    :ivar partner: the kind of sockets that it speaks with.
    """

    partner: str

    def accept(self, connection: Connection) -> bytes:
        """Take a new connection; return its routing id here."""

    def arrived(self, connection: Connection, payload: Message) -> bool:
        """Take a message; False when it is too large."""

    def gone(self, connection: Connection) -> None:
        """Take that a connection has ended; what it brought can still be read."""

    def knocked(self, peer: str) -> None:
        """Take that somebody who is no peer has connected; its receiver hears of it in a pass of its own."""
