"""
Which published fan-outs a subscriber has had, and how many it has missed (docs/spec/wire, Through a publisher proxy).

Two series of numbers tell: each client numbers its fan-outs under a topic-key without gaps, whatever publisher they
come by, and each publisher counts what it publishes under it. Of each series every number is delivered or missed, never
both (`zmqrpc.core.series`). What was published last shows only in the counter, which its publisher repeats.

Both series see the same loss, so the number missed under a topic is the larger of what they say. While fan-outs are
published again (their client lost a publisher), two copies of one count twice at publishers, and clients alone are
believed.
"""

from __future__ import annotations

from collections import OrderedDict

from msgspec import Struct

from zmqrpc.core.age import DriftingOffset
from zmqrpc.core.agenda import NEVER
from zmqrpc.core.due import Due
from zmqrpc.core.seen import Seen
from zmqrpc.core.series import Series

LATE = 0.5
"""Seconds by which a sweep may be late and still judge: before a later one we have not read, and what is missing may be
there. It then waits as long again."""

REPEATS = 10.0
"""Seconds after a fan-out that was published again in which the counters of publishers tell nothing."""

MOST_GAPS_OF_ALL = 100_000
"""
How many gaps of all series wait for `GRACE`; past it the oldest are closed at once. A client may have many names. No
option, as the next: they bound how exact we are, and no queue (docs/howto/capacity).
"""

MOST_PUBLISHERS = 1000
"""How many publisher instances are remembered; for one more, the one that was silent for longest is forgotten."""

_NEW = Seen.NEW


class Missed(Struct, frozen=True):
    """
    Fan-outs that were missed for good.

    :ivar key: the topic-key.
    :ivar number: how many.
    :ivar client: the client instance whose numbers show it; None when it shows in the counter of a publisher.
    :ivar publisher: the publisher instance whose counter shows it.
    """

    key: bytes
    number: int
    client: bytes | None = None
    publisher: bytes | None = None


class FanoutClient:
    """
    One client instance whose fan-outs come published.

    :ivar heard_at: when the last came.
    :ivar until: the last deadline of what it sent.
    :ivar series: what came of it, by topic-key.
    """

    __slots__ = ("_offset", "heard_at", "series", "until")

    def __init__(self) -> None:
        self._offset: DriftingOffset | None = None
        self.heard_at = self.until = 0.0
        self.series: dict[bytes, Series] = {}

    def age(self, arrival: int, sent: int) -> int:
        """
        Return how many ms a batch was under way that has brought something new.

        :param arrival: our monotonic clock in ms.
        :param sent: that of the client, when it wrote the batch.
        """
        if self._offset is None:
            self._offset = DriftingOffset(arrival, sent)
        return self._offset.age(arrival, sent)


class _Losses:
    """
    What is known to be missed under one topic-key.

    A loss that one side has not seen for long after the other is one that it does not see at all: the side that is
    behind is then brought up to the other, so that it may see the next.

    :ivar repeats_until: when the counters of publishers tell something again.
    """

    __slots__ = ("_by_clients", "_by_publishers", "_clients_at", "_publishers_at", "_told", "repeats_until")

    def __init__(self) -> None:
        self._by_clients = self._by_publishers = self._told = 0
        self._clients_at = self._publishers_at = -NEVER
        self.repeats_until = -NEVER

    def missed(self, number: int, by_client: bool, now: float, ttl: float) -> int:
        """
        Take a loss that one side shows.

        :param ttl: seconds after which a silent client is forgotten, so that it shows nothing more.
        :return: how many it makes more than were told.
        """
        if self._clients_at + REPEATS < now:
            self._by_publishers = max(self._by_publishers, self._by_clients)
        if self._publishers_at + ttl < now:
            self._by_clients = max(self._by_clients, self._by_publishers)
        if by_client:
            self._by_clients += number
            self._clients_at = now
        elif now >= self.repeats_until:
            self._by_publishers += number
            self._publishers_at = now
        new = max(self._by_clients, self._by_publishers) - self._told
        self._told += new
        return new


