"""What the network does to messages on their way."""

from __future__ import annotations

import attrs

from zmqrpc.errors import ConfigError


def _chance(_: object, attribute: attrs.Attribute[float], value: float) -> None:
    if not 0 <= value <= 1:
        raise ConfigError(f"the chance {attribute.name} is {value}; it must be from 0 to 1")


def _range(_: object, attribute: attrs.Attribute[tuple[float, float]], value: tuple[float, float]) -> None:
    if not 0 <= value[0] <= value[1]:
        raise ConfigError(f"{attribute.name} is {value}; give (least, most) in seconds")


@attrs.frozen
class Weather:
    """
    What one direction between two hosts does to messages; every chance is drawn from the seed of the network.

    Two of these a TCP connection never does, since it delivers everything in order or ends. They stand for what the
    software at its ends may do, and are there to exercise timers and filters: with `loss` a message whose
    acknowledgement never comes, with `duplication` one that is sent twice.

    :ivar delay: least and most seconds that a message is under way; the order within a connection is kept.
    :ivar reading: least and most seconds until a process reads what has arrived. It differs from socket to socket, so
        that the loss of a connection may be heard of before the last messages that came by it.
    :ivar loss: the chance that a message vanishes.
    :ivar duplication: the chance that a message arrives once more, after others of its connection.
    :ivar refusal: the chance that a connection is refused though somebody listens.
    :ivar breakage: the chance that a message breaks its connection.
    :raises ConfigError: a chance is not from 0 to 1, or a range not in order.
    """

    delay: tuple[float, float] = attrs.field(default=(0.0002, 0.0008), validator=_range)
    reading: tuple[float, float] = attrs.field(default=(0.0, 0.0002), validator=_range)
    loss: float = attrs.field(default=0.0, validator=_chance)
    duplication: float = attrs.field(default=0.0, validator=_chance)
    refusal: float = attrs.field(default=0.0, validator=_chance)
    breakage: float = attrs.field(default=0.0, validator=_chance)
