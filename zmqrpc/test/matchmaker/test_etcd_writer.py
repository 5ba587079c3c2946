"""What is written into etcd, in any order, where answers are late or lost: against a store that is only pretended."""

import base64
import json
from math import inf
from random import Random
from typing import Any

import attrs
from hypothesis import example, given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.errors import MatchmakerUnavailable
from zmqrpc.matchmaker._entry import write_body
from zmqrpc.matchmaker._etcd.answers import read_refusal
from zmqrpc.matchmaker._etcd.words import EtcdWords
from zmqrpc.matchmaker._etcd.writer import PATIENCE, EtcdWriter
from zmqrpc.testing.matchmaker import make_record

LIMIT = 2.0
MOST_OPERATIONS = 128

DONE, TWICE, LOST, AWAY, SLOW = "done", "done twice", "answer lost", "not done", "answer late"
AGAIN, HUNG = "done again later", "done later, and told that it is not"
FAULTS = (DONE, DONE, DONE, TWICE, LOST, AWAY, SLOW, AGAIN, HUNG)


@attrs.define
class Held:
    value: str
    lease: int
    revision: int


class PretendedEtcd:
    """
    As much of etcd as a writer needs.

    :ivar faults: what becomes of the next questions; `DONE` when there are none left.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.faults: list[str] = []
        self.keys: dict[str, Held] = {}
        self.leases: dict[int, tuple[float, float]] = {}
        self.revision = 1
        self.asked = 0
        self.later: list[tuple[str, bytes]] = []

    def answer_again(self) -> None:
        """Do what a member that hung was asked."""
        later, self.later = self.later, []
        for words in later:
            self.do(*words)

    def expire(self) -> None:
        for lease, (_, ends) in list(self.leases.items()):
            if ends <= self.clock.seconds():
                self.end(lease)

    def end(self, lease: int) -> None:
        del self.leases[lease]
        self.keys = {key: held for key, held in self.keys.items() if held.lease != lease}

    def ends(self, key: str) -> float:
        lease = self.keys[key].lease
        return self.leases[lease][1] if lease else inf

    def ask(self, words: tuple[str, bytes], until: float) -> Deferred[bytes]:
        self.expire()
        self.asked += 1
        fault = self.faults.pop(0) if self.faults else DONE
        if fault in (AGAIN, HUNG):
            self.later.append(words)
        if fault in (AWAY, HUNG) or until <= self.clock.seconds():
            return fail(MatchmakerUnavailable("away"))
        answer = self.do(*words)
        if fault == TWICE:
            answer = self.do(*words)
        if fault == LOST:
            return fail(MatchmakerUnavailable("lost"))
        late: Deferred[bytes] = Deferred() if fault == SLOW else succeed(b"")
        if fault == SLOW:
            self.clock.callLater(0.5, late.callback, b"")
        return late.addCallback(lambda _: self.said(*answer))

    def said(self, status: int, answer: Any) -> bytes:
        encoded = json.dumps(answer).encode()
        if status != 200:
            raise read_refusal(status, encoded)
        return encoded

    def do(self, path: str, body: bytes) -> tuple[int, Any]:
        asked = json.loads(body)
        if path == "/v3/kv/txn":
            return self.transaction(**asked)
        lease = asked["ID"]
        if path == "/v3/lease/grant":
            if lease in self.leases:
                return 400, {"code": 9, "message": "etcdserver: lease already exists"}
            self.leases[lease] = asked["TTL"], self.clock.seconds() + asked["TTL"]
        elif path == "/v3/lease/keepalive":
            seconds, _ = self.leases.get(lease, (0, 0))
            if seconds:
                self.leases[lease] = seconds, self.clock.seconds() + seconds
            return 200, {"result": {"ID": lease, "TTL": seconds}}
        elif lease not in self.leases:
            return 404, {"code": 5, "message": "etcdserver: requested lease not found"}
        else:
            self.end(lease)
        return 200, {}

    def transaction(self, compare: Any, success: Any, failure: Any) -> tuple[int, Any]:
        assert max(map(len, (compare, success, failure))) <= MOST_OPERATIONS
        succeeded = all(map(self.is_so, compare))
        done = success if succeeded else failure
        puts = [each["request_put"] for each in done if "request_put" in each]
        if any(put["lease"] and put["lease"] not in self.leases for put in puts):
            return 404, {"code": 5, "message": "etcdserver: requested lease not found"}
        deleted = [text(each["request_delete_range"]["key"]) for each in done if "request_delete_range" in each]
        self.revision += bool(puts or any(key in self.keys for key in deleted))
        for put in puts:
            self.keys[text(put["key"])] = Held(text(put["value"]), put["lease"], self.revision)
        for key in deleted:
            self.keys.pop(key, None)
        responses = []
        for each in done:
            held = self.keys.get(text(each["request_range"]["key"])) if "request_range" in each else None
            pairs = [{"key": "", "value": base64.b64encode(held.value.encode()).decode()}] if held else []
            responses.append({"response_range": {"kvs": pairs}})
        return 200, {"header": {"revision": self.revision}, "succeeded": succeeded, "responses": responses}

    def is_so(self, compared: Any) -> bool:
        held = self.keys.get(text(compared["key"]))
        match compared["target"]:
            case "VALUE":
                return held is not None and held.value == text(compared["value"])
            case "MOD":
                return bool((held.revision if held else 0) == compared["mod_revision"])
        return held is None


def text(encoded: str) -> str:
    return base64.b64decode(encoded).decode()


RECORDS = [make_record(number=number) for number in range(4)]
SECONDS = (10, 30, 0)

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("register"), st.sets(st.integers(0, 3), min_size=1), st.sampled_from(SECONDS)),
        st.tuples(st.just("withdraw"), st.sets(st.integers(0, 3), min_size=1)),
        st.tuples(st.just("change"), st.integers(0, 3)),
        st.tuples(st.just("wait"), st.sampled_from([0.1, 3.0, 8.0, 20.0, 60.0])),
        st.tuples(st.just("spoil"), st.integers(0, 3)),
        st.tuples(st.just("revoke")),
        st.tuples(st.just("answer_again")),
        st.tuples(st.just("empty")),
        st.tuples(st.just("faults"), st.lists(st.sampled_from(FAULTS), max_size=6)),
    ),
    max_size=25,
)


def hanging(faults: list[str], seconds: int) -> list[Any]:
    """Have a member hang while a record is added to another that stays, and answer again after it was withdrawn."""
    added = [("register", {1}, seconds), ("faults", faults), ("register", {0, 1}, seconds), ("faults", [])]
    return [*added, ("withdraw", {0}), ("answer_again",), *[("wait", 3.0), ("register", {1}, seconds)] * 9]


class WriterTests(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        self.etcd = PretendedEtcd(self.clock)
        self.writer = EtcdWriter(self.clock, EtcdWords("zmqrpc"), self.etcd.ask, Random(1), LIMIT / PATIENCE)
        self.records = list(RECORDS)
        self.latest: dict[str, float] = {}

    def key(self, record):
        return self.writer._words.names.record(record)

    def settle(self, asked):
        """Let everything end that was asked; return for each whether it was done."""
        self.clock.pump([0.1] * 60)
        outcomes = []
        for each in asked:
            self.assertTrue(each.called, "it has not ended")
            done: list[bool] = []
            each.addCallbacks(
                lambda _, done=done: done.append(True), lambda failure: failure.trap(MatchmakerUnavailable)
            )
            outcomes.append(bool(done))
        return outcomes

    @given(STEPS)
    @example(
        [("register", {0, 1}, 10), ("faults", [AWAY]), ("withdraw", {0}), *[("wait", 3.0), ("register", {1}, 10)] * 9]
    )
    @example(hanging([AGAIN, AGAIN, AGAIN], 0))
    @example(hanging([DONE, DONE, HUNG], 0))
    @example(hanging([AGAIN], 0))
    @example(hanging([DONE, DONE, AGAIN], 30))
    @example([("faults", [DONE, DONE, LOST]), ("register", {0}, 10), *[("wait", 3.0), ("register", {1}, 10)] * 9])
    @example([("register", {0}, 30), ("faults", [DONE, AWAY]), ("register", {0}, 10), ("register", {1}, 30)] * 2)
    def test_any_steps(self, steps):
        """
        What is said to be stored is, for its time; what is said to be withdrawn is not; nothing outlives its last wish.
        """
        self.setUp()
        for step, *rest in steps:
            getattr(self, f"step_{step}")(*rest)
            self.etcd.expire()
            for key, ends in self.latest.items():
                if ends < self.clock.seconds():
                    self.assertNotIn(key, self.etcd.keys, "it outlives its time")
        self.assertLessEqual(len(self.writer._leases), len(RECORDS) * len(SECONDS) + 1)

    def step_register(self, numbers, seconds):
        began = self.clock.seconds()
        records = [self.records[number] for number in sorted(numbers)]
        asked = [self.writer.register(record, seconds) for record in records]
        for record in records:
            # What is not answered may be done or not, so the longer of two times counts.
            self.latest[self.key(record)] = max(
                self.latest.get(self.key(record), 0), began + LIMIT + seconds if seconds else inf
            )
        for record, done in zip(records, self.settle(asked), strict=True):
            if done:
                held = self.etcd.keys[self.key(record)]
                self.assertEqual(held.value, write_body(record))
                self.assertGreaterEqual(self.etcd.ends(self.key(record)), began + seconds if seconds else inf)
                self.latest[self.key(record)] = began + LIMIT + seconds if seconds else inf

    def step_withdraw(self, numbers):
        records = [self.records[number] for number in sorted(numbers)]
        for record, done in zip(records, self.settle([self.writer.withdraw(r) for r in records]), strict=True):
            if done:
                self.assertNotIn(self.key(record), self.etcd.keys)
                # What a member that hung was asked comes back for no longer than the lease lasts.
                if not self.etcd.later or self.latest.get(self.key(record)) == inf:
                    self.latest[self.key(record)] = 0

    def step_change(self, number):
        record = self.records[number]
        address = f"tcp://127.0.0.1:{int(record.addresses[0].rpartition(':')[2]) + 1}"
        self.records[number] = attrs.evolve(record, addresses=(address,))

    def step_wait(self, seconds):
        self.clock.advance(seconds)

    def step_spoil(self, number):
        held = self.etcd.keys.get(self.key(self.records[number]))
        if held is not None:
            self.etcd.revision += 1
            held.value, held.revision = "{}", self.etcd.revision

    def step_revoke(self):
        for lease in list(self.etcd.leases)[:1]:
            self.etcd.end(lease)

    def step_answer_again(self):
        self.etcd.answer_again()

    def step_empty(self):
        self.etcd.keys.clear()
        self.etcd.revision += 1

    def step_faults(self, faults):
        self.etcd.faults = list(faults)

    def test_many(self):
        """Five hundred at once are five transactions and one lease; a refresh of them only compares."""
        records = [make_record(number=number) for number in range(500)]
        self.assertTrue(all(self.settle([self.writer.register(record, 300) for record in records])))
        self.assertEqual((len(self.etcd.keys), len(self.etcd.leases)), (502, 1))
        asked, revision = self.etcd.asked, self.etcd.revision
        self.assertTrue(all(self.settle([self.writer.register(record, 300) for record in records])))
        self.assertEqual((self.etcd.asked - asked, self.etcd.revision), (6, revision))

    def test_same_record_twice(self):
        """What is wished last in one turn counts; both wishes are fulfilled by it."""
        first, second = RECORDS[0], attrs.evolve(RECORDS[0], addresses=("tcp://127.0.0.1:1",))
        self.assertEqual(self.settle([self.writer.register(each, 30) for each in (first, second)]), [True, True])
        self.assertEqual(self.etcd.keys[self.key(first)].value, write_body(second))
        self.assertEqual(self.settle([self.writer.register(first, 30), self.writer.withdraw(first)]), [True, True])
        self.assertNotIn(self.key(first), self.etcd.keys)

    def test_withdrawn_meanwhile(self):
        """A withdrawal that comes while the lease is still being made follows the registration."""
        self.etcd.faults = [SLOW]
        registered = self.writer.register(RECORDS[0], 30)
        self.clock.advance(0.1)
        withdrawn = self.writer.withdraw(RECORDS[0])
        self.assertEqual(self.settle([registered, withdrawn]), [True, True])
        self.assertEqual((len(self.etcd.keys), self.etcd.leases), (2, {}))

    def test_own_deadlines(self):
        """What is wished while a write is under way has all its time; what waits for longer than its own is told."""
        asked: list[tuple[float, float]] = []

        def ask(words, until):
            now = self.clock.seconds()
            asked.append((now, until - now))
            answer: Deferred[bytes] = Deferred()
            self.clock.callLater(min(0.9, until - now), answer.errback, MatchmakerUnavailable("silent"))
            return answer

        writer = EtcdWriter(self.clock, EtcdWords("zmqrpc"), ask, Random(1), 1.0)
        wished = [writer.register(RECORDS[0], 30)]
        self.clock.pump([0.01] * 2)
        wished.append(writer.register(RECORDS[1], 30))
        self.clock.pump([0.01] * 85)
        wished.append(writer.register(RECORDS[2], 30))
        self.clock.pump([0.01] * 10)
        self.assertEqual(len(asked), 2)
        self.assertApproximates(asked[1][0] + asked[1][1], 2.37, 0.02)
        self.failureResultOf(wished[0], MatchmakerUnavailable)
        self.clock.pump([0.01] * 60)
        self.assertIn("within 1.5 s", str(self.failureResultOf(wished[1], MatchmakerUnavailable).value))
        self.clock.pump([0.01] * 60)
        self.assertEqual(str(self.failureResultOf(wished[2], MatchmakerUnavailable).value), "silent")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_two_times(self):
        """Records of different times have leases of their own; one whose time changes gets another one."""
        for seconds in (30, 10, 30):
            self.settle([self.writer.register(RECORDS[0], seconds), self.writer.register(RECORDS[1], 20)])
            leases = [self.etcd.leases[self.etcd.keys[self.key(each)].lease][0] for each in RECORDS[:2]]
            self.assertEqual(leases, [seconds, 20])

    def test_suspended(self):
        """After a process did not run for longer than its lease lasts, everything is written again."""
        self.settle([self.writer.register(record, 30) for record in RECORDS])
        self.clock.advance(3600)
        self.etcd.expire()
        self.assertEqual(len(self.etcd.keys), 2)
        self.assertTrue(all(self.settle([self.writer.register(record, 30) for record in RECORDS])))
        self.assertEqual(len(self.etcd.keys), 6)
