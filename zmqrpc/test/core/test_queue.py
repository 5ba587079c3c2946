"""The calls that wait for one link: order, bounds, deadlines."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.core.agenda import NEVER
from zmqrpc.core.call import PendingCall
from zmqrpc.core.envelope import Kind
from zmqrpc.core.queue import CallQueue
from zmqrpc.target import Target

TARGET = Target("compute")


def call_of(size: int, deadline: float = 100.0, sort: type[PendingCall] = PendingCall) -> PendingCall:
    call = sort()
    call.begin(Kind.CALL, TARGET, b"x" * size, deadline)
    return call


def queue_of(*calls: PendingCall, most_calls: int = 100, most_bytes: int = 1000) -> CallQueue[PendingCall]:
    queue: CallQueue[PendingCall] = CallQueue(most_calls, most_bytes)
    for call in calls:
        assert queue.add(call)
    return queue


class Compared(PendingCall):
    """Counts how often it is compared with another."""

    times = 0

    def __eq__(self, other):
        Compared.times += 1
        return self is other

    def __hash__(self):
        return id(self)


class Dated(PendingCall):
    """Counts how often its deadline is asked for."""

    asked = 0

    def __getattribute__(self, name):
        Dated.asked += name == "deadline"
        return super().__getattribute__(name)


class QueueTests(SynchronousTestCase):
    def test_first_in_first_out_but_what_was_put_back(self):
        first, second, third = call_of(1), call_of(1), call_of(1)
        queue = queue_of(first, second)
        self.assertIs(queue.pop(), first)
        queue.put_back(first, 1)
        queue.add(third)
        self.assertEqual((list(queue), queue.take_all(), list(queue)), ([first, second, third],) * 2 + ([],))

    def test_what_was_put_back_stands_by_its_number(self):
        """In whatever order it comes back; what was never handed over is behind it."""
        new = call_of(1)
        calls = {number: call_of(1) for number in range(1, 8)}
        queue = queue_of(new)
        for number in (5, 4, 7, 1, 2):
            queue.put_back(calls[number], number)
        self.assertEqual([queue.came_back_before(number) for number in (1, 2)], [False, True])
        queue.remove(calls[5])
        self.assertIs(queue.pop(), calls[1])
        queue.put_back(calls[3], 3)
        self.assertEqual(list(queue), [*(calls[number] for number in (2, 3, 4, 7)), new])
        # Another number, under which it was handed over again.
        self.assertIs(queue.pop(), calls[2])
        queue.put_back(calls[2], 9)
        self.assertEqual(queue.take_all(), [*(calls[number] for number in (3, 4, 7, 2)), new])
        self.assertFalse(queue.came_back_before(100))
        queue.add(new)
        self.assertFalse(queue.came_back_before(100))

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
        queue.put_back(call_of(10), 1)
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

    def test_taken_out_without_a_look_at_the_others(self):
        queue = queue_of(*[call_of(1, sort=Compared) for _ in range(100)])
        for call in reversed(list(queue)):
            queue.remove(call)
        self.assertEqual((len(queue), Compared.times), (0, 0))

    def test_not_looked_through_before_a_deadline_can_come(self):
        queue = queue_of(*[call_of(1, deadline, Dated) for deadline in (20.0, 10.0, 30.0)])
        Dated.asked = 0
        for now in (5.0, 6.0, 9.0):
            self.assertEqual((queue.wake_at, queue.overdue(now)), (10.0, []))
        self.assertEqual(Dated.asked, 0)

    def test_wakes_early_at_most_once_for_what_was_taken_out(self):
        first, second = call_of(1, 10.0), call_of(1, 20.0)
        queue = queue_of(first, second)
        queue.remove(first)
        self.assertEqual((queue.overdue(10.0), queue.wake_at), ([], 20.0))
        self.assertIs(queue.pop(), second)
        self.assertEqual(queue.wake_at, NEVER)
        queue.put_back(second, 1)
        self.assertEqual((queue.wake_at, queue.take_all(), queue.wake_at), (20.0, [second], NEVER))

    @given(st.lists(st.sampled_from(("add", "back", "pop", "remove", "all", "overdue")), max_size=30), st.randoms())
    def test_bytes_are_those_of_what_waits(self, steps, chance):
        queue = queue_of(most_calls=5, most_bytes=40)
        for step in steps:
            call = call_of(chance.randrange(15), chance.uniform(0, 10))
            if step == "add":
                queue.add(call)
            elif step == "back":
                queue.put_back(call, chance.randrange(5))
            elif step == "pop" and len(queue):
                queue.pop()
            elif step == "remove" and len(queue):
                queue.remove(chance.choice(list(queue)))
            elif step == "all":
                queue.take_all()
            elif step == "overdue":
                queue.overdue(5.0)
            self.assertEqual(queue._bytes, sum(len(call.encoded) for call in queue))
            self.assertLessEqual(queue.wake_at, min((call.deadline for call in queue), default=NEVER))


class Way:
    """What a queue reads of a `Route`."""

    def __init__(self, choices: str = "", recorded: str = "") -> None:
        self.choices = list(choices)
        self.recorded = dict.fromkeys(recorded)


class ElsewhereTests(SynchronousTestCase):
    """Which of the calls that wait for the link "a" may go to others."""

    def test_which_may_leave(self) -> None:
        # its way, who refused it, whether it leaves where others may be waited for, and where that is hopeless
        for way, tried, leaves, leaves_hopeless in (
            (Way("ab", "ab"), (), True, True),
            (Way("a", "ab"), (), False, False),
            (Way("", "ab"), (), False, False),
            (Way("ab", "ab"), ("b",), False, False),
            (Way("abc", "abc"), ("b",), True, True),
            (Way("b", "b"), ("a",), True, True),
            (None, (), False, True),
        ):
            for hopeless, expected in ((False, leaves), (True, leaves_hopeless)):
                call = call_of(5)
                call.route, call.tried = way, tried
                queue = queue_of(call)
                told = f"{way and way.choices}, {tried}, {hopeless}"
                self.assertEqual(queue.take_movable("a", hopeless), [call] if expected else [], told)
                self.assertEqual((len(queue), queue.bytes), (0, 0) if expected else (1, 5), told)

    def test_the_others_keep_their_order(self) -> None:
        calls = [call_of(1) for _ in range(6)]
        for number, call in enumerate(calls):
            call.route = Way("ab" if number % 2 else "a", "ab")
        queue = queue_of(*calls)
        self.assertEqual((queue.take_movable("a", False), list(queue)), (calls[1::2], calls[::2]))

    def test_who_may_go_to_another(self) -> None:
        # Available or not: the other is asked whether it takes them.
        for way, tried, waits in (
            (Way("a", "ab"), (), True),
            (Way("a", "a"), (), False),
            (Way("ab", "ab"), ("b",), False),
            (None, (), False),
        ):
            call = call_of(1)
            call.route, call.tried = way, tried
            queue = queue_of(call)
            self.assertEqual(queue.waiting_for_any("b"), [call] if waits else [])
            self.assertEqual(list(queue), [call])
