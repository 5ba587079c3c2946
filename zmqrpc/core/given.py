"""
What publishers were given: what they have not answered, and what they have published a moment ago.

One that is lost may only be silent, or stopping, and answer yet. What it had goes by another at once, so that of it
only the order of its payloads is remembered, and what has not ended.
"""

from __future__ import annotations

from collections import OrderedDict, deque

from zmqrpc.core.agenda import NEVER
from zmqrpc.core.outgoing import OutgoingBatch, OutgoingFanout, OutgoingTopic

KEPT_SECONDS = 2.5
"""
For how long what was published is kept for another publisher: for one second before its own is lost, which may be known
1.5 s late (`zmqrpc.core.link_timers`).
"""

_MOST_LOST = 100
"""How many lost publishers are remembered that may answer yet."""


class GivenToOne:
    """
    What one publisher was given.

    :ivar unanswered: what it has not answered, by topic, in order.
    :ivar unanswered_bytes: how many bytes of payloads that is.
    :ivar kept: what it has published a moment ago, in order.
    :ivar forgotten: whether of what is unanswered only the number of payloads is remembered.
    """

    __slots__ = ("forgotten", "kept", "unanswered", "unanswered_bytes")

    def __init__(self) -> None:
        self.unanswered: dict[OutgoingTopic, deque[OutgoingBatch]] = {}
        self.unanswered_bytes = 0
        self.kept: deque[OutgoingBatch] = deque()
        self.forgotten = False

    def answer(self, topic: OutgoingTopic, first: tuple[int, int] | None) -> OutgoingBatch | None:
        """See `Given.answer`."""
        batches = self.unanswered.get(topic)
        if batches is None or (first is not None and not batches[0].begins_with(*first)):
            return None
        batch = batches[0]
        if batch.payloads > 1:
            batch.payloads -= 1
            return batch
        batches.popleft()
        if not batches:
            del self.unanswered[topic]
        self.unanswered_bytes -= batch.size
        return batch

    def forget(self) -> None:
        """Remember only how many payloads it has to answer, so that nothing later is taken for answered."""
        self.forgotten = True
        for batches in self.unanswered.values():
            first = batches[0]
            first.lost = ()
            first.payloads = sum(batch.payloads for batch in batches)
            first.size = sum(batch.size for batch in batches)
            batches.clear()
            batches.append(first)


class Given:
    """
    What all publishers were given, each by its name.

    :param most_bytes: how many bytes of payloads one publisher is given at once, are kept of what was published, and
        are remembered of what lost publishers had not answered; past it only how many payloads it is.
    :ivar kept_bytes: how many bytes of payloads are kept.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._given: dict[str, GivenToOne] = {}
        self._lost: OrderedDict[str, GivenToOne] = OrderedDict()
        self.kept_bytes = 0

    @property
    def unanswered_bytes(self) -> int:
        """How many bytes of payloads publishers that are up have not answered."""
        return sum(given.unanswered_bytes for given in self._given.values())

    def topics(self) -> set[OutgoingTopic]:
        """Return of which topics something is unanswered, by lost publishers too."""
        return {
            topic for by_name in (self._given, self._lost) for given in by_name.values() for topic in given.unanswered
        }

    def up(self, name: str) -> None:
        """Take that a publisher can be used; one that was only silent has what it was given before."""
        if name not in self._given:
            self._given[name] = self._lost.pop(name) if name in self._lost else GivenToOne()

    def is_full(self, name: str) -> bool:
        """Tell whether a publisher is to be given no more before it has answered."""
        given = self._given.get(name)
        return given is not None and given.unanswered_bytes >= self._most_bytes

    def take(self, batch: OutgoingBatch) -> None:
        """Take that a batch was written."""
        given = self._given[batch.publisher]
        given.unanswered.setdefault(batch.topic, deque()).append(batch)
        given.unanswered_bytes += batch.size
        batch.payload = b""

    def answer(self, name: str, topic: OutgoingTopic, first: tuple[int, int] | None = None) -> OutgoingBatch | None:
        """
        Take out the oldest batch that a publisher, lost or not, has not answered under a topic.

        :param first: number and attempt of its first message; None for any.
        """
        given = self._given.get(name) or self._lost.get(name)
        batch = given.answer(topic, first) if given is not None else None
        if given is not None and not given.unanswered:
            self._lost.pop(name, None)
        return batch

    def lose(self, name: str, now: float) -> dict[OutgoingTopic, list[OutgoingFanout]]:
        """Take that a publisher is lost; return what it had, and may have to go by another."""
        given = self._given.pop(name, None)
        again: dict[OutgoingTopic, list[OutgoingFanout]] = {}
        if given is None:
            return again
        for batch in given.kept:
            self._let_go_of(batch)
            if batch.published_at + KEPT_SECONDS > now:
                again.setdefault(batch.topic, []).extend(batch.fanouts)
        given.kept.clear()
        for topic, batches in given.unanswered.items():
            for batch in batches:
                if batch.lost is None:
                    again.setdefault(topic, []).extend(batch.lose())
        if given.unanswered:
            given.forgotten = False
            self._lost[name] = given
            self._bound_lost()
        return again

    def _bound_lost(self) -> None:
        """Remember less of what was lost first, but all of what was lost last."""
        if len(self._lost) > _MOST_LOST:
            self._lost.popitem(last=False)
        *others, _ = (given for given in self._lost.values() if not given.forgotten)
        size = sum(given.unanswered_bytes for given in self._lost.values() if not given.forgotten)
        for given in others:
            if size > self._most_bytes:
                size -= given.unanswered_bytes
                given.forget()

    def keep(self, batch: OutgoingBatch, now: float) -> float:
        """Keep what is published; let go of what was long ago, or is too much; return as `let_go`."""
        batch.published_at = now
        given = self._given[batch.publisher]
        given.kept.append(batch)
        batch.topic.kept += 1
        self.kept_bytes += batch.size
        return self._let_go(given, now)

    def let_go(self, now: float) -> float:
        """Keep no longer what was published long ago; return when there is more to let go of, `NEVER` for nothing."""
        return min((self._let_go(given, now) for given in self._given.values()), default=NEVER)

    def _let_go(self, given: GivenToOne, now: float) -> float:
        kept = given.kept
        while kept and (kept[0].published_at + KEPT_SECONDS <= now or self.kept_bytes > self._most_bytes):
            self._let_go_of(kept.popleft())
        return kept[0].published_at + KEPT_SECONDS if kept else NEVER

    def _let_go_of(self, batch: OutgoingBatch) -> None:
        self.kept_bytes -= batch.size
        batch.topic.kept -= 1
