"""Servers and proxies that are configured differently: what one publishes reaches only who subscribes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

import attrs
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from zmqrpc.core.agenda import NEVER
from zmqrpc.interfaces import IMatchmaker
from zmqrpc.record import Record, Role, Sighting
from zmqrpc.spelling import first_of
from zmqrpc.target import fault_of_name

SOON_SECONDS = 3.0
"""
Seconds after a server has come until its topics are looked up: it is registered when it has subscribed, or has tried to
for two. So no topic is looked up more often.
"""

LOOKUP_SECONDS = 0.1
"""
Seconds between two topics that are looked up: whoever says HELLO says what he likes, and must not load the matchmaker.
"""

MOST_TOPICS = 1000
"""How many topics wait to be looked up. What is left out is found when all records are looked at."""

_MOST_NAMED = 8


@attrs.define
class _Waiting:
    """
    A topic that is to be looked up.

    :ivar due_at: from when on; those that came later have a later one.
    :ivar came_at: when a server of it came last.
    """

    due_at: float
    came_at: float


class Disagreement:
    """
    Warns, once for each server, when a router proxy and servers disagree on ``use_pub_sub``.

    The topics of a server that comes to the proxy are looked up soon, one after the other, and all records now and
    then: a server may come to no proxy, or register late.

    :param publishes: what the proxy does.
    :param interval: seconds between two looks at all records.
    :param seconds: the monotonic clock.
    :param jitter: gives a number from 0.5 to 1, so that proxies do not look in step.
    """

    log = Logger()

    def __init__(
        self,
        matchmaker: IMatchmaker,
        publishes: bool,
        interval: float,
        seconds: Callable[[], float],
        jitter: Callable[[], float],
        wake_by: Callable[[float], None],
    ) -> None:
        self._matchmaker = matchmaker
        self._publishes = publishes
        self._interval = interval
        self._seconds = seconds
        self._jitter = jitter
        self._wake_by = wake_by
        self._look_at = NEVER
        self._free_at = 0.0
        self._topics: dict[tuple[str, str], _Waiting] = {}
        self._named: set[tuple[str, str, str]] = set()

    def begin(self, now: float) -> None:
        """Look now, and from then on."""
        self._look_at = now
        self.sweep(now)

    def server_came(self, topics: Iterable[tuple[str, str]]) -> None:
        """
        Look soon how a server is recorded.

        :param topics: exchange and name of what it says that it serves; nobody has checked it.
        """
        if self._look_at == NEVER:
            return
        now = self._seconds()
        for topic in topics:
            waiting = self._topics.get(topic)
            if waiting is not None:
                waiting.came_at = now
            elif len(self._topics) < MOST_TOPICS and not any(map(fault_of_name, topic)):
                self._topics[topic] = _Waiting(now + SOON_SECONDS, now)
        self._wake_by(self.wake_at)

    @property
    def wake_at(self) -> float:
        """When `sweep` has to be called next."""
        return min(self._look_at, self._look_up_at)

    @property
    def _look_up_at(self) -> float:
        first = next(iter(self._topics.values()), None)
        return NEVER if first is None else max(first.due_at, self._free_at)

    def sweep(self, now: float) -> None:
        """Look, and plan the next look."""
        # An outage is logged by the matchmaker.
        if now >= self._look_at:
            self._look_at = now + self._interval * (0.8 + 0.4 * (self._jitter() - 0.5))
            all_of_them: Deferred[list[Sighting]] = self._matchmaker.records()
            all_of_them.addCallbacks(self._compare, lambda _: None)
        if now >= self._look_up_at:
            self._look_up(now)
        self._wake_by(self.wake_at)

    def _look_up(self, now: float) -> None:
        """Look up the topic that has waited for longest."""
        topic = next(iter(self._topics))
        came_at = self._topics.pop(topic).came_at
        if now < came_at + SOON_SECONDS:
            # Who came last may not be registered yet.
            self._topics[topic] = _Waiting(now + SOON_SECONDS, came_at)
        self._free_at = now + LOOKUP_SECONDS
        looked_up: Deferred[list[Sighting]] = self._matchmaker.lookup(*topic)
        looked_up.addCallbacks(partial(self._compare, topic=topic), lambda _: None)

    def stop(self) -> None:
        """Look no more."""
        self._look_at = NEVER
        self._topics.clear()

    def _compare(self, sightings: Iterable[Sighting], topic: tuple[str, str] | None = None) -> None:
        """
        Name the servers that differ.

        :param topic: the one that all records are of; None for the records of all.
        """
        if self._look_at == NEVER:
            return
        records = [sighting.record for sighting in sightings]
        differing = {_name(record) for record in records if self._differs(record)}
        new = sorted(differing - self._named)
        # What agrees again is named once more if it differs later.
        self._named = differing | {name for name in self._named if topic is not None and name[:2] != topic}
        if not new:
            return
        names = first_of([f"{exchange}/{name}.{member}" for exchange, name, member in new], ", ", _MOST_NAMED)
        if self._publishes:
            self.log.warn(
                "use_pub_sub is true here and false for {names}: fan-outs are sent to each of these by itself; "
                "write the same for all services and proxies",
                names=names,
            )
        else:
            self.log.warn(
                "use_pub_sub is false here and true for {names}: this proxy publishes nothing for them; write "
                "the same for all services and proxies",
                names=names,
            )

    def _differs(self, record: Record) -> bool:
        return record.role is Role.SERVER and record.subscribes is not self._publishes


def _name(record: Record) -> tuple[str, str, str]:
    return record.exchange, record.topic, record.member
