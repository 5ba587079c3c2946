"""Noticing that what a watch shows has changed, in the thread that reads the file."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from itertools import islice
from math import inf

from zmqrpc.errors import MatchmakerUnavailable
from zmqrpc.matchmaker._entry import TopicKey
from zmqrpc.matchmaker._sqlite.file import Row, SqliteFile
from zmqrpc.matchmaker._sqlite.machine import Machine, Owner
from zmqrpc.record import Record

INTERVAL = 0.03
"""Seconds between two looks. Each costs some 200 us of a processor that has gone to sleep, so 0.7 % of one."""

ROLL_CALL = 0.2
"""Seconds between two calls of the roll: a kill(2) for each process that is watched, 0.6 us."""

INSPECTIONS = 20
"""Processes that are looked at closely at each roll call, 8 us each: for zombies, and pids that were given again."""

RETRY = 0.5
"""Seconds until a file that could not be read is tried again."""


class Lookout:
    """
    Looks at the watched topics: whenever the file has changed, a record expires, or a process has died.

    :param file: the file.
    :param machine: whose time and processes count.
    :param found: called with a topic and its rows after each change, and for each new watch.
    :param looked: called with the error of each look that failed, and with None for the first that works again.
    """

    def __init__(
        self,
        file: SqliteFile,
        machine: Machine,
        found: Callable[[TopicKey, list[Row]], None],
        looked: Callable[[MatchmakerUnavailable | None], None],
    ) -> None:
        self._file = file
        self._machine = machine
        self._found = found
        self._looked = looked
        self._failing = False
        self._shown: dict[TopicKey, list[Record] | None] = {}
        self._new: list[TopicKey] = []
        self._version: tuple[int, int, int] | None = None
        self._expires = inf
        self._owners: deque[Owner] = deque()
        self._next_roll_call = 0.0

    def watch(self, topic: TopicKey) -> None:
        """Show a topic at the next look, changed or not, and after each change."""
        self._shown[topic] = None
        self._new.append(topic)

    def unwatch(self, topic: TopicKey) -> None:
        """Show a topic no more."""
        self._shown.pop(topic, None)

    def look(self) -> float | None:
        """Look once; return the seconds until the next look, None when nothing is watched."""
        if not self._shown:
            return None
        begin = time.monotonic()
        try:
            # The version comes first: a change while we read makes us read once more.
            version = self._file.version()
            if version != self._version or self._machine.now() >= self._expires or self._somebody_died():
                self._expires = inf
                self._owners.clear()
                self._read(list(self._shown))
                self._version = version
            elif self._new:
                # Where many are watched, to read all of them for each new one would be most of the work.
                self._read([topic for topic in self._new if topic in self._shown])
            self._new.clear()
        except MatchmakerUnavailable as error:
            self._version = None
            self._failing = True
            self._looked(error)
            return RETRY
        if self._failing:
            self._failing = False
            self._looked(None)
        # Where many watch many, each change is work for all of them: looking takes a fifth of our time at most.
        return min(RETRY, max(INTERVAL, 4 * (time.monotonic() - begin)))

    def _read(self, topics: list[TopicKey]) -> None:
        owners: set[Owner] = set()
        for topic in topics:
            rows = self._file.read(topic)
            owners.update(row.owner for row in rows)
            self._expires = min([self._expires, *(row.expires for row in rows if row.expires is not None)])
            records = [row.record for row in rows]
            if records != self._shown[topic]:
                self._shown[topic] = records
                self._found(topic, rows)
        owners.difference_update(self._owners)
        self._owners.extend(owner for owner in owners if self._file.judges(owner))

    def _somebody_died(self) -> bool:
        now = time.monotonic()
        if now < self._next_roll_call:
            return False
        self._next_roll_call = now + ROLL_CALL
        if any(self._machine.is_gone(owner) for owner in self._owners):
            return True
        self._owners.rotate(INSPECTIONS)
        return any(self._machine.is_dead(owner) for owner in islice(self._owners, INSPECTIONS))
