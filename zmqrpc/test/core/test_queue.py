"""The calls that wait for one link: order, bounds, deadlines."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.core.agenda import NEVER
from zmqrpc.core.envelope import Kind
from zmqrpc.core.pending import PendingCall
from zmqrpc.core.queue import CallQueue
from zmqrpc.target import Target

TARGET = Target("compute")


def call_of(size: int, deadline: float = 100.0) -> PendingCall:
    call = PendingCall()
    call.begin(Kind.CALL, TARGET, b"x" * size, deadline)
    return call


def queue_of(*calls: PendingCall, most_calls: int = 10, most_bytes: int = 1000) -> CallQueue[PendingCall]:
    queue: CallQueue[PendingCall] = CallQueue(most_calls, most_bytes)
    for call in calls:
        assert queue.add(call)
    return queue


class QueueTests(SynchronousTestCase):
    def test_first_in_first_out_but_what_was_put_back(self):
        first, second, third = call_of(1), call_of(1), call_of(1)
        queue = queue_of(first, second)
        self.assertIs(queue.pop(), first)
        queue.put_back(first)
        queue.add(third)
        self.assertEqual((list(queue), queue.take_all(), list(queue)), ([first, second, third],) * 2 + ([],))

    def test_bounds(self):
        for most_calls, most_bytes, sizes, taken in (
            (2, 1000, (1, 1, 1), [True, True, False]),
            (10, 10, (5, 6, 5, 1), [True, False, True, False]),
            (10, 10, (11, 10), [False, True]),
        ):
            queue = queue_of(most_calls=most_calls, most_bytes=most_bytes)
            self.assertEqual([queue.add(call_of(size)) for size in sizes], taken)

    def test_there_is_always_room_for_what_is_put_back(self):
        queue = queue_of(call_of(10), most_calls=1, most_bytes=10)
        queue.put_back(call_of(10))
        self.assertEqual((len(queue), queue.add(call_of(0))), (2, False))

    def test_removed(self):
        first, second = call_of(5), call_of(5)
        queue = queue_of(first, second, most_bytes=10)
        queue.remove(first)
        queue.remove(first)
        self.assertEqual((list(queue), queue.add(call_of(5)), queue.add(call_of(1))), ([second], True, False))

    def test_deadlines(self):
        early, late = call_of(4, 10.0), call_of(4, 20.0)
        queue = queue_of(late, early, most_bytes=8)
        self.assertEqual((queue.wake_at, queue.overdue(9.9)), (10.0, []))
        self.assertEqual((queue.overdue(10.0), queue.wake_at, list(queue)), ([early], 20.0, [late]))
        self.assertEqual((queue.add(call_of(4, NEVER)), queue.add(call_of(1))), (True, False))
        self.assertEqual((queue_of().wake_at, queue_of().overdue(NEVER)), (NEVER, []))

    @given(st.lists(st.sampled_from(("add", "back", "pop", "remove", "all", "overdue")), max_size=30), st.randoms())
    def test_bytes_are_those_of_what_waits(self, steps, chance):
        queue = queue_of(most_calls=5, most_bytes=40)
        for step in steps:
            call = call_of(chance.randrange(15), chance.uniform(0, 10))
            if step == "add":
                queue.add(call)
            elif step == "back":
                queue.put_back(call)
            elif step == "pop" and len(queue):
                queue.pop()
            elif step == "remove" and len(queue):
                queue.remove(chance.choice(list(queue)))
            elif step == "all":
                queue.take_all()
            elif step == "overdue":
                queue.overdue(5.0)
            self.assertEqual(queue._bytes, sum(len(call.encoded) for call in queue))
