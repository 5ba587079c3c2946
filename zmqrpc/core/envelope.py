"""
The envelope: every message of the wire, and the order of its fields (docs/spec/wire).

Three hot places write that order again, as plain tuples: `zmqrpc.client` and `zmqrpc.link` those of requests,
`zmqrpc.requests` that of a reply.

Hot path: a message is encoded once, and by itself (0.1 us), since it has to be kept for a repetition anyway; what is
written together is joined from that (`zmqrpc.core.batch`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import IntEnum, IntFlag
from typing import Annotated, Any, TypeAlias

import msgspec
from msgspec import Meta, Raw, Struct

WIRE_VERSION = 1

Natural: TypeAlias = Annotated[int, Meta(ge=0)]
Positive: TypeAlias = Annotated[int, Meta(ge=1)]
Extensions: TypeAlias = dict[str, Any] | None


class Kind(IntEnum):
    """The kinds of messages; the numbers go over the wire."""

    CALL = 1
    CAST = 2
    FANOUT = 3
    NOTIFY = 4
    REPLY = 5
    ACK = 6
    NACK = 7
    CANCEL = 8
    BEAT = 9
    PING = 10
    PONG = 11
    GOAWAY = 12
    HELLO = 13
    WELCOME = 14


NOUNS: dict[int, str] = {
    0: "lookup",
    Kind.CALL: "call",
    Kind.CAST: "cast",
    Kind.FANOUT: "fan-out",
    Kind.NOTIFY: "notification",
}
"""What sentences call the requests, by their kind; 0 is none of the wire: it asks who listens."""


class Flag(IntFlag):
    """The flags of a request."""

    ACK_WANTED = 1
    IDEMPOTENT = 2


class Refusal(IntEnum):
    """Why a NACK says that a message was not taken."""

    WRONG_INSTANCE = 1
    EXPIRED = 2
    OVERLOADED = 3
    DRAINING = 4
    UNROUTABLE = 5
    TOO_LARGE = 6
    BAD_VERSION = 7
    REQUEUED = 8
    UNREADABLE = 9
    NOT_SERVED = 10

    @property
    def words(self) -> str:
        """The reason as docs/spec/wire names it."""
        return self.name.lower().replace("_", " ")

    @classmethod
    def _missing_(cls, value: object) -> Refusal:
        return cls.UNREADABLE


class FailureCode(IntEnum):
    """How a method failed."""

    RAISED = 0
    NO_SUCH_METHOD = 1
    INVALID_ARGUMENTS = 2
    BAD_INTERFACE = 3
    ACCESS_DENIED = 4
    UNENCODABLE = 5
    TOO_LARGE = 6
    FORGOTTEN = 7
    CANCELLED = 8
    OVERDUE = 9
    NOT_KEPT = 10

    @classmethod
    def _missing_(cls, value: object) -> FailureCode:
        return cls.RAISED


RAN = frozenset((FailureCode.RAISED, FailureCode.UNENCODABLE, FailureCode.TOO_LARGE, FailureCode.NOT_KEPT))
"""The failures of methods that have run to their end."""


class Request(Struct, array_like=True, gc=False):
    """
    What the four requests have in common.

    :ivar sequence: number within the pair, from 1.
    :ivar attempt: 1, then one more with each repetition.
    :ivar flags: bits of `Flag`.
    :ivar remaining: milliseconds left when the batch was written.
    :ivar interface: ``MAJOR.MINOR`` the caller wants.
    :ivar arguments: by name; bytes when `content_type` is given.
    """

    sequence: Positive
    attempt: Positive
    flags: Natural
    remaining: Natural
    exchange: str
    topic: str
    member: str | None
    namespace: str | None
    interface: str | None
    method: str
    arguments: dict[str, Any] | bytes
    context: dict[str, Any] | None = None
    content_type: str | None = None
    trace: str | None = None
    extensions: Extensions = None


class Call(Request, tag=int(Kind.CALL), gc=False):
    """A request that one REPLY answers."""


class Cast(Request, tag=int(Kind.CAST), gc=False):
    """A request without an answer, for one member."""


class Fanout(Request, tag=int(Kind.FANOUT), gc=False):
    """A request without an answer, for every member."""


class Notify(Request, tag=int(Kind.NOTIFY), gc=False):
    """A notification; acknowledged when its endpoint has returned."""


class Failure(Struct, array_like=True, gc=False):
    """How a method failed; `code` is one of `FailureCode`."""

    code: Natural
    type_name: str
    text: str
    traceback: str = ""


class Reply(Struct, array_like=True, tag=int(Kind.REPLY), gc=False):
    """The answer to a CALL."""

    sequence: Positive
    result: Any = None
    failure: Failure | None = None
    content_type: str | None = None
    extensions: Extensions = None


class Ack(Struct, array_like=True, tag=int(Kind.ACK), gc=False):
    """The messages of the ranges are recorded and run at most once from now on."""

    ranges: list[Natural]


class Nack(Struct, array_like=True, tag=int(Kind.NACK), gc=False):
    """The messages of the ranges (or of the returned batch) were refused; `reason` is one of `Refusal`."""

    reason: Natural
    ranges: list[Natural]
    text: str = ""
    returned: bytes | None = None
    extensions: Extensions = None


class Cancel(Struct, array_like=True, tag=int(Kind.CANCEL), gc=False):
    """The caller does not want the answers any more."""

    ranges: list[Natural]


class Beat(Struct, array_like=True, tag=int(Kind.BEAT), gc=False):
    """The calls of the ranges are running."""

    ranges: list[Natural]


class Ping(Struct, array_like=True, tag=int(Kind.PING), gc=False):
    """A question to the peer's reactor; `last_round_trip` in ms is that of the PING before it on this link."""

    token: Natural
    last_round_trip: Natural | None = None
    extensions: Extensions = None


