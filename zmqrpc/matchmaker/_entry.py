"""The form of a record in a store, and the order in which records are given (docs/spec/records)."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import msgspec
from twisted.logger import Logger

from zmqrpc.errors import ConfigError
from zmqrpc.record import Record, Role, Sighting

_log = Logger()
_ROLES = frozenset(Role)
_VERSIONS = (1, 1)
_LONGEST_SHOWN = 255

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


@lru_cache(maxsize=8192)
def read_record(
    role: str, exchange: str, topic: str, member: str, instance: str, pool: str, body: str
) -> Record | None:
    """
    Make a record of what is stored; the same values give the same object, since a store is read again and again.

    :return: None for what has to be skipped: a role of a later release, silently; a malformed entry, logged once.
    """
    if role not in _ROLES:
        return None
    try:
        read: Any = msgspec.json.decode(body, type=_Body)
        return Record(
            role=Role(role),
            exchange=exchange,
            topic=topic,
            member=member,
            instance=instance,
            pool=pool or None,
            addresses=read.addresses,
            versions=read.versions,
            subscribes=read.subscribes,
            reason=read.reason,
        )
    except (msgspec.MsgspecError, ConfigError) as error:
        _log.warn(
            "Skipped a malformed record of {topic}.{member} in exchange {exchange}: {error}",
            topic=shown(topic),
            member=shown(member),
            exchange=shown(exchange),
            error=str(error)[:_LONGEST_SHOWN],
        )
        return None


def shown(text: str) -> str:
    """Write for the log what somebody else has written: not too much, and nothing that a terminal obeys."""
    return (text if text.isprintable() else repr(text))[:_LONGEST_SHOWN]


def lookup_order(sighting: Sighting) -> tuple[str, str, str, str]:
    """Order the records of one topic: by member and instance, then role and pool."""
    record = sighting.record
    return (record.member, record.instance, str(record.role), record.pool or "")


def records_order(sighting: Sighting) -> tuple[str, ...]:
    """Order all records of a store: by role, exchange, topic, member, instance and pool."""
    return sighting.record.key
