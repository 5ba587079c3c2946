"""Notifications: what one says, how they are gathered into batches, and how they rest when they were given back."""

from __future__ import annotations

from typing import Any

import attrs
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.core.agenda import NEVER
from zmqrpc.core.call import PendingCall
from zmqrpc.core.envelope import Flag, Kind, Notify, Served, read_message, readdress
from zmqrpc.core.gathering import Gathering
from zmqrpc.core.notification import (
    HANDLED,
    PRIORITIES,
    REQUEUE,
    Handled,
    arguments_of,
    encode_copy,
    fault_of,
    notification_of,
    said_of,
)
from zmqrpc.core.pending import PendingCalls
from zmqrpc.core.retry import RetryPolicy
from zmqrpc.core.returned import Returned
from zmqrpc.core.route import Route
from zmqrpc.core.routing import RoutingTable
from zmqrpc.core.topic import Knowledge
from zmqrpc.record import Record, Role, Sighting
from zmqrpc.target import Pool, Target

SAID = arguments_of("compute.one", "vm.started", {"id": 7}, "an-id", "2026-01-02T03:04:05+00:00")


def notify(**changes: Any) -> Notify:
    message = Notify(1, 1, 0, 1000, "x", "t", None, None, None, "info", SAID)
    for name, value in changes.items():
        setattr(message, name, value)
    return message


class SayingTests(SynchronousTestCase):
    def test_there_and_back(self):
        flags = int(Flag.ACK_WANTED | Flag.IDEMPOTENT)
        for name in (None, "audit"):
            encoded = encode_copy(Pool("x", "t", name), said_of("warn", {"user": "ada"}, SAID), flags)
            read = read_message(readdress(encoded, 5, 2, 900))
            assert isinstance(read, Notify)
            self.assertEqual((read.sequence, read.attempt, read.remaining, read.flags), (5, 2, 900, 3))
            self.assertEqual((read.member, read.method, fault_of(read)), (name, "warn", ""))
            context, publisher, event, payload, metadata = notification_of(read)
            self.assertEqual((context, publisher, event), ({"user": "ada"}, "compute.one", "vm.started"))
            self.assertEqual(payload, {"id": 7})
            self.assertEqual(metadata, {"message_id": "an-id", "timestamp": "2026-01-02T03:04:05+00:00"})
        self.assertEqual(notification_of(notify()).context, {})

    ROWS: list[tuple[dict[str, Any], str]] = [
        ({"arguments": {**SAID, "more": 1}}, ""),
        ({"arguments": {**SAID, "payload": None}}, ""),
        ({"method": "__init__"}, "there is no priority '__init__'; priorities are audit, critical, debug, error"),
        ({"method": "Info"}, "there is no priority 'Info'"),
        ({"arguments": b"{}", "content_type": "application/json"}, "the content type 'application/json' is not known"),
        ({"content_type": "text"}, "the content type 'text'"),
        *(
            ({"arguments": {k: v for k, v in SAID.items() if k != name}}, f"the argument '{name}' is missing")
            for name in SAID
        ),
        *(
            ({"arguments": {**SAID, name: 7}}, f"the argument '{name}' is no text")
            for name in SAID
            if name != "payload"
        ),
    ]

    def test_what_is_no_notification(self):
        for changes, says in self.ROWS:
            fault = fault_of(notify(**changes))
            self.assertEqual(fault == "", says == "", changes)
            self.assertIn(says, fault)

    def test_results(self):
        self.assertEqual(list(Handled), [HANDLED, REQUEUE])
        self.assertEqual(len(PRIORITIES), 7)

    def test_pools_have_names(self):
        self.assertEqual(str(Pool("x", "t", "audit")), "x/t, pool audit")
        self.assertEqual(str(Pool("x", "t")), "x/t, the pool without a name")