class Pong(Struct, array_like=True, tag=int(Kind.PONG), gc=False):
    """The answer to a PING, with its token."""

    token: Natural
    extensions: Extensions = None


class Goaway(Struct, array_like=True, tag=int(Kind.GOAWAY), gc=False):
    """The sender takes nothing new."""

    text: str = ""
    extensions: Extensions = None


class Served(Struct, array_like=True, gc=False, frozen=True):
    """One target an instance serves, as HELLO and WELCOME list it."""

    exchange: str
    topic: str
    member: str | None = None
    pool: str | None = None


class Hello(Struct, array_like=True, tag=int(Kind.HELLO), gc=False):
    """The first message of a link."""

    lowest: Natural
    highest: Natural
    role: str
    features: list[str]
    limits: dict[str, Natural]
    targets: list[Served]
    extensions: Extensions = None


class Welcome(Struct, array_like=True, tag=int(Kind.WELCOME), gc=False):
    """The answer to HELLO; `echoed` is the `sent` of its batch."""

    version: Natural
    echoed: Natural
    role: str
    features: list[str]
    limits: dict[str, Natural]
    targets: list[Served]
    extensions: Extensions = None


Message: TypeAlias = (
    Call | Cast | Fanout | Notify | Reply | Ack | Nack | Cancel | Beat | Ping | Pong | Goaway | Hello | Welcome
)


class Unreadable(Struct, gc=False):
    """
    A message that this peer cannot read; it never crosses the wire.

    :ivar sequence: its sequence when that could be read, else None; only a request has one, and what is of no kind
        that is known here.
    :ivar reason: what is wrong with it.
    """

    sequence: int | None
    reason: str


class _Opening(Struct, array_like=True):
    kind: int
    sequence: Any = None


class _RawRequest(Struct, array_like=True):
    kind: int
    sequence: int
    attempt: int
    flags: int
    remaining: int
    exchange: Raw
    topic: Raw
    member: Raw
    namespace: Raw
    interface: Raw
    method: Raw
    arguments: Raw
    context: Raw
    content_type: Raw
    trace: Raw
    extensions: Raw


