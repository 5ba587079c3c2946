"""
The duplicate filter: what one client instance has sent us and has not settled (docs/spec/wire, Settled).

It follows RIFL (SOSP 2015): bounded by what is unsettled, not by time. Hot path: one dict of ints to bytes for each
client, because a dict entry of untracked values costs the garbage collector nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

from zmqrpc.core.envelope import has_run
from zmqrpc.core.ranges import Ranges
from zmqrpc.core.reply_memory import ReplyMemory


class Seen(Enum):
    """What is known about a sequence."""

    NEW = "new"
    RUNNING = "running"
    SETTLED = "settled"
    FULL = "full"
    RAN = "ran"
    FORGOTTEN = "forgotten"


# Looking an enum's member up by name takes 0.15 us, a global 0.03.
_NEW = Seen.NEW
_RUNNING = b""
_RAN = b"+"
_FORGOTTEN = b"-"
"""What is left of an answer that was dropped: whether it said that the method had run to its end."""

_SMALL = 512
"""Bytes of a reply that is kept as long as its number, which takes a third of that itself: refusals are as small."""


class DuplicateFilter:
    """
    The messages of one pair, at the server.

    :param most_unsettled: how many messages may be unsettled; one more is `Seen.FULL`, once, and then settled.
    :param most_bytes: how many bytes of replies are kept; past it the oldest are forgotten, not the messages.
    :param memory: what they are part of; None for a filter that is alone.
    :ivar room: how many bytes may be kept before the memory is asked, which sets it.
    """

    __slots__ = ("_bytes", "_highest", "_memory", "_most_unsettled", "_settled", "_unsettled", "most_bytes", "room")

    def __init__(self, most_unsettled: int, most_bytes: int, memory: ReplyMemory | None = None) -> None:
        self._most_unsettled = most_unsettled
        self._memory = memory
        self.most_bytes = most_bytes
        self.room = most_bytes if memory is None else 0
        self._unsettled: dict[int, bytes] = {}
        self._settled = Ranges()
        self._bytes = 0
        self._highest = 0

    def __len__(self) -> int:
        """Return how many messages are unsettled."""
        return len(self._unsettled)

    @property
    def unused(self) -> bool:
        """Whether nothing ever came: then nothing is missed when it is forgotten."""
        return not (self._highest or self._unsettled or self._settled.watermark)

    @property
    def reply_bytes(self) -> int:
        """Bytes of replies that are kept."""
        return self._bytes

    def admit(self, sequence: int) -> Seen | bytes:
        """
        Record the sequence, unless it was seen before.

        :return: `Seen.NEW` when it is to run now (it then counts as running); the encoded reply when it has run;
            else what is known.
        """
        unsettled = self._unsettled
        if sequence > self._highest:
            # The usual case: higher than all that was admitted or settled.
            if len(unsettled) >= self._most_unsettled:
                return self._no_room(sequence)
            self._highest = sequence
            unsettled[sequence] = _RUNNING
            return _NEW
        known = unsettled.get(sequence)
        if known is None:
            if sequence in self._settled:
                return Seen.SETTLED
            if len(unsettled) >= self._most_unsettled:
                return self._no_room(sequence)
            unsettled[sequence] = _RUNNING
            return _NEW
        if known is _RUNNING:
            return Seen.RUNNING
        if known is _RAN:
            return Seen.RAN
        return Seen.FORGOTTEN if known is _FORGOTTEN else known

    def _no_room(self, sequence: int) -> Seen:
        # Its caller is told that it does not run, so another copy of it may not find room later.
        self.settle((0, sequence, sequence))
        return Seen.FULL

    def answered(self, sequence: int, reply: bytes) -> None:
        """
        Keep the encoded reply (or acknowledgement) for a repetition.

        One that is settled by now is not kept, and neither is a second one.
        """
        unsettled = self._unsettled
        if unsettled.get(sequence) is not _RUNNING:
            return
        unsettled[sequence] = reply
        self._bytes += len(reply)
        if self._bytes > self.room:
            self._make_room(sequence, len(reply))

    def settle(self, flat: Sequence[int]) -> None:
        """
        Take what a batch says its client has settled: those replies are dropped, those messages never run.

        There are no more gaps in it than the messages a client may leave unsettled; past that the lowest are settled
        too.
        """
        settled = self._settled
        if len(flat) == 1:
            # The usual case: everything up to one number.
            if flat[0] <= settled.watermark:
                return
            fresh = settled.add_range(1, flat[0])
        else:
            fresh = settled.merge(flat) + settled.narrow(self._most_unsettled)
        highest = settled.highest
        if highest > self._highest:
            self._highest = highest
        unsettled = self._unsettled
        span = 0
        for low, high in fresh:
            span += high - low + 1
        # A hostile watermark may be 2**63: never count up to it when it is cheaper to look at what is kept.
        if span <= len(unsettled):
            ended = [sequence for low, high in fresh for sequence in range(low, high + 1)]
        else:
            ended = [sequence for sequence in unsettled if sequence in settled]
        size = 0
        for sequence in ended:
            reply = unsettled.pop(sequence, _RUNNING)
            if reply is not _FORGOTTEN and reply is not _RAN:
                size += len(reply)
        self._bytes -= size

    def _make_room(self, newest: int, size: int) -> None:
        memory, number = self._memory, 0
        if self._bytes > self.most_bytes:
            # Down to half, so that the walk over what is forgotten already is paid once for many replies.
            number = self.forget_oldest(self.most_bytes // 2, newest if size <= self.most_bytes else 0)
        if memory is not None:
            if number:
                memory.dropped(number, "max_reply_memory")
            memory.lend(self)

    def forget_oldest(self, most_bytes: int, spared: int = 0) -> int:
        """
        Forget the oldest replies until no more than so many bytes are left; return how many.

        :param spared: a sequence whose reply is kept all the same.
        """
        number = 0
        for sequence, reply in self._unsettled.items():
            if self._bytes <= most_bytes:
                break
            if reply is _RUNNING or reply is _RAN or reply is _FORGOTTEN or sequence == spared:
                continue
            self._bytes -= len(reply)
            self._unsettled[sequence] = _RAN if has_run(reply) else _FORGOTTEN
            number += 1
        return number

    def be_alone(self) -> None:
        """Be part of no memory any more."""
        self._memory = None
        self.room = self.most_bytes

    def forget_large(self) -> None:
        """Forget the replies that take more than their numbers do, since nobody asks for them any more."""
        for sequence, reply in self._unsettled.items():
            if len(reply) > _SMALL:
                self._bytes -= len(reply)
                self._unsettled[sequence] = _RAN if has_run(reply) else _FORGOTTEN
        if self._memory is not None:
            self._memory.trim(self)
