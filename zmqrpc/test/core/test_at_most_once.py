"""
At most once, and every call ends: the pending calls of a client and the duplicate filters of two servers, on the worst
of networks.

`World` holds both ends and what is under way between them, as encoded batches. Hypothesis chooses what happens next:
messages are lost, doubled, delayed and overtaken in both directions, links are lost, servers are replaced, windows and
memories are full, callers lose interest and deadlines pass. `Ledger` asserts the promises at the moment one is broken.
That the test can fail is tested too: each of `FORGETFUL` and `RULES` breaks one rule of the design.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import count

import attrs
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test
from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.core.batch import decode_batch, encode_batch
from zmqrpc.core.call import PendingCall, Stage
from zmqrpc.core.envelope import (
    Ack,
    Call,
    Failure,
    FailureCode,
    Flag,
    Kind,
    Message,
    Nack,
    Ping,
    Refusal,
    Reply,
    encode_message,
    readdress,
)
from zmqrpc.core.pending import PendingCalls
from zmqrpc.core.retry import RetryPolicy
from zmqrpc.core.seen import DuplicateFilter, Seen
from zmqrpc.target import Target

CLIENT = b"client".ljust(16)
TARGET = Target(topic="compute")
WINDOW, REPLY_BYTES = 4, 15
KEPT = 3
"""What a server keeps unsettled; less than `WINDOW`, as when more has ended than a batch can tell."""
PLACES, INDEXES = st.integers(0, 1), st.integers(0, 20)
POLICY = RetryPolicy(base=5, multiplier=2, attempts=2)


class Ledger:
    """What ran where and how each call ended, and the promises about both."""

    def __init__(self) -> None:
        self.ran: Counter[tuple[bytes, int]] = Counter()
        self.instances: dict[int, set[bytes]] = {}
        self.idempotent: dict[int, bool] = {}
        self.ends: dict[int, str] = {}
        self.did_not_run: set[int] = set()

    def began(self, number: int, idempotent: bool) -> None:
        self.idempotent[number] = idempotent
        self.instances[number] = set()

    def run(self, number: int, instance: bytes, sequence: int) -> None:
        self.ran[instance, sequence] += 1
        assert self.ran[instance, sequence] == 1, f"message {sequence} ran twice at {instance!r}"
        self.instances[number].add(instance)
        assert self.idempotent[number] or len(self.instances[number]) == 1, f"call {number} ran at two instances"
        assert number not in self.did_not_run, f"call {number} ran after its caller was told that it did not"

    def end(self, number: int, how: str, maybe_executed: bool) -> None:
        assert number not in self.ends, f"call {number} ended {self.ends[number]}, and {how} again"
        self.ends[number] = how
        if how == "result":
            assert self.instances[number], f"call {number} has a result and never ran"
        elif not maybe_executed:
            assert not self.instances[number], f"call {number} ran, and its caller was told that it did not"
            self.did_not_run.add(number)


class Server:
    """One start of a server: records what arrives, runs it later, answers."""

    def __init__(self, instance: bytes, ledger: Ledger, make_filter: type[DuplicateFilter]) -> None:
        self.instance = instance
        self.ledger = ledger
        self.filter = make_filter(KEPT, REPLY_BYTES)
        self.draining = False
        self.work: list[tuple[Call, float]] = []

    def receive(self, payload: bytes, now: float) -> list[Message]:
        batch = decode_batch(payload)
        if batch.destination != self.instance:
            ranges = [n for message in batch.messages if isinstance(message, Call) for n in [message.sequence] * 2]
            return [Nack(Refusal.WRONG_INSTANCE, ranges)]
        self.filter.settle(batch.settled)
        age = int(now * 1000) - batch.sent
        answers = [self._take(message, age, now) for message in batch.messages if isinstance(message, Call)]
        return [answer for answer in answers if answer is not None]

    def _take(self, call: Call, age: int, now: float) -> Message | None:
        sequence = call.sequence
        seen = self.filter.admit(sequence)
        if seen is Seen.NEW:
            left = call.remaining - age
            if left <= 0:
                return self._refuse(sequence, Refusal.EXPIRED)
            if self.draining:
                return self._refuse(sequence, Refusal.DRAINING)
            self.work.append((call, now + left / 1000))
        elif isinstance(seen, bytes):
            answer = decode_batch(encode_batch(self.instance, CLIENT, 0, (), [seen])).messages[0]
            assert isinstance(answer, (Reply, Nack))
            return answer
        elif seen is Seen.RAN:
            assert self.ledger.ran[self.instance, sequence], f"message {sequence} did not run at {self.instance!r}"
            return Reply(sequence, None, Failure(FailureCode.NOT_KEPT, "", ""))
        elif seen is Seen.FORGOTTEN:
            return Reply(sequence, None, Failure(FailureCode.FORGOTTEN, "", ""))
        elif seen is Seen.FULL:
            return Nack(Refusal.OVERLOADED, [sequence, sequence])
        return Ack([sequence, sequence]) if seen in (Seen.NEW, Seen.RUNNING) else None

    def _refuse(self, sequence: int, reason: Refusal) -> Message:
        nack = Nack(reason, [sequence, sequence])
        self.filter.answered(sequence, encode_message(nack))
        return nack

    def execute(self, index: int, now: float) -> Message:
        call, deadline = self.work.pop(index % len(self.work))
        if deadline <= now:
            return self._refuse(call.sequence, Refusal.EXPIRED)
        assert isinstance(call.arguments, dict)
        self.ledger.run(call.arguments["number"], self.instance, call.sequence)
        reply = Reply(call.sequence, call.arguments["number"])
        self.filter.answered(call.sequence, encode_message(reply))
        return reply


class NumberedCall(PendingCall):
    """A call that the ledger knows by its number."""

    number: int


@attrs.define
class Link:
    """The client's side of one pair: what was handed over, and what waits."""

    instance: bytes
    pending: PendingCalls[NumberedCall]
    up: bool = True
    connection: int = 1
    queue: list[NumberedCall] = attrs.Factory(list)