class GatheringTests(SynchronousTestCase):
    def test_full(self):
        gathering: Gathering[int] = Gathering(2, 1.0)
        self.assertEqual((gathering.add("info", 1, 10.0), gathering.wake_at), (None, 11.0))
        self.assertEqual((gathering.add("error", 2, 10.5), gathering.wake_at), (None, 11.0))
        self.assertEqual((gathering.add("info", 3, 10.6), gathering.wake_at), ([1, 3], 11.5))
        self.assertEqual(gathering.take_due(11.4), [])
        self.assertEqual((gathering.take_due(11.5), gathering.wake_at), ([("error", [2])], NEVER))

    def test_hurry(self):
        gathering: Gathering[int] = Gathering(9, 100.0)
        gathering.add("info", 1, 10.0)
        gathering.hurry()
        self.assertEqual(gathering.take_due(10.0), [("info", [1])])
        gathering.add("info", 2, 11.0)
        self.assertEqual((gathering.wake_at, gathering.take_due(11.0)), (11.0, [("info", [2])]))

    @given(st.integers(1, 5), st.lists(st.tuples(st.sampled_from("ab"), st.floats(0, 2)), max_size=50))
    def test_each_comes_out_once_in_order_and_in_time(self, most, events):
        gathering: Gathering[tuple[int, float]] = Gathering(most, 1.0)
        now = 0.0
        out: dict[str, list[tuple[int, float]]] = {"a": [], "b": []}

        def take(kind: str, batch: list[tuple[int, float]]) -> None:
            self.assertTrue(1 <= len(batch) <= most)
            self.assertLessEqual(now - batch[0][1], 1.0 + 1e-9)
            out[kind] += batch

        for number, (kind, pause) in enumerate(events):
            until = now + pause
            while gathering.wake_at <= until:
                now = gathering.wake_at
                for due in gathering.take_due(now):
                    take(*due)
            now = until
            batch = gathering.add(kind, (number, now), now)
            if batch is not None:
                take(kind, batch)
        while gathering.wake_at < NEVER:
            now = gathering.wake_at
            for due in gathering.take_due(now):
                take(*due)
        for kind, items in out.items():
            self.assertEqual([number for number, _ in items], [n for n, event in enumerate(events) if event[0] == kind])


class ReturnedTests(SynchronousTestCase):
    def call(self, deadline: float = 1000.0) -> PendingCall:
        call = PendingCall()
        call.begin(int(Kind.NOTIFY), Pool("x", "t"), b"", deadline)
        return call

    def test_rests_grow(self):
        returned: Returned[PendingCall] = Returned(9, 100, lambda: 1.0)
        call, now, rests = self.call(), 0.0, []
        for _ in range(9):
            self.assertTrue(returned.add(call, now))
            rests.append(round(returned.wake_at - now, 6))
            now = returned.wake_at
            self.assertEqual((returned.take_due(now - 0.001), returned.take_due(now)), ([], [call]))
        self.assertEqual(rests, [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0])
        for _ in range(2000):
            returned.add(call, now)
            returned.take_due(1e9)

    def test_not_past_the_deadline(self):
        returned: Returned[PendingCall] = Returned(9, 100, lambda: 0.5)
        call = self.call(10.01)
        returned.add(call, 10.0)
        self.assertEqual((returned.wake_at, returned.take_due(10.01)), (10.01, [call]))
        self.assertEqual(returned.wake_at, NEVER)

    def test_bounded(self):
        returned: Returned[PendingCall] = Returned(2, 100, lambda: 1.0)
        one, two, three = self.call(), self.call(), self.call()
        self.assertEqual([returned.add(call, 0.0) for call in (one, two, three)], [True, True, False])
        self.assertEqual((returned.remove(one), returned.remove(one), returned.remove(three)), (True, False, False))
        self.assertTrue(returned.add(three, 0.0))
        self.assertEqual((returned.take_all(), returned.wake_at, returned.take_due(1e9)), ([two, three], NEVER, []))

    def test_bytes(self):
        returned: Returned[PendingCall] = Returned(9, 100, lambda: 1.0)
        one, two, three = self.call(), self.call(), self.call()
        for call, size in ((one, 60), (two, 41), (three, 40)):
            call.encoded = bytes(size)
        self.assertEqual([returned.add(call, 0.0) for call in (one, two, three)], [True, False, True])
        self.assertEqual(returned.bytes, 100)
        returned.remove(one)
        self.assertTrue(returned.add(two, 0.0))
        self.assertEqual((returned.bytes, len(returned.take_due(1e9)), returned.bytes), (81, 2, 0))
        returned.add(one, 0.0)
        self.assertEqual((returned.take_all(), returned.bytes), ([one], 0))

    def test_one_that_is_taken_out_leaves_the_others(self):
        pauses = iter([0.5, 1.0, 0.75])
        returned: Returned[PendingCall] = Returned(9, 100, lambda: next(pauses))
        calls = [self.call() for _ in range(3)]
        for call in calls:
            returned.add(call, 0.0)
        returned.remove(calls[0])
        self.assertAlmostEqual(returned.wake_at, 0.075)
        self.assertEqual(returned.take_due(1.0), [calls[2], calls[1]])


