"""What a watch knows of one topic: the content at one revision, and the changes since."""

from __future__ import annotations

from zmqrpc.matchmaker._entry import lookup_order
from zmqrpc.matchmaker._etcd.answers import Change, Look
from zmqrpc.record import Record, Role, Sighting


class TopicCopy:
    """
    The copy of a topic, without a clock or a connection.

    :ivar store: the id of the store that it is of; empty for one that nobody has written to.
    :ivar revision: that of the store; -1 before anything is known.
    :ivar heard: how many changes were heard.
    """

    def __init__(self) -> None:
        self.store = ""
        self.revision = -1
        self.heard = 0
        self._records: dict[str, Record] = {}

    def __len__(self) -> int:
        """Count its records."""
        return len(self._records)

    def holds(self, instance: str) -> bool:
        """Tell whether an instance has a record in it."""
        return any(record.instance == instance and record.role is not Role.DOUBT for record in self._records.values())

    def looked(self, look: Look, heard: int) -> bool:
        """
        Take what a look has found.

        :param heard: how many changes had been heard when it was asked for.
        :return: False when it is older than the copy, and of no use.
        """
        # Where nothing was heard meanwhile, an earlier revision means that the store has gone back, to a backup.
        if look.store == self.store and look.revision < self.revision and heard != self.heard:
            return False
        self.store, self.revision = look.store, look.revision
        self._records = {entry.key: entry.record for entry in look.entries if entry.record is not None}
        return True

    def told(self, change: Change) -> bool:
        """
        Take a change, of which what is known already is left out: a watch that begins again tells it twice.

        :return: whether there was anything new.
        """
        self.heard += 1
        fresh = [entry for entry in change.entries if entry.revision > self.revision]
        for entry in fresh:
            if entry.record is not None:
                self._records[entry.key] = entry.record
            else:
                self._records.pop(entry.key, None)
            self.revision = entry.revision if entry is fresh[-1] else self.revision
        return bool(fresh)

    def sightings(self, source: str) -> list[Sighting]:
        """List the records, in the order of `IMatchmaker.lookup`, without ages."""
        return sorted((Sighting(record, None, source) for record in self._records.values()), key=lookup_order)
