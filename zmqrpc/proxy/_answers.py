"""What a proxy itself has to say, gathered until the end of a pass."""

from __future__ import annotations

from collections.abc import Callable

from zmqrpc.core.batch import BATCH_OVERHEAD, encode_batch
from zmqrpc.core.envelope import Nack, encode_message
from zmqrpc.core.relay import Answer

_MOST_BYTES = 16 * 1024
"""Of messages in one batch. Each write wakes ZeroMQ's thread, which took 30 us where refusing a message takes 6."""


class Answers:
    """
    The answers of one pass, in one batch for each connection.

    :param instance: of the proxy.
    :param seconds: the monotonic clock.
    :param write: takes side, identity, payload, and whether it is owed, as `RouterProxy` writes.
    """

    def __init__(
        self, instance: bytes, seconds: Callable[[], float], write: Callable[[int, bytes, bytes, bool], None]
    ) -> None:
        self._instance = instance
        self._seconds = seconds
        self._write = write
        self._gathered: dict[tuple[int, bytes], _Gathered] = {}

    def add(self, answer: Answer, largest: float) -> None:
        """
        Take one more.

        :param largest: the largest payload that its connection accepts, bytes; 0 where that is not known.
        """
        where = answer.side, answer.identity
        encoded = [encode_message(message) for message in answer.messages]
        size = sum(map(len, encoded))
        gathered = self._gathered.get(where)
        if gathered is not None and (
            gathered.instance != answer.instance or gathered.size + size + BATCH_OVERHEAD > min(_MOST_BYTES, largest)
        ):
            self.flush(*where)
            gathered = None
        if gathered is None:
            gathered = self._gathered[where] = _Gathered(answer.instance)
        gathered.encoded += encoded
        gathered.size += size
        gathered.owed |= any(type(each) is Nack and each.returned is not None for each in answer.messages)

    def flush(self, side: int, identity: bytes) -> None:
        """Write what there is for one connection."""
        gathered = self._gathered.pop((side, identity), None)
        if gathered is not None:
            now = int(self._seconds() * 1000)
            payload = encode_batch(self._instance, gathered.instance, now, (), gathered.encoded)
            self._write(side, identity, payload, gathered.owed)

    def end_pass(self) -> None:
        """Write what there is."""
        for where in list(self._gathered):
            self.flush(*where)


class _Gathered:
    """
    What one connection is told.

    :ivar instance: whom it is for, None where that is not known.
    :ivar owed: whether something of it is the one answer to something.
    """

    __slots__ = ("encoded", "instance", "owed", "size")

    def __init__(self, instance: bytes | None) -> None:
        self.instance = instance
        self.encoded: list[bytes] = []
        self.size = 0
        self.owed = False
