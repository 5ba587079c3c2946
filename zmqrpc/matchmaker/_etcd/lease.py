"""A lease, and what may be under it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import inf

import attrs


@attrs.define(eq=False)
class Lease:
    """
    Records that expire together: those that were written, and those of which nobody knows whether they were.

    :ivar id: what etcd knows it by; 0 for what never expires.
    :ivar seconds: after which it ends unless it is kept alive; 0 for never.
    :ivar ends: when that is, by the local clock.
    :ivar retired: whether one of its records was withdrawn: a registration of it that is late must not be kept alive.
    """

    id: int
    seconds: int
    ends: float = inf
    retired: bool = False
    _held: dict[str, tuple[str, int] | None] = attrs.field(factory=dict)  # None where that is not known

    def fits(self, entries: Mapping[str, str], seconds: int) -> bool:
        """
        Tell whether these records may be under it.

        It must not keep alive what is not refreshed with them.
        """
        if not self.id:
            return not seconds
        return self.seconds == seconds and not self.retired and self._held.keys() <= entries.keys()

    def known(self, entries: Mapping[str, str]) -> dict[str, int]:
        """Return which of these records were written as they are, by key, with the revision of the store then."""
        held = ((key, self._held.get(key)) for key in entries)
        return {key: found[1] for key, found in held if found is not None and found[0] == entries[key]}

    def holds(self, keys: Iterable[str]) -> bool:
        """Tell whether one of these may be under it."""
        return any(key in self._held for key in keys)

    def may_hold(self, keys: Iterable[str]) -> None:
        """Take that records are about to be written."""
        self._held |= dict.fromkeys(keys)

    def written(self, entries: Mapping[str, str], revision: int) -> None:
        """Take that records were written."""
        self._held |= {key: (value, revision) for key, value in entries.items()}

    def forget(self, keys: Iterable[str]) -> bool:
        """
        Take that records are under it no longer.

        :return: whether nothing is left of what was there.
        """
        held = len(self._held)
        for key in keys:
            self._held.pop(key, None)
        return held > 0 and not self._held
