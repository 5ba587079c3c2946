"""What one record of the matchmaker tells, for people and for programs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import inf
from typing import Any

import attrs

from zmqrpc.record import Record, Role, Sighting

HEADINGS = (
    *("TOPIC", "MEMBER", "ROLE", "AGE", "STATE", "ADDRESS"),
    *("EXCHANGE", "INSTANCE", "SUSPICION", "SOURCE"),
)

_MOST_GRACE = 10.0
"""Seconds at most that a refresh may be overdue: for so long a node waits at most between two tries."""

_MOST_FIXED = 2.0
"""Seconds after which a line of a fixed table is one of a file that cannot be used now: it is looked at more often."""

_SHOWN_DIGITS = 8
"""Digits of an instance that people are shown; ``--json`` has all."""


@attrs.frozen
class Listed:
    """
    One record with what else the store tells of its instance.

    :ivar sighting: the record, its age and its source.
    :ivar state: ``fresh``; ``late``, when it has not been refreshed for longer than it takes; ``fixed`` for a line that
        people wrote, ``stale`` when that file cannot be used now; ``unknown`` when the store tells no age.
    :ivar doubt: what others say of the instance; None for nothing.
    """

    sighting: Sighting
    state: str
    doubt: Sighting | None

    @property
    def for_ever(self) -> bool | None:
        """Whether the store keeps it without a refresh; None where it does not tell."""
        lasts = self.sighting.lasts
        return None if lasts is None else lasts == inf

    @property
    def row(self) -> tuple[str, ...]:
        """It as cells below `HEADINGS`."""
        record = self.sighting.record
        never = ", for ever" if self.for_ever and self.state in ("fresh", "late", "unknown") else ""
        return (
            record.topic,
            f"{record.member} ({record.pool})" if record.pool else record.member,
            str(record.role),
            _age(self.sighting.age),
            f"{self.state}{never}",
            ",".join(record.addresses),
            record.exchange,
            record.instance[:_SHOWN_DIGITS] or "-",
            self._suspicion,
            self.sighting.source or "-",
        )

    @property
    def _suspicion(self) -> str:
        if self.doubt is None:
            return "-"
        reason = self.doubt.record.reason or "no reason is told"
        return reason if self.doubt.age is None else f"{_age(self.doubt.age)} ago: {reason}"

    @property
    def description(self) -> dict[str, Any]:
        """It for programs; times in seconds."""
        record, doubt = self.sighting.record, self.doubt
        return {
            "role": str(record.role),
            "exchange": record.exchange,
            "topic": record.topic,
            "member": record.member,
            "instance": record.instance,
            "addresses": list(record.addresses),
            "age": _rounded(self.sighting.age),
            "expires_in": self._expires_in,
            "for_ever": self.for_ever,
            "state": self.state,
            "source": self.sighting.source,
            "suspicion": {"reason": doubt.record.reason, "age": _rounded(doubt.age)} if doubt is not None else None,
            "versions": list(record.versions),
            "pool": record.pool,
            "subscribes": record.subscribes,
        }

    @property
    def _expires_in(self) -> float | None:
        age, lasts = self.sighting.age, self.sighting.lasts
        return None if age is None or lasts is None or lasts == inf else _rounded(max(0.0, lasts - age))


def listed(sightings: Iterable[Sighting], update: float | None, usual: float) -> Iterator[Listed]:
    """
    Put together what belongs together: doubts are told with what they are about, and not for themselves.

    :param update: seconds between two refreshes that the settings name; None where these follow from how long the store
        keeps a record.
    :param usual: the same where the store does not tell that.
    """
    sightings = list(sightings)
    doubts = {_entry(each.record): each for each in sightings if each.record.role is Role.DOUBT}
    for each in sightings:
        if each.record.role is not Role.DOUBT:
            doubt = doubts.get(_entry(each.record)) if each.record.instance else None
            yield Listed(each, state_of(each, update, usual), doubt)


def state_of(sighting: Sighting, update: float | None, usual: float) -> str:
    """Tell the state of a record; see `Listed` and `listed`."""
    age, lasts = sighting.age, sighting.lasts
    if age is None:
        return "unknown"
    if not sighting.record.instance:
        return "stale" if age > _MOST_FIXED else "fixed"
    due = usual
    if update is not None:
        due = update
    elif lasts is not None:
        due = min(180.0, lasts / 2)
    return "late" if age > due + min(_MOST_GRACE, due / 2) else "fresh"


def _entry(record: Record) -> tuple[str, str, str, str]:
    return (record.exchange, record.topic, record.member, record.instance)


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)


def _age(seconds: float | None) -> str:
    """Write an age so that it can be compared at a glance."""
    if seconds is None:
        return "-"
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
