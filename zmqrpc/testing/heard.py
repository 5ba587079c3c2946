"""Records for tests of matchmakers, and what a watch said of them."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

from twisted.internet.defer import Deferred

from zmqrpc.errors import MatchmakerUnavailable
from zmqrpc.interfaces import IOutages
from zmqrpc.record import Record, Role, Sighting

PATIENCE = 10.0
"""Seconds after which what should happen soon counts as not happening."""

WELL: tuple[str, list[str]] = ("", [])
"""What a matchmaker says of outages that knows of none."""


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


class OutagesHeard:
    """
    What a matchmaker has told of outages since this was made; nothing where it does not provide `IOutages`.

    :ivar knows: whether it does.
    :ivar states: what `state` was each time that it told of a change, the oldest first.
    :ivar stop: ends the watch.
    """

    def __init__(self, matchmaker: Any) -> None:
        self._matchmaker = matchmaker
        self.knows = bool(IOutages.providedBy(matchmaker))
        self.states: list[tuple[str, list[str]]] = []
        self.stop: Callable[[], None] = matchmaker.watch_outages(self._turned) if self.knows else lambda: None

    @property
    def state(self) -> tuple[str, list[str]]:
        """What is so now: why nothing works, and what fails."""
        return (self._matchmaker.away(), list(self._matchmaker.failing())) if self.knows else WELL

    def are(self, state: tuple[str, list[str]]) -> bool:
        """Tell whether this is so, as was told last, and each time before was a change."""
        told = [WELL, *self.states]
        return self.state == told[-1] == state and all(before != after for before, after in pairwise(told))

    def _turned(self) -> None:
        self.states.append(self.state)
