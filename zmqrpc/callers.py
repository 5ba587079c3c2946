"""What comes in: the connections of the client instances that call us, and everything on them but the requests."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import takewhile
from typing import Any, Protocol

from twisted.logger import Logger
from zope.interface import implementer

from zmqrpc.beats import Beats
from zmqrpc.caller import Caller
from zmqrpc.core.age import ClockOffset, is_read_late
from zmqrpc.core.agenda import NEVER
from zmqrpc.core.batch import Batch, decode_batch, encode_batch
from zmqrpc.core.envelope import (
    WIRE_VERSION,
    Cancel,
    Goaway,
    Hello,
    Nack,
    Ping,
    Pong,
    Refusal,
    Request,
    Served,
    Unreadable,
    Welcome,
    encode_message,
)
from zmqrpc.core.inspected import INSPECT
from zmqrpc.core.link_timers import ACK_SECONDS, GONE_THROUGH_SECONDS, NEWCOMER_SECONDS, REMIND_SECONDS
from zmqrpc.core.ranges import flatten
from zmqrpc.core.roles import SERVER
from zmqrpc.core.seen import Seen
from zmqrpc.core.ways import Identity, Through
from zmqrpc.errors import RemoteProtocolError
from zmqrpc.given_back import GivenBack
from zmqrpc.inspection import inspected
from zmqrpc.interfaces import FULL, GONE, IBoundReceiver, IBoundRouter
from zmqrpc.kept_replies import KeptReplies
from zmqrpc.listener import Listener
from zmqrpc.notices import Notices
from zmqrpc.outbox import RETRY_FULL
from zmqrpc.requests import Requests
from zmqrpc.server import RPCServer
from zmqrpc.settings import Settings

LEAVE_SECONDS = 2.0
"""
How long a stop waits for a client to answer GOAWAY; one that is connected and runs does so at once. A connection that
brought a GOAWAY for good is known for as long, and not opened again. One behind a proxy has `GONE_THROUGH_SECONDS`.
"""

STRAY_SECONDS = 1.0
"""How long a stop waits for a client whose proxy is gone: it comes back by another, and asks for what it lost."""


class Ways(Protocol):
    """The ways to clients behind proxies."""

    @property
    def send(self) -> Callable[[Through, bytes], int]:
        """What writes a payload to one, and returns what `IBoundRouter.send` does."""

    def largest(self, way: Through, /) -> int:
        """Return the largest payload that gets to one, in bytes."""

    @property
    def reachable(self) -> bool:
        """Whether clients can reach us, by any of these."""


@implementer(IBoundReceiver)
class Callers:
    """
    Every client instance, and the servers and listeners it may reach.

    :ivar instance: our own instance.
    :ivar seconds: the monotonic clock.
    :ivar dirty: who has something to be written at the end of the pass.
    :ivar given_back: takes what proxies give back.
    :ivar kept_replies: the replies that may be asked for again.
    :ivar ways: those to clients behind proxies.
    :param wake: asks for a pass soon.
    :param wake_by: asks that `sweep` is called at a time.
    """

    log = Logger()

    def __init__(
        self,
        instance: bytes,
        settings: Settings,
        notices: Notices,
        seconds: Callable[[], float],
        wake: Callable[[], None],
        wake_by: Callable[[float], None],
    ) -> None:
        self.instance = instance
        self.settings = settings
        self.notices = notices
        self.seconds = seconds
        self._wake = wake
        self._wake_by = wake_by
        self._router: IBoundRouter | None = None
        self._callers: dict[bytes, Caller] = {}
        self._by_identity: dict[Identity, Caller] = {}
        self._recorded = 0
        self.given_back = GivenBack(self)
        self.kept_replies = KeptReplies(self)
        self._beats = Beats(self, wake_by)
        self._requests = Requests(
            settings.max_running_calls,
            settings.max_running_bytes,
            settings.max_waiting_time,
            notices,
            seconds,
            wake,
            self._beats.soon,
        )
        self.dirty: dict[bytes, Caller] = {}
        self._owing_acks: dict[bytes, Caller] = {}
        self._ack_at = NEVER
        self._left: dict[bytes, float] = {}
        self._newcomers: dict[bytes, float] = {}
        self._drain_at = NEVER
        self._goaway = b""
        self._next_sweep = NEVER

    def wire(self, ways: Ways, inspect: Callable[[int, float], dict[str, Any]]) -> None:
        """
        Tell it its neighbours, which are made with it.

        :param inspect: tells what is going on here, with so many events and in so many bytes; raises `AccessDenied`.
        """
        self.ways = ways
        self._inspect = inspect

    # What the node does with it

    def opened(self, router: IBoundRouter) -> None:
        """Take the socket that is bound."""
        self._router = router

    def add(self, server: RPCServer) -> None:
        """Let a server be called, and tell those who are connected."""
        self._requests.add(server)
        self._tell_targets()

    def listen(self, listener: Listener) -> None:
        """Let a listener be notified, and tell those who are connected."""
        self._requests.listen(listener)
        self._tell_targets()

    def _tell_targets(self) -> None:
        self._each(lambda caller: caller.write(encode_message(self._welcome(caller.hello_sent))))

    def served(self) -> list[Served]:
        """List what can be called."""
        return self._requests.served()

    @property
    def requests(self) -> Requests:
        """What runs here; also for those who have no link to us, as clients whose fan-outs are published."""
        return self._requests

    def all(self) -> list[Caller]:
        """List every client instance that is remembered."""
        return list(self._callers.values())

    def at(self, identity: Identity) -> Caller | None:
        """Return the client at the other end of a connection or a way, None when there is none."""
        return self._by_identity.get(identity)

    def connected(self) -> list[Caller]:
        """List those that have a connection."""
        return list(self._by_identity.values())

    def is_connected(self, caller: Caller) -> bool:
        """Tell whether a client has a connection."""
        return self._by_identity.get(caller.identity) is caller

    @property
    def drained(self) -> bool:
        """Whether nothing is left to do after `drain`: all has run, and every client knows that we stop."""
        if self._requests.busy or self.dirty:
            return False
        now = self.seconds()
        if any(caller.strayed_at > now - STRAY_SECONDS for caller in self._callers.values()):
            return False
        waited = now - self._drain_at
        return all(
            caller.leaving or waited > (GONE_THROUGH_SECONDS if type(identity) is Through else LEAVE_SECONDS)
            for identity, caller in self._by_identity.items()
        )

    def drain(self, text: str) -> None:
        """Take nothing new from now on, and tell everybody."""
        self._requests.draining = True
        self._drain_at = self.seconds()
        self._goaway = encode_message(Goaway(text))
        self._say_goaway(self._drain_at)

    # IBoundReceiver

    def handshake_failed(self, peer: str, reason: str) -> None:
        self.notices.count(
            "handshake_failed",
            "a connection from {peer} was dropped: {reason}",
            peer or "an unknown address",
            reason=reason,
        )

    def malformed_received(self, identity: bytes, reason: str) -> None:
        self.notices.count("malformed", "a message of connection {peer} was dropped: {reason}", identity, reason=reason)

    def keyed_received(self, identity: bytes, key: bytes, payload: Any) -> int:
        self.malformed_received(identity, "it has a routing key, and no proxy is known here")
        return 1

    def payload_received(self, identity: Identity, payload: Any, batch: Batch | None = None) -> int:
        if batch is None:
            try:
                batch = decode_batch(payload)
            except RemoteProtocolError as error:
                self.notices.count("malformed", "connection {peer}: {error}", identity, error=error)
                return 1
        if batch.version != WIRE_VERSION:
            self._bad_version(identity, batch, f"{batch.version}")
            return 1
        caller = self._by_identity.get(identity)
        if caller is None or caller.instance != batch.source or batch.destination != self.instance:
            return self._opening(identity, batch)
        now = self.seconds()
        arrival = int(now * 1000)
        caller.heard_at = now
        age = caller.base.age(arrival, batch.sent)
        if batch.settled:
            caller.filter.settle(batch.settled)
        others: list[Any] = []
        self._requests.take(caller, batch.messages, now, age, len(payload), others)
        if others:
            self._take_others(caller, batch, others, now)
        return len(batch.messages) or 1

    def owes_ack(self, caller: Caller) -> None:
        """Take that a client has an ACK to come, within `ACK_SECONDS`."""
        self._owing_acks[caller.instance] = caller
        if self._ack_at == NEVER:
            self._ack_at = self.seconds() + ACK_SECONDS
            self._wake_by(self._ack_at)

    def end_pass(self) -> None:
        """Acknowledge what the pass recorded, run it, and write the answers."""
        if self.dirty:
            self._flush()
        if self._requests.waiting:
            self._requests.run()
            if self.dirty:
                self._flush()

    # Everything that is not a request

    def _opening(self, identity: Identity, batch: Batch) -> int:
        """Take a batch of a connection that is not open, or for somebody else."""
        for message in batch.messages:
            if type(message) is Hello:
                self._hello(identity, batch, message)
                return len(batch.messages)
        sequences = [message.sequence for message in batch.messages if isinstance(message, Request)]
        text = "client {client} took us for another instance, or its connection for one that is open"
        self.notices.count("wrong_instance", text, identity, client=batch.source)
        # A PING too: an idle client would go on for ever to believe in a connection that we do not know.
        if sequences or any(type(message) is Ping for message in batch.messages):
            self._send_alone(identity, batch.source, Nack(Refusal.WRONG_INSTANCE, flatten(sequences)))
        return len(batch.messages) or 1

    def _hello(self, identity: Identity, batch: Batch, hello: Hello) -> None:
        if not hello.lowest <= WIRE_VERSION <= hello.highest:
            self._bad_version(identity, batch, f"{hello.lowest} to {hello.highest}")
            return
        if batch.destination not in (None, self.instance):
            # It looks for our predecessor on this port: its link to ourselves, which it may have, stays as it is.
            self._send_alone(identity, batch.source, self._welcome(batch.sent))
            return
        if INSPECT in (hello.extensions or {}):
            welcome = self._welcome(batch.sent)
            welcome.extensions = inspected(hello, self.settings.max_message_size, self._inspect)
            self._send_alone(identity, batch.source, welcome)
            return
        if identity in self._left:
            # Nothing follows a GOAWAY. Of what was forgotten with it, a copy that arrives twice would run again.
            self.notices.count("unexpected", "client {client} said HELLO after GOAWAY", identity, client=batch.source)
            return
        now = self.seconds()
        arrival = int(now * 1000)
        caller = self._callers.get(batch.source)
        self._give_up(identity, batch.source)
        fresh = type(identity) is bytes and identity not in self._by_identity
        if caller is None:
            if len(self._callers) >= self.settings.max_clients:
                text = "client {client} is refused, {known} are remembered (max_clients)"
                self.notices.count("overloaded", text, identity, client=batch.source, known=len(self._callers))
                text = "too many clients are remembered there (max_clients)"
                self._send_alone(identity, batch.source, Nack(Refusal.OVERLOADED, [], text))
                return
            caller = self._callers[batch.source] = Caller(self, batch.source, arrival, batch.sent)
            self._newcomers[batch.source] = now + NEWCOMER_SECONDS
            self.sweep_by(now + NEWCOMER_SECONDS)
        elif is_read_late(batch.sent, caller.hello_sent):
            # A connection of the past, read late: the answers stay with the later one.
            self._send_alone(identity, batch.source, self._welcome(batch.sent))
            return
        elif batch.sent == caller.hello_sent:
            # A copy: what follows it was sent after the WELCOME of the first.
            fresh = False
        elif batch.sent < caller.hello_sent:
            # One of the two is no time of its clock, and may have made the base.
            caller.base = ClockOffset(arrival, batch.sent)
        caller.hello_sent = batch.sent
        # By a way through a proxy may still come what was sent before.
        caller.base.hello(arrival, batch.sent, fresh)
        self.detach(caller)
        largest = self.ways.largest(identity) if type(identity) is Through else self.settings.max_message_size
        largest = min(hello.limits.get("message", caller.largest), largest)
        caller.moved(identity, largest)
        caller.heard_at = now
        self.notices.record("client_connected", "client {peer} has said HELLO", batch.source)
        self._by_identity[identity] = caller
        caller.write(encode_message(self._welcome(batch.sent)))
        if self._requests.draining:
            caller.write(self._goaway)

    def _give_up(self, identity: Identity, source: bytes) -> None:
        """Forget the instance a connection said HELLO for before, when nothing of it would be missed."""
        before = self._by_identity.get(identity)
        if before is not None and before.instance != source and before.idle and not len(before.filter):
            del self._by_identity[identity]
            self._forget(before)

    def _welcome(self, echoed: int) -> Welcome:
        limits = {"message": self.settings.max_message_size, "unsettled": self.settings.max_unsettled_calls}
        return Welcome(WIRE_VERSION, echoed, SERVER, [], limits, self._requests.served())

    def _bad_version(self, identity: Identity, batch: Batch, theirs: str) -> None:
        text = f"wire versions {WIRE_VERSION} to {WIRE_VERSION} are spoken here, not {theirs}"
        said = "client {client} speaks wire version {theirs}"
        self.notices.count("bad_version", said, identity, client=batch.source, theirs=theirs)
        self._send_alone(identity, batch.source, Nack(Refusal.BAD_VERSION, [], text))

    def _take_others(self, caller: Caller, batch: Batch, messages: list[Any], now: float) -> None:
        cancelled = [message.ranges for message in messages if type(message) is Cancel]
        if cancelled:
            self._requests.cancel(caller, cancelled)
        for message in messages:
            if type(message) is not Cancel:
                self._take_other(caller, batch, message, now)

    def _take_other(self, caller: Caller, batch: Batch, message: Any, now: float) -> None:
        kind = type(message)
        if kind is Ping:
            caller.base.ping(int(now * 1000), batch.sent, message.last_round_trip)
            taken = self._requests.taken - self._recorded
            self._recorded += taken
            self.notices.record("taken", "{number} message{s} taken from clients", number=taken)
            caller.write(encode_message(Pong(message.token)))
        elif kind is Hello:
            self._hello(caller.identity, batch, message)
        elif kind is Unreadable:
            text = "a message of client {client}: {reason}"
            self.notices.count("malformed", text, caller.identity, client=caller.instance, reason=message.reason)
            if message.sequence is not None and caller.filter.admit(message.sequence) is Seen.NEW:
                self._requests.refuse(caller, message.sequence, Refusal.UNREADABLE, message.reason[:200])
        elif kind is Goaway:
            caller.leaving = True
            self.notices.record("client_left", "client {peer} has said GOAWAY", caller.instance)
            # An answer that is not written yet, to a PING before this, still goes its way.
            if (message.extensions or {}).get("only") is True and not caller.running and not len(caller.filter):
                self._forget(caller)
                if type(caller.identity) is not bytes:
                    # A way through a proxy is no connection: the client may come back by it.
                    return
                if len(self._left) >= self.settings.max_clients:
                    del self._left[next(iter(self._left))]
                self._left[caller.identity] = now
                self.sweep_by(now + LEAVE_SECONDS)
        else:
            text = "client {client} sent a {kind}"
            self.notices.count("unexpected", text, caller.identity, client=caller.instance, kind=kind.__name__)

    # Writing

    def send(self, identity: Identity, payload: bytes) -> int:
        """Write one payload; return `SENT`, `FULL` or `GONE`."""
        if isinstance(identity, Through):
            return FULL if identity in self.given_back.full else self.ways.send(identity, payload)
        return self._router.send(identity, payload) if self._router is not None else GONE

    def blocked(self, caller: Caller) -> None:
        """Take that a caller's connection is full: it is tried again in each pass."""
        self.dirty[caller.instance] = caller
        self.sweep_by(self.seconds() + RETRY_FULL)

    def gone(self, caller: Caller) -> None:
        """Take that a caller's connection does not exist any more."""
        self.notices.record("client_lost", "the connection of client {peer} is gone", caller.instance)
        if not caller.filter.unused:
            self.notices.count("replies_dropped")
            self.detach(caller)
        elif caller.instance in self._callers:
            self._forget(caller)

    def detach(self, caller: Caller) -> None:
        """Take that the connection a caller had is not its any more; it may be another's by now."""
        if self._by_identity.get(caller.identity) is caller:
            del self._by_identity[caller.identity]
            caller.away_since = self.seconds()

    def _forget(self, caller: Caller) -> None:
        self.detach(caller)
        del self._callers[caller.instance]
        self._newcomers.pop(caller.instance, None)
        self.kept_replies.memory.release(caller.filter)

    def _flush(self) -> None:
        dirty = list(self.dirty.values())
        self.dirty.clear()
        for caller in dirty:
            try:
                caller.flush()
            except Exception:
                # Whatever is wrong with one client, the others are answered.
                self.log.failure("client {client} could not be answered", client=caller.instance.hex())

    def _send_alone(self, identity: Identity, destination: bytes, message: Nack | Welcome) -> None:
        now = int(self.seconds() * 1000)
        self.send(identity, encode_batch(self.instance, destination, now, (), [encode_message(message)]))

    def _each(self, act: Callable[[Caller], None]) -> None:
        # Who asked for nothing, and is found to be gone by what is written, is forgotten.
        for caller in list(self._callers.values()):
            if caller.identity in self._by_identity:
                act(caller)
        if self.dirty:
            self._wake()

    # Time

    @property
    def wake_at(self) -> float:
        """When `sweep` has to be called next."""
        return min(self._beats.wake_at, self._next_sweep, self._ack_at)

    def sweep(self, now: float) -> None:
        """Beat for what runs, write what waited, forget who has been silent for longer than `rpc_message_ttl`."""
        self._beats.sweep(now)
        if now >= self._ack_at:
            self._ack_at = NEVER
            owing, self._owing_acks = self._owing_acks, {}
            # Who said HELLO anew is told there, and who is forgotten not at all.
            known = self._callers
            self.dirty.update((key, each) for key, each in owing.items() if each.acks and known.get(key) is each)
        if now >= self._next_sweep:
            ttl = self.settings.rpc_message_ttl
            for identity in [each for each, since in self._left.items() if since + LEAVE_SECONDS <= now]:
                del self._left[identity]
            self._next_sweep = now + LEAVE_SECONDS if self._left else now + ttl / 2 if self._callers else NEVER
            self._look_for_newcomers(now)
            self.given_back.send_again()
            self.kept_replies.sweep(now)
            if self._requests.draining:
                self._say_goaway(now)
            for caller in self._silent(now - ttl, now):
                self._forget(caller)
        if self.dirty:
            self._wake()

    def _look_for_newcomers(self, now: float) -> None:
        """Write something to who came a while ago and has asked for nothing, which finds out who has gone again."""
        due = list(takewhile(lambda instance: self._newcomers[instance] <= now, self._newcomers))
        for instance in due:
            del self._newcomers[instance]
            caller = self._callers[instance]
            if caller.filter.unused and self._by_identity.get(caller.identity) is caller:
                caller.beat()
        if self._newcomers:
            self.sweep_by(next(iter(self._newcomers.values())))

    def _say_goaway(self, now: float) -> None:
        """Tell who has not answered it yet; saying it again finds out who has gone without a word."""
        self._each(lambda caller: None if caller.leaving else caller.write(self._goaway))
        self.sweep_by(now + REMIND_SECONDS)

    def sweep_by(self, when: float) -> None:
        """Have `sweep` called at a time, if not before."""
        if when < self._next_sweep:
            self._next_sweep = when
            self._wake_by(when)

    def _silent(self, since: float, now: float) -> Iterable[Caller]:
        """List who can be forgotten: not before the last deadline, up to which a message may be repeated."""
        return [c for c in self._callers.values() if c.heard_at < since and c.until < now and c.idle]
