"""What the scripts answer, and what they tell on channels, read (docs/spec/records)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import attrs
import msgspec
from twisted.logger import Logger

from zmqrpc.matchmaker._entry import read_record
from zmqrpc.matchmaker._redis_names import split
from zmqrpc.matchmaker._watches import Topic
from zmqrpc.record import Record, Sighting

_log = Logger()
_Parts = list[msgspec.Raw]  # each is read by itself, since one that is malformed must not spoil the others
_look = msgspec.msgpack.Decoder(tuple[int, int, int, bool | _Parts])
_list = msgspec.msgpack.Decoder(tuple[int, _Parts])
_parts = msgspec.msgpack.Decoder(_Parts)
_change = msgspec.msgpack.Decoder(tuple[int, int, str, str, list[str], int])
_VALUE = re.compile(r"(\d{1,16}) (\d{1,16}) (.*)", re.DOTALL | re.ASCII)
_text = msgspec.msgpack.Decoder(str)


@attrs.frozen
class Entry:
    """
    A record as it is stored.

    :ivar stamp: when it was registered or refreshed.
    :ivar ends: when it is forgotten; 0 for never. Both are milliseconds of the server's clock.
    """

    record: Record
    stamp: int
    ends: int

    def sighting(self, now: int) -> Sighting:
        """Return the record with its age."""
        return Sighting(self.record, max(0, now - self.stamp) / 1000)


@attrs.frozen
class Look:
    """
    What a topic holds.

    :ivar now: the server's time, in milliseconds.
    :ivar version: 0 when nobody listens.
    :ivar soonest: when the first record expires; 0 for never.
    :ivar entries: by field; None when nothing has changed that the reader did not know.
    """

    now: int
    version: int
    soonest: int
    entries: dict[str, Entry] | None


@attrs.frozen
class Change:
    """
    What was told of a topic.

    :ivar before: the version that was changed.
    :ivar after: the version it has become.
    :ivar field: that of a record which appeared or is different; empty for none.
    :ivar entry: that record; None for none, or one that has to be skipped.
    :ivar gone: the fields of records that are there no longer.
    :ivar soonest: when the first record expires, 0 for never; -1 when that was not worked out.
    """

    before: int
    after: int
    field: str
    entry: Entry | None
    gone: Sequence[str]
    soonest: int


def read_look(topic: Topic, answer: Any) -> Look:
    """
    Read what the script `look` answered.

    :raises ValueError: it is malformed.
    """
    now, version, soonest, parts = _look.decode(answer)
    return Look(now, version, soonest, None if isinstance(parts, bool) else dict(_entries(topic, parts)))


def read_list(answer: Any) -> list[Sighting]:
    """
    Read what the script `list` answered: the live records of all topics.

    :raises ValueError: it is malformed.
    """
    now, parts = _list.decode(answer)
    found: list[Entry] = []
    for name, entries in _pairs(parts):
        try:
            exchange, topic = split(_text.decode(name))
        except ValueError:
            _skip("", "", bytes(name))
            continue
        found.extend(entry for _, entry in _entries((exchange, topic), _parts.decode(entries)))
    return [entry.sighting(now) for entry in found if not 0 < entry.ends <= now]


def read_change(topic: Topic, message: bytes) -> Change | None:
    """Read what was told on the channel of a topic; None for what is malformed."""
    try:
        before, after, field, value, gone, soonest = _change.decode(message)
    except ValueError:
        return None
    return Change(before, after, field, _entry(topic, field, value) if field else None, gone, soonest)


def _entries(topic: Topic, parts: _Parts) -> Iterator[tuple[str, Entry]]:
    for part, value in _pairs(parts):
        try:
            field = _text.decode(part)
            entry = _entry(topic, field, _text.decode(value)) if field else None
        except ValueError:
            _skip(*topic, bytes(part))
            continue
        if entry is not None:
            yield field, entry


def _entry(topic: Topic, field: str, value: str) -> Entry | None:
    names = split(field)
    match = _VALUE.fullmatch(value)
    if len(names) != 4 or match is None:
        _skip(*topic, field)
        return None
    role, member, instance, pool = names
    stamp, expire, body = int(match[1]), int(match[2]), match[3]
    record = read_record(role, *topic, member, instance, pool, body)
    return Entry(record, stamp, stamp + expire if expire else 0) if record is not None else None


def _pairs(parts: _Parts) -> Iterator[tuple[msgspec.Raw, msgspec.Raw]]:
    return zip(parts[::2], parts[1::2], strict=False)


@lru_cache(maxsize=8192)
def _skip(exchange: str, topic: str, field: str | bytes) -> None:
    """Log what cannot be a record of ours, once."""
    _log.warn(
        "Skipped a malformed entry of {topic} in exchange {exchange}: {field!r}",
        topic=topic,
        exchange=exchange,
        field=field[:200],
    )
