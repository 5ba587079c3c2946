"""What the scripts answer, and what they tell on channels, read (docs/spec/records)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from math import inf
from typing import Any

import attrs
import msgspec

from zmqrpc.matchmaker._entry import Skips, TopicKey, read_record
from zmqrpc.matchmaker._redis.names import split, topic_key
from zmqrpc.record import Record, Sighting

NEW_SECONDS = 0.3
"""
Seconds after which a database that was found new is one that nobody has known before: who has, and is connected, hears
of it and says so at once.
"""

_VALUE = re.compile(r"(\d{1,16}) (\d{1,16}) (.*)", re.DOTALL | re.ASCII)
_written = msgspec.msgpack.Decoder(list[int | str])
_looks = msgspec.msgpack.Decoder(tuple[int, int, int, list[msgspec.Raw]])
_look = msgspec.msgpack.Decoder(str | tuple[int, int, bool | list[str]])
_raw_look = msgspec.msgpack.Decoder(tuple[int, int, list[msgspec.Raw]])
_list = msgspec.msgpack.Decoder(tuple[int, int, int, list[tuple[msgspec.Raw, msgspec.Raw]]])
_strings = msgspec.msgpack.Decoder(list[msgspec.Raw])
_change = msgspec.msgpack.Decoder(tuple[int, int, str, str, list[str], int])
_string = msgspec.msgpack.Decoder(str)


class Entry(msgspec.Struct, frozen=True, gc=False):
    """
    A record as it is stored.

    :ivar stamp: when it was registered or refreshed.
    :ivar ends: when it is forgotten; 0 for never. Both are milliseconds of the server's clock.
    """

    record: Record
    stamp: int
    ends: int

    def sighting(self, now: int, source: str = "") -> Sighting:
        """Return the record with its age, at a time in milliseconds of the server's clock."""
        stamp = self.stamp
        lasts = (self.ends - stamp) / 1000 if self.ends else inf
        # Of a topic with five hundred members this runs as often for each list: max() took a fifth of it.
        return Sighting(self.record, (now - stamp) / 1000 if now > stamp else 0.0, source, lasts)


@attrs.frozen
class Look:
    """
    What a topic holds.

    :ivar now: the server's time, in milliseconds.
    :ivar version: 0 when nobody listens.
    :ivar soonest: when the first record expires; 0 for never.
    :ivar entries: by field; None when nothing has changed that the reader did not know.
    :ivar since: when the database was found new, in milliseconds.
    :ivar before: when the one was that somebody has known before it; 0 for none.
    """

    now: int
    version: int
    soonest: int
    entries: dict[str, Entry] | None
    since: int = 0
    before: int = 0

    @property
    def unsure(self) -> float:
        """Seconds after which it is to be asked again whether it is true that nobody listens; 0 where that is known."""
        return 0.0 if self.version else _unsure(self.now, self.since, self.before)


@attrs.frozen
class Listing:
    """
    What a database holds.

    :ivar now: the server's time, in milliseconds.
    :ivar since: when the database was found new, in milliseconds.
    :ivar before: when the one was that somebody has known before it; 0 for none.
    :ivar entries: those that have not expired, of all topics.
    :ivar spoiled: the topics that could not be read, and the error that each caused.
    """

    now: int
    since: int
    before: int
    entries: list[Entry]
    spoiled: dict[TopicKey, str] = attrs.Factory(dict)

    @property
    def unsure(self) -> float:
        """As `Look.unsure`, of all topics."""
        return 0.0 if self.entries else _unsure(self.now, self.since, self.before)


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


def read_written(count: int, answer: Any) -> list[str | None]:
    """
    Read what the script that writes answered: for each record None, or the error that its topic caused.

    :param count: how many records it was given.
    :raises ValueError: it is malformed.
    """
    parts = _written.decode(answer)
    _check_count(count, parts)
    return [part if isinstance(part, str) else None for part in parts]


