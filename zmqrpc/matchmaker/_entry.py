"""The form of a record in a store, and the order in which records are given (docs/spec/records)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakValueDictionary

import msgspec
from twisted.logger import Logger

from zmqrpc.errors import ConfigError
from zmqrpc.record import LONGEST_REASON, Record, Role, Sighting, fault_of_record
from zmqrpc.spelling import shown

_log = Logger()
_ROLES = frozenset(Role)
_VERSIONS = (1, 1)
_LONGEST_NAME_SHOWN = 60

LONGEST_BODY = 8192
"""How many characters the body of a record has at most (docs/spec/records)."""

MOST_SKIPPED_TOPICS = 1000
"""Of how many topics it is told that something was skipped from them."""

TopicKey = tuple[str, str]
"""Exchange and bare topic."""


class _Body(msgspec.Struct, omit_defaults=True):
    """What a record holds beside its key. Members that are not named here are ignored when read."""

    addresses: tuple[str, ...]
    versions: tuple[int, int] = _VERSIONS
    subscribes: bool = False
    reason: str = ""


def write_body(record: Record) -> str:
    """Return the JSON object that holds what a refresh may change."""
    # What is left out is told by identity.
    versions = _VERSIONS if record.versions == _VERSIONS else record.versions
    return msgspec.json.encode(_Body(record.addresses, versions, record.subscribes, record.reason)).decode()


_said: dict[tuple[str, TopicKey], int] = {}
"""How many entries of each topic in each store were skipped when that was logged last."""

SkippedEntries = dict[str, dict[tuple[str, int], str]]
"""
What is wrong with each entry that was skipped, by store, key, and which of those with that key it is: some cannot be
written, and are named by what is around them.
"""

_collecting: list[SkippedEntries] = []

# The same entry is the same record, for as long as somebody has it: a store is read again and again, whole.
_read: WeakValueDictionary[tuple[str, ...], Record] = WeakValueDictionary()


def read_record(
    role: str, exchange: str, topic: str, member: str, instance: str, pool: str, body: str
) -> Record | str | None:
    """
    Make a record of what is stored; the same values give the same object while that is in use.

    :return: what is wrong with it, for `Skips`; None for a role of a later release, which is skipped silently.
    """
    key = (role, exchange, topic, member, instance, pool, body)
    record = _read.get(key)
    if record is not None:
        return record
    if role not in _ROLES:
        return None
    if len(body) > LONGEST_BODY:
        return f"its body is longer than {LONGEST_BODY} characters"
    try:
        read: Any = msgspec.json.decode(body, type=_Body)
        record = Record(
            role=Role(role),
            exchange=exchange,
            topic=topic,
            member=member,
            instance=instance,
            pool=pool or None,
            addresses=read.addresses,
            versions=read.versions,
            subscribes=read.subscribes,
            reason=read.reason[:LONGEST_REASON],
        )
    except (msgspec.MsgspecError, ConfigError) as error:
        return str(error)
    fault = fault_of_record(record)
    if fault:
        return fault
    _read[key] = record
    return record


@contextmanager
def collect_skips() -> Iterator[SkippedEntries]:
    """Collect what any reading of a store skips in this process meanwhile, whether it is logged or not."""
    collected: SkippedEntries = {}
    _collecting.append(collected)
    try:
        yield collected
    finally:
        _collecting[:] = [other for other in _collecting if other is not collected]


class Skips:
    """
    What one reading of a store skips: counted, and one line in the log for each topic.

    Whoever may write to a store could else fill our log. So a topic is logged again only when it has twice as many as
    the last time, and of the topics that are skipped from only the first `MOST_SKIPPED_TOPICS` are named.

    :param store: what people call the store, without a password.
    """

    def __init__(self, store: str) -> None:
        self._store = store
        self._counts: dict[TopicKey, int] = {}
        self._first: dict[TopicKey, str] = {}
        self._keys: Counter[str] = Counter()

    def add(self, topic: TopicKey, key: str, why: str) -> None:
        """
        Skip one entry.

        :param topic: what it is under.
        :param key: where it is in the store, as somebody would look for it there.
        :param why: what is wrong with it.
        """
        count = self._counts[topic] = self._counts.get(topic, 0) + 1
        if count == 1:
            self._first[topic] = f"{shown(key)} ({shown(why)})"
        if _collecting:
            self._keys[key] += 1
            for collected in _collecting:
                collected.setdefault(self._store, {})[shown(key), self._keys[key]] = shown(why)

    def say(self) -> None:
        """Log what was skipped, as far as that is news."""
        for (exchange, name), count in self._counts.items():
            said_of = self._store, (shown(exchange), shown(name))
            before = _said.get(said_of, 0)
            if count < 2 * before or (not before and len(_said) >= MOST_SKIPPED_TOPICS):
                continue
            _said[said_of] = count
            _log.warn(
                "{store} holds malformed records of {topic} in exchange {exchange}, {count} so far, which are skipped; "
                "remove them there; the first is {first}",
                store=shown(self._store),
                topic=shown(name)[:_LONGEST_NAME_SHOWN],
                exchange=shown(exchange)[:_LONGEST_NAME_SHOWN],
                count=count,
                first=self._first[exchange, name],
            )
            if len(_said) == MOST_SKIPPED_TOPICS:
                _log.warn("Malformed records of topics that were not named so far are skipped silently from now on")


def lookup_order(sighting: Sighting) -> tuple[str, str, str, str]:
    """Order the records of one topic: by member and instance, then role and pool."""
    record = sighting.record
    return (record.member, record.instance, str(record.role), record.pool or "")


def records_order(sighting: Sighting) -> tuple[str, ...]:
    """Order all records of a store: by role, exchange, topic, member, instance and pool."""
    return sighting.record.key
