"""One client instance that calls us: what it sent, what runs for it, and what goes back to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zmqrpc.core.age import ClockOffset
from zmqrpc.core.agenda import NEVER
from zmqrpc.core.batch import RETURN_OVERHEAD
from zmqrpc.core.envelope import Ack, Beat, encode_message, encode_ranges
from zmqrpc.core.ranges import flatten
from zmqrpc.core.seen import DuplicateFilter
from zmqrpc.core.ways import Identity, Through
from zmqrpc.interfaces import FULL, GONE
from zmqrpc.outbox import Outbox

if TYPE_CHECKING:
    from zmqrpc.callers import Callers
    from zmqrpc.running import RunningRequest

_EMPTY_BEAT = encode_message(Beat([]))


class Caller:
    """
    One client instance, as this node sees it.

    :param arrival: when its first HELLO came, ms of our monotonic clock.
    :param sent: when it was written, ms of the client's.
    :ivar identity: routing id of its newest connection, or the way to it through a proxy.
    :ivar hello_sent: when it wrote the HELLO of that connection, ms of its clock.
    :ivar largest: the largest payload it accepts, bytes.
    :ivar running: what goes on running for it, by sequence.
    :ivar acks: the sequences to acknowledge with the next write.
    :ivar until: the last deadline of what it sent.
    :ivar looked_until: what that was when its replies were looked through last.
    :ivar leaving: whether it has said that nothing new follows.
    :ivar away_since: since when it is known that it has no connection; infinity while it has one.
    :ivar strayed_at: when a proxy took its connection away; -infinity for never, or when it has come back.
    """

    has_link = True
    """Whether it can be told what becomes of its messages; `zmqrpc.fanout_caller` has those that cannot."""

    __slots__ = (
        "_callers",
        "_outbox",
        "acks",
        "away_since",
        "base",
        "filter",
        "heard_at",
        "hello_sent",
        "identity",
        "instance",
        "largest",
        "leaving",
        "looked_until",
        "running",
        "strayed_at",
        "until",
    )

    def __init__(self, callers: Callers, instance: bytes, arrival: int, sent: int) -> None:
        settings = callers.settings
        self.instance = instance
        self.identity: Identity = b""
        self.largest = settings.max_message_size
        self.heard_at = 0.0
        self.hello_sent = sent
        self.leaving = False
        self.until = self.looked_until = 0.0
        self.away_since = NEVER
        self.strayed_at = -NEVER
        self.base = ClockOffset(arrival, sent)
        self.filter = DuplicateFilter(
            settings.max_unsettled_calls, settings.max_reply_memory, callers.kept_replies.memory
        )
        self.running: dict[int, RunningRequest] = {}
        self.acks: dict[int, None] = {}
        self._callers = callers
        self._outbox = Outbox(settings.max_message_size)

    def moved(self, identity: Identity, largest: int) -> None:
        """Take that it has a new connection; what waited for the old one is asked for again, by number."""
        if self.identity != identity:
            self._outbox.drop_all()
        self.identity = identity
        self.largest = largest
        self._outbox.limit(largest)
        self.leaving = False
        self.away_since = NEVER
        self.strayed_at = -NEVER

    def acknowledge(self, sequence: int) -> None:
        """Acknowledge a message at the end of the pass."""
        self.acks[sequence] = None
        self._callers.dirty[self.instance] = self

    def acknowledge_soon(self, sequence: int) -> None:
        """Acknowledge a call that runs on with whatever is written next: most are answered in a moment."""
        self.acks[sequence] = None
        self._callers.owes_ack(self)

    def write(self, encoded: bytes) -> None:
        """Send a message at the end of the pass."""
        outbox = self._outbox
        size = outbox.size + len(encoded)
        if size > outbox.room and outbox.messages:
            self.flush()
            size = len(encoded)
        if not outbox.messages:
            self._callers.dirty[self.instance] = self
        outbox.messages.append(encoded)
        outbox.size = size

    def beat(self) -> None:
        """Name what runs for it; for who has nothing but calls that wait, this only finds out whether it is there."""
        for beat in encode_ranges(Beat, flatten(self.running), self._outbox.room) or [_EMPTY_BEAT]:
            self.write(beat)

    def narrow(self) -> None:
        """Write smaller batches from now on."""
        self._outbox.room //= 2

    def write_again(self, payload: bytes) -> None:
        """Write once more, at the end of the pass, what came back from the way."""
        self._outbox.put_back(payload)
        self._callers.dirty[self.instance] = self

    def flush(self) -> None:
        """Write what was gathered; what a full connection does not take is kept, within bounds, for the next pass."""
        callers, outbox = self._callers, self._outbox
        if self.acks:
            acks, self.acks = self.acks, {}
            for ack in encode_ranges(Ack, flatten(acks), outbox.room):
                if outbox.size + len(ack) > outbox.room and outbox.messages:
                    outbox.seal(callers.instance, self.instance, int(callers.seconds() * 1000), ())
                outbox.messages.append(ack)
                outbox.size += len(ack)
        if outbox.messages:
            outbox.seal(callers.instance, self.instance, int(callers.seconds() * 1000), ())
        fate = outbox.write(self.identity, callers.send)
        while fate == GONE:
            # The client asks again over its next connection, and is answered from the filter.
            callers.gone(self)
            outbox.drop_oldest()
            fate = outbox.write(self.identity, callers.send)
        if fate == FULL:
            self._keep_bounded()
            callers.blocked(self)
        elif not self.until:
            # It has asked for nothing yet, as thousands may do that come and go.
            outbox.rest()

    @property
    def limited_by(self) -> str:
        """Who it is that accepts no larger payload, for an error's text."""
        own = self._callers.settings.max_message_size - (RETURN_OVERHEAD if type(self.identity) is Through else 0)
        return "the client" if self.largest < own else "the server"

    @property
    def unread(self) -> int:
        """Bytes of answers that its connection has not taken."""
        return self._outbox.waiting

    @property
    def idle(self) -> bool:
        """Whether nothing runs for it and nothing waits for it."""
        return not (self.running or self._outbox.messages or self._outbox.batches or self.acks)

    def _keep_bounded(self) -> None:
        outbox = self._outbox
        while outbox.waiting > self._callers.settings.max_queued_bytes and len(outbox.batches) > 1:
            outbox.drop_oldest()
            self._callers.notices.count(
                "replies_dropped",
                "client {client} does not read; its oldest replies are dropped",
                self.identity,
                client=self.instance,
            )