class World(RuleBasedStateMachine):
    """A client, two places where servers run, and the network between them."""

    # What each of these is for, `FORGETFUL` and `RULES` show.
    make_filter: type[DuplicateFilter] = DuplicateFilter
    checks_source = True
    checks_connection = True
    keeps_to_its_instance = True
    remembers_hand_over = True

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.ledger = Ledger()
        self.numbers, self.instances = count(1), count(1)
        self.calls: list[NumberedCall] = []
        self.servers = [self.start_server(), self.start_server()]
        self.links = [Link(server.instance, PendingCalls(WINDOW, POLICY)) for server in self.servers]
        self.requests: list[tuple[int, int, bytes]] = []
        self.answers: list[tuple[int, int, bytes]] = []

    def start_server(self) -> Server:
        return Server(b"server %9d" % next(self.instances), self.ledger, self.make_filter)

    # The client

    def deliver(self, call: NumberedCall, place: int) -> None:
        link = self.links[place]
        call.link = place
        if link.up and not link.queue and not link.pending.full:
            self.hand_over(call, link, place)
        elif len(link.queue) < 3:
            call.stage = Stage.QUEUED
            link.queue.append(call)
        else:
            self.end(call, "Overloaded")

    def hand_over(self, call: NumberedCall, link: Link, place: int) -> None:
        call.encoded = readdress(call.encoded, link.pending.next_sequence, 1, self.left(call))
        link.pending.hand_over(call, self.now)
        self.send(place, [call.encoded])

    def repeat(self, call: NumberedCall, link: Link) -> bytes:
        link.pending.repeat(call, self.now)
        return readdress(call.encoded, call.sequence, call.attempts, self.left(call))

    def left(self, call: NumberedCall) -> int:
        return max(0, int((call.deadline - self.now) * 1000))

    def send(self, place: int, messages: list[bytes]) -> None:
        link = self.links[place]
        settled = link.pending.tell_settled()
        payload = encode_batch(CLIENT, link.instance, int(self.now * 1000), settled, messages)
        self.requests.append((place, link.connection, payload))

    def end(self, call: NumberedCall, how: str) -> None:
        self.ledger.end(call.number, how, call.may_have_run or call.stage >= Stage.SENT)

    def go_on(self) -> None:
        """Hand over what waited for room."""
        for place, link in enumerate(self.links):
            while link.up and link.queue and not link.pending.full:
                self.hand_over(link.queue.pop(0), link, place)

    def elsewhere(self, call: NumberedCall, place: int) -> None:
        call.sequence = 0
        call.stage = Stage.RESOLVING
        self.deliver(call, 1 - place)

    def receive(self, place: int, connection: int, payload: bytes) -> None:
        link = self.links[place]
        batch = decode_batch(payload)
        if self.checks_source and batch.source != link.instance:
            return
        for message in batch.messages:
            match message:
                case Reply(sequence=sequence):
                    call = link.pending.take(sequence)
                    if call is not None and message.failure is not None:
                        self.end(call, "ServerLost")
                    elif call is not None:
                        self.end(call, "result")
                case Ack(ranges=ranges):
                    link.pending.acknowledged(ranges, self.now)
                case Nack(reason=reason, ranges=ranges):
                    if reason == Refusal.WRONG_INSTANCE and connection != link.connection and self.checks_connection:
                        continue
                    for call in link.pending.within(ranges):
                        link.pending.take(call.sequence)
                        call.stage = Stage.RESOLVING
                        if reason in (Refusal.DRAINING, Refusal.WRONG_INSTANCE):
                            self.elsewhere(call, place)
                        else:
                            self.end(call, Refusal(reason).name)

    def lose(self, place: int) -> None:
        """The instance that had what was handed over is gone; what waits was not handed over."""
        link = self.links[place]
        queue, link.queue = link.queue, []
        for call in link.pending.take_all():
            if call.idempotent or not self.keeps_to_its_instance:
                call.may_have_run = self.remembers_hand_over
                self.elsewhere(call, place)
            else:
                self.end(call, "ServerLost")
        for call in queue:
            self.elsewhere(call, place)

    # What a caller does

    @rule(
        place=PLACES, calls=st.integers(1, 4), idempotent=st.booleans(), timeout=st.sampled_from((60.0, 60.0, 8.0, 1.0))
    )
    def call(self, place, calls, idempotent, timeout):
        for _ in range(calls):
            number = next(self.numbers)
            self.ledger.began(number, idempotent)
            encoded = encode_message(Call(0, 1, 0, 0, "x", "compute", None, None, None, "run", {"number": number}))
            call = NumberedCall()
            call.begin(Kind.CALL, TARGET, encoded, self.now + timeout, int(Flag.IDEMPOTENT) if idempotent else 0)
            call.number = number
            self.calls.append(call)
            self.deliver(call, place)

    @rule(index=INDEXES)
    def cancel(self, index):
        call = self.calls[index % len(self.calls)] if self.calls else None
        if call is None or call.number in self.ledger.ends:
            return
        link = self.links[call.link]
        if call in link.queue:
            link.queue.remove(call)
        else:
            link.pending.take(call.sequence)
        self.end(call, "Cancelled")
        self.go_on()

    @rule(seconds=st.sampled_from((0.1, 1.0, 5.0, 20.0)))
    def time_passes(self, seconds):
        self.now += seconds
        self.sweep()

    def sweep(self) -> None:
        for place, link in enumerate(self.links):
            again, given_up = link.pending.unacknowledged(self.now)
            overdue = link.pending.overdue(self.now)
            for call in given_up:
                self.end(call, "NotAcknowledged")
            late = [call for call in link.queue if call.deadline <= self.now]
            for call in overdue + late:
                if call in late:
                    link.queue.remove(call)
                self.end(call, "DeadlineExceeded")
            messages = [self.repeat(call, link) for call in again if call not in overdue and link.up]
            if messages:
                self.send(place, messages)
        self.go_on()

    # What the network does

    @precondition(lambda self: self.requests)
    @rule(index=INDEXES, keep=st.booleans())
    def request_arrives(self, index, keep):
        index %= len(self.requests)
        place, connection, payload = self.requests[index] if keep else self.requests.pop(index)
        answers = self.servers[place].receive(payload, self.now)
        if answers:
            self.answer(place, answers, connection)

    def answer(self, place: int, messages: list[Message], connection: int = 0) -> None:
        encoded = [encode_message(message) for message in messages]
        payload = encode_batch(self.servers[place].instance, CLIENT, int(self.now * 1000), (), encoded)
        self.answers.append((place, connection, payload))

    @precondition(lambda self: self.answers)
    @rule(index=INDEXES, keep=st.booleans())
    def answer_arrives(self, index, keep):
        index %= len(self.answers)
        place, connection, payload = self.answers[index] if keep else self.answers.pop(index)
        self.receive(place, connection, payload)
        self.go_on()

    @rule(keep=st.booleans())
    def all_arrive(self, keep):
        """Nothing goes wrong for a moment: all arrives in order, and runs; the requests are kept to arrive again."""
        requests = list(self.requests)
        while self.requests:
            self.request_arrives(0, False)
        for place, server in enumerate(self.servers):
            while server.work:
                self.server_runs_one(place, 0)
        while self.answers:
            self.answer_arrives(0, False)
        self.requests += requests if keep else []

    @precondition(lambda self: self.requests or self.answers)
    @rule(index=INDEXES)
    def message_is_lost(self, index):
        index %= len(self.requests) + len(self.answers)
        if index < len(self.requests):
            del self.requests[index]
        else:
            del self.answers[index - len(self.requests)]

    @rule(place=PLACES)
    def ping(self, place):
        """Have a batch without calls carry what is settled."""
        if self.links[place].up:
            self.send(place, [encode_message(Ping(1))])

    # What links and servers do

    @rule(place=PLACES, stays=st.booleans())
    def connection_is_lost(self, place, stays):
        """And stays lost for a second, so that the instance counts as gone, though it may live."""
        self.links[place].up = False
        if stays:
            self.lose(place)
            self.go_on()

    @rule(place=PLACES)
    def reconnected(self, place):
        """Send again what is not answered, to the same instance; take another one for the end of the first."""
        link, server = self.links[place], self.servers[place]
        if link.up and link.instance == server.instance:
            return
        if link.instance != server.instance:
            self.lose(place)
            waiting, link.queue = link.queue, []
            pending: PendingCalls[NumberedCall] = PendingCalls(WINDOW, POLICY)
            self.links[place] = link = Link(server.instance, pending, connection=link.connection, queue=waiting)
        link.up = True
        link.connection += 1
        messages = [self.repeat(call, link) for call in link.pending.outstanding()]
        if messages:
            self.send(place, messages)
        self.go_on()

    @rule(place=PLACES, drains=st.booleans())
    def server_ends(self, place, drains):
        if drains:
            self.servers[place].draining = True
        else:
            self.servers[place] = self.start_server()

    @rule(place=PLACES, index=INDEXES)
    def server_runs_one(self, place, index):
        server = self.servers[place]
        if server.work:
            self.answer(place, [server.execute(index, self.now)])

    def teardown(self):
        """Every call ends: after the last deadline, none is left."""
        self.now += 100
        self.sweep()
        assert set(self.ledger.ends) == set(self.ledger.idempotent), "a call never ended"
        self.all_arrive(False)


