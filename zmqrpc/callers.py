"""What comes in: the connections of the client instances that call us, and everything on them but the requests."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from twisted.logger import Logger
from zope.interface import implementer

from zmqrpc.caller import Caller
from zmqrpc.core.age import ClockOffset, is_read_late
from zmqrpc.core.agenda import NEVER
from zmqrpc.core.batch import Batch, decode_batch, encode_batch
from zmqrpc.core.envelope import (
    WIRE_VERSION,
    Ack,
    Beat,
    Cancel,
    Failure,
    FailureCode,
    Goaway,
    Hello,
    Nack,
    Ping,
    Pong,
    Refusal,
    Reply,
    Request,
    Served,
    Unreadable,
    Welcome,
    encode_message,
)
from zmqrpc.core.inspected import INSPECT
from zmqrpc.core.ranges import flatten
from zmqrpc.core.roles import SERVER
from zmqrpc.core.seen import Seen
from zmqrpc.core.ways import Identity, Through
from zmqrpc.errors import RemoteProtocolError
from zmqrpc.inspection import inspected
from zmqrpc.interfaces import GONE, IBoundReceiver, IBoundRouter
from zmqrpc.listener import Listener
from zmqrpc.notices import Notices
from zmqrpc.outbox import RETRY_FULL
from zmqrpc.requests import Requests
from zmqrpc.server import RPCServer
from zmqrpc.settings import Settings

BEAT_SECONDS = 0.5
LEAVE_SECONDS = 2.0
"""
How long a stop waits for a client to answer GOAWAY; one that is connected and runs does so at once. A connection that
brought a GOAWAY for good is known for as long, and not opened again.
"""

LEAVE_THROUGH_SECONDS = 3.0
"""The same for one behind a proxy: that may be silent, which the client knows after 2.5 s; then it comes by another."""

STRAY_SECONDS = 1.0
"""How long a stop waits for a client whose proxy is gone: it comes back by another, and asks for what it lost."""

GONE_SECONDS = 2 * BEAT_SECONDS
"""How long a client may be without a connection until what runs for it is cancelled; the client counts as long."""

GONE_THROUGH_SECONDS = LEAVE_THROUGH_SECONDS
"""The same for one behind a proxy, for the same reason."""

_LATE_SECONDS = 1.0
_REMIND_SECONDS = 0.1


@implementer(IBoundReceiver)
class Callers:
    """
    Every client instance, and the servers and listeners it may reach.

    :ivar instance: our own instance.
    :ivar seconds: the monotonic clock.
    :ivar dirty: who has something to be written at the end of the pass.
    :ivar send_through: writes a payload to a client behind a proxy, and returns what `IBoundRouter.send` does.
    :ivar inspect: tells what is going on here, with so many events and in so many bytes; raises `AccessDenied`.
    :ivar largest_through: returns the largest payload that gets to it.
    :ivar reachable: tells whether clients behind proxies can reach us, by any of these.
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
        self.send_through: Callable[[Through, bytes], int] = lambda way, payload: GONE
        self.largest_through: Callable[[Through], int] = lambda way: settings.max_message_size
        self.reachable: Callable[[], bool] = lambda: True
        self.inspect: Callable[[int, float], dict[str, Any]] = lambda events, most_bytes: {}
        self._callers: dict[bytes, Caller] = {}
        self._by_identity: dict[Identity, Caller] = {}
        self._returned: list[tuple[Caller, Identity, bytes]] = []
        self._returned_bytes = 0
        self._requests = Requests(
            settings.max_running_calls,
            settings.max_running_bytes,
            settings.max_waiting_time,
            notices,
            seconds,
            wake,
            self._began_running,
        )
        self.dirty: dict[bytes, Caller] = {}
        self._left: dict[bytes, float] = {}
        self._drain_at = NEVER
        self._goaway = b""
        self._next_beat = NEVER
        self._next_sweep = NEVER

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
            caller.leaving or waited > (LEAVE_THROUGH_SECONDS if type(identity) is Through else LEAVE_SECONDS)
            for identity, caller in self._by_identity.items()
        )

    def drain(self, text: str) -> None:
        """Take nothing new from now on, and tell everybody."""
        self._requests.draining = True
        self._drain_at = self.seconds()
        self._goaway = encode_message(Goaway(text))
        self._say_goaway(self._drain_at)

    def cancel_running(self) -> None:
        """Cancel what still runs: its time to drain is up."""
        self._requests.drain_is_over = True
        for caller in self._callers.values():
            for result, _ in list(caller.running.values()):
                self._requests.cancel_one(result)

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
        text = "client {client} took us for another instance"
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
            welcome.extensions = inspected(hello, self.settings.max_message_size, self.inspect)
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
                text = "too many clients are remembered"
                self._send_alone(identity, batch.source, Nack(Refusal.OVERLOADED, [], text))
                return
            caller = self._callers[batch.source] = Caller(self, batch.source, arrival, batch.sent)
            self._sweep_by(now + self.settings.rpc_message_ttl)
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
        self._detach(caller)
        largest = self.largest_through(identity) if type(identity) is Through else self.settings.max_message_size
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
            del self._callers[before.instance]

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
            taken = caller.filter.highest - caller.recorded
            if taken > 0:
                caller.recorded += taken
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
                self._sweep_by(now + LEAVE_SECONDS)
        else:
            text = "client {client} sent a {kind}"
            self.notices.count("unexpected", text, caller.identity, client=caller.instance, kind=kind.__name__)

    # Writing

    def send(self, identity: Identity, payload: bytes) -> int:
        """Write one payload; return `SENT`, `FULL` or `GONE`."""
        if isinstance(identity, Through):
            return self.send_through(identity, payload)
        return self._router.send(identity, payload) if self._router is not None else GONE

    def blocked(self, caller: Caller) -> None:
        """Take that a caller's connection is full: it is tried again in each pass."""
        self.dirty[caller.instance] = caller
        self._sweep_by(self.seconds() + RETRY_FULL)

    def gone(self, caller: Caller) -> None:
        """Take that a caller's connection does not exist any more."""
        self.notices.count("replies_dropped")
        self.notices.record("client_lost", "the connection of client {peer} is gone", caller.instance)
        self._detach(caller)

    def _detach(self, caller: Caller) -> None:
        """Take that the connection a caller had is not its any more; it may be another's by now."""
        if self._by_identity.get(caller.identity) is caller:
            del self._by_identity[caller.identity]
            caller.away_since = self.seconds()

    # What comes through proxies

    def way_ended(self, connection: bytes) -> None:
        """Take that a connection to a proxy has ended: whoever called by it asks again by another, for answers too."""
        for identity, caller in list(self._by_identity.items()):
            if isinstance(identity, Through) and identity.connection == connection:
                self._detach(caller)
                text = "the way to client {peer} has ended, with the connection to its router proxy"
                self.notices.record("client_strayed", text, caller.instance)
                caller.strayed_at = self.seconds()

    def returned(self, way: Through, payload: bytes, reason: Refusal) -> None:
        """
        Take that a proxy gave back what was for a client.

        :param reason: OVERLOADED keeps it for a while, within ``max_queued_bytes``; TOO_LARGE makes failures of what is
            too large by itself; else the client is not there.
        """
        caller = self._by_identity.get(way)
        if caller is None:
            self.notices.count("returned_late")
        elif reason is Refusal.TOO_LARGE:
            self._say_less(caller, decode_batch(payload).messages)
        elif reason is not Refusal.OVERLOADED:
            self.gone(caller)
            caller.strayed_at = self.seconds()
        elif self._returned_bytes + len(payload) > self.settings.max_queued_bytes:
            text = "the way to client {client} is full; replies that came back are dropped"
            self.notices.count("replies_dropped", text, way, client=caller.instance)
        else:
            self._returned.append((caller, way, payload))
            self._returned_bytes += len(payload)
            self._sweep_by(self.seconds() + RETRY_FULL)

    def _say_less(self, caller: Caller, messages: Sequence[Any]) -> None:
        """Answer in smaller batches, as the limit of the client at this proxy is not known, or without a result."""
        caller.narrow()
        for message in messages:
            if type(message) is Reply and len(messages) == 1:
                text = "the result is over max_message_size of the client, by the router proxy on the way to it"
                failure = Failure(FailureCode.TOO_LARGE, "MessageTooLarge", text)
                caller.write(encode_message(Reply(message.sequence, None, failure)))
            elif type(message) in (Reply, Ack):
                caller.write(encode_message(message))

    def _send_returned(self) -> None:
        """Write once more what came back."""
        returned, self._returned = self._returned, []
        self._returned_bytes = 0
        for caller, identity, payload in returned:
            if self._by_identity.get(identity) is caller:
                caller.write_again(payload)

    def _forget(self, caller: Caller) -> None:
        self._detach(caller)
        del self._callers[caller.instance]

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
        for caller in self._callers.values():
            if caller.identity in self._by_identity:
                act(caller)
        if self.dirty:
            self._wake()

    # Time

    @property
    def wake_at(self) -> float:
        """When `sweep` has to be called next."""
        return min(self._next_beat, self._next_sweep)

    def sweep(self, now: float) -> None:
        """Beat for what runs, write what waited, forget who has been silent for longer than `rpc_message_ttl`."""
        if now >= self._next_beat:
            self._next_beat = now + BEAT_SECONDS if self._requests.running else NEVER
            for caller in list(self._callers.values()):
                if caller.running:
                    self._give_up_late(caller, now)
                    if caller.away_since == NEVER:
                        caller.write(encode_message(Beat(flatten(caller.running))))
                    else:
                        self._give_up_lost(caller, now)
        if now >= self._next_sweep:
            ttl = self.settings.rpc_message_ttl
            for identity in [each for each, since in self._left.items() if since + LEAVE_SECONDS <= now]:
                del self._left[identity]
            self._next_sweep = now + LEAVE_SECONDS if self._left else now + ttl / 2 if self._callers else NEVER
            self._send_returned()
            if self._requests.draining:
                self._say_goaway(now)
            for caller in self._silent(now - ttl, now):
                self._forget(caller)
        if self.dirty:
            self._wake()

    def _give_up_late(self, caller: Caller, now: float) -> None:
        """Cancel what nobody waits for any more: the CANCEL of a client that is gone, or was cut off, never comes."""
        for result in [r for r, until in caller.running.values() if -NEVER < until <= now - _LATE_SECONDS]:
            self._requests.cancel_one(result)

    def _give_up_lost(self, caller: Caller, now: float) -> None:
        """Cancel the calls of a client that has no connection, when it could have made another."""
        through = type(caller.identity) is Through
        if through and not self.reachable():
            # That there is no proxy says nothing of the client, which waits for one as we do.
            caller.away_since = now
        # It was found out at a BEAT, or before.
        if now >= caller.away_since + (GONE_THROUGH_SECONDS if through else GONE_SECONDS) - BEAT_SECONDS / 2:
            text = "client {client} has no link any more, {number} calls that ran for it are cancelled"
            number = self._requests.abandon(caller)
            self.notices.count("caller_gone", text, caller.identity, number=number, client=caller.instance)

    def _say_goaway(self, now: float) -> None:
        """Tell who has not answered it yet; saying it again finds out who has gone without a word."""
        self._each(lambda caller: None if caller.leaving else caller.write(self._goaway))
        self._sweep_by(now + _REMIND_SECONDS)

    def _began_running(self) -> None:
        if self._next_beat == NEVER:
            self._next_beat = self.seconds() + BEAT_SECONDS
            self._wake_by(self._next_beat)

    def _sweep_by(self, when: float) -> None:
        if when < self._next_sweep:
            self._next_sweep = when
            self._wake_by(when)

    def _silent(self, since: float, now: float) -> Iterable[Caller]:
        """List who can be forgotten: not before the last deadline, up to which a message may be repeated."""
        return [c for c in self._callers.values() if c.heard_at < since and c.until < now and c.idle]
