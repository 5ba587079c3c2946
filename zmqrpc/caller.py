"""One client instance that calls us: what it sent, what runs for it, and what goes back to it."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred

from zmqrpc.core.age import ClockOffset
from zmqrpc.core.envelope import Ack, batch_room, encode_batch, encode_message, flatten
from zmqrpc.core.seen import DuplicateFilter
from zmqrpc.interfaces import FULL, SENT

if TYPE_CHECKING:
    from zmqrpc.callers import Callers


class Caller:
    """
    One client instance, as this node sees it.

    :param arrival: when its first HELLO came, ms of our monotonic clock.
    :param sent: when it was written, ms of the client's.
    :ivar identity: routing id of its newest connection.
    :ivar hello_sent: when it wrote the HELLO of that connection, ms of its clock.
    :ivar largest: the largest payload it accepts, bytes.
    :ivar running: the calls that are running, by sequence: the Deferred that will answer.
    :ivar acks: the sequences to acknowledge with the next write.
    :ivar until: the last deadline of what it sent.
    :ivar leaving: whether it has said that nothing new follows.
    """

    __slots__ = (
        "_callers",
        "_outbox",
        "_outbox_bytes",
        "_room",
        "_unsent",
        "_unsent_bytes",
        "acks",
        "base",
        "filter",
        "heard_at",
        "hello_sent",
        "identity",
        "instance",
        "largest",
        "leaving",
        "running",
        "until",
    )

    def __init__(self, callers: Callers, instance: bytes, arrival: int, sent: int) -> None:
        settings = callers.settings
        self.instance = instance
        self.identity = b""
        self.largest = settings.max_message_size
        self._room = batch_room(self.largest)
        self.heard_at = 0.0
        self.hello_sent = sent
        self.leaving = False
        self.until = 0.0
        self.base = ClockOffset(arrival, sent)
        self.filter = DuplicateFilter(settings.max_unsettled_calls, settings.max_reply_memory)
        self.running: dict[int, Deferred[Any]] = {}
        self.acks: list[int] = []
        self._callers = callers
        self._outbox: list[bytes] = []
        self._outbox_bytes = 0
        self._unsent: deque[bytes] = deque()
        self._unsent_bytes = 0

    def moved(self, identity: bytes, largest: int) -> None:
        """Take that it has a new connection; what waited for the old one is asked for again, by number."""
        if self.identity != identity:
            self._unsent.clear()
            self._unsent_bytes = 0
        self.identity = identity
        self.largest = largest
        self._room = batch_room(largest)
        self.leaving = False

    def acknowledge(self, sequence: int) -> None:
        """Acknowledge a message with the next write."""
        acks = self.acks
        if not acks:
            self._callers.dirty[self.instance] = self
        acks.append(sequence)

    def write(self, encoded: bytes) -> None:
        """Send a message at the end of the pass."""
        size = self._outbox_bytes + len(encoded)
        if size > self._room and self._outbox:
            self.flush()
            size = len(encoded)
        outbox = self._outbox
        if not outbox:
            self._callers.dirty[self.instance] = self
        outbox.append(encoded)
        self._outbox_bytes = size

    def flush(self) -> None:
        """Write what was gathered; what a full connection does not take is kept, within bounds, for the next pass."""
        callers = self._callers
        if self.acks:
            self._outbox.append(encode_message(Ack(flatten(self.acks))))
            self.acks = []
        if self._outbox:
            sent = int(callers.seconds() * 1000)
            payload = encode_batch(callers.instance, self.instance, sent, (), self._outbox)
            self._outbox = []
            self._outbox_bytes = 0
            self._unsent.append(payload)
            self._unsent_bytes += len(payload)
        unsent = self._unsent
        while unsent:
            fate = callers.send(self.identity, unsent[0])
            if fate == FULL:
                self._keep_bounded()
                callers.blocked(self)
                return
            self._unsent_bytes -= len(unsent.popleft())
            if fate != SENT:
                # The client asks again over its next connection, and is answered from the filter.
                callers.gone(self)

    @property
    def idle(self) -> bool:
        """Whether nothing runs for it and nothing waits for it."""
        return not (self.running or self._outbox or self._unsent or self.acks)

    def _keep_bounded(self) -> None:
        while self._unsent_bytes > self._callers.settings.max_queued_bytes and len(self._unsent) > 1:
            self._unsent_bytes -= len(self._unsent.popleft())
            self._callers.notices.count(
                "replies_dropped",
                "client {client} does not read; its oldest replies are dropped",
                self.identity,
                client=self.instance,
            )
