"""
What is gathered for one peer during a pass, and the batches of it that a full connection did not take.

Hot path: `Link.hand_over` and `Caller.write` append to `messages` themselves, because a function call would cost every
message.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from zmqrpc.core.batch import batch_room, encode_batch
from zmqrpc.interfaces import SENT

_NONE: Any = ()
"""What stands in for no batches: a deque takes 760 bytes, and most of ten thousand clients never need one."""

RETRY_FULL = 0.05
"""Seconds until a connection that took no more is written to again."""


class Outbox:
    """
    The outbox of one peer.

    :param largest: the largest payload that both ends accept, bytes.
    :ivar messages: what was gathered, encoded.
    :ivar size: bytes of it.
    :ivar room: how many bytes of messages one batch takes.
    :ivar batches: payloads not written yet, each with the mark it was sealed with.
    :ivar waiting: bytes of them.
    :ivar written: the mark of the last batch that was written; 0 before the first.
    """

    __slots__ = ("batches", "messages", "room", "size", "waiting", "written")

    def __init__(self, largest: int) -> None:
        self.messages: list[bytes] = []
        self.size = 0
        self.batches: deque[tuple[bytes, int]] = _NONE
        self.waiting = self.written = 0
        self.limit(largest)

    def limit(self, largest: int) -> None:
        """Take the largest payload that both ends accept, in bytes."""
        self.room = batch_room(largest)

    def seal(self, source: bytes, destination: bytes | None, sent: int, settled: Sequence[int], mark: int = 0) -> None:
        """Make a batch of what was gathered, of which there must be something."""
        payload = encode_batch(source, destination, sent, settled, self.messages)
        self.messages = []
        self.size = 0
        self._add(payload, mark)

    def write(self, identity: Any, send: Callable[[Any, bytes], int]) -> int:
        """
        Write the batches until one is not taken, which is kept.

        :param identity: an `Identity`.
        :param send: as `IBoundRouter.send`, for that kind of identity.
        :return: `SENT` when all are written, else what became of the first that is left.
        """
        batches = self.batches
        while batches:
            payload, mark = batches[0]
            fate = send(identity, payload)
            if fate != SENT:
                return fate
            batches.popleft()
            self.waiting -= len(payload)
            self.written = mark
        return SENT

    def put_back(self, payload: bytes) -> None:
        """Keep a payload that came back from the way, to be written again."""
        self._add(payload, self.written)

    def _add(self, payload: bytes, mark: int) -> None:
        if self.batches is _NONE:
            self.batches = deque()
        self.batches.append((payload, mark))
        self.waiting += len(payload)

    def rest(self) -> None:
        """Take no more room than before the first batch, if nothing waits."""
        if not self.batches:
            self.batches = _NONE

    def drop_oldest(self) -> None:
        """Give up the oldest batch that is not written."""
        self.waiting -= len(self.batches.popleft()[0])

    def drop_all(self) -> None:
        """Give up every batch that is not written; what was gathered since stays."""
        self.batches = _NONE
        self.waiting = 0

    def clear(self) -> None:
        """Give up the batches, and what was gathered since."""
        self.drop_all()
        self.messages = []
        self.size = 0
