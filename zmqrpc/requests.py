"""
The requests that come in: admitted or refused, run, answered.

Hot path: a pass over the socket only records what arrives; the methods run when it ends, so that casts are acknowledged
before the first of them runs and answers leave in batches. The loops are flat for that reason: at 0.3 million calls a
second each function call costs 2 % of the server.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence, Set
from itertools import chain, islice
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from zmqrpc.any_caller import AnyCaller
from zmqrpc.core.agenda import NEVER
from zmqrpc.core.batch import BATCH_OVERHEAD
from zmqrpc.core.crowd import Crowd
from zmqrpc.core.envelope import (
    Ack,
    Call,
    Cast,
    Failure,
    FailureCode,
    Fanout,
    Flag,
    Kind,
    Nack,
    Notify,
    Refusal,
    Reply,
    Request,
    Served,
    encode_message,
)
from zmqrpc.core.load import Load
from zmqrpc.core.notification import REQUEUE, fault_of
from zmqrpc.core.ranges import Ranges
from zmqrpc.core.seen import Seen
from zmqrpc.core.values import PLAIN, SCALARS, check_quickly, check_value
from zmqrpc.errors import EncodingError
from zmqrpc.forks import leave
from zmqrpc.inherited import IN_PLACE
from zmqrpc.listener import Listener
from zmqrpc.notices import Notices
from zmqrpc.running import Running
from zmqrpc.server import RPCServer

RUN_SECONDS = 0.002
"""How long methods run in one pass; the one that passes it is the last."""

_MOST_CANCELLED = 100_000
"""How many ranges of one batch count; one of `BATCH_BYTES` holds fewer."""

_GIVEN_UP = "it waited at the server, which gave it up when its client had no link to it"

_WHY_NOT_KEPT = "max_reply_memory, max_replies_memory, or its deadline is over"
_NOT_KEPT = {
    Seen.RAN: (FailureCode.NOT_KEPT, "the method ran; its reply is not kept any more"),
    Seen.FORGOTTEN: (FailureCode.FORGOTTEN, "it was answered, and the answer is not kept any more"),
}
_REQUESTS = frozenset((Call, Cast, Fanout))
"""What servers are asked; a Notify is for listeners."""

_ACK_WANTED = int(Flag.ACK_WANTED)
# Looking an enum's member up by name takes 0.15 us, a global 0.03.
_NEW = Seen.NEW
_REPLY = int(Kind.REPLY)


class Requests:
    """
    What runs on a node, and what waits to.

    :param most_running: how many requests may run or wait; one more is refused as overloaded.
    :param most_bytes: how many bytes of them; what would be over it is refused as overloaded.
    :param longest_wait: seconds for which one may wait; what would wait longer is refused as overloaded. 0 for ever.
    :param seconds: the monotonic clock.
    :param wake: asks for a pass soon.
    :param stays: told when a request goes on running, or waiting, after its pass.
    :ivar draining: whether new requests are refused.
    :ivar taken: how many requests were admitted so far.
    :ivar waiting: what is to run: caller, request, deadline, and the server or listener that runs it.
    :ivar begun: what goes on running.
    """

    log = Logger()

    def __init__(
        self,
        most_running: int,
        most_bytes: int,
        longest_wait: float,
        notices: Notices,
        seconds: Callable[[], float],
        wake: Callable[[], None],
        stays: Callable[[], None],
    ) -> None:
        self.draining = False
        self.taken = 0
        self.drain_is_over = False
        self._most_running = most_running
        self._notices = notices
        self._seconds = seconds
        self._wake = wake
        self._stays = stays
        self._servers: dict[tuple[str, str, str | None], list[RPCServer]] = {}
        self._listeners: dict[tuple[str, str, str | None], list[Listener]] = {}
        self.waiting: deque[tuple[AnyCaller, Request, float, RPCServer | Listener]] = deque()
        self._load = Load(most_bytes)
        self.begun = Running(self._load, self._ran, stays)
        # A length that is asked of the dict itself costs half.
        self._all_begun = self.begun.all
        self._crowd = Crowd(most_running, longest_wait)
        self._waiting_of: Counter[AnyCaller] | None = None
        self._narrowed = False
        self._none_waits: list[Deferred[None]] = []

    def add(self, server: RPCServer) -> None:
        """Let a server be called."""
        target = server.target
        assert target.exchange is not None and target.topic is not None
        for member in (None, target.server):
            self._servers.setdefault((target.exchange, target.topic, member), []).append(server)

    def listen(self, listener: Listener) -> None:
        """Let a listener be notified."""
        for target in listener.targets:
            assert target.exchange is not None and target.topic is not None
            self._listeners.setdefault((target.exchange, target.topic, listener.pool), []).append(listener)

    def served(self) -> list[Served]:
        """List what can be called or notified."""
        called = [Served(exchange, topic, member) for exchange, topic, member in self._servers if member is not None]
        listeners = dict.fromkeys(each for listening in self._listeners.values() for each in listening)
        return called + [served for listener in listeners for served in listener.served()]

    @property
    def busy(self) -> bool:
        """Whether anything runs or waits to."""
        return bool(self.begun or self.waiting)

    def when_none_waits(self) -> Deferred[None]:
        """Return a Deferred that fires when nothing waits to run, perhaps within a pass; or when it is cancelled."""
        fired: Deferred[None] = Deferred(lambda fired: fired.callback(None))
        self._none_waits.append(fired)
        self._look_whether_none_waits()
        return fired

    def _look_whether_none_waits(self) -> None:
        if not self.waiting:
            fired, self._none_waits = self._none_waits, []
            for each in fired:
                if not each.called:
                    each.callback(None)

    @property
    def held_bytes(self) -> int:
        """How many bytes of requests run or wait, as of the last that came or ended."""
        return self._load.bytes

    @property
    def running(self) -> int:
        """How many requests run beyond their pass."""
        return len(self.begun)

    def take(
        self, caller: AnyCaller, messages: Iterable[Any], now: float, age: int, size: int, others: list[Any]
    ) -> None:
        """
        Admit or refuse the requests of a batch; what is admitted runs at the end of the pass.

        :param age: ms the batch was under way.
        :param size: bytes of the batch.
        :param others: gets the messages that are no requests, in order.
        """
        admit = caller.filter.admit
        servers = self._servers
        work = self.waiting
        room = self._most_running - len(self._all_begun) if self._load.admits(len(work), size) else 0
        least = 0
        crowded = self._crowd.there
        if crowded:
            self._narrowed = room > 0
            room, least = self._narrow(caller, room, now)
        for message in messages:
            kind = type(message)
            if kind is not Call and kind not in _REQUESTS:
                if kind is Notify:
                    self._take_notification(caller, message, now, age, room)
                else:
                    others.append(message)
                continue
            request: Request = message
            seen = admit(request.sequence)
            if seen is not _NEW:
                self._repeated(caller, request, seen)
                continue
            left = request.remaining - age
            serving = servers.get((request.exchange, request.topic, request.member))
            if serving is None or left <= least or self.draining or len(work) >= room:
                self._not_taken(caller, request, serving is not None, left)
                continue
            server = serving[0]
            if len(serving) > 1:
                serving.append(serving.pop(0))
            if (kind is Cast or kind is Fanout) and request.flags & _ACK_WANTED:
                caller.acknowledge(request.sequence)
            deadline = now + left / 1000
            if deadline > caller.until:
                caller.until = deadline
            work.append((caller, request, deadline, server))
        taken = self._load.took(len(work), size)
        self.taken += taken
        if crowded and self._waiting_of is not None and taken:
            if self._waiting_of[caller] == 0 and self._crowd.one_first:
                # Who asks for little does not wait for those who ask for much.
                work.appendleft(work[-taken])
                del work[-taken]
                self._load.put_first()
                self._crowd.put_first()
            self._waiting_of[caller] += taken

    def _narrow(self, caller: AnyCaller, room: int, now: float) -> tuple[int, int]:
        """
        Look what a client may have of a crowded server.

        :param room: how many requests may wait otherwise.
        :return: how many may; and how many ms a request has to have left, or its time would be up while it waits.
        """
        crowd, waiting = self._crowd, len(self.waiting)
        wait = crowd.wait(waiting)
        if not crowd.look(waiting, len(self.begun), now):
            return room, int(wait * 1000)
        if self._waiting_of is None:
            # Once for each pass in which it is tight: to count each would cost every request.
            self._waiting_of = Counter(work[0] for work in self.waiting)
        waits = self._waiting_of[caller] > 0 or not crowd.one_first
        held = self._waiting_of[caller] + len(caller.running)
        narrow = crowd.room(caller.instance, held, waits, waiting, len(self.begun), now)
        return min(room, narrow), int(wait * 1000) if waits else 0

    def _take_notification(self, caller: AnyCaller, request: Notify, now: float, age: int, room: int) -> None:
        """As `take`, for what goes to listeners: the member is the name of the pool there."""
        seen = caller.filter.admit(request.sequence)
        if seen is not _NEW:
            self._repeated(caller, request, seen)
            return
        left = request.remaining - age
        listening = self._listeners.get((request.exchange, request.topic, request.member))
        if listening is None or left <= 0 or self.draining or len(self.waiting) >= room:
            self._not_taken(caller, request, listening is not None, left)
            return
        fault = fault_of(request)
        if fault:
            self.refuse(caller, request.sequence, Refusal.UNREADABLE, fault)
            return
        listener = listening[0]
        listening.append(listening.pop(0))
        deadline = now + left / 1000
        caller.until = max(caller.until, deadline)
        self.waiting.append((caller, request, deadline, listener))

    def run(self) -> None:
        """Run what waits, for as long as a pass may take."""
        work = self.waiting
        began = now = self._seconds()
        until = now + RUN_SECONDS
        before = len(work)
        try:
            while work:
                caller, request, deadline, server = work.popleft()
                now = self._seconds()
                if now > until:
                    # Timers and sockets have their turn before the rest runs.
                    work.appendleft((caller, request, deadline, server))
                    self._wake()
                    self._stays()
                    self._crowd.left(max(1, before - len(work)), began, now)
                    break
                if deadline <= now:
                    # An earlier method of this pass took that long.
                    self._late(caller, request)
                    continue
                is_call = type(request) is Call
                # The time of what nobody waits for is that of its delivery.
                IN_PLACE[0] = deadline if is_call else None
                try:
                    result = server.run(request)
                except Exception as error:
                    # A fault of ours: all that runs a request answers for what it raises.
                    self.log.failure("{what} could not be run", what=request.method[:100])
                    result = Failure(FailureCode.RAISED, type(error).__name__, "the server has a fault; its log says")
                if type(result) not in PLAIN and isinstance(result, Deferred):
                    # isinstance asks an abstract class, which takes 0.2 us.
                    self._began(caller, request, result, deadline, now)
                elif is_call:
                    self._answer(caller, request.sequence, result)
                else:
                    self._finished(caller, request, result)
            else:
                if self._crowd.there:
                    self._crowd.none_left()
                if self._none_waits:
                    self._look_whether_none_waits()
        finally:
            IN_PLACE[0] = None
            self._waiting_of = None

    def cancel(self, caller: AnyCaller, flats: Iterable[Sequence[int]]) -> None:
        """
        Cancel calls that run, and do not run what waits; an endpoint that runs for a notification goes on.

        What runs or waits is looked through once at most, so all that a batch says is to be given together.

        :param flats: the ranges ``[low, high, ...]`` of each CANCEL; an odd last number is ignored.
        """
        ranges = chain.from_iterable(zip(flat[::2], flat[1::2], strict=False) for flat in flats)
        meant = Ranges()
        # In order, since each one out of order costs a move of those behind it.
        ordered = sorted(islice(ranges, _MOST_CANCELLED))
        parts = [part for low, high in ordered for part in meant.add_range(low, high)]
        number = sum(high - low + 1 for low, high in parts)
        found = self.begun.named(caller, meant, parts, number)
        if self.waiting and number > len(found):
            self._take_back({caller}, lambda request: request.sequence in meant)
        self.begun.cancel(found)

    def _take_back(self, callers: Set[AnyCaller], meant: Callable[[Request], bool]) -> list[tuple[AnyCaller, Request]]:
        """Let requests of clients that wait not run; list them."""
        gone, kept, places = [], [], []
        for place, work in enumerate(self.waiting):
            if work[0] in callers and meant(work[1]):
                gone.append(work[:2])
                places.append(place)
            else:
                kept.append(work)
        self._load.cancelled(len(self.waiting), places)
        self._waiting_of = None
        self.waiting.clear()
        self.waiting.extend(kept)
        self._look_whether_none_waits()
        return gone

    def abandon(self, callers: Set[AnyCaller]) -> Counter[AnyCaller]:
        """
        Cancel the calls of all who are gone, begin none that waits, and count those of each.

        What waits is looked through once, however many they are.
        """
        waiting = callers & self.callers_that_wait()
        withdrawn = self._take_back(waiting, lambda request: type(request) is Call) if waiting else []
        for caller, request in withdrawn:
            # Should it come back, it may have them run elsewhere.
            nack = encode_message(Nack(Refusal.OVERLOADED, [request.sequence, request.sequence], _GIVEN_UP))
            caller.filter.answered(request.sequence, nack)
        ended = Counter(caller for caller, _ in withdrawn)
        for caller in callers:
            ended[caller] += self.begun.abandon(caller)
        return ended

    def callers_that_wait(self) -> set[AnyCaller]:
        """Find those whose calls wait to run."""
        return {caller for caller, request, _, _ in self.waiting if type(request) is Call}

    def cancel_running(self) -> None:
        """Cancel what still runs: its time to drain is up."""
        self.drain_is_over = True
        self.begun.cancel_all()

    def forked(self) -> None:
        """Run nothing any more: this process is a fork, and the method that forked comes back in it."""
        self.draining = True
        self.waiting.clear()
        self._answer = self._began = self._finished = leave  # type: ignore[method-assign,assignment]

    # Answers

    def _answer(self, caller: AnyCaller, sequence: int, result: Any) -> None:
        try:
            if type(result) is dict:
                for key, item in result.items():
                    if type(item) not in SCALARS or type(key) is not str:
                        check_value(result, "the result")
                        break
            else:
                check_quickly(result, "the result")
            encoded = encode_message((_REPLY, sequence, result, None, None, None))
        except Exception as error:
            encoded = self._failed(sequence, result, error)
        if len(encoded) + BATCH_OVERHEAD > caller.largest:
            limit = f"max_message_size of {caller.limited_by} ({caller.largest})"
            text = f"the result of {len(encoded) + BATCH_OVERHEAD} bytes is over {limit}"
            encoded = encode_message(Reply(sequence, None, Failure(FailureCode.TOO_LARGE, "MessageTooLarge", text)))
        caller.filter.answered(sequence, encoded)
        caller.write(encoded)

    def _failed(self, sequence: int, result: Any, error: Exception) -> bytes:
        """Encode the reply of a method that failed, or whose result cannot cross."""
        if type(result) is Failure:
            if self.drain_is_over and result.code == FailureCode.CANCELLED:
                # Not at the caller's wish: to the caller it is as if the process were gone, which it is about to be.
                result = Failure(FailureCode.FORGOTTEN, "", "the server stopped before the method had ended")
            return encode_message(Reply(sequence, None, result))
        try:
            check_value(result, "the result")
        except EncodingError as found:
            error = found
        return encode_message(Reply(sequence, None, Failure(FailureCode.UNENCODABLE, "EncodingError", str(error))))

    def _finished(self, caller: AnyCaller, request: Request, result: Any) -> None:
        """A request without an answer has run; a NOTIFY is acknowledged only now, or given back."""
        if type(request) is not Notify:
            return
        if result is REQUEUE:
            self.refuse(caller, request.sequence, Refusal.REQUEUED, "its endpoint gave it back")
        else:
            ack = encode_message(Ack([request.sequence, request.sequence]))
            caller.filter.answered(request.sequence, ack)
            caller.write(ack)

    def _began(self, caller: AnyCaller, request: Request, result: Deferred[Any], deadline: float, now: float) -> None:
        if result.called and not result.paused and not isinstance(result.result, Deferred):
            result.addCallback(lambda value: self._ended(caller, request, value))
            return
        until = NEVER
        if type(request) is Call:
            # Who casts waits only for the acknowledgement.
            until = deadline
            caller.acknowledge_soon(request.sequence)
        self.begun.begin(caller, request, result, until, now, len(self.waiting))

    def _ran(self, caller: AnyCaller, request: Request, value: Any) -> None:
        """A request that went on running has ended."""
        # The reply says it as well.
        caller.acks.pop(request.sequence, None)
        self._ended(caller, request, value)
        self._wake()

    def _ended(self, caller: AnyCaller, request: Request, value: Any) -> None:
        if type(request) is Call:
            self._answer(caller, request.sequence, value)
        else:
            self._finished(caller, request, value)

    # Refusals

    def refuse(self, caller: AnyCaller, sequence: int, reason: Refusal, text: str) -> None:
        """Say that a message does not run, and never run it: its repetition is refused in the same words."""
        encoded = encode_message(Nack(reason, [sequence, sequence], text))
        caller.filter.answered(sequence, encoded)
        self._notices.count(reason.name.lower())
        caller.write(encoded)

    def _not_taken(self, caller: AnyCaller, request: Request, served: bool, left: int) -> None:
        if left <= 0:
            reason, text = Refusal.EXPIRED, f"{request.remaining - left} ms under way"
        elif self.draining:
            reason, text = Refusal.DRAINING, "stopping"
        elif not served:
            member = f".{request.member}" if request.member else ""
            if type(request) is Notify:
                member = f", pool {request.member}" if request.member else ", the pool without a name,"
            reason, text = Refusal.NOT_SERVED, f"{request.exchange}/{request.topic}{member} is not served here"
        else:
            reason = Refusal.OVERLOADED
            if len(self.waiting) >= self._most_running - len(self.begun):
                waiting = f" and {len(self.waiting)} waiting" if self.waiting else ""
                text = f"{len(self.begun)} calls running{waiting} (max_running_calls)"
            elif self._crowd.there and self._narrowed:
                wait = self._crowd.wait(len(self.waiting))
                text = f"{len(self.waiting)} requests wait, the last for about {wait:.2f} s (max_waiting_time)"
                if not wait:
                    text = "this client has its part of what may run, and others call as well (max_running_calls)"
            else:
                text = f"{self._load.bytes} bytes of requests wait or run (max_running_bytes)"
            self._crowd.refused(self._seconds())
        self.refuse(caller, request.sequence, reason, text)

    def _late(self, caller: AnyCaller, request: Request) -> None:
        if type(request) is Call or type(request) is Notify or not caller.has_link:
            self.refuse(caller, request.sequence, Refusal.EXPIRED, "the reactor was blocked past its deadline")
            return
        self._notices.count(
            "expired_acknowledged",
            "{topic} {method} of client {client} was acknowledged and did not run: "
            "the reactor was blocked past its deadline",
            caller.identity,
            topic=request.topic,
            method=request.method,
            client=caller.instance,
        )

    def _repeated(self, caller: AnyCaller, request: Request, seen: Seen | bytes) -> None:
        sequence = request.sequence
        if type(seen) is bytes:
            caller.write(seen)
        elif seen is Seen.RUNNING:
            if type(request) is not Notify:
                caller.acknowledge(sequence)
        elif seen is Seen.RAN and type(request) is Notify:
            caller.write(encode_message(Ack([sequence, sequence])))
        elif seen is Seen.RAN or seen is Seen.FORGOTTEN:
            code, text = _NOT_KEPT[seen]
            caller.write(
                encode_message(Reply(sequence, None, Failure(code, "ServerLost", f"{text} ({_WHY_NOT_KEPT})")))
            )
        elif seen is Seen.FULL:
            self._notices.count("overloaded")
            text = f"{len(caller.filter)} messages of this client are unsettled (max_unsettled_calls)"
            caller.write(encode_message(Nack(Refusal.OVERLOADED, [sequence, sequence], text)))
        self._notices.count("repeated")
