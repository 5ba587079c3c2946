"""
Which published fan-outs a subscriber has had, and how many it has missed (docs/spec/wire, Through a publisher proxy).

Two series of numbers tell: each client numbers its fan-outs under a topic-key without gaps, whatever publisher they
come by, and each publisher counts what it publishes under it. A number of a client that has come is not taken again.
One that does not come within `GRACE` after a higher one is missed, and is not taken any more either: each fan-out is
delivered or counted, never both. What was published last shows only in the counter, which its publisher repeats.

Both series see the same loss, so the number missed under a topic is the larger of what they say. While fan-outs are
published again (their client lost a publisher), two copies of one count twice at publishers, and clients alone are
believed.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterator

from msgspec import Struct

from zmqrpc.core.age import DriftingOffset
from zmqrpc.core.agenda import NEVER
from zmqrpc.core.ranges import Ranges
from zmqrpc.core.seen import Seen

GRACE = 1.0
"""Seconds within which what is missing may still come by another publisher."""

LATE = 0.5
"""Seconds by which a sweep may be late and still judge: before a later one we have not read, and what is missing may be
there. It then waits as long again."""

REPEATS = 10.0
"""Seconds after a fan-out that was published again in which the counters of publishers tell nothing."""

MOST_GAPS = 1000
"""How many gaps of one series wait for `GRACE`; past it the oldest are closed at once."""

MOST_PUBLISHERS = 1000
"""How many publisher instances are remembered; for one more, the one that was silent for longest is forgotten."""

_NEW, _SETTLED = Seen.NEW, Seen.SETTLED


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


class Series:
    """
    Numbers that somebody gives without gaps; it may have begun long before we listen.

    What is below the first number that came is not missed, but may still come within `GRACE`.

    :param gap_opened: called when it has a gap and had none.
    :ivar now: the time by which what comes is judged; set by who takes a batch.
    :ivar repeats: how many numbers came that had come before, or too late.
    """

    __slots__ = ("_gap_opened", "_gaps", "_highest", "_lowest", "_missed", "_seen", "now", "repeats")

    def __init__(self, gap_opened: Callable[[Series], None]) -> None:
        self.now = 0.0
        self.repeats = 0
        self._gap_opened = gap_opened
        self._seen = Ranges()
        self._lowest = -1
        self._highest = self._missed = 0
        self._gaps: deque[tuple[float, int, int]] = deque()  # when it is closed, low, high

    def admit(self, number: int) -> Seen:
        """Take a number that has come; `Seen.NEW` when it is to be delivered, else `Seen.SETTLED`."""
        highest = self._highest
        seen = self._seen
        if number == highest + 1 and seen.watermark == highest and self._lowest >= 0:
            # Almost all that come: the next one, and nothing is missing. Two calls less, of 2 us that a delivery takes.
            self._highest = seen.watermark = number
            return _NEW
        if number > highest:
            if number > highest + 1:
                self._open(highest + 1, number - 1)
            self._highest = number
            if self._lowest < 0:
                self._lowest = number
        elif number in seen:
            self.repeats += 1
            return _SETTLED
        elif number < self._lowest:
            self._lowest = number
        seen.add(number)
        return _NEW

    def answered(self, number: int, reply: bytes) -> None:
        """Keep nothing: nobody is told what becomes of a published fan-out."""

    def reached(self, number: int) -> None:
        """Take that everything up to this number was given out, whether or not it comes."""
        highest = self._highest
        self._highest = max(number, highest)
        if self._lowest < 0:
            # It begins here: what was before is none of ours.
            self._lowest = number
            self._seen.add_range(1, number)
        elif number > highest:
            self._open(highest + 1, number)

    def _open(self, low: int, high: int) -> None:
        self._gaps.append((self.now + GRACE, low, high))
        if len(self._gaps) == 1:
            self._gap_opened(self)
        elif len(self._gaps) > MOST_GAPS:
            self._close_oldest()

    def _close_oldest(self) -> None:
        _, low, high = self._gaps.popleft()
        for begin, end in self._seen.add_range(low, high):
            if begin > self._lowest:
                self._missed += end - begin + 1

    @property
    def wake_at(self) -> float:
        """When `close` next has something."""
        return self._gaps[0][0] if self._gaps else NEVER

    def close(self, now: float) -> int:
        """
        Wait no longer for what is overdue: it will not be taken.

        :return: how many numbers have been missed.
        """
        while self.wake_at <= now:
            self._close_oldest()
        missed, self._missed = self._missed, 0
        return missed


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
        self._gaps: dict[Series, tuple[bytes, bytes | None, bytes | None]] = {}
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
            series = found[key] = Series(lambda series: self._opened(series, key, source, None))
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
            series = Series(lambda series: self._opened(series, key, None, publisher))
            self._publishers[publisher][key] = series
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
        if now - max(self._soonest_gap, self._judge_at) >= LATE:
            self._judge_at = now + LATE
        missed = list(self._close(now)) if now >= self._judge_at else []
        forgotten = self._forget(now) if now >= self._look_at else []
        self.wake_at = min(self._look_at, max(self._soonest_gap, self._judge_at))
        return missed, forgotten

    @property
    def _soonest_gap(self) -> float:
        return min((series.wake_at for series in self._gaps), default=NEVER)

    def _close(self, now: float) -> Iterator[Missed]:
        for series, (key, client, publisher) in list(self._gaps.items()):
            number = series.close(now)
            if series.wake_at == NEVER:
                del self._gaps[series]
            new = self._losses_of(key).missed(number, client is not None, now, self._ttl) if number else 0
            if new:
                yield Missed(key, new, client, publisher)

    def _forget(self, now: float) -> list[bytes]:
        since = now - self._ttl
        silent = [
            instance for instance, client in self._clients.items() if client.heard_at <= since and client.until <= now
        ]
        for instance in silent:
            for series in self._clients.pop(instance).series.values():
                self._gaps.pop(series, None)
        for publisher in [publisher for publisher, heard_at in self._publishers_heard.items() if heard_at <= since]:
            self._forget_publisher(publisher)
        self._look_at = now + self._ttl / 2 if self._clients or self._publishers else NEVER
        return silent

    def _forget_publisher(self, publisher: bytes) -> None:
        del self._publishers_heard[publisher]
        for series in self._publishers.pop(publisher).values():
            self._gaps.pop(series, None)

    def _opened(self, series: Series, key: bytes, client: bytes | None, publisher: bytes | None) -> None:
        self._gaps[series] = (key, client, publisher)
        self.wake_at = min(self.wake_at, max(series.wake_at, self._judge_at))

    def _look_by(self, when: float) -> None:
        self._look_at = min(self._look_at, when)
        self.wake_at = min(self.wake_at, when)
