"""Which of two members gets a call, and how the time is known that calls take there."""

from __future__ import annotations

from heapq import heappop, heappush
from random import Random

from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.core.balance import BalancedRoute
from zmqrpc.core.call import PendingCall
from zmqrpc.core.envelope import Ack, Failure, FailureCode, Kind, Nack, Refusal, Reply
from zmqrpc.core.queue import CallQueue
from zmqrpc.core.retry import RetryPolicy
from zmqrpc.core.timed import TimedCalls
from zmqrpc.core.topic import Topic
from zmqrpc.record import Record, Role
from zmqrpc.target import Target

NOW = 1000.0
TARGET = Target("compute")


def make_call(kind: Kind = Kind.CALL) -> PendingCall:
    call = PendingCall()
    call.begin(kind, TARGET, b"", NOW + 60)
    return call


class Peer:
    """What is under way to one member."""

    def __init__(self, pending: int = 0, queued: int = 0, typical: float = 0.0):
        self.pending: TimedCalls[PendingCall] = TimedCalls(10_000, None)
        self.queue: CallQueue[PendingCall] = CallQueue(1000, 1000)
        for _ in range(pending):
            self.pending.hand_over(make_call(Kind.CAST), NOW)
        for _ in range(queued):
            self.queue.add(make_call())
        self.pending.typical = typical


def make_route(**peers):
    """Make a route to these peers, by their keys."""
    route = BalancedRoute(TARGET, Topic("x", "compute"), 0, Random(1).random, peers.get)
    records = {
        key: Record(Role.SERVER, "x", "compute", key, key, (f"tcp://127.0.0.1:{port}",))
        for port, key in enumerate((*peers, "x")[: len(peers)], 1)
    }
    route.update(records, set(), set())
    return route


class BalancedRouteTests(SynchronousTestCase):
    def shares(self, route, number=1000):
        drawn = [route.choose() for _ in range(number)]
        return {key: drawn.count(key) for key in dict.fromkeys(drawn)}

    def test_nobody_and_one(self):
        self.assertIsNone(make_route().choose())
        self.assertEqual(make_route(a=Peer(100)).choose(), "a")

    def test_of_two_the_one_with_fewer(self):
        for busy, free in ((Peer(2), Peer(1)), (Peer(0, 1), Peer()), (Peer(1, 1), Peer(1)), (Peer(3), Peer(0, 2))):
            self.assertEqual(self.shares(make_route(a=busy, b=free)), {"b": 1000})
            self.assertEqual(self.shares(make_route(a=free, b=busy)), {"a": 1000})

    def test_of_many_all_but_the_busiest(self):
        shares = self.shares(make_route(a=Peer(1), b=Peer(2), c=Peer(3), d=Peer(4)), 6000)
        # Of six pairs a wins three, b two, c one.
        for key, share in {"a": 3000, "b": 2000, "c": 1000}.items():
            self.assertLess(abs(shares[key] - share), 200)
        self.assertNotIn("d", shares)

    def test_equals_share(self):
        shares = self.shares(make_route(a=Peer(), b=Peer(), c=Peer(), d=Peer()), 4000)
        for share in shares.values():
            self.assertLess(abs(share - 1000), 150)
        self.assertEqual(len(shares), 4)

    def test_one_that_is_gone_meanwhile(self):
        route = make_route(a=Peer(), b=Peer())
        route._peer = {"a": Peer(5)}.get
        self.assertEqual(self.shares(route), {"a": 1000})

    def test_who_takes_longer_counts_as_having_more(self):
        route = make_route(slow=Peer(0, typical=1.0), fast=Peer(5, typical=0.1))
        self.assertEqual(route.choose(), "fast")
        route = make_route(slow=Peer(0, typical=0.15), fast=Peer(5, typical=0.1))
        self.assertEqual(route.choose(), "slow")

    def test_unknown_times_do_not_count(self):
        self.assertEqual(make_route(a=Peer(1, typical=0.001), b=Peer(0)).choose(), "b")

    def test_who_was_slow_is_tried_again(self):
        slow = Peer(typical=1.0)
        route = make_route(slow=slow, fast=Peer(typical=0.1))
        drawn = [route.choose() for _ in range(400)]
        first = drawn.index("slow")
        self.assertTrue(200 < first < 300, first)

    def test_not_while_a_call_there_will_tell(self):
        slow = Peer(typical=1.0)
        slow.pending.hand_over(make_call(), NOW)
        self.assertEqual(self.shares(make_route(slow=slow, fast=Peer(1, typical=0.1))), {"fast": 1000})

    def test_others_than_were_tried(self):
        route = make_route(a=Peer(), b=Peer(9), c=Peer(5))
        self.assertEqual({route.choose_other(("a",)) for _ in range(100)}, {"c"})
        self.assertEqual(route.choose_other(("a", "c")), "b")
        self.assertIsNone(route.choose_other(("a", "b", "c")))

    def test_what_follows_who_was_chosen_is_connected_with_it(self):
        route = make_route(a=Peer(), b=Peer(1), c=Peer(1))
        while route.choose() != "a":
            pass
        self.assertEqual(list(route.upcoming()), ["b", "c", "a"])


