"""How many calls each worker has had: a file that all of them map, with eight bytes for each."""

from __future__ import annotations

import mmap
import struct
from pathlib import Path

COUNTS = "calls"
"""The name of the file."""
BEGIN = "begin"
"""The name of the file at which all clients of the workers begin."""
LOOK = 0.01
"""Seconds from one look for either to the next."""
_SLOT = struct.Struct("=q")
_NOT_YET = -1


class Slots:
    """
    The counts of one run.

    :param path: of the file, which `make` makes.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._map: mmap.mmap | None = None

    def make(self, workers: int) -> None:
        """Make the file, and map it, for this process and those that it forks."""
        self._path.write_bytes(_SLOT.pack(_NOT_YET) * workers)
        with open(self._path, "r+b") as file:
            self._map = mmap.mmap(file.fileno(), 0)

    def put(self, worker: int, calls: int) -> None:
        """Write how many calls a worker has had; none is to say that it serves."""
        assert self._map is not None
        _SLOT.pack_into(self._map, _SLOT.size * worker, calls)

    def counts(self) -> list[int]:
        """Return how many calls each worker has had."""
        return [count for (count,) in _SLOT.iter_unpack(self._path.read_bytes())]

    def all_serve(self) -> bool:
        """Tell whether each worker has said so."""
        return _NOT_YET not in self.counts()
