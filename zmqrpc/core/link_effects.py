"""What `zmqrpc.core.link` asks the shell of a link to do."""

from __future__ import annotations

from typing import TypeAlias

from msgspec import Struct

from zmqrpc.core.ways import Identity


class Connect(Struct, frozen=True):
    """
    Open a connection, or find a proxy that is connected to the peer.

    `LinkState.connected` is told the identity, or `LinkState.postponed` that there is no proxy.
    """

    attempt: int


class SayHello(Struct, frozen=True):
    """Send HELLO."""


class SayPing(Struct, frozen=True):
    """Send PING with the milliseconds of the last round trip, None before the first."""

    last_round_trip: int | None


class SayGoodbye(Struct, frozen=True):
    """Send PING with the token `LAST_TOKEN`, then GOAWAY: when the PING is answered, all that was sent has arrived."""


class Drop(Struct, frozen=True):
    """Read all that has arrived, then give up the connection (None: there is none yet)."""

    identity: Identity | None


class Flush(Struct, frozen=True):
    """The link is up: send again what was handed over and not answered, then hand over what is queued."""


class Reroute(Struct, frozen=True):
    """What is queued has not been handed over: send it elsewhere."""

    reason: str


class Lose(Struct, frozen=True):
    """The instance that has what was handed over is gone."""

    reason: str


class Doubt(Struct, frozen=True):
    """Tell the matchmaker that the record does not lead to its instance."""

    reason: str


LAST_TOKEN = 0
"""The token of the PING before GOAWAY; no other PING of a link has it, as theirs are times and come later."""

Effect: TypeAlias = Connect | SayHello | SayPing | SayGoodbye | Drop | Flush | Reroute | Lose | Doubt