class Outline(Struct, array_like=True, gc=False):
    """What a request is, without what it brings; the fields are those of a `Request`, after its kind."""

    kind: int
    sequence: int
    attempt: int
    flags: int
    remaining: int
    exchange: str
    topic: str
    member: str | None
    namespace: str | None
    interface: str | None
    method: str


_encode = msgspec.msgpack.Encoder().encode
_decode_message = msgspec.msgpack.Decoder(Message).decode
_decode_opening = msgspec.msgpack.Decoder(_Opening).decode
_decode_outline = msgspec.msgpack.Decoder(Outline).decode
_decode_raw_request = msgspec.msgpack.Decoder(_RawRequest).decode

# Hostile bytes end in one of these, and in nothing else (property-tested): before msgspec 0.22 a map as the key of a
# map was a TypeError.
DECODE_ERRORS = (msgspec.DecodeError, RecursionError, TypeError, ValueError)

# So ends a REPLY with a result, which may take long to read; what is refused or failed has a text in the place of the
# first of them, and no text ends with this byte.
_WITHOUT_FAILURE = b"\xc0\xc0\xc0"

_UNNUMBERED = frozenset(Kind) - {Kind.CALL, Kind.CAST, Kind.FANOUT, Kind.NOTIFY}

encode_message: Callable[[Message | Sequence[Any]], bytes] = _encode
"""
Encode one `Message`; batches are made of these (`zmqrpc.core.batch`).

A tuple of its kind and all its fields is encoded to the same bytes in three quarters of the time. Values must have
passed `zmqrpc.core.values.check_value`; for others it raises TypeError, OverflowError or RecursionError.
"""

_RANGE_BYTES = 18
_LEAST_ROOM = 1024
"""Bytes that every peer takes at once, whatever was learned of its way."""

_FEW = 2 * ((_LEAST_ROOM - 8) // _RANGE_BYTES)


def encode_ranges(kind: type[Ack | Beat | Cancel], flat: list[int], room: int) -> list[bytes]:
    """
    Encode what is said of many messages, in as many as it takes to have none too large.

    :param flat: ranges ``[low, high, ...]``.
    :param room: the most bytes that one of them may take.
    """
    if 0 < len(flat) <= _FEW:
        return [encode_message(kind(flat))]
    most = max(_FEW, 2 * ((room - 8) // _RANGE_BYTES))
    return [encode_message(kind(flat[first : first + most])) for first in range(0, len(flat), most)]


def read_message(encoded: bytes) -> Message | Unreadable:
    """Read one message by itself; it never raises."""
    try:
        message: Message = _decode_message(encoded)
        return message
    except DECODE_ERRORS as error:
        reason = str(error)
    try:
        opening = _decode_opening(encoded)
    except DECODE_ERRORS:
        return Unreadable(None, reason)
    # What stands in that place of a PING or a NACK is no sequence: refusing it would end another message.
    numbered = opening.kind not in _UNNUMBERED and type(opening.sequence) is int and opening.sequence > 0
    return Unreadable(opening.sequence if numbered else None, reason)


def has_run(answer: bytes) -> bool:
    """
    Tell whether an answer says that the method has run to its end.

    :param answer: what `encode_message` made of a `Reply`, an `Ack` or a `Nack`.
    """
    if answer.endswith(_WITHOUT_FAILURE):
        return True
    message = read_message(answer)
    if type(message) is Reply:
        return message.failure is None or FailureCode(message.failure.code) in RAN
    return type(message) is Ack


def readdress(encoded: bytes, sequence: int, attempt: int, remaining: int) -> bytes:
    """
    Encode a request again with another sequence, attempt and remaining time, and everything else as it was.

    :param encoded: what `encode_message` made of a `Request`.
    """
    request = _decode_raw_request(encoded)
    request.sequence, request.attempt, request.remaining = sequence, attempt, remaining
    return _encode(request)


def outline(encoded: bytes) -> Outline:
    """
    Read what a request is; what it brings is passed over, which takes as long as it has parts.

    :param encoded: what `encode_message` made of a `Request`.
    """
    return _decode_outline(encoded)
