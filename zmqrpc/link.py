"""
One link to one instance we call: its connection, its queue, and what it has handed over.

A link performs the effects of its state machine (`zmqrpc.core.link`) and never decides; what its instance answers is
taken by `zmqrpc.answers`, and what time ends by `zmqrpc.patience`. Hot path: `Link.hand_over`, which is every call.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from zmqrpc.core.agenda import NEVER
from zmqrpc.core.batch import BATCH_OVERHEAD, encode_batch
from zmqrpc.core.call import Stage
from zmqrpc.core.envelope import (
    WIRE_VERSION,
    Cancel,
    Goaway,
    Hello,
    Ping,
    Refusal,
    Served,
    encode_message,
    encode_ranges,
    readdress,
)
from zmqrpc.core.evidence import Evidence
from zmqrpc.core.link import LinkState, Phase
from zmqrpc.core.link_effects import (
    LAST_TOKEN,
    Connect,
    Doubt,
    Drop,
    Effect,
    Flush,
    Lose,
    Reroute,
    SayGoodbye,
    SayHello,
    SayPing,
)
from zmqrpc.core.link_timers import USED_SECONDS
from zmqrpc.core.pending import PendingCalls
from zmqrpc.core.queue import CallQueue
from zmqrpc.core.ranges import flatten
from zmqrpc.core.roles import CLIENT
from zmqrpc.core.timed import TimedCalls
from zmqrpc.core.ways import Identity, Search
from zmqrpc.interfaces import FULL, GONE, SENT
from zmqrpc.outbox import RETRY_FULL, Outbox
from zmqrpc.waiter import Waiter

if TYPE_CHECKING:
    from zmqrpc.carrier import Carrier
    from zmqrpc.links import Links


class Link:
    """
    One link.

    :ivar key: what the routing table calls it.
    :ivar address: the advertised address of its instance; what it connects to, unless it goes through proxies.
    :ivar carrier: what carries it.
    :ivar ready: whether a call can be handed over at once: up, nothing waiting, window open.
    :ivar liveness: that of its state, nearer for what comes in.
    :ivar queue: calls that were not handed over yet.
    :ivar serves: what its instance said last that it serves.
    :ivar search: for a proxy that knows the instance, where it goes through proxies.
    :ivar sweep_at: when `Links` will call `sweep` next.
    :ivar linger_at: when it is looked next whether what is over for its callers is waited for yet.
    :ivar used_at: when it is known to have been used last, to a quarter of a second.
    :ivar rested_at: the number that the next call would have had when its strategy was last told that it rests.
    """

    __slots__ = (
        "_available",
        "_evidence",
        "_expired_at",
        "_forsaken",
        "_links",
        "_most",
        "_only_attempt",
        "_outbox",
        "_phase",
        "_recorded",
        "_stamp",
        "address",
        "attempt",
        "carrier",
        "key",
        "linger_at",
        "liveness",
        "member",
        "pending",
        "queue",
        "ready",
        "rested_at",
        "search",
        "serves",
        "state",
        "sweep_at",
        "used_at",
    )

    def __init__(self, links: Links, carrier: Carrier, key: str, address: str, member: str, state: LinkState) -> None:
        self.key = key
        self.address = address
        self.member = member
        self.state = state
        self.liveness = state.liveness
        self.ready = False
        self.sweep_at = NEVER
        settings = links.settings
        self.queue: CallQueue[Waiter] = CallQueue(settings.max_queued_calls, settings.max_queued_bytes)
        self._outbox = Outbox(settings.max_message_size)
        self._limit(links.settings.max_message_size)
        make = TimedCalls if links.times else PendingCalls
        self.pending: PendingCalls[Waiter] = make(
            settings.max_unsettled_calls,
            links.policy,
            links.numbering.unused,
            settings.max_unsettled_bytes,
            links.timers.patience,
        )
        self._links = links
        self.carrier = carrier
        self.search: Search | None = None
        self._available = True
        self.serves: frozenset[Served] = frozenset()
        self._evidence = (Evidence.NONE, self.serves)
        self._phase = state.phase
        self._stamp = 0.0
        self.used_at = -NEVER
        self.linger_at = NEVER
        self._expired_at = -NEVER
        self._forsaken: list[int] = []
        self._only_attempt = 1
        self.rested_at = self._recorded = self.pending.next_sequence
        self.attempt = 0

    @property
    def instance(self) -> bytes | None:
        """The instance it leads to, None while that is not known."""
        return self.state.instance

    def _limit(self, largest: int) -> None:
        """Take the largest payload that both ends accept, in bytes."""
        self._most = largest - BATCH_OVERHEAD
        self._outbox.limit(largest)

    def learn(self, serves: frozenset[Served], limits: Mapping[str, int]) -> None:
        """
        Take what the WELCOME of its instance says.

        :param serves: the targets it serves.
        :param limits: by name, as in docs/spec/wire.
        """
        self.serves = serves
        largest = self.carrier.largest(self.state.identity)
        self._limit(min(limits.get("message", largest), largest))
        unsettled = limits.get("unsettled", self.pending.most_unsettled)
        self.pending.most_unsettled = min(unsettled, self._links.settings.max_unsettled_calls)

    def begin_at(self, first: int) -> None:
        """Give no number below this one any more."""
        passed = self.pending.next_sequence
        self.pending.begin_at(first)
        self._recorded += self.pending.next_sequence - passed

    # Calls

    def hand_over(self, call: Waiter, request: tuple[Any, ...] | None, now: float) -> None:
        """
        Encode a call under the next number, and give it to the connection; only while `ready`.

        :param request: the fields of the request from the exchange on; None for a call that is encoded already, with
            another number.
        :raises Exception: what the encoder raises for values that cannot be encoded; nothing was done.
        """
        links = self._links
        pending = self.pending
        outbox = self._outbox
        messages = outbox.messages
        if not messages:
            self._stamp = now
        left = int((call.deadline - self._stamp) * 1000)
        if left < 0:
            left = 0
        if request is None:
            encoded = readdress(call.encoded, pending.next_sequence, 1, left)
        else:
            # Unpacking the request would take 1 % of the client's time.
            encoded = encode_message((call.kind, pending.next_sequence, 1, call.flags, left) + request)  # noqa: RUF005
        size = len(encoded)
        if size > self._most:
            call.unsent(encoded, self, Stage.QUEUED)
            links.user.refused(call, self, Refusal.TOO_LARGE, f"{size} bytes are over its limit of {self._most}")
            return
        call.encoded = encoded
        call.link = self
        size += outbox.size
        if size > outbox.room and messages:
            # Before the number is taken: a payload remembers up to which number it goes.
            self.flush()
            messages = outbox.messages
            size = len(encoded)
        if pending.hand_over(call, now):
            self.ready = False
        if pending.wake_at < self.sweep_at:
            links.wake_by(self, pending.wake_at)
        outbox.size = size
        messages.append(encoded)
        if len(messages) > 1:
            return
        links.dirty.append(self)
        if now - self.used_at > USED_SECONDS:
            self.used_at = now
            self.liveness.used(now)
            links.wake_by(self, self.state.wake_at)
        if not links.gathering:
            links.write_first(self)

    def enqueue(self, call: Waiter, now: float) -> bool:
        """Keep a call until the link is up; False when the queue is full."""
        if not self.queue.add(call):
            return False
        if call.began is None:
            call.began = now
        call.unsent(call.encoded, self, Stage.QUEUED)
        self.ready = False
        self._links.wake_by(self, call.deadline)
        if self.state.late:
            self._links.late[self.key] = self
        if self.state.phase is Phase.IDLE:
            self.perform(self.state.wanted(now), now)
        elif self.state.phase is Phase.UP:
            self._links.kick()
        return True

    def has_room(self, call: Waiter) -> bool:
        """Tell whether a call would be taken, at once or into the queue."""
        return self.ready or self.queue.has_room(len(call.encoded))

    def withdraw_call(self, call: Waiter, now: float) -> None:
        """Give up a call: its caller does not want it any more."""
        if call.sequence and self.pending.take(call.sequence, now) is not None:
            if self.state.phase in (Phase.UP, Phase.DRAINING):
                self.write(encode_message(Cancel([call.sequence, call.sequence])), now)
        else:
            self.queue.remove(call)
        self.refresh()
        self._links.at_rest(self)

    def give_way(self) -> None:
        """Take that nobody knows a way to the instance so far: what waits here goes to others, where there are any."""
        self.state.unheard = True
        self._send_elsewhere(self.state.trouble)

    def _send_elsewhere(self, reason: str, could: Callable[[str], bool] = lambda key: True) -> None:
        """
        Send what waits here elsewhere, as far as others could take it.

        :param could: tells whether the one behind a link could.
        """
        # First, so that it does not come back here.
        self.refresh()
        calls = self.queue.take_movable(self.key, self.state.hopeless, could)
        if calls:
            self._links.user.rerouted(calls, self, reason)

    def grown_late(self) -> None:
        """Take that the peer takes long to answer HELLO: what waits goes to others that are up, now or when one is."""
        self._links.late[self.key] = self
        if self.state.kept:
            # Else the strategy says when.
            self._send_elsewhere("it has not answered so far", self._links.is_up)

    @property
    def resting(self) -> bool:
        """Whether nothing waits here, and everything that was handed over has ended."""
        return not self.pending and not self.queue

    def release(self, now: float) -> None:
        """Be connected no longer than it is needed."""
        self.state.kept = False
        if self.resting and not self.state.held:
            self.perform(self.state.released(now), now)

    # Effects

    def perform(self, effects: list[Effect], now: float) -> None:
        """Do what the state machine asks for."""
        # First, so that what is sent elsewhere below does not come back here.
        self.refresh()
        if len(effects) > 1 and type(effects[-1]) is Flush:
            # What the errbacks of the lost send here waits for the Flush, which would else send it once more.
            self.ready = False
        for effect in effects:
            match effect:
                case Connect(attempt=attempt):
                    self.attempt = attempt
                    self.carrier.connect(self)
                case SayHello():
                    self._say_hello(now)
                case SayPing(last_round_trip=last_round_trip):
                    # Behind what a full connection did not take it would only pile up.
                    if not self._outbox.batches:
                        self.write(encode_message(Ping(int(now * 1000), last_round_trip)), now)
                case SayGoodbye():
                    self.write(encode_message(Ping(LAST_TOKEN, None)), now)
                    self.write(self._goaway(), now)
                case Drop(identity=identity):
                    self._drop(identity)
                case Flush():
                    self._flush_calls(now)
                case Reroute(reason=reason):
                    self._reroute(reason)
                case Lose(reason=reason):
                    lost = self.pending.take_all()
                    if lost:
                        self._forsaken = flatten(call.sequence for call in lost)
                        text = "{number} call{s} lost with {peer}: {reason}"
                        self._links.notices.record("calls_lost", text, self.address, number=len(lost), reason=reason)
                        self._links.user.lost(lost, self, reason)
                case Doubt(reason=reason):
                    self._links.notices.record("doubted", "{peer} is doubted: {reason}", self.address, reason=reason)
                    self._links.user.doubted(self, reason)
        self.refresh()
        # Whoever is spent goes with the next sweep.
        self._links.wake_by(self, now if self.spent else self.state.wake_at)
        evidence = (self.state.evidence, self.serves)
        if evidence != self._evidence:
            # Last, since the record may go with it and this be performed once more.
            self._evidence = evidence
            self._links.user.evidence_changed(self)
        if (self.queue or self.state.held) and self.state.phase is Phase.IDLE:
            # It came while the connection before was closed.
            self.perform(self.state.wanted(now), now)
        phase, before = self.state.phase, self._phase
        if phase is not before:
            self._phase = phase
            self._record_phase(before)
            self._links.patience.phase_changed(self, now)
            self._links.phase_changed(self, before)

    def _record_phase(self, before: Phase) -> None:
        """Note that the link stands elsewhere than before; a try after the other is told by how they ended."""
        state = self.state
        if before is not Phase.BACKOFF or state.phase is not Phase.CONNECTING:
            name = f"link_{state.phase.name.lower()}"
            text = "the link to {member} at {peer} is {phase}{why}"
            why = f": {state.trouble}" if state.trouble else ""
            self._links.notices.record(name, text, self.address, member=self.member, phase=state.phase.value, why=why)

    def refresh(self) -> None:
        """Look whether a call can be handed over now, and whether calls may be given to it at all."""
        state = self.state
        self.ready = state.phase is Phase.UP and not self.queue and not self._outbox.batches and not self.pending.full
        if state.available is not self._available:
            self._available = state.available
            self._links.user.availability_changed(self)

    def _say_hello(self, now: float) -> None:
        links = self._links
        hello = Hello(WIRE_VERSION, WIRE_VERSION, CLIENT, [], {"message": links.settings.max_message_size}, [])
        # Where the record names no instance, whoever comes next at the address is meant as well.
        meant = None if self.state.learns else self.instance
        payload = encode_batch(links.instance, meant, int(now * 1000), (), [encode_message(hello)])
        if self.state.identity is not None and self.carrier.send(self.state.identity, payload) != SENT:
            links.connection_lost(self.state.identity, "HELLO could not be written")

    def _drop(self, identity: Identity | None) -> None:
        if identity is not None:
            self.carrier.drop(identity)
        # What was numbered and never written certainly did not run: it is queued again, its numbers are settled.
        unsent = [c for c in self.pending.outstanding() if c.sequence >= self._outbox.written and c.attempts == 1]
        for call in unsent:
            self.pending.take(call.sequence)
            self.requeue(call)
        self._outbox.clear()

    def requeue(self, call: Waiter) -> None:
        """Put a call that certainly did not run, and whose number is settled, back before the others."""
        number = call.sequence
        self._links.repetitions.take_back(call, self, Stage.QUEUED)
        self.queue.put_back(call, number)
        self.ready = False

    def _reroute(self, reason: str) -> None:
        calls = self.queue.take_all()
        if calls:
            text = "{number} call{s} waiting for {peer}, to go elsewhere or end: {reason}"
            self._links.notices.record("calls_rerouted", text, self.address, number=len(calls), reason=reason)
            self._links.user.rerouted(calls, self, reason)

    def _flush_calls(self, now: float) -> None:
        if self._forsaken:
            # It was not gone, only silent or cut off, and may run what nobody waits for any more.
            self.forsake(self._forsaken, now)
            self._forsaken = []
        text = "{number} call{s} asked for again at {peer}, over a new connection"
        self._links.notices.record("calls_asked_again", text, self.address, number=len(self.pending))
        for call in self.pending.outstanding():
            while self.queue.came_back_before(call.sequence) and self._takes:
                self._flush_next(now)
            self.repeat(call, now)
        self._flush_queue(now)

    def repeat(self, call: Waiter, now: float) -> None:
        """Send a call again, under its number."""
        self.pending.repeat(call, now)
        stamp = self._stamp if self._outbox.messages else now
        left = max(0, int((call.deadline - stamp) * 1000))
        self.write(readdress(call.encoded, call.sequence, call.attempts, left), now)

    def _flush_queue(self, now: float) -> None:
        # More of it may be overdue than when time was looked at last.
        overdue = self.queue.overdue(now)
        if overdue:
            self._links.user.overdue(overdue, self)
        while self.queue and self._takes:
            self._flush_next(now)

    def _flush_next(self, now: float) -> None:
        call = self.queue.pop()
        self.hand_over(call, None, now)
        self._links.user.handed_over(call)

    @property
    def _takes(self) -> bool:
        """Whether the window is open, the connection takes more, and the peer was heard since a call expired."""
        return not self.pending.full and not self._outbox.batches and self.liveness.heard_at >= self._expired_at

    def let_expire(self, now: float) -> None:
        """Take that calls handed over have expired: what waits gets their places when the peer is heard again."""
        if self.queue and self.liveness.heard_at >= self._expired_at:
            self._expired_at = now
            if self.state.phase is Phase.UP:
                self.liveness.ask_anyway(now)

    # Writing

    def write(self, encoded: bytes, now: float) -> None:
        """Gather an encoded message, which is written at the end of the pass."""
        outbox = self._outbox
        if outbox.size + len(encoded) > outbox.room:
            self.flush()
        if not outbox.messages:
            self._stamp = now
            self._links.dirty.append(self)
        outbox.messages.append(encoded)
        outbox.size += len(encoded)
        if not self._links.gathering:
            self._links.kick()

    def forsake(self, ranges: list[int], now: float) -> None:
        """Tell its instance that nobody waits for calls any more."""
        for cancel in encode_ranges(Cancel, ranges, self._outbox.room):
            self.write(cancel, now)

    def write_singly(self) -> None:
        """Put no two messages into a batch from now on."""
        self._outbox.room = 0

    def flush(self) -> None:
        """Write what was gathered."""
        links, state, outbox = self._links, self.state, self._outbox
        if outbox.messages:
            pending = self.pending
            settled = pending.tell_settled()
            outbox.seal(links.instance, state.instance, int(self._stamp * 1000), settled, pending.next_sequence)
        if state.identity is None:
            return
        fate = outbox.write(state.identity, self.carrier.send)
        if fate == FULL:
            self.ready = False
            links.wake_by(self, links.seconds() + RETRY_FULL)
        elif fate == GONE:
            links.connection_lost(state.identity, "the connection is gone")

    def say_goodbye(self, now: float) -> None:
        """Tell a peer that nothing follows, and that it may forget us when no copy of a request can be under way."""
        if self.state.phase is Phase.UP:
            self.write(self._goaway(), now)

    def _goaway(self) -> bytes:
        only = self.attempt == self._only_attempt and self._links.numbering.unused == 1 and not self.pending
        return encode_message(Goaway("", {"only": True} if only else None))

    def all_arrived(self) -> None:
        """Take that its instance has read all that was sent, and the farewell behind it."""
        if self.attempt == self._only_attempt:
            # Nothing is under way: so far, the next connection will be the only one as well.
            self._only_attempt += 1

    # Time

    @property
    def stranded(self) -> str:
        """Why it waits, when there is no way to anybody; else empty."""
        state = self.state
        return self.carrier.missing if state.phase is Phase.CONNECTING and state.identity is None else ""

    @property
    def wake_at(self) -> float:
        """When `sweep` has to be called next."""
        return min(self.state.wake_at, self.pending.wake_at, self.queue.wake_at, self.linger_at)

    def sweep(self, now: float) -> None:
        """Do what time asks for."""
        sent = self.pending.next_sequence - self._recorded
        if sent:
            self._recorded += sent
            self._links.notices.record("sent", "{number} message{s} given to links", number=sent)
        self._links.patience.sweep(self, now)
        self._links.at_rest(self)

    def named(self) -> None:
        """Take that its instance has named calls: they are asked for again when it names them no more."""
        if self.pending.wake_at < self.sweep_at:
            self._links.wake_by(self, self.pending.wake_at)

    def recover(self, now: float) -> None:
        """Look whether what kept the link from taking calls is over, after something came in."""
        if self.state.phase in (Phase.DRAINING, Phase.LEAVING) or self.queue:
            self._links.dirty.append(self)
        else:
            self.refresh()

    @property
    def spent(self) -> bool:
        """Whether nothing leads here, and nothing is left."""
        return self.state.phase is Phase.IDLE and not self.state.recorded and not self.pending and not self.queue

    def is_written(self, call: Waiter) -> bool:
        """Tell whether the connection has taken a call that was handed over."""
        return call.sequence < self._outbox.written or call.attempts > 1

    @property
    def gathered(self) -> int:
        """How many messages will be written at the end of the pass."""
        return len(self._outbox.messages)

    @property
    def blocked(self) -> bool:
        """Whether something was refused by a full connection."""
        return bool(self._outbox.batches)

    def end_pass(self, now: float) -> None:
        """Go on with what waited for room, or for the last answer."""
        self.flush()
        if self.ready:
            return
        if self.state.phase in (Phase.DRAINING, Phase.LEAVING):
            self.perform(self.state.tick(now, len(self.pending) > 0), now)
        if self.state.phase is Phase.UP and self.queue and not self._outbox.batches:
            self._flush_queue(now)
            self.flush()
        self.refresh()
