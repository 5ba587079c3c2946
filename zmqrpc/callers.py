"""
What comes in: the client instances that call us, their requests and our answers.

Hot path: a pass over the socket only records what arrives; the methods run when it ends, so that casts are acknowledged
before the first of them runs and answers leave in batches. The loop over requests is flat for that reason: at 0.3
million calls a second each function call costs 2 % of the server.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from zope.interface import implementer

from zmqrpc.core.age import ClockBase
from zmqrpc.core.envelope import (
    BATCH_BYTES,
    BATCH_OVERHEAD,
    WIRE_VERSION,
    Ack,
    Batch,
    Beat,
    Call,
    Cancel,
    Cast,
    Failure,
    FailureCode,
    Fanout,
    Flag,
    Goaway,
    Hello,
    Nack,
    Notify,
    Ping,
    Pong,
    Refusal,
    Reply,
    Request,
    Served,
    Unreadable,
    Welcome,
    decode_batch,
    encode_batch,
    encode_message,
    flatten,
)
from zmqrpc.core.seen import DuplicateFilter, Seen
from zmqrpc.core.values import check_value, ensure
from zmqrpc.errors import EncodingError, RemoteProtocolError
from zmqrpc.interfaces import FULL, SENT, IBoundRouter, IRouterReceiver
from zmqrpc.notices import Notices
from zmqrpc.server import RPCServer
from zmqrpc.settings import Settings

BEAT_SECONDS = 0.5
LEAVE_SECONDS = 2.0
"""How long a stop waits for a client to answer GOAWAY; one that is connected and runs does so at once."""

_RETRY_FULL = 0.05
_REQUESTS = frozenset((Call, Cast, Fanout, Notify))
_NEVER = float("inf")


class Caller:
    """
    One client instance, as this node sees it.

    :ivar identity: routing id of its newest connection.
    :ivar running: the calls that are running, by sequence: the Deferred that will answer.
    """

    __slots__ = (
        "acks",
        "base",
        "filter",
        "heard_at",
        "identity",
        "instance",
        "largest",
        "leaving",
        "outbox",
        "outbox_bytes",
        "running",
        "unsent",
        "unsent_bytes",
    )

    def __init__(self, instance: bytes, settings: Settings) -> None:
        self.instance = instance
        self.identity = b""
        self.largest = settings.max_message_size
        self.heard_at = 0.0
        self.leaving = False
        self.base: ClockBase | None = None
        self.filter = DuplicateFilter(settings.max_unsettled_calls, settings.max_reply_memory)
        self.running: dict[int, Deferred[Any]] = {}
        self.acks: list[int] = []
        self.outbox: list[bytes] = []
        self.outbox_bytes = 0
        self.unsent: deque[bytes] = deque()
        self.unsent_bytes = 0


@implementer(IRouterReceiver)
class Callers:
    """
    Every client instance, and the servers it may call.

    :param instance: our own instance.
    :param seconds: the monotonic clock.
    :param wake: asks for a pass soon.
    :param wake_by: asks that `sweep` is called at a time.
    :ivar draining: whether new requests are refused.
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
        self.draining = False
        self._instance = instance
        self._settings = settings
        self._notices = notices
        self._seconds = seconds
        self._wake = wake
        self._wake_by = wake_by
        self._router: IBoundRouter | None = None
        self._callers: dict[bytes, Caller] = {}
        self._by_identity: dict[bytes, Caller] = {}
        self._servers: dict[tuple[str, str, str | None], list[RPCServer]] = {}
        self._work: deque[tuple[Caller, Request, float, RPCServer]] = deque()
        self._dirty: dict[bytes, Caller] = {}
        self._running = 0
        self._drain_at = _NEVER
        self._next_beat = _NEVER
        self._next_sweep = _NEVER

    # What the node does with it

    def opened(self, router: IBoundRouter) -> None:
        """Take the socket that is bound."""
        self._router = router

    def add(self, server: RPCServer) -> None:
        """Let a server be called, and tell those who are connected."""
        target = server.target
        assert target.exchange is not None and target.topic is not None
        for member in (None, target.server):
            self._servers.setdefault((target.exchange, target.topic, member), []).append(server)
        self._each(lambda caller: self._welcome(caller, int(self._seconds() * 1000)))

    @property
    def busy(self) -> bool:
        """Whether a call is running or an answer waits to be written."""
        return bool(self._running or self._work or self._dirty)

    @property
    def drained(self) -> bool:
        """Whether nothing is left to do after `drain`: all has run, and every client knows that we stop."""
        if self.busy:
            return False
        since = self._seconds() - LEAVE_SECONDS
        return all(caller.leaving or self._drain_at < since for caller in self._by_identity.values())

    @property
    def running(self) -> int:
        """How many calls are running."""
        return self._running

    def drain(self, text: str) -> None:
        """Take nothing new from now on, and tell everybody."""
        self.draining = True
        self._drain_at = self._seconds()
        goaway = encode_message(Goaway(text))
        self._each(lambda caller: self._write(caller, goaway))
        self._wake()

    def cancel_running(self) -> None:
        """Cancel what still runs: its time to drain is up."""
        for caller in self._callers.values():
            for result in list(caller.running.values()):
                result.cancel()

    # IRouterReceiver

    def malformed_received(self, identity: bytes, reason: str) -> None:
        self._notices.count("malformed", f"a message of connection {identity.hex()} was dropped: {reason}")

    def payload_received(self, identity: bytes, payload: Any) -> int:
        try:
            batch = decode_batch(payload)
        except RemoteProtocolError as error:
            self._notices.count("malformed", f"connection {identity.hex()}: {error}")
            return 1
        caller = self._by_identity.get(identity)
        if caller is None or caller.instance != batch.source or batch.destination != self._instance:
            return self._opening(identity, batch)
        now = self._seconds()
        arrival = int(now * 1000)
        caller.heard_at = now
        assert caller.base is not None
        age = caller.base.age(arrival, batch.sent)
        if batch.settled:
            caller.filter.settle(batch.settled)
        self._take(caller, batch, now, age)
        return len(batch.messages) or 1

    def _take(self, caller: Caller, batch: Batch, now: float, age: int) -> None:
        admit = caller.filter.admit
        servers = self._servers
        work = self._work
        for message in batch.messages:
            kind = type(message)
            if kind not in _REQUESTS:
                self._take_other(caller, batch, message, now)
                continue
            sequence = message.sequence  # type: ignore[union-attr]
            seen = admit(sequence)
            if seen is not Seen.NEW:
                self._repeated(caller, message, seen)  # type: ignore[arg-type]
                continue
            left = message.remaining - age  # type: ignore[union-attr]
            serving = servers.get((message.exchange, message.topic, message.member))  # type: ignore[union-attr]
            if left <= 0:
                self._refuse(caller, sequence, Refusal.EXPIRED, f"{age} ms under way")
            elif self.draining:
                self._refuse(caller, sequence, Refusal.DRAINING, "stopping")
            elif serving is None:
                self._not_served(caller, message)  # type: ignore[arg-type]
            elif len(work) + self._running >= self._settings.max_running_calls:
                self._refuse(caller, sequence, Refusal.OVERLOADED, f"{self._running} calls running")
            else:
                server = serving[0]
                if len(serving) > 1:
                    serving.append(serving.pop(0))
                if kind is not Call and kind is not Notify and message.flags & Flag.ACK_WANTED:  # type: ignore[union-attr]
                    caller.acks.append(sequence)
                    self._dirty[caller.instance] = caller
                work.append((caller, message, now + left / 1000, server))  # type: ignore[arg-type]

    def end_pass(self) -> None:
        """Acknowledge what the pass recorded, run it, and write the answers."""
        if self._dirty:
            self._flush()
        work = self._work
        while work:
            caller, request, deadline, server = work.popleft()
            if deadline <= self._seconds():
                # An earlier method of this pass took that long.
                self._late(caller, request)
                continue
            result = server.run(request)
            if type(result) is Deferred:
                self._began(caller, request, result)
            elif type(request) is Call:
                self._answer(caller, request.sequence, result)
            else:
                self._finished(caller, request, result)
        if self._dirty:
            self._flush()

    # Answers

    def _answer(self, caller: Caller, sequence: int, result: Any) -> None:
        if type(result) is Failure:
            encoded = encode_message(Reply(sequence, None, result))
        else:
            try:
                ensure(result, "the result")
                encoded = encode_message(Reply(sequence, result))
            except Exception as error:
                encoded = self._unencodable(sequence, result, error)
        if len(encoded) + BATCH_OVERHEAD > caller.largest:
            text = f"the reply of {len(encoded)} bytes is over the limit of {caller.largest} of its caller"
            encoded = encode_message(Reply(sequence, None, Failure(FailureCode.TOO_LARGE, "MessageTooLarge", text)))
        caller.filter.answered(sequence, encoded)
        # `_write`, spelled out: this is every call.
        outbox = caller.outbox
        outbox.append(encoded)
        size = caller.outbox_bytes = caller.outbox_bytes + len(encoded)
        if size > BATCH_BYTES:
            self._flush_one(caller)
        else:
            self._dirty[caller.instance] = caller

    @staticmethod
    def _unencodable(sequence: int, result: Any, error: Exception) -> bytes:
        try:
            check_value(result, "the result")
        except EncodingError as found:
            error = found
        return encode_message(Reply(sequence, None, Failure(FailureCode.UNENCODABLE, "EncodingError", str(error))))

    def _finished(self, caller: Caller, request: Request, result: Any) -> None:
        """A request without an answer has run."""
        ack = encode_message(Ack([request.sequence, request.sequence]))
        caller.filter.answered(request.sequence, ack)
        if type(request) is Notify and request.flags & Flag.ACK_WANTED:
            self._write(caller, ack)

    def _began(self, caller: Caller, request: Request, result: Deferred[Any]) -> None:
        if result.called and not result.paused and not isinstance(result.result, Deferred):
            result.addCallback(lambda value: self._ended(caller, request, value))
            return
        sequence = request.sequence
        caller.running[sequence] = result
        self._running += 1
        if type(request) is Call:
            caller.acks.append(sequence)
            self._dirty[caller.instance] = caller
        if self._next_beat == _NEVER:
            self._next_beat = self._seconds() + BEAT_SECONDS
            self._wake_by(self._next_beat)
        result.addCallback(lambda value: self._ran(caller, request, value))

    def _ran(self, caller: Caller, request: Request, value: Any) -> None:
        del caller.running[request.sequence]
        self._running -= 1
        if request.sequence in caller.acks:
            caller.acks.remove(request.sequence)
        self._ended(caller, request, value)
        self._wake()

    def _ended(self, caller: Caller, request: Request, value: Any) -> None:
        if type(request) is Call:
            self._answer(caller, request.sequence, value)
        else:
            self._finished(caller, request, value)

    # Refusals

    def _refuse(self, caller: Caller, sequence: int, reason: Refusal, text: str) -> None:
        """Say that a message does not run, and never run it: its repetition is refused in the same words."""
        encoded = encode_message(Nack(reason, [sequence, sequence], text))
        caller.filter.answered(sequence, encoded)
        self._notices.count(reason.name.lower())
        self._write(caller, encoded)

    def _not_served(self, caller: Caller, request: Request) -> None:
        name = f"{request.exchange}/{request.topic}" + (f".{request.member}" if request.member else "")
        self._refuse(caller, request.sequence, Refusal.NOT_SERVED, f"{name} is not served here")

    def _late(self, caller: Caller, request: Request) -> None:
        if type(request) is Call or type(request) is Notify:
            self._refuse(caller, request.sequence, Refusal.EXPIRED, "the reactor was blocked past its deadline")
            return
        caller.filter.answered(request.sequence, encode_message(Ack([request.sequence, request.sequence])))
        self._notices.count(
            "expired_acknowledged",
            f"{request.topic} {request.method} of client {caller.instance.hex()} was acknowledged and did not run: "
            "the reactor was blocked past its deadline",
        )

    def _repeated(self, caller: Caller, request: Request, seen: Seen | bytes) -> None:
        sequence = request.sequence
        if type(seen) is bytes:
            self._write(caller, seen)
        elif seen is Seen.RUNNING:
            caller.acks.append(sequence)
            self._dirty[caller.instance] = caller
        elif seen is Seen.FORGOTTEN:
            text = "the method ran; its reply is not kept any more (max_reply_memory)"
            self._write(caller, encode_message(Reply(sequence, None, Failure(FailureCode.FORGOTTEN, "", text))))
        elif seen is Seen.FULL:
            self._notices.count("overloaded")
            text = f"{len(caller.filter)} messages of this client are unsettled"
            self._write(caller, encode_message(Nack(Refusal.OVERLOADED, [sequence, sequence], text)))
        self._notices.count("repeated")

    # Everything that is not a request

    def _opening(self, identity: bytes, batch: Batch) -> int:
        """Take a batch of a connection that is not open, or for somebody else."""
        if batch.version != WIRE_VERSION:
            self._bad_version(identity, batch, f"{batch.version}")
            return 1
        for message in batch.messages:
            if type(message) is Hello:
                self._hello(identity, batch, message)
                return len(batch.messages)
        sequences = [message.sequence for message in batch.messages if isinstance(message, Request)]
        self._notices.count("wrong_instance", f"client {batch.source.hex()} took us for another instance")
        if sequences:
            self._send_alone(identity, batch.source, Nack(Refusal.WRONG_INSTANCE, flatten(sequences)))
        return len(batch.messages) or 1

    def _hello(self, identity: bytes, batch: Batch, hello: Hello) -> None:
        if not hello.lowest <= WIRE_VERSION <= hello.highest:
            self._bad_version(identity, batch, f"{hello.lowest} to {hello.highest}")
            return
        now = self._seconds()
        arrival = int(now * 1000)
        caller = self._callers.get(batch.source)
        if caller is None:
            caller = self._callers[batch.source] = Caller(batch.source, self._settings)
            self._sweep_by(now + self._settings.rpc_message_ttl)
        if caller.identity != identity:
            # What waited for the old connection is asked for again, by number, over the new one.
            self._by_identity.pop(caller.identity, None)
            caller.unsent.clear()
            caller.unsent_bytes = 0
        caller.identity = identity
        caller.leaving = False
        caller.heard_at = now
        caller.largest = min(hello.limits.get("message", caller.largest), self._settings.max_message_size)
        if caller.base is None:
            caller.base = ClockBase(arrival, batch.sent)
        else:
            caller.base.age(arrival, batch.sent)
        self._by_identity[identity] = caller
        self._welcome(caller, batch.sent)
        if self.draining:
            self._write(caller, encode_message(Goaway("stopping")))

    def _welcome(self, caller: Caller, echoed: int) -> None:
        limits = {"message": self._settings.max_message_size, "unsettled": self._settings.max_unsettled_calls}
        welcome = Welcome(WIRE_VERSION, echoed, "server", [], limits, self.served())
        self._write(caller, encode_message(welcome))

    def served(self) -> list[Served]:
        """List what this node serves."""
        return [Served(exchange, topic, member) for exchange, topic, member in self._servers if member is not None]

    def _bad_version(self, identity: bytes, batch: Batch, theirs: str) -> None:
        text = f"wire versions {WIRE_VERSION} to {WIRE_VERSION} are spoken here, not {theirs}"
        self._notices.count("bad_version", f"client {batch.source.hex()} speaks wire version {theirs}")
        self._send_alone(identity, batch.source, Nack(Refusal.BAD_VERSION, [], text))

    def _take_other(self, caller: Caller, batch: Batch, message: Any, now: float) -> None:
        kind = type(message)
        if kind is Ping:
            assert caller.base is not None
            caller.base.ping(int(now * 1000), batch.sent, message.last_round_trip)
            self._write(caller, encode_message(Pong(message.token)))
        elif kind is Hello:
            self._hello(caller.identity, batch, message)
        elif kind is Cancel:
            for low, high in zip(message.ranges[::2], message.ranges[1::2], strict=False):
                for sequence in [number for number in caller.running if low <= number <= high]:
                    caller.running[sequence].cancel()
        elif kind is Unreadable:
            self._notices.count("malformed", f"a message of client {caller.instance.hex()}: {message.reason}")
            if message.sequence is not None and caller.filter.admit(message.sequence) is Seen.NEW:
                self._refuse(caller, message.sequence, Refusal.UNREADABLE, message.reason[:200])
        elif kind is Goaway:
            caller.leaving = True
        else:
            self._notices.count("unexpected", f"client {caller.instance.hex()} sent a {kind.__name__}")

    # Writing

    def _write(self, caller: Caller, encoded: bytes) -> None:
        caller.outbox.append(encoded)
        caller.outbox_bytes += len(encoded)
        self._dirty[caller.instance] = caller

    def _flush(self) -> None:
        dirty, self._dirty = self._dirty, {}
        for caller in dirty.values():
            self._flush_one(caller)

    def _flush_one(self, caller: Caller) -> None:
        if caller.acks:
            caller.outbox.append(encode_message(Ack(flatten(caller.acks))))
            caller.acks = []
        if caller.outbox:
            payload = encode_batch(self._instance, caller.instance, int(self._seconds() * 1000), (), caller.outbox)
            caller.outbox = []
            caller.outbox_bytes = 0
            caller.unsent.append(payload)
            caller.unsent_bytes += len(payload)
        unsent = caller.unsent
        while unsent:
            sent = self._router.send(caller.identity, unsent[0]) if self._router is not None else SENT
            if sent == FULL:
                self._keep_bounded(caller)
                self._dirty[caller.instance] = caller
                self._sweep_by(self._seconds() + _RETRY_FULL)
                return
            caller.unsent_bytes -= len(unsent.popleft())
            if sent != SENT:
                # The caller asks again over its next connection, and is answered from the filter.
                self._notices.count("replies_dropped")
                self._by_identity.pop(caller.identity, None)

    def _keep_bounded(self, caller: Caller) -> None:
        while caller.unsent_bytes > self._settings.max_queued_bytes and len(caller.unsent) > 1:
            caller.unsent_bytes -= len(caller.unsent.popleft())
            self._notices.count(
                "replies_dropped", f"client {caller.instance.hex()} does not read; its oldest replies are dropped"
            )

    def _send_alone(self, identity: bytes, destination: bytes, message: Nack) -> None:
        now = int(self._seconds() * 1000)
        if self._router is not None:
            self._router.send(identity, encode_batch(self._instance, destination, now, (), [encode_message(message)]))

    def _each(self, act: Callable[[Caller], None]) -> None:
        for caller in self._callers.values():
            if caller.identity in self._by_identity:
                act(caller)
        if self._dirty:
            self._wake()

    # Time

    @property
    def wake_at(self) -> float:
        """When `sweep` has to be called next."""
        return min(self._next_beat, self._next_sweep)

    def sweep(self, now: float) -> None:
        """Beat for what runs, write what waited, forget who has been silent for longer than `rpc_message_ttl`."""
        if now >= self._next_beat:
            self._next_beat = now + BEAT_SECONDS if self._running else _NEVER
            for caller in self._callers.values():
                if caller.running:
                    self._write(caller, encode_message(Beat(flatten(caller.running))))
        if now >= self._next_sweep:
            ttl = self._settings.rpc_message_ttl
            self._next_sweep = now + ttl / 2 if self._callers else _NEVER
            for caller in self._silent(now - ttl):
                self._by_identity.pop(caller.identity, None)
                del self._callers[caller.instance]
        if self._dirty:
            self._wake()

    def _sweep_by(self, when: float) -> None:
        if when < self._next_sweep:
            self._next_sweep = when
            self._wake_by(when)

    def _silent(self, since: float) -> Iterable[Caller]:
        return [c for c in self._callers.values() if c.heard_at < since and not c.running and not c.outbox]
