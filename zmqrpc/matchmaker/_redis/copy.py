"""What a watch knows of one topic: the content at one time, and the changes since."""

from __future__ import annotations

from math import inf

import msgspec

from zmqrpc.matchmaker._entry import lookup_order
from zmqrpc.matchmaker._redis.answers import Change, Entry, Look
from zmqrpc.record import Role, Sighting


class TopicCopy:
    """
    The copy of a topic, without a clock, a connection or a wish to be right: it says when to look again.

    A change names the version that it changes. One that does not begin where the copy is means that others were missed,
    unless it is older than the copy.

    :ivar version: which version of the topic it is; -1 before anything is known.
    :ivar soonest: when the first of its records expires at the soonest, in milliseconds of the server's clock; 0 for
        never.
    :ivar heard: how many changes were heard, also those that were of no use.
    """

    def __init__(self) -> None:
        self.version = -1
        self.soonest = 0
        self.heard = 0
        self._entries: dict[str, Entry] = {}
        self._offset = 0.0  # of the local clock from the server's

    def __len__(self) -> int:
        """Count its records."""
        return len(self._entries)

    @property
    def expires(self) -> float:
        """When a record may have expired, by the local clock."""
        return self.soonest / 1000 + self._offset if self.soonest else inf

    def holds(self, instance: str) -> bool:
        """Tell whether an instance has a record in it."""
        records = (entry.record for entry in self._entries.values())
        return any(record.instance == instance and record.role is not Role.DOUBT for record in records)

    def looked(self, look: Look, heard: int, now: float) -> bool:
        """
        Take what a look has found.

        :param heard: how many changes had been heard when it was asked for.
        :param now: the local time.
        :return: False when it is older than the copy, and has to be made again.
        """
        # Where nothing was told meanwhile, a lower version means that the server lost what it had and its clock was set
        # back.
        if look.version < self.version and heard != self.heard:
            return False
        self._offset = now - look.now / 1000
        if look.entries is not None:
            self.version, self.soonest = look.version, look.soonest
            self._entries = {field: _not_after(entry, look.now) for field, entry in look.entries.items()}
        return True

    def told(self, change: Change, now: float) -> bool:
        """
        Take a change.

        :return: whether the copy is up to date; otherwise it is to be looked at again.
        """
        self.heard += 1
        if change.before != self.version:
            return change.before > 0 and 0 < change.after <= self.version
        self.version = change.after
        for field in change.gone:
            self._entries.pop(field, None)
        if change.entry is not None:
            # By whatever clock it was stored: that was now.
            self._entries[change.field] = _stored_at(change.entry, self._theirs(now))
            ends = [moment for moment in (self.soonest, change.entry.ends) if moment]
            self.soonest = min(ends, default=0)
        elif change.field:
            self._entries.pop(change.field, None)
        if change.soonest >= 0:
            self.soonest = change.soonest
        return True

    def sightings(self, now: float, source: str = "") -> list[Sighting]:
        """List the records, in the order of `IMatchmaker.lookup`."""
        theirs = self._theirs(now)
        return sorted((entry.sighting(theirs, source) for entry in self._entries.values()), key=lookup_order)

    def _theirs(self, now: float) -> int:
        """Return the server's time, in milliseconds."""
        return round((now - self._offset) * 1000)


def _not_after(entry: Entry, now: int) -> Entry:
    return entry if entry.stamp <= now else _stored_at(entry, now)


def _stored_at(entry: Entry, stamp: int) -> Entry:
    ends = entry.ends - entry.stamp + stamp if entry.ends else 0
    return msgspec.structs.replace(entry, stamp=stamp, ends=ends)
