"""Which publishers can be used, and by which of them a topic goes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple
from zlib import crc32

SETTLED_SECONDS = 2.0
"""After which subscribers have found a publisher that came up; while there is another it is not used before."""


class _Up(NamedTuple):
    """
    A publisher that can be used.

    :ivar place: by which it is chosen.
    :ivar largest: the largest payload that it takes, bytes.
    :ivar since: when it came up.
    """

    place: bytes
    largest: int
    since: float


class UpPublishers:
    """
    The publishers that can be used, by name.

    :param instance: our own instance.
    :param largest: the largest payload that we write, bytes.
    """

    def __init__(self, instance: bytes, largest: int) -> None:
        self._instance = instance
        self._largest = largest
        self._up: dict[str, _Up] = {}

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._up)

    def add(self, name: str, place: str, largest: int, now: float) -> None:
        """Take that one can be used; the parameters are those of `PublishingState.publisher_up`."""
        self._up[name] = _Up(place.encode(), min(largest, self._largest), now)

    def remove(self, name: str) -> None:
        """Take that one cannot be used any more, if it could."""
        self._up.pop(name, None)

    def largest(self, name: str | None = None) -> int:
        """Return the largest payload that one takes; None for the one that takes most, of which there is one."""
        return self._up[name].largest if name is not None else max(up.largest for up in self._up.values())

    def fitting(self, size: int) -> list[str]:
        """List those that take a payload of so many bytes."""
        return [name for name, up in self._up.items() if size <= up.largest]

    def choose(self, names: Sequence[str], key: bytes, now: float) -> str:
        """Return by which of some a topic-key goes."""
        settled = [name for name in names if self._up[name].since + SETTLED_SECONDS <= now]
        # Many clients spread over the publishers, and each comes to the same one for one topic.
        return max(settled or names, key=lambda name: crc32(self._up[name].place + key + self._instance))
