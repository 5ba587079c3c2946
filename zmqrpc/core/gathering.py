"""What comes one by one and is handed on in batches: when one is full, or its first has waited long enough."""

from __future__ import annotations

from typing import Generic, TypeVar

from zmqrpc.core.agenda import NEVER

_Item = TypeVar("_Item")


class Gathering(Generic[_Item]):
    """
    Batches in the making, of several kinds.

    :param most: how many a full one holds, at least 1.
    :param seconds: how long the first of a batch waits at most.
    """

    def __init__(self, most: int, seconds: float) -> None:
        self._most = most
        self._seconds = seconds
        self._batches: dict[str, tuple[float, list[_Item]]] = {}

    def add(self, kind: str, item: _Item, now: float) -> list[_Item] | None:
        """
        Put one into the batch of its kind.

        :return: the batch, when it is full with it.
        """
        batch = self._batches.setdefault(kind, (now + self._seconds, []))[1]
        batch.append(item)
        if len(batch) < self._most:
            return None
        del self._batches[kind]
        return batch

    @property
    def wake_at(self) -> float:
        """When `take_due` next has something."""
        return min((due for due, _ in self._batches.values()), default=NEVER)

    def take_due(self, now: float) -> list[tuple[str, list[_Item]]]:
        """Take the batches whose time is up, full or not, each with its kind."""
        due = [(kind, batch) for kind, (when, batch) in self._batches.items() if when <= now]
        for kind, _ in due:
            del self._batches[kind]
        return due

    def hurry(self) -> None:
        """Have nothing wait from now on, nor what waits already."""
        self._seconds = 0.0
        self._batches = {kind: (-NEVER, batch) for kind, (_, batch) in self._batches.items()}
