"""
The fan-outs of one client instance that are to be published: their numbers, by which publisher, and until when.

Each is numbered under its topic-key when it is first given to a publisher, without gaps, and keeps the number. All of a
key go by one publisher as long as that is up, so that their order holds. Each payload is answered, in order: published,
or given back because nobody subscribes there (then it is tried at the other publishers, and in a moment again). What a
publisher that is lost had not answered goes by another under the same numbers, and so does what it had answered just
before: it may not have left that process. Subscribers drop what they get twice. One that is lost may only be silent, or
stopping, and answer yet.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, NamedTuple
from zlib import crc32

from zmqrpc.core.agenda import NEVER, Agenda
from zmqrpc.core.batch import BATCH_OVERHEAD, batch_room, decode_batch, encode_batch
from zmqrpc.core.envelope import Fanout, readdress
from zmqrpc.core.given import Given
from zmqrpc.core.keys import topic_key
from zmqrpc.core.outgoing import Key, OutgoingBatch, OutgoingFanout, Trouble
from zmqrpc.core.pending import Stage
from zmqrpc.errors import RemoteProtocolError

RETRY_UNROUTABLE = 0.1
"""Seconds until what no publisher has a subscriber for is tried again: subscribers may just be connecting."""

RETRY_FULL = 0.05
"""Seconds until a publisher that took no more is written to again."""

KEPT_SECONDS = 2.5
"""
For how long what was published is kept for another publisher: for one second before its own is lost, which may be known
1.5 s late (`zmqrpc.core.link_timers`).
"""

SETTLED_SECONDS = 2.0
"""After which subscribers have found a publisher that came up; while there is another it is not used before."""

_READDRESSED = 32
"""More bytes than the numbers take that a fan-out gets when it is given to a publisher."""

_FORGOTTEN_FOR_EACH = 10
"""For each key that is remembered at most, of how many that were forgotten the next number is."""

_MOST_LOST = 100
"""How many lost publishers are remembered that may answer yet."""


class _Up(NamedTuple):
    """
    A publisher that can be used.

    :ivar place: by which it is chosen.
    :ivar largest: the largest payload that it takes, bytes.
    :ivar since: when it came up.
    """

    place: bytes
    largest: int
    since: float


class PublishingState:
    """
    Every fan-out that was to be published and may have to be again.

    :param instance: our own instance.
    :param largest: the largest payload that we write, bytes.
    :param most_calls: how many fan-outs may wait, or be unanswered.
    :param most_bytes: how many bytes of them; also how many are given to one publisher at once, and kept of what was
        published.
    :param most_keys: how many keys are remembered, beside those that have something under way; of ten times as many
        only the next number, and what is forgotten altogether goes on where the highest numbers were.
    :ivar wake_at: when `resume` or `overdue` next has something; never late, perhaps early.
    :ivar unrepeated: how many fan-outs of lost publishers could not be published again before their deadline, though
        their callers were told that they are published.
    """

    def __init__(self, instance: bytes, largest: int, most_calls: int, most_bytes: int, most_keys: int) -> None:
        self._instance = instance
        self._largest = largest
        self._most_calls = most_calls
        self._most_bytes = most_bytes
        self._most_keys = most_keys
        self._keys: dict[bytes, Key] = {}
        self._forgotten: OrderedDict[bytes, int] = OrderedDict()
        self._first_number = 1
        self._open: dict[int, OutgoingFanout] = {}
        self._open_bytes = 0
        self._by_call: dict[int, OutgoingFanout] = {}
        self._agenda = Agenda(self._open)
        self._due_at = self._resume_at = NEVER
        self._sequence = 0
        self.unrepeated = 0
        self._publishers: dict[str, Given] = {}
        self._up: dict[str, _Up] = {}
        self._oversized: list[tuple[Any, bool, int]] = []
        self._lost: OrderedDict[str, dict[Key, deque[OutgoingBatch]]] = OrderedDict()
        self._kept_bytes = 0
        self._ready: dict[Key, None] = {}

    def __len__(self) -> int:
        """Return how many fan-outs have not ended."""
        return len(self._open)

    @property
    def ready(self) -> bool:
        """Whether `next_batch` may have something."""
        return bool(self._ready)

    @property
    def unanswered_bytes(self) -> int:
        """How many bytes publishers that are up were given, and have not answered."""
        return sum(publisher.unanswered_bytes for publisher in self._publishers.values())

    def ways(self) -> Iterator[tuple[bytes, str]]:
        """Go through the topic-keys, each with the publisher that it went by last."""
        for name, key in self._keys.items():
            if key.publisher is not None:
                yield name, key.publisher

    @property
    def wake_at(self) -> float:
        """See above."""
        return min(self._due_at, self._resume_at)

    # What callers want

    def add(self, name: bytes, call: Any) -> bool:
        """Have a fan-out published under a topic-key; False when there is no room."""
        size = len(call.encoded)
        if len(self._open) >= self._most_calls or (self._open and self._open_bytes + size > self._most_bytes):
            return False
        key = self._keys.get(name)
        if key is None:
            if len(self._keys) >= self._most_keys:
                self._forget_keys()
            key = self._keys[name] = Key(name, self._forgotten.pop(name, self._first_number))
        self._sequence = sequence = self._sequence + 1
        fanout = OutgoingFanout(call, key, sequence)
        self._open[sequence] = fanout
        self._by_call[id(call)] = fanout
        self._open_bytes += size
        self._due_at = min(self._due_at, call.deadline)
        key.waiting[sequence] = fanout
        self._ready[key] = None
        return True

    def withdraw(self, call: Any) -> bool:
        """
        End a fan-out, whatever became of it.

        :return: whether it may have been published.
        """
        fanout = self._by_call.get(id(call))
        return fanout is not None and self._end(fanout)

    def take_all(self) -> list[tuple[Any, bool]]:
        """End every fan-out; return each with whether it may have been published."""
        return [(fanout.call, self._end(fanout)) for fanout in list(self._open.values())]

    def take_unwritten(self) -> list[Any]:
        """End every fan-out that was never given to a publisher, which has no number and leaves no gap; return them."""
        waiting = [fanout for key in self._keys.values() for fanout in key.waiting.values() if not fanout.number]
        calls = [fanout.call for fanout in waiting]
        for fanout in waiting:
            self._end(fanout)
        return calls

    def _end(self, fanout: OutgoingFanout) -> bool:
        """End what is open; tell whether it may have been published."""
        call, fanout.call = fanout.call, None
        del self._open[fanout.sequence], self._by_call[id(call)]
        self._open_bytes -= len(fanout.encoded)
        waited = fanout.key.waiting.pop(fanout.sequence, None) is not None
        return fanout.uncertain or not waited

    def _forget_keys(self) -> None:
        """Make room for one key: forget those with nothing under way, beginning with the one that was made first."""
        busy = {key for publisher in self._publishers.values() for key in publisher.unanswered}
        busy.update(*self._lost.values())
        idle = (name for name, key in self._keys.items() if not (key.waiting or key.kept or key in busy))
        for name in list(islice(idle, len(self._keys) - self._most_keys + 1)):
            self._forgotten[name] = self._keys.pop(name).next_number
        while len(self._forgotten) > _FORGOTTEN_FOR_EACH * self._most_keys:
            _, number = self._forgotten.popitem(last=False)
            self._first_number = max(self._first_number, number)

    # What is to be written

    def next_batch(self, now: float) -> OutgoingBatch | None:
        """Return what to give to which publisher now; `taken` or `not_taken` is to be called with it."""
        while self._ready:
            key = next(iter(self._ready))
            batch = self._batch(key, now) if key.waiting and now >= key.resume_at else None
            if batch is not None:
                return batch
            del self._ready[key]
        return None

    def _batch(self, key: Key, now: float) -> OutgoingBatch | None:
        name = self._choose(key, now)
        if name is None:
            return None
        if self._publishers[name].unanswered_bytes >= self._most_bytes:
            key.trouble = Trouble.FULL
            return None
        room = batch_room(self._up[name].largest)
        fanouts: list[OutgoingFanout] = []
        messages: list[bytes] = []
        size = 0
        while (fanout := self._next(key, now)) is not None:
            number = fanout.number or key.next_number
            left = max(0, int((fanout.deadline - now) * 1000))
            message = readdress(fanout.encoded, number, fanout.attempts + 1, left)
            if messages and size + len(message) > room:
                break
            del key.waiting[fanout.sequence]
            if not fanout.number:
                fanout.number = number
                key.next_number = number + 1
            fanout.attempts += 1
            fanouts.append(fanout)
            messages.append(message)
            size += len(message)
        if not messages:
            return None
        return OutgoingBatch(name, key, encode_batch(self._instance, None, int(now * 1000), (), messages), fanouts)

    def _next(self, key: Key, now: float) -> OutgoingFanout | None:
        """Return what waits longest under a key; what was published once already, and is too late, is let go."""
        while key.waiting:
            fanout = next(iter(key.waiting.values()))
            if not fanout.published or fanout.deadline > now:
                return fanout
            self.unrepeated += 1
            del key.waiting[fanout.sequence]
        return None

    def _choose(self, key: Key, now: float) -> str | None:
        """Return the publisher a key goes by; None when there is none to be tried now."""
        fitting = self._fitting(key, now)
        if key.publisher in fitting and key.publisher not in key.tried:
            return key.publisher
        left = [name for name in fitting if name not in key.tried]
        if not left:
            key.trouble = Trouble.UNROUTABLE if self._up else Trouble.NO_PUBLISHER
            if fitting:
                key.tried.clear()
                self._resume_later(key, now + RETRY_UNROUTABLE)
            return None
        settled = [name for name in left if self._up[name].since + SETTLED_SECONDS <= now]
        # Many clients spread over the publishers, and each comes to the same one for one key.
        key.publisher = max(settled or left, key=lambda name: crc32(self._up[name].place + key.name + self._instance))
        return key.publisher

    def _fitting(self, key: Key, now: float) -> list[str]:
        """List the publishers that take what is next under a key; what none takes ends."""
        while self._up and (fanout := self._next(key, now)) is not None:
            size = len(fanout.encoded) + _READDRESSED + BATCH_OVERHEAD
            fitting = [name for name, publisher in self._up.items() if size <= publisher.largest]
            if fitting:
                return fitting
            self._end_oversized(fanout)
        return []

    def _end_oversized(self, fanout: OutgoingFanout) -> None:
        call = fanout.call
        if call is not None:
            largest = max(publisher.largest for publisher in self._up.values())
            self._oversized.append((call, self._end(fanout), largest))
            return
        self.unrepeated += fanout.published
        del fanout.key.waiting[fanout.sequence]

    def take_oversized(self) -> list[tuple[Any, bool, int]]:
        """
        Return what has ended because no publisher that is up takes so much.

        :return: each with whether it may have been published, and the largest payload that one of them takes.
        """
        oversized, self._oversized = self._oversized, []
        return oversized

    def taken(self, batch: OutgoingBatch) -> None:
        """Take that a batch was written."""
        publisher = self._publishers[batch.publisher]
        publisher.unanswered.setdefault(batch.key, deque()).append(batch)
        publisher.unanswered_bytes += len(batch.payload)
        for fanout in batch.fanouts:
            if fanout.call is not None:
                fanout.call.stage = Stage.SENT

    def not_taken(self, batch: OutgoingBatch, gone: bool, now: float) -> None:
        """
        Take that a batch was not written.

        :param gone: whether the publisher is lost, of which `publisher_lost` tells as well; else it is full.
        """
        for fanout in batch.fanouts:
            fanout.attempts -= 1
        self._wait_again(batch.key, batch.fanouts, now)
        if gone:
            self._up.pop(batch.publisher, None)
        else:
            batch.key.trouble = Trouble.FULL
            self._resume_later(batch.key, now + RETRY_FULL)

    def _wait_again(self, key: Key, fanouts: Iterable[OutgoingFanout], now: float) -> None:
        again = [
            fanout for fanout in fanouts if fanout.call is not None or (fanout.published and fanout.deadline > now)
        ]
        for fanout in again:
            if fanout.call is not None and not fanout.uncertain:
                fanout.call.stage = Stage.QUEUED
        key.put_back(again)
        self._ready[key] = None

    def _resume_later(self, key: Key, when: float) -> None:
        key.resume_at = when
        self._resume_at = min(self._resume_at, when)

    # What publishers say

    def publisher_up(self, name: str, place: str, largest: int, now: float) -> None:
        """
        Take that a publisher can be used.

        :param name: one for each connection to it.
        :param place: what it has in common with itself before, by which it is chosen.
        :param largest: the largest payload that it takes, bytes.
        """
        self._up[name] = _Up(place.encode(), min(largest, self._largest), now)
        publisher = self._publishers[name] = self._publishers.get(name, Given())
        # It was only silent, and answers what it had before what it gets now.
        for key, batches in self._lost.pop(name, {}).items():
            publisher.unanswered[key] = batches
        for key in self._keys.values():
            if key.waiting:
                key.resume_at = -NEVER
                self._ready[key] = None

    def publisher_lost(self, name: str, now: float) -> None:
        """Take that a publisher cannot be used any more: what it had goes by another."""
        self._up.pop(name, None)
        publisher = self._publishers.pop(name, None)
        if publisher is None:
            return
        again: dict[Key, list[OutgoingFanout]] = {}
        for batch in publisher.kept:
            self._let_go_of(batch)
            if batch.published_at + KEPT_SECONDS > now:
                again.setdefault(batch.key, []).extend(batch.fanouts)
        for key, batches in publisher.unanswered.items():
            for batch in batches:
                batch.payload = b""
                for fanout in batch.fanouts:
                    fanout.uncertain = True
                again.setdefault(key, []).extend(batch.fanouts)
        if publisher.unanswered:
            self._lost[name] = publisher.unanswered
            if len(self._lost) > _MOST_LOST:
                self._lost.popitem(last=False)
        for key, fanouts in again.items():
            self._wait_again(key, [fanout for fanout in fanouts if fanout.sequence not in key.waiting], now)

    def published(self, name: str, topic: bytes, now: float) -> list[Any]:
        """
        Take that a publisher has published the oldest payload that it was given under a key.

        :return: the calls that end with it.
        """
        key = self._keys.get(topic)
        publisher = self._publishers.get(name)
        batch = self._oldest(name, key)
        if key is None or batch is None:
            return []
        key.tried.clear()
        calls = []
        for fanout in batch.fanouts:
            fanout.published = True
            if fanout.call is not None:
                calls.append(fanout.call)
                self._end(fanout)
        if publisher is not None and batch.payload:
            batch.published_at = now
            publisher.kept.append(batch)
            key.kept += 1
            self._kept_bytes += len(batch.payload)
            self._let_go(publisher, now)
        return calls

    def _oldest(self, name: str, key: Key | None, payload: bytes | None = None) -> OutgoingBatch | None:
        """
        Take out the oldest batch that a publisher, lost or not, has not answered under a key.

        :param payload: that of the batch; None for any.
        """
        publisher = self._publishers.get(name)
        unanswered = publisher.unanswered if publisher is not None else self._lost.get(name, {})
        batches = unanswered.get(key) if key is not None else None
        if key is None or not batches or payload not in (None, batches[0].payload or payload):
            return None
        batch = batches.popleft()
        if not batches:
            del unanswered[key]
        if publisher is not None:
            was_full = publisher.unanswered_bytes >= self._most_bytes
            publisher.unanswered_bytes -= len(batch.payload)
            if was_full:
                self._ready.update((each, None) for each in self._keys.values() if each.waiting)
        return batch

    def _let_go(self, publisher: Given, now: float) -> None:
        """Keep no longer what was published long ago, or is too much."""
        kept = publisher.kept
        while kept and (kept[0].published_at + KEPT_SECONDS <= now or self._kept_bytes > self._most_bytes):
            self._let_go_of(kept.popleft())
        if kept:
            self._resume_at = min(self._resume_at, kept[0].published_at + KEPT_SECONDS)

    def _let_go_of(self, batch: OutgoingBatch) -> None:
        self._kept_bytes -= len(batch.payload)
        batch.key.kept -= 1

    def returned(self, name: str, payload: bytes, full: bool, now: float) -> None:
        """
        Take that a publisher gives back a payload.

        :param full: whether it could not take it; else nobody subscribes to its key there.
        """
        batch = self._oldest(name, self._key_of(payload), payload)
        if batch is None or not batch.payload:
            # What a lost publisher had waits for another already.
            return
        if not full:
            batch.key.tried.add(name)
            for fanout in batch.fanouts:
                fanout.returned = True
        else:
            batch.key.trouble = Trouble.FULL
            self._resume_later(batch.key, now + RETRY_FULL)
        self._wait_again(batch.key, batch.fanouts, now)

    def _key_of(self, payload: bytes) -> Key | None:
        try:
            batch = decode_batch(payload)
        except RemoteProtocolError:
            return None
        messages: list[Any] = batch.messages
        # What has a destination was not to be published.
        if batch.destination is not None or not messages or type(messages[0]) is not Fanout:
            return None
        return self._keys.get(topic_key(messages[0].exchange, messages[0].topic))

    # Time

    def resume(self, now: float) -> None:
        """Try again what could not be given to a publisher a moment ago, and let go of what was published."""
        self._resume_at = NEVER
        for publisher in self._publishers.values():
            self._let_go(publisher, now)
        for key in self._keys.values():
            if key.waiting and key.resume_at <= now:
                self._ready[key] = None
            elif key.waiting:
                self._resume_at = min(self._resume_at, key.resume_at)

    def overdue(self, now: float) -> list[tuple[Any, Trouble, bool]]:
        """End what is past its deadline; return each with why, and whether it may have been published."""
        ended = []
        for sequence in sorted(self._agenda.take_due(now)):
            fanout = self._open.get(sequence)
            if fanout is None:
                continue
            if fanout.deadline > now:
                self._agenda.enter(fanout)
                continue
            call = fanout.call
            waits = sequence in fanout.key.waiting
            trouble = fanout.key.trouble if waits else Trouble.UNROUTABLE if fanout.returned else Trouble.UNANSWERED
            ended.append((call, trouble, self._end(fanout)))
        self._due_at = self._agenda.wake_at
        return ended
