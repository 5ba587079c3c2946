"""
Which of many is due next, found without a look at all of them: of many links few are due, and that is asked often.

A time that is put off or taken back leaves its entry behind, which is passed over when it comes up.
"""

from __future__ import annotations

from collections.abc import Mapping
from heapq import heapify, heappop, heappush
from typing import Any, Generic, Protocol, TypeVar

from zmqrpc.core.agenda import NEVER

_SPARE = 100


class Timed(Protocol):
    """
    What can be due.

    :ivar key: by which the owner of `Due` knows it; keys have an order.
    :ivar sweep_at: when it is due; set by `Due.by`, and to `NEVER` by whoever has seen to it.
    """

    key: Any
    sweep_at: float


T = TypeVar("T", bound=Timed)


class Due(Generic[T]):
    """
    When each is due.

    :param known: everything that can be, by its key; what is taken out of it is due no more.
    """

    def __init__(self, known: Mapping[Any, T]) -> None:
        self._known = known
        self._entries: list[tuple[float, Any]] = []

    @property
    def wake_at(self) -> float:
        """The soonest time, or one before it that is no more; infinity for never."""
        return self._entries[0][0] if self._entries else NEVER

    def by(self, each: T, when: float) -> bool:
        """
        Have something due at `when` or sooner.

        :return: whether it was not before.
        """
        if when >= each.sweep_at:
            return False
        each.sweep_at = when
        entries = self._entries
        heappush(entries, (when, each.key))
        if len(entries) > 2 * len(self._known) + _SPARE:
            entries[:] = [(known.sweep_at, known.key) for known in self._known.values() if known.sweep_at < NEVER]
            heapify(entries)
        return True

    def pop(self, now: float) -> T | None:
        """Give one whose time has come, None when there is none; until `sweep_at` is set anew it is not due sooner."""
        entries = self._entries
        while entries and entries[0][0] <= now:
            when, key = heappop(entries)
            each = self._known.get(key)
            if each is not None and when == each.sweep_at:
                return each
        return None

    def __len__(self) -> int:
        """Count the entries, those that are left behind included."""
        return len(self._entries)

    def clear(self) -> None:
        """Forget every time."""
        self._entries.clear()