def read_looks(store: str, topics: Sequence[TopicKey], answer: Any) -> list[Look | str]:
    """
    Read what the script that looks answered: for each topic what it holds, or the error that it caused.

    :param store: what people call the server.
    :raises ValueError: it is malformed.
    """
    now, since, before, parts = _looks.decode(answer)
    _check_count(len(topics), parts)
    return [_read_look(store, topic, now, since, before, part) for topic, part in zip(topics, parts, strict=True)]


def read_list(store: str, answer: Any) -> Listing:
    """
    Read what the script that lists answered.

    :param store: what people call the server.
    :raises ValueError: it is malformed.
    """
    now, since, before, topics = _list.decode(answer)
    found: list[Entry] = []
    spoiled: dict[TopicKey, str] = {}
    skips = Skips(store)
    for name, content in topics:
        topic = split(_text(name) or "")
        if len(topic) != 2:
            continue
        try:
            strings = [_text(part) for part in _strings.decode(content)]
        except ValueError:  # the error of a key that is not ours
            spoiled[topic[0], topic[1]] = _text(content) or ""
        else:
            found.extend(entry for _, entry in _entries((topic[0], topic[1]), strings, skips))
    skips.say()
    return Listing(now, since, before, [entry for entry in found if not 0 < entry.ends <= now], spoiled)


def read_change(store: str, topic: TopicKey, message: bytes) -> Change | None:
    """
    Read what was told on the channel of a topic; None for what is malformed.

    :param store: what people call the server.
    """
    try:
        before, after, field, value, gone, soonest = _change.decode(message)
    except ValueError:
        return None
    skips = Skips(store)
    entry = _entry(topic, field, value, skips) if field else None
    skips.say()
    return Change(before, after, field, entry, gone, soonest)


def _unsure(now: int, since: int, before: int) -> float:
    age = (now - since) / 1000
    return NEW_SECONDS - age if 0 <= age < NEW_SECONDS and not before else 0.0


def _check_count(count: int, parts: Sequence[object]) -> None:
    if len(parts) != count:
        raise ValueError(f"{len(parts)} answers to {count} questions")


def _read_look(store: str, topic: TopicKey, now: int, since: int, before: int, answer: msgspec.Raw) -> Look | str:
    strings: bool | Sequence[str | None]
    try:
        read = _look.decode(answer)
        if isinstance(read, str):
            return read
        version, soonest, strings = read
    except ValueError:  # a string that is no text spoils only its own entry
        version, soonest, raw = _raw_look.decode(answer)
        strings = [_text(part) for part in raw]
    if isinstance(strings, bool):
        return Look(now, version, soonest, None, since, before)
    skips = Skips(store)
    entries = dict(_entries(topic, strings, skips))
    skips.say()
    return Look(now, version, soonest, entries, since, before)


def _text(raw: msgspec.Raw) -> str | None:
    """Return a string, None for one that is no text."""
    try:
        return _string.decode(raw)
    except ValueError:
        return None


def _entries(topic: TopicKey, strings: Sequence[str | None], skips: Skips) -> Iterator[tuple[str, Entry]]:
    for field, value in zip(strings[::2], strings[1::2], strict=False):
        if field is None or value is None:
            skips.add(topic, _key(topic, field), "a field or value is no text")
            continue
        entry = _entry(topic, field, value, skips) if field else None
        if entry is not None:
            yield field, entry


def _entry(topic: TopicKey, field: str, value: str, skips: Skips) -> Entry | None:
    names = split(field)
    match = _VALUE.fullmatch(value)
    if len(names) != 4 or match is None:
        skips.add(topic, _key(topic, field), "it is not ROLE:MEMBER:INSTANCE:POOL and STAMP EXPIRE BODY")
        return None
    role, member, instance, pool = names
    stamp, lasts, body = match.groups()
    record = read_record(role, *topic, member, instance, pool, body)
    if isinstance(record, Record):
        return Entry(record, int(stamp), int(stamp) + int(lasts) if int(lasts) else 0)
    if record is not None:
        skips.add(topic, _key(topic, field), record)
    return None


def _key(topic: TopicKey, field: str | None) -> str:
    """Name an entry as the commands of Redis do."""
    return f"{topic_key(topic)} {field}" if field else topic_key(topic)
