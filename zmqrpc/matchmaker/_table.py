"""Records in the memory of this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import inf

import attrs
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from zmqrpc.interfaces import Changed
from zmqrpc.matchmaker._entry import TopicKey, lookup_order, records_order
from zmqrpc.matchmaker._topic_watches import TopicWatches
from zmqrpc.record import Record, Sighting


@attrs.frozen
class _Entry:
    record: Record
    stamp: float
    expires: float

    def sighting(self, now: float) -> Sighting:
        return Sighting(self.record, max(0.0, now - self.stamp), "this process", self.expires - self.stamp)


class Table:
    """
    The records of one process.

    Expired ones are removed when their topic is read; where somebody watches, one timer wakes the table for the next.

    :ivar clock: what tells the time, and runs the watches.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self.clock = clock
        self._topics: dict[TopicKey, dict[tuple[str, ...], _Entry]] = {}
        self._watches = TopicWatches(clock)
        self._timer: IDelayedCall | None = None

    def put(self, record: Record, expire: float) -> None:
        """Store a record for `expire` seconds, 0 or less for ever; the entry with its key is replaced."""
        topic = (record.exchange, record.topic)
        now = self.clock.seconds()
        entry = _Entry(record, now, now + expire if expire > 0 else inf)
        self._topics.setdefault(topic, {})[record.key] = entry
        self._changed(topic)

    def remove(self, record: Record) -> None:
        """Remove the entry with the record's key, if there is one."""
        topic = (record.exchange, record.topic)
        if self._topics.get(topic, {}).pop(record.key, None) is not None:
            self._changed(topic)

    def of_topic(self, topic: TopicKey) -> list[Sighting]:
        """List the live records of a topic, in the order of `IMatchmaker.lookup`."""
        now = self.clock.seconds()
        return sorted((entry.sighting(now) for entry in self._live(topic, now)), key=lookup_order)

    def all(self) -> list[Sighting]:
        """List all live records, in the order of `IMatchmaker.records`."""
        now = self.clock.seconds()
        found = (entry.sighting(now) for topic in list(self._topics) for entry in self._live(topic, now))
        return sorted(found, key=records_order)

    def watch(self, topic: TopicKey, changed: Changed) -> Callable[[], None]:
        """Watch a topic as `IMatchmaker.watch` says."""
        stop_watch = self._watches.add(topic, changed)
        self._changed(topic)

        def stop() -> None:
            stop_watch()
            self._arm()

        return stop

    def _live(self, topic: TopicKey, now: float) -> Iterator[_Entry]:
        entries = self._topics.get(topic, {})
        for key in [key for key, entry in entries.items() if entry.expires <= now]:
            del entries[key]
        if not entries:
            self._topics.pop(topic, None)
        return iter(entries.values())

    def _changed(self, topic: TopicKey) -> None:
        if topic in self._watches:
            self._watches.publish(topic, self.of_topic(topic))
            self._arm()

    def _arm(self) -> None:
        """Set the one timer to the next expiry that somebody would hear of."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        watched = (entries for topic, entries in self._topics.items() if topic in self._watches)
        soonest = min((entry.expires for entries in watched for entry in entries.values()), default=inf)
        if soonest < inf:
            self._timer = self.clock.callLater(max(0.0, soonest - self.clock.seconds()), self._time_passed)

    def _time_passed(self) -> None:
        self._timer = None
        now = self.clock.seconds()
        for topic in list(self._topics):
            if any(entry.expires <= now for entry in self._topics[topic].values()):
                self._changed(topic)
        self._arm()
