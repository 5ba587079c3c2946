"""What etcd's JSON gateway answers, read (docs/spec/records)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

import attrs
import msgspec

from zmqrpc.matchmaker._entry import Skips, TopicKey, read_record
from zmqrpc.matchmaker._etcd.errors import EtcdRefusal
from zmqrpc.matchmaker._etcd.names import EtcdNames, decode_key
from zmqrpc.matchmaker._etcd.words import FORMAT
from zmqrpc.record import Record

S = TypeVar("S")
_NO_TOPIC: TopicKey = ("?", "?")


class OtherFormat(Exception):
    """The store is of another format, which is the argument; None for no format at all."""


# The gateway writes numbers of 64 bits as strings, bytes as base64, and leaves out what is zero, empty or false.


class _Header(msgspec.Struct):
    revision: int


class _Pair(msgspec.Struct):
    key: bytes
    value: bytes = b""
    mod_revision: int = 0
    lease: int = 0


class _Range(msgspec.Struct):
    kvs: list[_Pair] = []
    more: bool = False


class _Response(msgspec.Struct):
    response_range: _Range | None = None


class _Transaction(msgspec.Struct):
    header: _Header
    succeeded: bool = False
    responses: list[_Response] = []


class _Ranged(_Range):
    header: _Header | None = None


class _Alive(msgspec.Struct):
    ID: int
    TTL: int = 0


class _KeptAlive(msgspec.Struct):
    result: _Alive


class _Left(msgspec.Struct):
    TTL: int = 0
    grantedTTL: int = 0


class _LeaseId(msgspec.Struct):
    ID: int


class _Leases(msgspec.Struct):
    header: _Header
    leases: list[_LeaseId] = []


class _Token(msgspec.Struct):
    token: str


class _Cause(msgspec.Struct):
    message: str = ""
    error: str = ""
    code: int = 0
    grpc_code: int = 0


class _Fault(msgspec.Struct):
    message: str = ""
    error: str | _Cause = ""  # the latter of what may have several answers, such as to keep a lease alive
    code: int = 0


class _Event(msgspec.Struct):
    kv: _Pair
    type: str = "PUT"


class _Told(msgspec.Struct):
    revision: int = 0  # left out where a watch ends


class _Heard(msgspec.Struct):
    header: _Told = msgspec.field(default_factory=_Told)
    watch_id: int = 0
    created: bool = False
    canceled: bool = False
    compact_revision: int = 0
    cancel_reason: str = ""
    events: list[_Event] = []


class _Line(msgspec.Struct):
    result: _Heard | None = None
    error: _Cause | None = None


@attrs.frozen
class Entry:
    """
    A record as it is stored.

    :ivar key: its key.
    :ivar record: None for what has to be skipped.
    :ivar revision: when it was written.
    :ivar lease: what it is attached to; 0 for nothing.
    """

    key: str
    record: Record | None
    revision: int
    lease: int


@attrs.frozen
class Look:
    """
    What a topic, or a part of all, holds.

    :ivar store: the id of the store; empty where there is none yet.
    :ivar revision: of the store, when it was looked at.
    :ivar more: whether this is only a part.
    """

    store: str
    revision: int
    entries: tuple[Entry, ...]
    more: bool = False


@attrs.frozen
class Change:
    """
    What was told of one watch.

    :ivar number: of the watch.
    :ivar revision: that of the member when it told this; 0 when it did not say.
    :ivar created: whether it begins.
    :ivar ended: why it ends; None when it does not.
    :ivar compacted: whether it ends because what it should begin with is not kept any more.
    :ivar entries: what was written or deleted; what was deleted has no record.
    """

    number: int
    revision: int
    created: bool
    ended: str | None
    compacted: bool
    entries: tuple[Entry, ...]


def read_looks(names: EtcdNames, topics: Sequence[TopicKey], answer: bytes) -> list[Look]:
    """
    Read what `EtcdWords.look` answered.

    :param topics: what was looked at.
    :return: for each what it holds.
    :raises OtherFormat: it is of another format.
    :raises ValueError: it is no such answer.
    """
    return _looks(names, topics, _decode(answer, _Transaction))


def read_page(names: EtcdNames, answer: bytes) -> Look:
    """
    Read what `EtcdWords.list` answered.

    :raises OtherFormat, ValueError: as `read_looks`.
    """
    return _looks(names, [None], _decode(answer, _Transaction))[0]


def _looks(names: EtcdNames, topics: Sequence[TopicKey | None], read: _Transaction) -> list[Look]:
    if not read.succeeded:
        if (found := _format(read)) is not None:
            raise OtherFormat(found)
        return [Look("", read.header.revision, ()) for _ in topics]
    if len(read.responses) != 1 + len(topics):
        raise ValueError("it has not as many parts as were asked for")
    stored, *ranges = (response.response_range or _Range() for response in read.responses)
    store = _text(stored.kvs[0].value) if stored.kvs else ""
    return [
        Look(store, read.header.revision, tuple(_entries(names, ranged.kvs, topic)), ranged.more)
        for topic, ranged in zip(topics, ranges, strict=True)
    ]


def read_written(answer: bytes) -> tuple[bool, int]:
    """
    Read what a transaction that writes or compares answered.

    :return: whether it was done, and the revision of the store. Not done means that a comparison failed, or that there
        is no format yet.
    :raises OtherFormat: the store is of another format.
    :raises ValueError: it is no such answer.
    """
    read = _decode(answer, _Transaction)
    if not read.succeeded and (found := _format(read)) not in (None, FORMAT):
        raise OtherFormat(found)
    return read.succeeded, read.header.revision


def read_kept_alive(answer: bytes) -> bool:
    """
    Read whether a lease is still there.

    :raises ValueError: it is no such answer.
    """
    return _decode(answer, _KeptAlive).result.TTL > 0


def read_left(answer: bytes) -> tuple[float, float] | None:
    """
    Read for how long a lease was not kept alive, and after how long without that it ends, in whole seconds.

    :return: None where there is no such lease.
    :raises ValueError: it is no such answer.
    """
    read = _decode(answer, _Left)
    if read.TTL < 0 or read.grantedTTL <= 0:
        return None
    return float(max(0, read.grantedTTL - read.TTL)), float(read.grantedTTL)


def read_leases(answer: bytes) -> int:
    """
    Read how many leases there are.

    :raises ValueError: it is no such answer.
    """
    return len(_decode(answer, _Leases).leases)


def read_store(answer: bytes) -> str:
    """
    Read the id of the store; empty where there is none yet.

    :raises ValueError: it is no such answer.
    """
    read = _decode(answer, _Ranged)
    if read.header is None:
        raise ValueError("it has no header")
    return _text(read.kvs[0].value) if read.kvs else ""


def read_token(answer: bytes) -> str:
    """
    Read the token that we are known by from now on.

    :raises ValueError: it is no such answer.
    """
    return _decode(answer, _Token).token


def read_refusal(status: int, answer: bytes) -> EtcdRefusal:
    """Read what came with an HTTP status other than 200."""
    try:
        fault = _decode(answer, _Fault)
        if isinstance(fault.error, _Cause):
            return _refusal(fault.error, status)
        return EtcdRefusal(fault.code, fault.message or fault.error, status)
    except ValueError:
        return EtcdRefusal(0, _text(answer[:200]), status)


def read_line(names: EtcdNames, line: bytes) -> Change:
    """
    Read a line of a watch.

    :raises EtcdRefusal: it says that all ends.
    :raises ValueError: it is none.
    """
    read = _decode(line, _Line)
    if read.error is not None:
        raise _refusal(read.error, 200)
    heard = read.result
    if heard is None:
        raise ValueError("it says nothing")
    return Change(
        number=heard.watch_id,
        revision=heard.header.revision,
        created=heard.created,
        ended=(heard.cancel_reason or "it says no reason") if heard.canceled else None,
        compacted=heard.canceled and heard.compact_revision > 0,
        entries=tuple(_told(names, heard.events)),
    )


def _refusal(cause: _Cause, status: int) -> EtcdRefusal:
    return EtcdRefusal(cause.grpc_code or cause.code, cause.message or cause.error, status)


def _decode(answer: bytes, form: type[S]) -> S:
    try:
        return msgspec.json.decode(answer, type=form, strict=False)
    except msgspec.ValidationError:
        raise ValueError("it has another form than what etcd answers") from None
    except ValueError:
        raise ValueError("it is not JSON") from None


def _text(raw: bytes) -> str:
    return raw.decode(errors="replace")


def _format(read: _Transaction) -> str | None:
    ranged = read.responses[0].response_range if read.responses else None
    return _text(ranged.kvs[0].value) if ranged is not None and ranged.kvs else None


def _entries(names: EtcdNames, pairs: Iterable[_Pair], topic: TopicKey | None) -> Iterator[Entry]:
    skips = Skips(names.called)
    for pair in pairs:
        record = _stored(names, pair, skips)
        # An empty record is kept here: a page goes on after the last key, whatever that is.
        if record is not None and topic is not None and (record.exchange, record.topic) != topic:
            record = None
        yield Entry(decode_key(pair.key), record, pair.mod_revision, pair.lease)
    skips.say()


def _told(names: EtcdNames, events: Iterable[_Event]) -> Iterator[Entry]:
    skips = Skips(names.called)
    for event in events:
        pair = event.kv
        record = _stored(names, pair, skips) if event.type == "PUT" else None
        yield Entry(decode_key(pair.key), record, pair.mod_revision, pair.lease)
    skips.say()


def _stored(names: EtcdNames, pair: _Pair, skips: Skips) -> Record | None:
    """Read a record; None for what has to be skipped."""
    key = decode_key(pair.key)
    words = names.split(key)
    if words is None:
        skips.add(_NO_TOPIC, key, "it is no key of a record")
        return None
    exchange, topic, role, member, instance, pool = words
    try:
        key.encode()
        body = pair.value.decode()
    except UnicodeError:
        skips.add((exchange, topic), key, "its key or value is no text")
        return None
    record = read_record(role, exchange, topic, member, instance, pool, body)
    if isinstance(record, str):
        skips.add((exchange, topic), key, record)
        return None
    return record
