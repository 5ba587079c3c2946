"""Which proxies the matchmaker knows, one entry for each whatever it does (docs/spec/records, Proxies)."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from zmqrpc.core.topic import link_key
from zmqrpc.record import Record, Role


class KnownProxy(Struct, frozen=True):
    """
    One proxy.

    :ivar key: its instance in hex, or its frontend's address where its record names none.
    :ivar member: the name of its host.
    :ivar frontend: where clients connect.
    :ivar backend: where servers connect; None when it does not route.
    :ivar publishes: whether a record says that it publishes.
    :ivar records: its records.
    """

    key: str
    member: str
    frontend: str
    backend: str | None
    publishes: bool
    records: tuple[Record, ...] = ()

    @property
    def instance(self) -> bytes | None:
        """Its instance; None where the record does not say."""
        instance = next((record.instance for record in self.records if record.instance), "")
        return bytes.fromhex(instance) if instance else None


def known_proxies(records: Iterable[Record]) -> dict[str, KnownProxy]:
    """Put together what belongs to one proxy, by key."""
    found: dict[str, list[Record]] = {}
    for record in records:
        if record.role in (Role.ROUTER, Role.PUBLISHER):
            found.setdefault(link_key(record), []).append(record)
    return {key: _known(key, tuple(records)) for key, records in found.items()}


def _known(key: str, records: tuple[Record, ...]) -> KnownProxy:
    routers = [record for record in records if record.role is Role.ROUTER]
    first = (routers or records)[0]
    return KnownProxy(
        key=key,
        member=first.member,
        frontend=first.addresses[0],
        backend=routers[0].addresses[-1] if routers else None,
        publishes=any(record.role is Role.PUBLISHER for record in records),
        records=records,
    )