class SharesTests(SynchronousTestCase):
    """
    Five members, of which four answer after about 10 ms; what the fifth gets of ten thousand calls.

    A simulation of its own: calls come at random, `rate` of them in a second.
    """

    def share_of_the_fifth(self, rate, fails, known=False):
        """
        Make the calls.

        :param fails: tells how the fifth ends a call that it gets as so many-th: the seconds after which it ends that
            without a result, or None for one that brings a result, after 10 ms.
        :param known: whether all of them have answered calls before.
        """
        chance = Random(2)
        peers = {key: Peer() for key in "abcde"}
        route = make_route(**peers)
        for peer in peers.values() if known else ():
            peer.pending.hand_over(make_call(), NOW - 0.01)
            end(peer.pending, 1, NOW)
        ends: list[tuple[float, int, str, int, bool]] = []
        now, share = NOW, 0
        for number in range(10_000):
            now += chance.expovariate(rate)
            while ends and ends[0][0] <= now:
                at, _, key, sequence, result = heappop(ends)
                end(peers[key].pending, sequence, at, result)
            key = route.choose()
            pending = peers[key].pending
            pending.hand_over(make_call(), now)
            failed = fails(share) if key == "e" else None
            share += key == "e"
            taken = chance.uniform(0.005, 0.015) if failed is None else failed
            heappush(ends, (now + taken, number, key, pending.next_sequence - 1, failed is None))
        return share

    def test_all_are_well(self):
        for rate in (10, 1000):
            self.assertLess(abs(self.share_of_the_fifth(rate, lambda number: None) - 2000), 200)

    def test_one_refuses(self):
        """It is done with a call at once, and gets no more of them for that."""
        for rate in (10, 100, 1000, 5000):
            for known in (False, True):
                with self.subTest(rate=rate, known=known):
                    share = self.share_of_the_fifth(rate, lambda number: 0.001, known)
                    self.assertTrue(1 <= share <= 2000, share)

    def test_one_refuses_half(self):
        share = self.share_of_the_fifth(1000, lambda number: 0.001 if number % 2 else None)
        self.assertTrue(500 <= share <= 2000, share)

    def test_one_has_refused(self):
        """When it takes calls again it has its share soon."""
        for rate in (10, 100, 1000, 5000):
            with self.subTest(rate=rate):
                share = self.share_of_the_fifth(rate, lambda number: 0.001 if number < 20 else None)
                self.assertGreater(share, 1000)


def end(calls, sequence, now, result=True):
    """Have a call end, with a result or refused."""
    message = Reply(sequence, None) if result else Nack(Refusal.OVERLOADED, [sequence, sequence])
    calls.take_results([message], [], [], [])
    calls.take(sequence, now)
    calls.look(now)


