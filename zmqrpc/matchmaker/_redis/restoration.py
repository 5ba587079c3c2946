"""When one of several stores gets again what it has lost (docs/adr/0033)."""

from __future__ import annotations

from collections.abc import Callable
from math import inf

import attrs

from zmqrpc.core.backoff import backoff
from zmqrpc.core.registration import RETRY_FIRST, RETRY_MOST, STEADY
from zmqrpc.matchmaker._entry import TopicKey
from zmqrpc.record import Record, Role


@attrs.frozen
class _Held:
    record: Record
    until: float  # when it expires, unless it is refreshed


class Holdings:
    """
    The records that were registered through here, and neither withdrawn nor expired.

    Without doubts: these are anybody's to withdraw, and what a store has lost of them will be said again.
    """

    def __init__(self) -> None:
        self._held: dict[TopicKey, dict[tuple[str, ...], _Held]] = {}

    def put(self, record: Record, expire: float, now: float) -> None:
        """Take a record that is being registered."""
        if record.role is Role.DOUBT:
            return
        until = now + expire if expire > 0 else inf
        self._held.setdefault((record.exchange, record.topic), {})[record.key] = _Held(record, until)

    def remove(self, record: Record) -> None:
        """Take that a record is being withdrawn."""
        topic = (record.exchange, record.topic)
        held = self._held.get(topic, {})
        held.pop(record.key, None)
        if not held:
            self._held.pop(topic, None)

    @property
    def topics(self) -> list[TopicKey]:
        """Those of the records."""
        return list(self._held)

    def of(self, topic: TopicKey, now: float) -> dict[Record, float]:
        """Return the records of a topic, with the seconds for which each still is to be stored, 0 for ever."""
        held = self._held.get(topic)
        if not held:
            return {}
        return {one.record: 0.0 if one.until == inf else one.until - now for one in held.values() if one.until > now}


class Restoration:
    """
    When what one store lacks is stored there again: after a moment, which is longer each time until it stays.

    :param jitter: gives a number from 0.5 to 1.
    :ivar wake_at: when that is.
    :ivar times: how many there were since everything stayed for a while.
    """

    def __init__(self, jitter: Callable[[], float]) -> None:
        self._jitter = jitter
        self.times = 0
        self._ended_at = -inf
        self._under_way = False
        self.wake_at = inf

    def lacks(self, now: float) -> None:
        """Take that something is lacking."""
        if self._under_way or self.wake_at < inf:
            return
        if now - self._ended_at >= STEADY:
            self.times = 0
        self.wake_at = now + backoff(RETRY_FIRST, self.times, RETRY_MOST) * self._jitter()

    def rest(self) -> None:
        """Take that the store is away: nothing can be said of it, and the next time is the first."""
        self.wake_at = inf
        self.times = 0

    def begin(self) -> None:
        """Take that its time has come: what is lacking is being stored, if anything is."""
        self.wake_at = inf
        self._under_way = True
        self.times += 1

    def end(self, now: float, stored: bool) -> None:
        """Take that it is over; `stored` is whether anything was done."""
        self._under_way = False
        self._ended_at = now
        if not stored and self.times:
            self.times -= 1