class RunningTests(SynchronousTestCase):
    def test_one_that_runs_is_not_sent_again(self):
        """A BEAT tells so of a notification too, which is acknowledged when it has run; not of a cast."""
        pending: PendingCalls[PendingCall] = PendingCalls(9, RetryPolicy(15.0))
        calls = []
        for kind in (Kind.CALL, Kind.NOTIFY, Kind.CAST):
            call = PendingCall()
            call.begin(int(kind), Target("t"), b"", 1000.0)
            pending.hand_over(call, 0.0)
            calls.append(call)
        pending.running([1, 3], 0.5)
        self.assertEqual([call.retry_at for call in calls], [NEVER, NEVER, 15.0])
        self.assertEqual(pending.acknowledged([1, 3], 1.0), calls[1:])


def sight(name: str, role: Role = Role.LISTENER, pool: str | None = None) -> Sighting:
    return Sighting(Record(role, "x", "t", name, name, ("tcp://10.0.0.1:1",), pool=pool))


class PoolRouteTests(SynchronousTestCase):
    def setUp(self):
        self.table = RoutingTable()
        self.topic = self.table.topic("x", "t")

    def route(self, pool: str | None = None) -> Route:
        return self.table.route(Pool("x", "t", pool), "other")

    def test_a_route_leads_to_the_listeners_of_one_pool(self):
        early = self.route("p")
        seen = [
            sight("a"),
            sight("b", pool="p"),
            sight("c", Role.SERVER),
            sight("d", pool="p"),
            sight("e", Role.ROUTER),
        ]
        self.table.learned(self.topic, seen, 0.0)
        self.assertEqual(self.topic.pools, (Pool("x", "t"), Pool("x", "t", "p")))
        routes = [self.route(), early, self.route("q"), self.table.route(Target("t"), "x")]
        self.assertEqual([route.choices for route in routes], [["a"], ["b", "d"], [], ["c"]])
        self.assertIs(self.route("p"), early)
        self.assertEqual([early.choose() for _ in range(4)], ["b", "d", "b", "d"])

    def test_a_member_called_as_a_pool(self):
        self.table.learned(self.topic, [sight("p", Role.SERVER), sight("b", pool="p")], 0.0)
        member = self.table.route(Target("t", server="p"), "x")
        self.assertEqual((member.choices, self.route("p").choices), (["p"], ["b"]))

    def test_listeners_alone_make_a_topic_known(self):
        self.table.learned(self.topic, [sight("a")], 0.0)
        self.assertEqual((self.topic.knowledge, self.topic.servers()), (Knowledge.KNOWN, []))
        self.assertEqual(list(self.table.served()), [])
        self.table.learned(self.topic, [], 1.0)
        self.assertEqual((self.topic.knowledge, self.topic.pools, self.topic.emptied_at), (Knowledge.EMPTY, (), 1.0))

    def test_one_instance_in_several_pools_and_a_server(self):
        """One link; it goes when the last of its records does."""
        one = sight("a")
        records = [
            one,
            *(Sighting(attrs.evolve(one.record, **more)) for more in ({"pool": "p"}, {"role": Role.SERVER})),
        ]
        appeared, _ = self.table.learned(self.topic, records, 0.0)
        self.assertEqual(len(appeared), 1)
        self.assertEqual([self.route(pool).choices for pool in (None, "p")], [["a"], ["a"]])
        self.assertEqual(self.table.learned(self.topic, records[1:], 0.0)[1], [])
        self.assertEqual((self.route().choices, self.route("p").choices), ([], ["a"]))
        self.assertEqual(self.table.learned(self.topic, [], 0.0)[1], ["a"])

    def test_what_is_served(self):
        for served, means in (
            (Served("x", "t", "a", "p"), True),
            (Served("x", "t", "a"), False),
            (Served("x", "t", "p"), False),
            (Served("x", "other", "a", "p"), False),
            (Served("y", "t", "a", "p"), False),
        ):
            self.assertEqual(self.route("p").means(served), means, served)
        member = self.table.route(Target("t", server="a"), "x")
        self.assertEqual([member.means(Served("x", "t", name)) for name in "ab"], [True, False])