class NoMemory(DuplicateFilter):
    """Takes every message for a new one."""

    __slots__ = ()

    def admit(self, sequence):
        super().admit(sequence)
        return Seen.NEW


class NoRefusal(DuplicateFilter):
    """Forgets what it had no room for instead of never running it."""

    __slots__ = ()

    def admit(self, sequence):
        full = len(self) >= KEPT and sequence not in self._settled and sequence not in self._unsettled
        return Seen.FULL if full else super().admit(sequence)


class NoSettling(DuplicateFilter):
    """Forgets what is settled instead of refusing it."""

    __slots__ = ()

    def settle(self, flat):
        for low, high in zip([1, *flat[1::2]], flat[::2], strict=True):
            for sequence in range(low, high + 1):
                self._unsettled.pop(sequence, None)
        self._highest = max(self._highest, *flat)


def ran_at_the_first(world: World, idempotent: bool) -> None:
    """Call a server that runs it; its answers stay under way."""
    world.call(place=0, calls=1, idempotent=idempotent, timeout=60.0)
    world.request_arrives(index=0, keep=False)
    world.server_runs_one(place=0, index=0)


def retry_elsewhere(world: World) -> None:
    ran_at_the_first(world, idempotent=False)
    world.connection_is_lost(place=0, stays=True)
    world.all_arrive(keep=False)


