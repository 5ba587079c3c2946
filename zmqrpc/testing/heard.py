"""Records for tests of matchmakers, and what a watch said of them."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from zmqrpc.errors import MatchmakerUnavailable
from zmqrpc.record import Record, Role, Sighting

PATIENCE = 10.0
"""Seconds after which what should happen soon counts as not happening."""


def make_record(topic: str = "compute", member: str = "node-1", number: int = 1, **fields: Any) -> Record:
    """
    Make a record with everything that a test does not care about.

    :param number: tells instances apart.
    """
    fields.setdefault("role", Role.SERVER)
    fields.setdefault("exchange", "openstack")
    fields.setdefault("instance", f"{number:032x}")
    fields.setdefault("addresses", (f"tcp://127.0.0.1:{49152 + number % 16384}",))
    return Record(topic=topic, member=member, **fields)


def by_key(record: Record) -> tuple[str, ...]:
    """Order records as `IMatchmaker.records` does."""
    return record.key


def unheeded(hint: Deferred[None] | None) -> None:
    """Give a hint, and do not wait for what becomes of it; the matchmaker may be closed before that."""
    if hint is not None:
        hint.addErrback(lambda failure: failure.trap(MatchmakerUnavailable))


class Heard:
    """
    What a watch said: a callable for `IMatchmaker.watch`.

    :ivar calls: what it was called with each time, the oldest first.
    """

    def __init__(self) -> None:
        self.calls: list[list[Sighting]] = []

    def __call__(self, sightings: list[Sighting]) -> None:
        """Take one call."""
        self.calls.append(sightings)

    def last(self, *records: Record) -> bool:
        """Tell whether the last call had exactly these records, in this order."""
        return bool(self.calls) and [sighting.record for sighting in self.calls[-1]] == list(records)
