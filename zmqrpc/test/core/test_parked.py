"""The calls that wait for discovery: bounds, deadlines, and each to be taken out at any time."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.core.agenda import NEVER
from zmqrpc.core.call import PendingCall
from zmqrpc.core.envelope import Kind
from zmqrpc.core.parked import Parked
from zmqrpc.core.routing import RoutingTable
from zmqrpc.target import Target

TABLE = RoutingTable()


def call_to(topic: str, deadline: float = 100.0, size: int = 0) -> PendingCall:
    call = PendingCall()
    target = Target(topic)
    call.begin(Kind.CALL, target, bytes(size), deadline)
    call.route = TABLE.route(target, "x")
    return call


class ParkedTests(SynchronousTestCase):
    def test_each_topic_has_its_own(self):
        parked: Parked[PendingCall] = Parked(2, 100)
        one, two, other = call_to("one"), call_to("one"), call_to("two")
        self.assertEqual([parked.add(call) for call in (one, two, other, call_to("one"))], [True, True, True, False])
        self.assertEqual(parked.on(one.route.topic), [one, two])
        self.assertEqual(parked.topics(), [one.route.topic, other.route.topic])
        self.assertIn(other.route.topic, parked)
        self.assertTrue(parked.remove(other))
        self.assertFalse(parked.remove(other))
        self.assertNotIn(other.route.topic, parked)
        self.assertEqual((parked.holds(one), parked.holds(other)), (True, False))

    def test_bytes(self):
        """Of each topic by itself, and what is too large leaves nothing behind."""
        parked: Parked[PendingCall] = Parked(9, 100)
        one, two, other = call_to("one", size=60), call_to("one", size=41), call_to("two", size=100)
        self.assertEqual([parked.add(call) for call in (one, two, other)], [True, False, True])
        self.assertEqual([parked.bytes_on(call.route.topic) for call in (one, other)], [60, 100])
        parked.remove(one)
        self.assertTrue(parked.add(two))
        self.assertEqual(parked.bytes_on(one.route.topic), 41)
        parked.remove(two)
        self.assertFalse(parked.add(call_to("one", size=101)))
        self.assertEqual((parked.topics(), parked.bytes_on(one.route.topic)), ([other.route.topic], 0))

    def test_one_without_a_route_waits_for_nothing(self):
        parked: Parked[PendingCall] = Parked(2, 100)
        call = call_to("one")
        call.route = None
        self.assertEqual((parked.holds(call), parked.remove(call)), (False, False))

    def test_deadlines(self):
        parked: Parked[PendingCall] = Parked(9, 100)
        calls = [call_to(topic, deadline) for topic, deadline in (("one", 30.0), ("two", 10.0), ("one", 20.0))]
        self.assertEqual(parked.wake_at, NEVER)
        for call in calls:
            parked.add(call)
        self.assertEqual((parked.wake_at, parked.overdue(9)), (10, []))
        self.assertEqual(parked.overdue(20), [calls[2], calls[1]])
        self.assertEqual((parked.wake_at, parked.take_all(), parked.wake_at), (30, [calls[0]], NEVER))
        self.assertEqual(parked.topics(), [])