def answer_of_the_predecessor(world: World) -> None:
    ran_at_the_first(world, idempotent=False)
    world.server_ends(place=0, drains=False)
    world.reconnected(place=0)
    world.call(place=0, calls=1, idempotent=False, timeout=60.0)
    while world.answers:
        world.answer_arrives(index=0, keep=False)


def refusal_of_the_last_connection(world: World) -> None:
    world.server_ends(place=0, drains=False)
    for _ in range(2):
        world.call(place=0, calls=1, idempotent=False, timeout=60.0)
        world.reconnected(place=0)
    world.all_arrive(keep=False)
    world.all_arrive(keep=False)


def cancelled_in_the_next_queue(world: World) -> None:
    ran_at_the_first(world, idempotent=True)
    world.connection_is_lost(place=1, stays=False)
    world.connection_is_lost(place=0, stays=True)
    world.cancel(index=0)


FORGETFUL: list[type[DuplicateFilter]] = [NoMemory, NoSettling, NoRefusal]

# A rule of the client, what needs it, and what happens without
RULES: list[tuple[str, Callable[[World], None], str]] = [
    ("keeps_to_its_instance", retry_elsewhere, "call 1 ran at two instances"),
    ("checks_source", answer_of_the_predecessor, "call 2 has a result and never ran"),
    ("checks_connection", refusal_of_the_last_connection, "call 2 ran at two instances"),
    ("remembers_hand_over", cancelled_in_the_next_queue, "call 1 ran, and its caller was told that it did not"),
]