class TimedCallsTests(SynchronousTestCase):
    def setUp(self):
        self.calls: TimedCalls[PendingCall] = TimedCalls(100, None)

    def takes(self, seconds, result=True):
        self.calls.hand_over(make_call(), NOW)
        end(self.calls, self.calls.next_sequence - 1, NOW + seconds, result)

    def test_without_a_result(self):
        """What was refused, cancelled or lost tells only that a call takes at least so long."""
        self.takes(0.1, result=False)
        self.assertEqual(self.calls.typical, 0)
        self.takes(0.5)
        self.takes(0.1, result=False)
        self.assertAlmostEqual(self.calls.typical, 0.5)
        self.takes(0.7, result=False)
        self.assertAlmostEqual(self.calls.typical, 0.7)
        self.takes(0.6)
        self.assertAlmostEqual(self.calls.typical, 0.6)

    def test_nobody_looks_when_it_ends(self):
        """The time in which nothing came after a call that was cancelled, or whose time was up, is not its own."""
        self.takes(0.01)
        for number in range(8):
            self.calls.hand_over(make_call(), NOW)
            self.calls.take(self.calls.next_sequence - 1, NOW + 0.001)
            self.calls.look(NOW + 0.5)
            self.assertAlmostEqual(self.calls.typical, 0.01, msg=str(number))

    def test_when_it_has_ended_is_not_known(self):
        """Then it tells nothing, as when all are lost, and the next is timed."""
        self.takes(0.01)
        self.calls.hand_over(make_call(), NOW)
        self.assertEqual(len(self.calls.take_all()), 1)
        self.calls.look(NOW + 0.5)
        self.assertAlmostEqual(self.calls.typical, 0.01)
        self.takes(0.02)
        self.assertAlmostEqual(self.calls.typical, 0.02)

    def test_its_time_was_up(self):
        """A call takes at least as long as it was waited for, whenever the next answer comes."""
        self.takes(0.25)
        call = make_call()
        call.deadline = NOW + 0.375
        self.calls.hand_over(call, NOW)
        self.assertEqual(self.calls.overdue(NOW + 0.375), [call])
        self.calls.look(NOW + 0.5)
        self.assertAlmostEqual(self.calls.typical, 0.375)

    def test_it_was_never_acknowledged(self):
        self.calls = TimedCalls(100, RetryPolicy(0.375, attempts=0))
        self.takes(0.25)
        call = make_call()
        self.calls.hand_over(call, NOW)
        self.assertEqual(self.calls.unacknowledged(NOW + 0.375), ([], [call]))
        self.calls.look(NOW + 0.5)
        self.assertAlmostEqual(self.calls.typical, 0.375)

    def test_refusals_count_until_results_come(self):
        for number in range(1, 4):
            self.takes(0.001, result=False)
            self.assertEqual(self.calls.refused, number)
        for left in (2, 1, 0, 0):
            self.takes(0.1)
            self.assertEqual(self.calls.refused, left)

    def test_or_until_others_have_had_many(self):
        self.takes(0.5)
        self.takes(0.001, result=False)
        for _ in range(70):
            self.calls.passed_over()
        self.assertEqual((self.calls.refused, self.calls.typical), (0, 0.5))

    def test_what_is_remembered_of_who_refuses_is_not_less_each_time(self):
        self.takes(0.5)
        for _ in range(10):
            self.calls.passed_over()
        self.assertLess(self.calls.typical, 0.46)
        self.takes(0.001, result=False)
        self.assertEqual(self.calls.typical, 0.5)

    def test_what_is_a_refusal(self):
        for number, (message, refused) in enumerate(
            (
                (Nack(Refusal.EXPIRED, [1, 1]), 1),
                (Reply(2, failure=Failure(FailureCode.NO_SUCH_METHOD, "", "")), 2),
                # What the method raised is an answer, and makes up for one as a result does.
                (Reply(3, failure=Failure(FailureCode.RAISED, "ValueError", "odd")), 1),
                (Ack([4, 4]), 1),
                # Late and repeated ones.
                (Nack(Refusal.OVERLOADED, [1, 3]), 1),
                (Reply(2, failure=Failure(FailureCode.NO_SUCH_METHOD, "", "")), 1),
                (Reply(3, failure=Failure(FailureCode.RAISED, "ValueError", "odd")), 1),
            ),
            1,
        ):
            self.calls.hand_over(make_call(), NOW)
            self.calls.take_results([message], [], [], [])
            self.assertEqual(self.calls.refused, refused, message)
            self.calls.take(number)

    def test_only_calls_are_refused(self):
        """A notification is given back by who has run it, and no answer would make up for a cast."""
        for number, (kind, reason) in enumerate(
            ((Kind.NOTIFY, Refusal.REQUEUED), (Kind.NOTIFY, Refusal.DRAINING), (Kind.CAST, Refusal.OVERLOADED)), 1
        ):
            self.calls.hand_over(make_call(kind), NOW)
            self.calls.take_results([Nack(reason, [number, number])], [], [], [])
            self.assertEqual(self.calls.refused, 0, reason)
        self.calls.hand_over(make_call(), NOW)
        self.calls.take_results([Nack(Refusal.OVERLOADED, [1, 4])], [], [], [])
        self.assertEqual(self.calls.refused, 1)

    def test_the_first_time_is_taken_as_it_is(self):
        self.assertEqual(self.calls.typical, 0)
        self.takes(0.25)
        self.assertAlmostEqual(self.calls.typical, 0.25)

    def test_one_of_them_changes_it_by_a_factor_of_two(self):
        for seconds, typical in ((1.0, 1.0), (9.0, 2.0), (2.5, 2.5), (0.1, 1.25), (0.1, 0.625), (0.5, 0.5)):
            self.takes(seconds)
            self.assertAlmostEqual(self.calls.typical, typical)

    def test_it_is_taken_when_the_call_has_ended(self):
        self.calls.hand_over(make_call(), NOW)
        self.calls.hand_over(make_call(), NOW + 1)
        end(self.calls, 2, NOW + 2)
        self.assertEqual(self.calls.typical, 0)
        end(self.calls, 1, NOW + 3)
        self.assertAlmostEqual(self.calls.typical, 3)

    def test_casts_tell_nothing(self):
        self.calls.hand_over(make_call(Kind.CAST), NOW)
        self.calls.take(1)
        self.calls.look(NOW + 3)
        self.assertEqual(self.calls.typical, 0)

    def test_no_time_at_all(self):
        self.takes(0.0)
        self.assertGreater(self.calls.typical, 0)
