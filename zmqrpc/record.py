"""What a matchmaker stores about one instance (docs/spec/records)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import StrEnum

import attrs
import msgspec

from zmqrpc.address import fault_of_address
from zmqrpc.errors import ConfigError
from zmqrpc.target import check_name, fault_of_name

PROXIES = ("$zmqrpc", "proxies")
"""The exchange and topic that all proxies are recorded under."""

SIDES = ("frontend", "backend", "publisher")
"""The sockets of a proxy, as fixed tables name them."""

MOST_ADDRESSES = 16
"""How many addresses a record has at most (docs/spec/records)."""

LONGEST_REASON = 200
"""How many characters the reason of a doubt has at most (docs/spec/records)."""

_HIGHEST_VERSION = 0xFFFF
_is_instance = re.compile(r"(?:[0-9a-f]{32})?").fullmatch


class Role(StrEnum):
    """What an instance does for others."""

    SERVER = "server"
    LISTENER = "listener"
    ROUTER = "router"
    PUBLISHER = "publisher"
    DOUBT = "doubt"
    """Somebody could not reach the instance: a hint beside its records (docs/spec/records, Doubts)."""


def _strings(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(values)


def _names(_: object, attribute: attrs.Attribute[str], value: str) -> None:
    check_name(attribute.name, value)


@attrs.frozen(cache_hash=True)
class Record:
    """
    One instance that can be reached under a topic.

    Two records are the same entry when `key` is equal; the rest is what a refresh may change.

    :ivar role: what the instance does.
    :ivar exchange: the name space of the topic.
    :ivar topic: the bare topic.
    :ivar member: the name under the topic (``Target.server``).
    :ivar instance: 32 lower-case hex digits, one start of a Node; empty where the store cannot know it (a fixed table).
    :ivar addresses: advertised addresses, the preferred one first; at least one. Of a proxy: first where clients
        connect, last where servers (of a router) or subscribers (of a publisher) do.
    :ivar versions: lowest and highest wire version the instance speaks.
    :ivar pool: the listeners' pool, for notifications; None for the pool without a name, and for what is no listener.
    :ivar subscribes: whether the instance subscribes to publishers (then a fan-out reaches it published).
    :ivar reason: of a doubt, what made somebody doubt the instance, for people; else empty.
    :raises ConfigError: a name is malformed, an address is missing, or the versions are out of order.
    """

    role: Role = attrs.field(converter=Role)
    exchange: str = attrs.field(validator=_names)
    topic: str = attrs.field(validator=_names)
    member: str = attrs.field(validator=_names)
    instance: str = ""
    addresses: tuple[str, ...] = attrs.field(default=(), converter=_strings)
    versions: tuple[int, int] = attrs.field(default=(1, 1), converter=tuple)
    pool: str | None = None
    subscribes: bool = False
    reason: str = ""

    def __attrs_post_init__(self) -> None:
        if not self.addresses:
            raise ConfigError(f"the record of {self.topic}.{self.member} has no address; give at least one")
        if len(self.versions) != 2 or self.versions[0] > self.versions[1]:
            raise ConfigError(f"the wire versions {self.versions} of {self.topic}.{self.member} are not (low, high)")

    @property
    def key(self) -> tuple[str, str, str, str, str, str]:
        """What identifies the entry: role, exchange, topic, member, instance and pool (empty for none)."""
        return (str(self.role), self.exchange, self.topic, self.member, self.instance, self.pool or "")


class Sighting(msgspec.Struct, frozen=True, gc=False):
    """
    A record as a store gave it: with its age there.

    :ivar record: the record.
    :ivar age: seconds since the instance registered or refreshed it, by the store's clock; None where the store tells
        that in `IMatchmaker.records` only.
    :ivar source: which store it was read from, for people; several where several have it.
    :ivar lasts: seconds after a refresh for which the store keeps it, infinity for ever; None where it does not tell.
    """

    record: Record
    age: float | None = None
    source: str = ""
    lasts: float | None = None


def fault_of_record(record: Record) -> str:
    """
    Tell what is wrong with a record that somebody else has written, beyond what `Record` refuses itself.

    :return: a clause that goes on after the name of the record; empty when nothing is (docs/spec/records).
    """
    if not _is_instance(record.instance):
        return "its instance is not 32 lower-case hex digits"
    if record.pool is not None and (fault := fault_of_name(record.pool)):
        return f"its pool {fault.partition(';')[0]}"
    if not 0 <= record.versions[0] <= record.versions[1] <= _HIGHEST_VERSION:
        return "its wire versions are out of range"
    if len(record.addresses) > MOST_ADDRESSES:
        return f"it has {len(record.addresses)} addresses, the most is {MOST_ADDRESSES}"
    faults = filter(None, map(fault_of_address, record.addresses))
    return next((f"an address {fault}" for fault in faults), "")


def well_formed(sightings: list[Sighting]) -> list[Sighting]:
    """Leave out the records whose instance is none, which no link can lead to: only a plugin gives such."""
    return [sighting for sighting in sightings if _is_instance(sighting.record.instance)]