def check(world: type[World], examples: int, phases: tuple[Phase, ...] = tuple(Phase)) -> None:
    run_state_machine_as_test(
        world,
        settings=settings(
            derandomize=True,
            database=None,
            max_examples=examples,
            stateful_step_count=50,
            phases=phases,
            suppress_health_check=list(HealthCheck),
        ),
    )


class AtMostOnceTests(SynchronousTestCase):
    def test_no_message_runs_twice_and_every_call_ends(self):
        check(World, 100)

    def test_a_filter_that_forgets_is_found(self):
        for make_filter in FORGETFUL:
            broken = type("Broken", (World,), {"make_filter": make_filter})
            self.assertRegex(
                self.found(broken), "ran (twice|at two|after)|ran, and its caller was told", make_filter.__name__
            )

    def found(self, broken):
        """Look from several beginnings: where Hypothesis looks first depends on what else is imported."""
        for number in range(10):
            try:
                check(seed(number)(broken), 1000, (Phase.generate,))
            except AssertionError as error:
                return str(error)
        return "no fault was found"

    def test_every_rule_of_the_client_is_needed(self):
        for name, steps, promise in RULES:
            steps(World())
            error = self.assertRaises(AssertionError, steps, type("Broken", (World,), {name: False})())
            self.assertEqual(promise, str(error), name)
