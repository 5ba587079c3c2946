"""
What several stores that know nothing of each other say together (docs/adr/0033): the rules, without a clock.

A record is there when one store has it. That nobody is there is believed when one store says so that has been there for
long enough to have been told of everybody. It is believed too when all say so, and none of them has lost what it held a
moment ago: a store that nobody has known before is new because everything is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from math import inf

import attrs

from zmqrpc.record import Record, Sighting

TRUST_SECONDS = 10.0
"""Seconds after which a store that was found new, or came back, has been told of everybody who is there."""

PATIENCE_SECONDS = 0.3
"""Seconds at most for which the others are waited for when one store has answered."""

Order = Callable[[Sighting], tuple[str, ...]]
"""What sightings are sorted by."""


@attrs.frozen
class Standing:
    """
    What is known of a store; times are those of the local clock.

    :ivar up: whether what was asked there last has worked.
    :ivar begun: since when it may have been told of everybody.
    :ivar left: when its last outage began.
    :ivar emptied: when it was found new, where somebody has known it before that.
    """

    up: bool = True
    begun: float = -inf
    left: float = -inf
    emptied: float = -inf

    @property
    def trusted_at(self) -> float:
        """When it is believed alone."""
        return self.begun + TRUST_SECONDS

    @property
    def young_until(self) -> float:
        """Until when it may not have been told again of everybody whom it has lost."""
        return self.emptied + TRUST_SECONDS


def merge(answers: Sequence[list[Sighting]], order: Order) -> list[Sighting]:
    """
    Unite what several stores have, each in this order.

    Of two that have a record, the one counts that heard of it last; its sources are all of them.
    """
    if len(answers) == 1:
        return answers[0]
    found: dict[tuple[str, ...], list[Sighting]] = {}
    for answer in answers:
        for sighting in answer:
            found.setdefault(sighting.record.key, []).append(sighting)
    return sorted((_united(sightings) for sightings in found.values()), key=order)


def believed(silent: Sequence[Standing], stores: int, now: float) -> bool:
    """
    Tell whether it is true that nobody is there.

    :param silent: the stores that say so.
    :param stores: how many there are.
    """
    return now >= believed_at(silent, stores)


def believed_at(silent: Sequence[Standing], stores: int) -> float:
    """Return when that is true unless anything changes; infinity for never."""
    trusted_at = min((standing.trusted_at for standing in silent), default=inf)
    if len(silent) < stores:
        return trusted_at
    return min(trusted_at, max(standing.young_until for standing in silent))


def _united(sightings: list[Sighting]) -> Sighting:
    if len(sightings) == 1:
        return sightings[0]
    newest = min(sightings, key=_age)
    return Sighting(
        newest.record, newest.age, _sources(tuple([sighting.source for sighting in sightings])), newest.lasts
    )


def _keys(sightings: Iterable[Sighting], instances: set[str]) -> set[tuple[str, ...]]:
    """Return the keys of the records of these instances."""
    return {sighting.record.key for sighting in sightings if sighting.record.instance in instances}


def _age(sighting: Sighting) -> float:
    return inf if sighting.age is None else sighting.age


@lru_cache(maxsize=64)
def _sources(sources: tuple[str, ...]) -> str:
    return ", ".join(sorted(set(sources)))


@attrs.define
class _Copy:
    sightings: list[Sighting] | None = None
    read_at: float = -inf


class TopicUnion:
    """
    The copies of one topic, one of each store.

    A copy counts while its store is up, and has been read since it came back. That of another goes on to count until a
    store is there that is trusted, since who is away has forgotten nobody.

    :param stores: how many there are.
    :param order: of what is shown.
    :ivar shown: what is shown, None for nothing yet.
    :ivar wake_at: when `view` has to be asked again though nothing has happened.
    """

    def __init__(self, stores: int, order: Order) -> None:
        self._copies = [_Copy() for _ in range(stores)]
        self._order = order
        self._first_at = inf
        self.shown: list[Sighting] | None = None
        self.wake_at = inf

    def read(self, store: int, sightings: list[Sighting], now: float) -> None:
        """Take the copy of a store."""
        self._copies[store] = _Copy(sightings, now)
        self._first_at = min(self._first_at, now)

    def view(self, standings: Sequence[Standing], now: float, held: bool = False) -> list[Sighting] | None:
        """
        Return what is to be shown.

        :param held: whether somebody is to be there as far as we know, since he was registered here.
        :return: None for nothing new: nothing is known, nobody is there and that is not believed, or a store that is up
            is still waited for.
        """
        self.wake_at = inf
        known = [number for number, copy in enumerate(self._copies) if copy.sightings is not None]
        unread = any(standing.up for number, standing in enumerate(standings) if number not in known)
        if not known:
            return None
        if unread and now < self._first_at + PATIENCE_SECONDS:
            self.wake_at = self._first_at + PATIENCE_SECONDS
            return None
        current = [number for number in known if self.is_current(number, standings[number])]
        trusted = any(now >= standings[number].trusted_at for number in current)
        if not trusted and len(known) > len(current):
            self.wake_at = min((standings[number].trusted_at for number in current), default=inf)
        counting = current if trusted else known
        union = merge([self._copies[number].sightings or [] for number in counting], self._order)
        silent = [standings[number] for number in current]
        # Who has registered somebody, or was shown somebody, has to see that all have lost him.
        lost = (held or self.shown is not None) and len(silent) == len(self._copies)
        if not union and not lost and not believed(silent, len(self._copies), now):
            self.wake_at = min(self.wake_at, believed_at(silent, len(self._copies)))
            return None
        self.shown = union
        return union

    def is_current(self, store: int, standing: Standing) -> bool:
        """Tell whether a store is up, and its copy has been read since it came back."""
        copy = self._copies[store]
        return standing.up and copy.sightings is not None and copy.read_at >= standing.left

    def lacking(self, store: int, records: Iterable[Record]) -> list[Record]:
        """
        List which of these records a store lacks though they are shown, as far as its copy has been read.

        What is not shown is lacking everywhere, which whoever watches can see.
        """
        sightings = self._copies[store].sightings
        if sightings is None:
            return []
        records = list(records)
        instances = {record.instance for record in records}
        there = _keys(sightings, instances)
        lacking = [record for record in records if record.key not in there]
        if lacking and self.shown is not None:
            shown = _keys(self.shown, instances)
            return [record for record in lacking if record.key in shown]
        return lacking
