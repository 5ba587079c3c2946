"""What is to be published: a fan-out, what waits under one topic-key, and what one publisher is given at once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection
from enum import Enum
from typing import Any

from zmqrpc.core.agenda import NEVER


class Trouble(Enum):
    """Why a fan-out is not published yet."""

    NO_PUBLISHER = "no publisher is up"
    UNROUTABLE = "nobody is subscribed at any publisher"
    FULL = "the publisher takes no more"
    UNANSWERED = "the publisher has not said that it published it"


class OutgoingFanout:
    """
    One fan-out.

    :ivar call: whom its end is told, a `PendingCall`; None when it has ended or is published.
    :ivar sequence: its place among all; not the number under its topic-key.
    :ivar encoded: the message; empty when it has ended without being published, so that nobody writes it any more.
    :ivar deadline: that of the call, by the monotonic clock.
    :ivar retry_at: `NEVER`, for `zmqrpc.core.agenda`: it is tried again with all that waits under its topic-key.
    :ivar number: the number under its topic-key, 0 while no publisher has taken it.
    :ivar attempts: how often a publisher has taken it.
    :ivar returned: whether a publisher has given it back, since nobody subscribes there.
    :ivar published: whether a publisher has said so before its call ended.
    :ivar uncertain: whether a publisher that was lost may have published it.
    """

    __slots__ = (
        *("attempts", "call", "deadline", "encoded", "number", "published", "retry_at", "returned"),
        *("sequence", "topic", "uncertain"),
    )

    def __init__(self, call: Any, topic: OutgoingTopic, sequence: int) -> None:
        self.call = call
        self.topic = topic
        self.sequence = sequence
        self.encoded: bytes = call.encoded
        self.deadline: float = call.deadline
        self.retry_at = NEVER
        self.number = self.attempts = 0
        self.returned = self.published = self.uncertain = False


class OutgoingTopic:
    """
    What is published under one topic-key.

    :ivar key: the topic-key.
    :ivar next_number: the number of the next fan-out that no publisher has taken yet.
    :ivar waiting: what is to be given to a publisher, by `OutgoingFanout.sequence` and in that order, which is that of
        the numbers too.
    :ivar publisher: the name of the one by which it goes; None before the first.
    :ivar tried: the names of those that have given back what is next, since nobody subscribes there.
    :ivar resume_at: before when nothing is given to a publisher, by the monotonic clock.
    :ivar trouble: why what waits was not given to one when that was last tried.
    :ivar kept: how many batches of it are kept of what was published.
    """

    __slots__ = ("kept", "key", "next_number", "publisher", "resume_at", "tried", "trouble", "waiting")

    def __init__(self, key: bytes, first: int) -> None:
        self.key = key
        self.next_number = first
        self.kept = 0
        self.waiting: OrderedDict[int, OutgoingFanout] = OrderedDict()
        self.publisher: str | None = None
        self.tried: set[str] = set()
        self.resume_at = -NEVER
        self.trouble = Trouble.NO_PUBLISHER

    def put_back(self, fanouts: Collection[OutgoingFanout]) -> None:
        """Have fan-outs wait again, each in its place."""
        last = max((fanout.sequence for fanout in fanouts), default=0)
        ahead = list(fanouts)
        for fanout in self.waiting.values():
            if fanout.sequence > last:
                break
            ahead.append(fanout)
        for fanout in sorted(ahead, key=lambda fanout: fanout.sequence, reverse=True):
            self.waiting[fanout.sequence] = fanout
            self.waiting.move_to_end(fanout.sequence, last=False)


class OutgoingBatch:
    """
    One payload for one publisher.

    :ivar publisher: its name.
    :ivar payload: the batch as bytes; empty when it is written: what is in it is held once.
    :ivar size: how many bytes the payload has.
    :ivar fanouts: what is in it; nothing any more when its publisher was lost, since it goes by another then.
    :ivar lost: when its publisher was lost, the sequences of what was in it and had not ended; else None.
    :ivar payloads: how many it stands for; more than one where what was in them is forgotten.
    :ivar published_at: when its publisher said so, by the monotonic clock.
    """

    __slots__ = ("fanouts", "lost", "payload", "payloads", "published_at", "publisher", "size", "topic")

    def __init__(self, publisher: str, topic: OutgoingTopic, payload: bytes, fanouts: list[OutgoingFanout]) -> None:
        self.publisher = publisher
        self.topic = topic
        self.payload = payload
        self.size = len(payload)
        self.fanouts = fanouts
        self.lost: tuple[int, ...] | None = None
        self.payloads = 1
        self.published_at = 0.0

    def begins_with(self, number: int, attempt: int) -> bool:
        """Tell whether this is the batch whose first message has that number and that attempt."""
        if self.lost is not None:
            return True
        first = self.fanouts[0]
        return (first.number, first.attempts) == (number, attempt)

    def lose(self) -> list[OutgoingFanout]:
        """Take that its publisher is lost, which may answer yet; return what may go by another."""
        fanouts, self.fanouts = self.fanouts, []
        self.lost = tuple(fanout.sequence for fanout in fanouts if fanout.call is not None)
        for fanout in fanouts:
            fanout.uncertain = True
        return fanouts

    def unnumber(self) -> None:
        """Take that it was not written, and that nothing was given to a publisher under its topic-key since."""
        unwritten = []
        for fanout in self.fanouts:
            fanout.attempts -= 1
            if not fanout.attempts:
                unwritten.append(fanout)
        if unwritten:
            self.topic.next_number = unwritten[0].number
        for fanout in unwritten:
            fanout.number = 0
