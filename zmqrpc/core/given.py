"""What one publisher proxy was given."""

from __future__ import annotations

from collections import deque

from zmqrpc.core.outgoing import Key, OutgoingBatch


class Given:
    """
    What one publisher was given.

    :ivar unanswered: what it has not answered, by key, in order.
    :ivar unanswered_bytes: how many bytes that is.
    :ivar kept: what it has published a moment ago, in order.
    """

    __slots__ = ("kept", "unanswered", "unanswered_bytes")

    def __init__(self) -> None:
        self.unanswered: dict[Key, deque[OutgoingBatch]] = {}
        self.unanswered_bytes = 0
        self.kept: deque[OutgoingBatch] = deque()
