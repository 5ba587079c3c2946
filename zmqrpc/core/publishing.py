"""
The fan-outs of one client instance that are to be published: their numbers, by which publisher, and until when.

Each is numbered under its topic-key when a publisher first takes it, without gaps, and keeps the number. All of a topic
go by one publisher as long as that is up, so that their order holds. Each payload is answered, in order: published, or
given back because nobody subscribes there (then it is tried at the other publishers, and in a moment again). What a
publisher that is lost had not answered goes by another under the same numbers, and so does what it had answered just
before: it may not have left that process. Subscribers drop what they get twice. What a caller has withdrawn goes by no
other.

A publisher is known here by its name, another one for each connection to it; a topic by its topic-key.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from zmqrpc.core.agenda import NEVER, Agenda
from zmqrpc.core.batch import BATCH_OVERHEAD, batch_room, decode_batch, encode_batch
from zmqrpc.core.call import Stage
from zmqrpc.core.envelope import Fanout, readdress
from zmqrpc.core.given import Given
from zmqrpc.core.keys import topic_key
from zmqrpc.core.outgoing import OutgoingBatch, OutgoingFanout, OutgoingTopic, Trouble
from zmqrpc.core.outgoing_topics import OutgoingTopics
from zmqrpc.core.up_publishers import UpPublishers
from zmqrpc.errors import RemoteProtocolError

RETRY_UNROUTABLE = 0.1
"""Seconds until what no publisher has a subscriber for is tried again: subscribers may just be connecting."""

RETRY_FULL = 0.05
"""Seconds until a publisher that took no more is written to again."""

_READDRESSED = 32
"""More bytes than the numbers take that a fan-out gets when it is given to a publisher."""


class PublishingState:
    """
    Every fan-out that was to be published and may have to be again.

    :param instance: our own instance.
    :param largest: the largest payload that we write, bytes.
    :param most_calls: how many fan-outs may wait, or be unanswered.
    :param most_bytes: how many bytes of them; also the bound of `Given`.
    :param most_topics: the bound of `OutgoingTopics`.
    :ivar wake_at: when `resume` or `overdue` next has something; never late, perhaps early.
    :ivar unrepeated: how many fan-outs of lost publishers could not be published again before their deadline, though
        their callers were told that they are published.
    """

    def __init__(self, instance: bytes, largest: int, most_calls: int, most_bytes: int, most_topics: int) -> None:
        self._instance = instance
        self._most_calls = most_calls
        self._most_bytes = most_bytes
        self._open: dict[int, OutgoingFanout] = {}
        self._open_bytes = 0
        self._by_call: dict[int, OutgoingFanout] = {}
        self._agenda = Agenda(self._open)
        self._due_at = self._resume_at = NEVER
        self._sequence = 0
        self.unrepeated = 0
        self._given = Given(most_bytes)
        self._topics = OutgoingTopics(most_topics, self._given.topics)
        self._known = self._topics.known
        self._up = UpPublishers(instance, largest)
        self._oversized: list[tuple[Any, bool, int]] = []
        self._ready: dict[OutgoingTopic, None] = {}

    def __len__(self) -> int:
        """Return how many fan-outs have not ended."""
        return len(self._open)

    def calls(self) -> list[Any]:
        """List the calls that have not ended, in the order in which they came."""
        return [fanout.call for fanout in self._open.values()]

    def why(self, call: Any) -> Trouble | None:
        """Say why a call is not published yet; None of one that is not to be."""
        fanout = self._by_call.get(id(call))
        if fanout is None:
            return None
        return fanout.topic.trouble if fanout.sequence in fanout.topic.waiting else Trouble.UNANSWERED

    @property
    def ready(self) -> bool:
        """Whether `next_batch` may have something."""
        return bool(self._ready)

    @property
    def unanswered_bytes(self) -> int:
        """How many bytes of payloads publishers that are up were given, and have not answered."""
        return self._given.unanswered_bytes

    def ways(self) -> Iterator[tuple[bytes, str]]:
        """Go through the topic-keys, each with the publisher that it went by last."""
        for key, topic in self._known.items():
            if topic.publisher is not None:
                yield key, topic.publisher

    @property
    def wake_at(self) -> float:
        """See above."""
        return min(self._due_at, self._resume_at)

    # What callers want

    def add(self, key: bytes, call: Any) -> bool:
        """Have a fan-out published under a topic-key; False when there is no room."""
        size = len(call.encoded)
        if len(self._open) >= self._most_calls or (self._open and self._open_bytes + size > self._most_bytes):
            return False
        topic = self._known.get(key)
        if topic is None:
            topic = self._topics.remember(key)
        self._sequence = sequence = self._sequence + 1
        fanout = OutgoingFanout(call, topic, sequence)
        self._open[sequence] = fanout
        self._by_call[id(call)] = fanout
        self._open_bytes += size
        self._due_at = min(self._due_at, call.deadline)
        topic.waiting[sequence] = fanout
        self._ready[topic] = None
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
        """End every fan-out that no publisher has ever taken, which has no number and leaves no gap; return them."""
        waiting = [fanout for topic in self._known.values() for fanout in topic.waiting.values() if not fanout.number]
        calls = [fanout.call for fanout in waiting]
        for fanout in waiting:
            self._end(fanout)
        return calls

    def _end(self, fanout: OutgoingFanout) -> bool:
        """End what is open; tell whether it may have been published."""
        call, fanout.call = fanout.call, None
        del self._open[fanout.sequence], self._by_call[id(call)]
        self._open_bytes -= len(fanout.encoded)
        if not fanout.published:
            fanout.encoded = b""
        waited = fanout.topic.waiting.pop(fanout.sequence, None) is not None
        return fanout.uncertain or not waited

    # What is to be written

    def next_batch(self, now: float) -> OutgoingBatch | None:
        """Return what to give to which publisher now; `taken` or `not_taken` is to be called with it."""
        while self._ready:
            topic = next(iter(self._ready))
            batch = self._batch(topic, now) if topic.waiting and now >= topic.resume_at else None
            if batch is not None:
                return batch
            del self._ready[topic]
        return None

    def _batch(self, topic: OutgoingTopic, now: float) -> OutgoingBatch | None:
        name = self._choose(topic, now)
        if name is None:
            return None
        if self._given.is_full(name):
            topic.trouble = Trouble.FULL
            return None
        room = batch_room(self._up.largest(name))
        fanouts: list[OutgoingFanout] = []
        messages: list[bytes] = []
        size = 0
        while (fanout := self._next(topic, now)) is not None:
            number = fanout.number or topic.next_number
            left = max(0, int((fanout.deadline - now) * 1000))
            message = readdress(fanout.encoded, number, fanout.attempts + 1, left)
            if messages and size + len(message) > room:
                break
            del topic.waiting[fanout.sequence]
            if not fanout.number:
                fanout.number = number
                topic.next_number = number + 1
            fanout.attempts += 1
            fanouts.append(fanout)
            messages.append(message)
            size += len(message)
        if not messages:
            return None
        return OutgoingBatch(name, topic, encode_batch(self._instance, None, int(now * 1000), (), messages), fanouts)

    def _next(self, topic: OutgoingTopic, now: float) -> OutgoingFanout | None:
        """Return what waits longest under a topic; what was published once already, and is too late, is let go."""
        while topic.waiting:
            fanout = next(iter(topic.waiting.values()))
            if not fanout.published or fanout.deadline > now:
                return fanout
            self.unrepeated += 1
            del topic.waiting[fanout.sequence]
        return None

    def _choose(self, topic: OutgoingTopic, now: float) -> str | None:
        """Return the publisher a topic goes by; None when there is none to be tried now."""
        fitting = self._fitting(topic, now)
        if topic.publisher in fitting and topic.publisher not in topic.tried:
            return topic.publisher
        left = [name for name in fitting if name not in topic.tried]
        if not left:
            topic.trouble = Trouble.UNROUTABLE if self._up else Trouble.NO_PUBLISHER
            if fitting:
                topic.tried.clear()
                self._resume_later(topic, now + RETRY_UNROUTABLE)
            return None
        topic.publisher = self._up.choose(left, topic.key, now)
        return topic.publisher

    def _fitting(self, topic: OutgoingTopic, now: float) -> list[str]:
        """List the publishers that take what is next under a topic; what none takes ends."""
        while self._up and (fanout := self._next(topic, now)) is not None:
            size = len(fanout.encoded) + _READDRESSED + BATCH_OVERHEAD
            fitting = self._up.fitting(size)
            if fitting:
                return fitting
            self._end_oversized(fanout)
        return []

    def _end_oversized(self, fanout: OutgoingFanout) -> None:
        call = fanout.call
        if call is not None:
            self._oversized.append((call, self._end(fanout), self._up.largest()))
            return
        self.unrepeated += fanout.published
        del fanout.topic.waiting[fanout.sequence]

    def take_oversized(self) -> list[tuple[Any, bool, int]]:
        """
        Return what has ended because no publisher that is up takes so much.

        :return: each with whether it may have been published, and the largest payload that one of them takes.
        """
        oversized, self._oversized = self._oversized, []
        return oversized

    def taken(self, batch: OutgoingBatch) -> None:
        """Take that a batch was written."""
        self._given.take(batch)
        for fanout in batch.fanouts:
            if fanout.call is not None:
                fanout.call.stage = Stage.SENT

    def not_taken(self, batch: OutgoingBatch, gone: bool, now: float) -> None:
        """
        Take that a batch was not written.

        :param gone: whether the publisher is lost, of which `publisher_lost` tells as well; else it is full.
        """
        batch.unnumber()
        self._wait_again(batch.topic, batch.fanouts, now)
        if gone:
            self._up.remove(batch.publisher)
        else:
            batch.topic.trouble = Trouble.FULL
            self._resume_later(batch.topic, now + RETRY_FULL)

    def _wait_again(self, topic: OutgoingTopic, fanouts: Iterable[OutgoingFanout], now: float) -> None:
        again = [
            fanout for fanout in fanouts if fanout.call is not None or (fanout.published and fanout.deadline > now)
        ]
        for fanout in again:
            if fanout.call is not None and not fanout.uncertain:
                fanout.call.stage = Stage.QUEUED
        topic.put_back(again)
        self._ready[topic] = None

    def _resume_later(self, topic: OutgoingTopic, when: float) -> None:
        topic.resume_at = when
        self._resume_at = min(self._resume_at, when)

    # What publishers say

    def publisher_up(self, name: str, place: str, largest: int, now: float) -> None:
        """
        Take that a publisher can be used.

        :param place: what it has in common with itself before, by which it is chosen.
        :param largest: the largest payload that it takes, bytes.
        """
        self._up.add(name, place, largest, now)
        self._given.up(name)
        for topic in self._known.values():
            if topic.waiting:
                topic.resume_at = -NEVER
                self._ready[topic] = None

    def publisher_lost(self, name: str, now: float) -> None:
        """Take that a publisher cannot be used any more: what it had goes by another."""
        self._up.remove(name)
        for topic, fanouts in self._given.lose(name, now).items():
            self._wait_again(topic, fanouts, now)
        # Also those that it was too full for.
        self._ready.update((topic, None) for topic in self._known.values() if topic.waiting)

    def published(self, name: str, key: bytes, now: float) -> list[Any]:
        """
        Take that a publisher has published the oldest payload that it was given under a topic-key.

        :return: the calls that end with it.
        """
        topic = self._known.get(key)
        batch = self._answer(name, topic)
        if topic is None or batch is None:
            return []
        topic.tried.clear()
        fanouts = batch.fanouts
        if batch.lost is not None:
            fanouts = [self._open[sequence] for sequence in batch.lost if sequence in self._open]
        calls = []
        for fanout in fanouts:
            if fanout.call is not None:
                fanout.published = True
                calls.append(fanout.call)
                self._end(fanout)
        if batch.lost is None:
            self._resume_at = min(self._resume_at, self._given.keep(batch, now))
        return calls

    def _answer(
        self, name: str, topic: OutgoingTopic | None, first: tuple[int, int] | None = None
    ) -> OutgoingBatch | None:
        """Take an answer, with the parameters and the result of `Given.answer`."""
        if topic is None:
            return None
        was_full = self._given.is_full(name)
        batch = self._given.answer(name, topic, first)
        if batch is not None and was_full:
            self._ready.update((each, None) for each in self._known.values() if each.waiting)
        return batch

    def returned(self, name: str, payload: bytes, full: bool, now: float) -> None:
        """
        Take that a publisher gives back a payload.

        :param full: whether it could not take it; else nobody subscribes to its topic-key there.
        """
        message = _first_message(payload)
        if message is None:
            return
        topic = self._known.get(topic_key(message.exchange, message.topic))
        batch = self._answer(name, topic, (message.sequence, message.attempt))
        if batch is None or batch.lost is not None:
            # What a lost publisher had waits for another already.
            return
        if not full:
            batch.topic.tried.add(name)
            for fanout in batch.fanouts:
                fanout.returned = True
        else:
            batch.topic.trouble = Trouble.FULL
            self._resume_later(batch.topic, now + RETRY_FULL)
        self._wait_again(batch.topic, batch.fanouts, now)

    # Time

    def resume(self, now: float) -> None:
        """Try again what could not be given to a publisher a moment ago, and let go of what was published."""
        self._resume_at = self._given.let_go(now)
        for topic in self._known.values():
            if topic.waiting and topic.resume_at <= now:
                self._ready[topic] = None
            elif topic.waiting:
                self._resume_at = min(self._resume_at, topic.resume_at)

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
            waits = sequence in fanout.topic.waiting
            trouble = fanout.topic.trouble if waits else Trouble.UNROUTABLE if fanout.returned else Trouble.UNANSWERED
            ended.append((call, trouble, self._end(fanout)))
        self._due_at = self._agenda.wake_at
        return ended


def _first_message(payload: bytes) -> Fanout | None:
    """Read the first message of a batch; None when it is none that was to be published."""
    try:
        batch = decode_batch(payload)
    except RemoteProtocolError:
        return None
    messages: list[Any] = batch.messages
    if batch.destination is not None or not messages or type(messages[0]) is not Fanout:
        return None
    return messages[0]
