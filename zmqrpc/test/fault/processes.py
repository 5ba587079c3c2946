"""The processes of a row: what the bench knows of each, and what the kernel tells about it."""

from __future__ import annotations

import os
import time
from collections import Counter
from pathlib import Path
from typing import Any

import attrs

_PAGE = os.sysconf("SC_PAGE_SIZE")
_SETTLES = 1.0
"""Seconds after which a process that is ready has what it needs."""

_JUDGED = ("member", "caller", "twistd")
"""The kinds of processes that may not grow: what is not here only brings faults about."""


@attrs.define(eq=False)
class Child:
    """
    One process.

    :ivar number: by which the nursery knows it.
    :ivar host: the name of its host; empty for that of the bench.
    :ivar log: where it writes its part of the history; empty when it has none.
    :ivar output: where it prints.
    :ivar instances: of its nodes, in hex, by name.
    :ivar addresses: where its nodes listen, by name.
    :ivar told: which of its other facts have come: ``ready``, ``idle``, ``held``, ``ended``; and ``signalled``, by the
        bench, of what may end.
    :ivar counts: what its nodes have counted; known after its stop.
    :ivar resident: bytes that it used when its row began, or a second after it was ready then, and the most since.
    :ivar descriptors: how many it had at that moment, or has in place of another that had so many.
    :ivar ready_at: when it was seen to be ready.
    :ivar status: its exit status, or less than 0 and the signal that ended it.
    """

    number: int
    kind: str
    name: str
    host: str
    order: dict[str, Any]
    output: str
    log: str = ""
    pid: int = 0
    instances: dict[str, str] = attrs.Factory(dict)
    addresses: dict[str, str] = attrs.Factory(dict)
    told: set[str] = attrs.Factory(set)
    counts: Counter[str] = attrs.Factory(Counter)
    resident: tuple[int, int] = (0, 0)
    descriptors: int = 0
    ready_at: float = 0.0
    ended_at: float = 0.0
    status: int = 0

    @property
    def runs(self) -> bool:
        """Whether it has not ended, as far as is known."""
        return "ended" not in self.told

    def hear(self, facts: dict[str, Any], now: float) -> None:
        """Note what it, or the nursery, tells."""
        self.pid = facts.get("pid", self.pid)
        self.instances |= facts.get("instances", {})
        self.addresses |= facts.get("addresses", {})
        self.counts.update(facts.get("counts", {}))
        self.told |= {"ready", "idle", "held", "ended"} & facts.keys()
        if "ready" in facts:
            self.ready_at = self.ready_at or now
        if "ended" in facts:
            self.ended_at, self.status = now, facts["status"]

    def is_ready(self) -> bool:
        """Tell whether it has said that it is ready."""
        if not self.ready_at and self.kind == "twistd" and "ready: " in self.printed():
            self.ready_at = time.monotonic()
        return bool(self.ready_at)

    def begin(self) -> None:
        """Note what it uses now, as what it may use."""
        used = self.used()
        self.resident = (used, used)
        # Where one stands in for another, some of its peers may be away just now.
        self.descriptors = max(self.descriptors, self.open())

    def look(self) -> None:
        """Note what it uses, if that is more than ever; and what it may use, when it has been ready for a second."""
        if not (self.pid and self.runs and self.kind in _JUDGED):
            return
        if self.resident[0]:
            self.resident = (self.resident[0], max(self.resident[1], self.used()))
        elif self.is_ready() and time.monotonic() >= self.ready_at + _SETTLES:
            self.begin()

    def grown(self) -> int:
        """Return by how many bytes it has grown."""
        return self.resident[1] - self.resident[0]

    def used(self) -> int:
        """Return how many bytes of memory it uses; 0 when it has ended."""
        try:
            return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * _PAGE
        except (OSError, IndexError):
            return 0

    def open(self) -> int:
        """Return how many descriptors it has open; 0 when it has ended."""
        try:
            return len(os.listdir(f"/proc/{self.pid}/fd"))
        except OSError:
            return 0

    def threads(self) -> int:
        """Return how many threads it has."""
        return len(os.listdir(f"/proc/{self.pid}/task"))

    def printed(self) -> str:
        """Return what it has printed."""
        path = Path(self.output)
        return path.read_text(errors="replace") if path.exists() else ""
