"""
What a publisher counts: how many messages it has published under each filter that somebody subscribes to.

The counter goes with every message, and alone once a second while there is none, so that a subscriber can tell exactly
what it has missed, the last message included. Two rules keep that true:

- When the last subscriber of a filter has gone its count is kept for a minute. It was perhaps cut off, and what was
  written to its dead connection is counted.
- A filter that was forgotten, and is counted again, is counted under a new publisher instance: so nobody takes a count
  that begins again for the one before it.

What somebody subscribes to is never forgotten. One more than are counted at most is not counted, and nothing is
published under it, until another has been left.

Pure: what is to be published comes out as `Say`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from heapq import heappop, heappush

from msgspec import Struct

from zmqrpc.core.agenda import NEVER
from zmqrpc.core.keys import Counter, encode_counter, is_token, read_topic
from zmqrpc.core.surplus import NO_FILTER, Fault, Room, Surplus
from zmqrpc.core.tokens import OpenTokens

IDLE = 1.0
"""Seconds after which the counter of a filter is repeated that nothing was published under."""

_KEPT = 60.0
"""Seconds for which the count of a filter is kept that nobody subscribes to any more."""

_GATHER, _GATHER_EACH, _GATHER_MOST = 0.05, 50e-6, 0.5
"""
Seconds between two answers to those who subscribe: at least, for each subscription to the filter that most have joined,
and at most.
"""

_MOST_SAID = 256
"""How many counters are repeated at once, so that a sweep with many filters leaves time to others."""


class Say(Struct, frozen=True):
    """
    Publish a counter alone.

    :ivar key: the filter, a topic-key or a token.
    :ivar counter: the counter frame.
    """

    key: bytes
    counter: bytes


class _Count(Struct):
    """
    What is known of a filter.

    :ivar publisher: the publisher instance that it is counted under.
    :ivar said_at: when the counter was last sent, or before that the time that spreads it.
    :ivar wanted: whether anybody subscribes to it.
    :ivar waits: whether it stands among those whose counter is repeated.
    :ivar crowd: how many subscriptions to it have arrived since nobody subscribed; who left is not known.
    """

    key: bytes
    publisher: bytes
    number: int
    said_at: float
    count: int = 0
    wanted: bool = True
    waits: bool = False
    crowd: int = 0


class Publications:
    """
    The filters of one publisher, with their counters.

    :param instance: of the publisher.
    :param random_bytes: gives 16 random bytes, a new publisher instance each time.
    :param jitter: gives a number from 0.5 to 1, which spreads the counters of idle filters in time.
    :param most: how many filters are counted; for one more, one that nobody subscribes to any more is forgotten.
    """

    def __init__(
        self,
        instance: bytes,
        random_bytes: Callable[[], bytes],
        jitter: Callable[[], float],
        most: int,
    ) -> None:
        self._random_bytes = random_bytes
        self._jitter = jitter
        self._room = Room(most)
        self._instance = instance
        self._answer = encode_counter(Counter(instance, 0))
        self._renew = False
        self._made = 0
        self._counts: dict[bytes, _Count] = {}
        self._left: OrderedDict[bytes, float] = OrderedDict()
        self._surplus = Surplus(most)
        self._idle: list[tuple[float, int, _Count]] = []
        self._joined: dict[bytes, None] = {}
        self._tokens: dict[bytes, None] = {}
        self._open = OpenTokens()
        self._gather_until = -NEVER

    def __len__(self) -> int:
        """Return how many filters are counted, those included that somebody has left a moment ago."""
        return len(self._counts)

    # Who subscribes

    def subscribed(self, filter: bytes, connection: Hashable, now: float) -> Fault | None:
        """
        Take that a subscription to a filter has arrived; `end_pass` answers it.

        :param connection: by which it has come.
        :return: why it counts for nothing; None when it does not.
        """
        if is_token(filter):
            fault = self._open.subscribed(filter, connection)
            if fault is None:
                self._tokens[filter] = None
            return fault
        count = self._counts.get(filter)
        if count is None:
            if read_topic(filter) is None:
                return NO_FILTER
            if not self._make_room(filter):
                return self._surplus.add(filter)
            self._surplus.discard(filter)
            self._room.take(filter)
            count = self._begin(filter, now)
        elif not count.wanted:
            count.wanted = True
            count.crowd = 0
            del self._left[filter]
            self._wait(count, now)
        count.crowd += 1
        self._joined[filter] = None
        return None

    def unsubscribed(self, filter: bytes, now: float) -> None:
        """Take that nobody subscribes to a filter any more."""
        self._open.unsubscribed(filter)
        self._tokens.pop(filter, None)
        self._surplus.discard(filter)
        count = self._counts.get(filter)
        if count is not None and count.wanted:
            count.wanted = False
            self._joined.pop(filter, None)
            self._left[filter] = now + _KEPT
        self._take_surplus(now)

    def end_pass(self, now: float) -> list[Say]:
        """
        Return what answers the subscriptions that have arrived: the counter of each filter, once, and then the tokens.

        A counter goes to everybody who subscribes to the filter, so those who come in crowds are answered together: not
        more often than every 50 ms, and the larger the crowd is, the less often, down to every 500 ms.
        """
        if now < self._gather_until or not (self._joined or self._tokens):
            return []
        joined = [self._counts[key] for key in self._joined if key in self._counts]
        crowd = max((count.crowd for count in joined), default=0)
        self._gather_until = now + min(max(_GATHER, _GATHER_EACH * crowd), _GATHER_MOST)
        said = [_say(count) for count in joined]
        said += [Say(token, self._answer) for token in self._tokens]
        self._joined.clear()
        self._tokens.clear()
        return said

    # What is published

    def publish(self, key: bytes, now: float) -> bytes | None:
        """
        Count a message that is published now.

        :param key: a topic-key.
        :return: the counter frame that goes with it; None when nobody subscribes, or it is not counted, and nothing is
            to be published.
        """
        count = self._counts.get(key)
        if count is None or not count.wanted:
            return None
        count.count += 1
        count.said_at = now
        return encode_counter(Counter(count.publisher, count.count))

    # Time

    @property
    def wake_at(self) -> float:
        """When `tick` has to be called next; infinity for never."""
        idle = self._idle[0][0] if self._idle else NEVER
        left = next(iter(self._left.values())) if self._left else NEVER
        answer = self._gather_until if self._joined or self._tokens else NEVER
        return min(idle, left, answer)

    def tick(self, now: float) -> list[Say]:
        """Forget the filters that everybody has left; return the counters that are to be repeated, and answers."""
        while self._left and next(iter(self._left.values())) <= now:
            self._forget(next(iter(self._left)))
        said, most = self.end_pass(now), _MOST_SAID
        while self._idle and self._idle[0][0] <= now and most:
            count = heappop(self._idle)[2]
            count.waits = False
            most -= 1
            if not count.wanted:
                continue
            if count.said_at + IDLE <= now:
                said.append(_say(count))
                count.said_at = now
            self._wait_until(count, count.said_at + IDLE)
        return said

    # Counting

    def _make_room(self, filter: bytes) -> bool:
        """Forget those that everybody has left, the oldest first, until there is room; tell whether there is."""
        while self._left and not self._room.has(filter):
            self._forget(next(iter(self._left)))
        return self._room.has(filter)

    def _take_surplus(self, now: float) -> None:
        first = self._surplus.first
        if first is not None and self._make_room(first):
            for filter in self._surplus.take_into(self._room):
                self._begin(filter, now)
                self._joined[filter] = None

    def _begin(self, key: bytes, now: float) -> _Count:
        if self._renew:
            self._renew = False
            self._instance = self._random_bytes()
        self._made += 1
        count = self._counts[key] = _Count(key, self._instance, self._made, now)
        self._wait(count, now)
        return count

    def _forget(self, key: bytes) -> None:
        count = self._counts.pop(key)
        self._room.leave(key)
        count.wanted = False
        self._left.pop(key, None)
        self._joined.pop(key, None)
        self._renew = True

    def _wait(self, count: _Count, now: float) -> None:
        # As if it had been said at different times before, so that many who come at once are not repeated at once.
        count.said_at = now - IDLE * (1 - self._jitter())
        if not count.waits:
            self._wait_until(count, count.said_at + IDLE)

    def _wait_until(self, count: _Count, when: float) -> None:
        count.waits = True
        heappush(self._idle, (when, count.number, count))


def _say(count: _Count) -> Say:
    return Say(count.key, encode_counter(Counter(count.publisher, count.count)))
