"""What is to be published: a fan-out, what waits under one topic-key, and what one publisher is given at once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
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
    :ivar sequence: its place among all; not the number under its key.
    :ivar number: the number under its key, 0 before it has one.
    :ivar attempts: how often it was given to a publisher.
    :ivar returned: whether a publisher has given it back, since nobody subscribes there.
    :ivar published: whether a publisher has said so.
    :ivar uncertain: whether a publisher that was lost may have published it.
    """

    __slots__ = (
        *("attempts", "call", "deadline", "encoded", "key", "number", "published", "retry_at", "returned"),
        *("sequence", "uncertain"),
    )

    def __init__(self, call: Any, key: Key, sequence: int) -> None:
        self.call = call
        self.key = key
        self.sequence = sequence
        self.encoded: bytes = call.encoded
        self.deadline: float = call.deadline
        self.retry_at = NEVER
        self.number = self.attempts = 0
        self.returned = self.published = self.uncertain = False


class Key:
    """
    One topic-key.

    :ivar waiting: what is to be given to a publisher, in order, by `OutgoingFanout.sequence`.
    :ivar publisher: by which it goes; None before the first.
    :ivar kept: how many batches of it are kept of what was published.
    """

    __slots__ = ("kept", "name", "next_number", "publisher", "resume_at", "tried", "trouble", "waiting")

    def __init__(self, name: bytes, first: int) -> None:
        self.name = name
        self.next_number = first
        self.kept = 0
        self.waiting: OrderedDict[int, OutgoingFanout] = OrderedDict()
        self.publisher: str | None = None
        self.tried: set[str] = set()
        self.resume_at = -NEVER
        self.trouble = Trouble.NO_PUBLISHER

    def put_back(self, fanouts: Iterable[OutgoingFanout]) -> None:
        """Have fan-outs with numbers wait again, before those without one and in the order of the numbers."""
        numbered = list(fanouts)
        for fanout in self.waiting.values():
            if not fanout.number:
                break
            numbered.append(fanout)
        for fanout in sorted(numbered, key=lambda fanout: fanout.number, reverse=True):
            self.waiting[fanout.sequence] = fanout
            self.waiting.move_to_end(fanout.sequence, last=False)


class OutgoingBatch:
    """
    One payload for one publisher.

    :ivar publisher: its name.
    :ivar key: the topic-key.
    :ivar payload: the batch as bytes.
    :ivar fanouts: what is in it.
    """

    __slots__ = ("fanouts", "key", "payload", "published_at", "publisher")

    def __init__(self, publisher: str, key: Key, payload: bytes, fanouts: list[OutgoingFanout]) -> None:
        self.publisher = publisher
        self.key = key
        self.payload = payload
        self.fanouts = fanouts
        self.published_at = 0.0