class Fanouts:
    """
    Everything that one subscriber has had.

    :param most_clients: how many client instances are remembered; one more is not taken.
    :param ttl: seconds after which a silent client is forgotten, and a silent publisher; no client before the last
        deadline of what it has sent.
    :ivar wake_at: when `sweep` next has something; never late, perhaps early.
    """

    def __init__(self, most_clients: int, ttl: float) -> None:
        self.wake_at = NEVER
        self._judge_at = -NEVER
        self._most_clients = most_clients
        self._ttl = ttl
        self._clients: dict[bytes, FanoutClient] = {}
        self._publishers: OrderedDict[bytes, dict[bytes, Series]] = OrderedDict()
        self._publishers_heard: dict[bytes, float] = {}
        self._losses: dict[bytes, _Losses] = {}
        self._gapped: dict[tuple[bytes, bytes, bytes], Series] = {}
        self._due = Due(self._gapped)
        self._gaps = 0
        self._closed_early: list[Missed] = []
        self._look_at = NEVER

    def client(self, source: bytes, now: float) -> FanoutClient | None:
        """Return the client a batch is from; None when too many are remembered already."""
        client = self._clients.get(source)
        if client is None:
            if len(self._clients) >= self._most_clients:
                return None
            client = self._clients[source] = FanoutClient()
            self._look_by(now + self._ttl)
        client.heard_at = now
        return client

    def series(self, source: bytes, key: bytes, now: float) -> Series:
        """Return what came of a client, which is remembered, under a topic-key."""
        found = self._clients[source].series
        series = found.get(key)
        if series is None:
            series = found[key] = Series((key, source, b""), self._opened)
        series.now = now
        return series

    def counted(self, publisher: bytes, key: bytes, count: int, alone: bool, now: float) -> bool:
        """
        Take a counter.

        :param alone: whether it came without a message.
        :return: whether it came for the first time; a publisher may be subscribed to in more than one way.
        """
        series = self._counters(publisher, now).get(key)
        if series is None:
            series = self._publishers[publisher][key] = Series((key, b"", publisher), self._opened)
        series.now = now
        if alone:
            series.reached(count)
            return False
        return series.admit(count) is _NEW if count else False

    def _counters(self, publisher: bytes, now: float) -> dict[bytes, Series]:
        counters = self._publishers.get(publisher)
        if counters is None:
            if len(self._publishers) >= MOST_PUBLISHERS:
                self._forget_publisher(next(iter(self._publishers)))
            counters = self._publishers[publisher] = {}
            self._look_by(now + self._ttl)
        self._publishers.move_to_end(publisher)
        self._publishers_heard[publisher] = now
        return counters

    def repeated(self, key: bytes, now: float) -> None:
        """Take that fan-outs come that are published again."""
        self._losses_of(key).repeats_until = now + REPEATS

    def _losses_of(self, key: bytes) -> _Losses:
        losses = self._losses.get(key)
        if losses is None:
            losses = self._losses[key] = _Losses()
        return losses

    # Time

    def sweep(self, now: float) -> tuple[list[Missed], list[bytes]]:
        """
        Find what has been missed, and forget who was silent for too long.

        :return: what was missed, and the client instances that are forgotten.
        """
        if now - max(self._due.wake_at, self._judge_at) >= LATE:
            self._judge_at = now + LATE
        missed, self._closed_early = self._closed_early, []
        if now >= self._judge_at:
            while (series := self._due.pop(now)) is not None:
                missed += self._close(series, now, now)
        forgotten = self._forget(now) if now >= self._look_at else []
        self.wake_at = min(self._look_at, max(self._due.wake_at, self._judge_at))
        return missed, forgotten

    def _close(self, series: Series, until: float, now: float) -> list[Missed]:
        """Close the gaps of one whose time has come, or whose gaps are too many, as far as they are due at `until`."""
        gaps = series.gaps
        number = series.close(until)
        self._gaps -= gaps - series.gaps
        series.sweep_at = NEVER
        if series.gaps:
            self._due.by(series, series.wake_at)
        else:
            del self._gapped[series.key]
        key, client, publisher = series.key
        new = self._losses_of(key).missed(number, bool(client), now, self._ttl) if number else 0
        return [Missed(key, new, client or None, publisher or None)] if new else []

    def _forget(self, now: float) -> list[bytes]:
        since = now - self._ttl
        silent = [
            instance for instance, client in self._clients.items() if client.heard_at <= since and client.until <= now
        ]
        for instance in silent:
            self._drop(self._clients.pop(instance).series)
        for publisher in [publisher for publisher, heard_at in self._publishers_heard.items() if heard_at <= since]:
            self._forget_publisher(publisher)
        self._look_at = now + self._ttl / 2 if self._clients or self._publishers else NEVER
        return silent

    def _forget_publisher(self, publisher: bytes) -> None:
        del self._publishers_heard[publisher]
        self._drop(self._publishers.pop(publisher))

    def _drop(self, dropped: dict[bytes, Series]) -> None:
        for series in dropped.values():
            self._gaps -= series.gaps
            self._gapped.pop(series.key, None)
        if not self._gapped:
            self._due.clear()

    def _opened(self, series: Series) -> None:
        """Take that one has a gap more."""
        self._gaps += 1
        self._gapped[series.key] = series
        if self._due.by(series, series.wake_at):
            self.wake_at = min(self.wake_at, max(series.wake_at, self._judge_at))
        if self._gaps > MOST_GAPS_OF_ALL:
            now = series.now
            oldest = self._due.pop(NEVER)
            assert oldest is not None
            self._closed_early += self._close(oldest, oldest.wake_at, now)
            self.wake_at = min(self.wake_at, now)

    def _look_by(self, when: float) -> None:
        self._look_at = min(self._look_at, when)
        self.wake_at = min(self.wake_at, when)
