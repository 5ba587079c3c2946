"""What a subscriber has had and what it has missed: nothing twice, and misses counted exactly."""

from __future__ import annotations

import sys
from collections import Counter
from itertools import count

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.core import fanouts
from zmqrpc.core.agenda import NEVER
from zmqrpc.core.fanouts import LATE, MOST_GAPS_OF_ALL, MOST_PUBLISHERS, REPEATS, Fanouts, Missed
from zmqrpc.core.keys import topic_key
from zmqrpc.core.seen import Seen
from zmqrpc.core.series import GRACE

KEY, OTHER = topic_key("openstack", "compute"), topic_key("openstack", "other")
CLIENT, PUBLISHER = b"c" * 16, b"p" * 16
TTL = 300.0


class FanoutsTests(SynchronousTestCase):
    def setUp(self):
        self.fanouts = Fanouts(3, TTL)

    def take(self, number, counted, now, client=CLIENT, publisher=PUBLISHER, key=KEY):
        """Take a fan-out; tell whether it is to be delivered."""
        if counted is not None:
            self.fanouts.counted(publisher, key, counted, False, now)
        if self.fanouts.client(client, now) is None:
            return False
        return self.fanouts.series(client, key, now).admit(number) is Seen.NEW

    def sweep(self, now):
        return self.fanouts.sweep(now)[0]

    def test_both_see_one_loss(self):
        self.take(1, 1, 0.0)
        self.take(4, 4, 0.1)
        self.assertEqual(self.fanouts.wake_at, 0.1 + GRACE)
        (missed,) = self.sweep(0.1 + GRACE)
        self.assertEqual((missed.key, missed.number), (KEY, 2))
        self.assertEqual(self.sweep(5.0), [])

    def test_the_last_one(self):
        """It shows in the counter that its publisher repeats, and once more in the next of its client."""
        self.take(1, 1, 0.0)
        self.fanouts.counted(PUBLISHER, KEY, 2, True, 1.0)
        self.assertEqual(self.sweep(1.0 + GRACE), [Missed(KEY, 1, None, PUBLISHER)])
        self.take(3, 3, 100.0)
        self.assertEqual(self.sweep(100.0 + GRACE), [])

    def test_who_was_blocked_reads_before_it_judges(self):
        """What it misses may have come meanwhile; it judges a moment later, and not ever later."""
        self.take(1, 1, 0.0)
        self.take(3, 3, 0.1)
        self.assertEqual(self.sweep(3.0), [])
        self.assertTrue(self.take(2, 2, 3.1))
        self.take(5, 5, 3.1)
        self.assertEqual(self.fanouts.wake_at, 3.0 + LATE)
        self.assertEqual(self.sweep(3.0 + LATE), [])
        self.assertEqual(self.fanouts.wake_at, 3.1 + GRACE)
        self.take(7, 7, 3.9)
        self.assertEqual([each.number for each in self.sweep(3.1 + GRACE)], [1])
        self.assertEqual([each.number for each in self.sweep(3.9 + GRACE)], [1])

    def test_a_dead_publisher(self):
        """What it has swallowed shows at the next of its client."""
        self.take(1, 1, 0.0)
        self.take(3, 8, 0.1, publisher=b"q" * 16)
        self.assertEqual(self.sweep(0.1 + GRACE), [Missed(KEY, 1, CLIENT, None)])

    def test_losses_that_one_side_sees_do_not_hide_those_of_the_other(self):
        self.take(1, 1, 0.0)
        self.take(3, 2, 0.1)
        self.assertEqual([each.number for each in self.sweep(0.1 + GRACE)], [1])
        self.fanouts.counted(PUBLISHER, KEY, 3, True, 20.0)
        self.assertEqual([each.number for each in self.sweep(20.0 + GRACE)], [1])
        # It was of a client that is not heard of any more.
        now = 25.0 + TTL
        self.take(1, 4, now, b"d" * 16)
        self.take(3, 5, now, b"d" * 16)
        self.assertEqual([each.number for each in self.sweep(now + GRACE)], [1])

    def test_copies_count_once(self):
        """While fan-outs are published again, what a publisher counts may be a copy."""
        self.take(1, 1, 0.0)
        self.fanouts.repeated(KEY, 0.1)
        self.fanouts.counted(PUBLISHER, KEY, 2, True, 0.1)
        self.assertEqual(self.sweep(0.1 + GRACE), [])
        self.fanouts.counted(PUBLISHER, KEY, 3, True, REPEATS + 1)
        self.assertEqual([each.number for each in self.sweep(REPEATS + 1 + GRACE)], [1])

    def test_keys_are_apart(self):
        self.take(1, 1, 0.0)
        self.take(2, 1, 0.0, key=OTHER)
        self.take(4, 3, 0.0, key=OTHER)
        self.assertEqual([(each.key, each.number) for each in self.sweep(GRACE)], [(OTHER, 1)])

    def test_two_ways_to_one_publisher(self):
        self.assertTrue(self.fanouts.counted(PUBLISHER, KEY, 5, False, 0.0))
        self.assertFalse(self.fanouts.counted(PUBLISHER, KEY, 5, False, 0.0))
        self.assertFalse(self.fanouts.counted(PUBLISHER, KEY, 5, True, 0.0))
        self.assertFalse(self.fanouts.counted(PUBLISHER, KEY, 0, False, 0.0))

    def test_a_sweep_looks_at_what_is_due(self):
        """Not at every gap there is: sweeps come in quick succession while there are gaps."""
        self.fanouts = Fanouts(1000, TTL)
        for number in range(500):
            source, now = number.to_bytes(16, "big"), 1.0 + number / 1000
            self.take(1, None, now, source)
            self.take(3, None, now, source)
        calls = 0

        def count_call(frame, event, argument):
            nonlocal calls
            calls += 1

        sys.setprofile(count_call)
        try:
            missed = self.sweep(1.0 + GRACE)
        finally:
            sys.setprofile(None)
        self.assertEqual([each.number for each in missed], [1])
        self.assertLess(calls, 200)
        self.assertAlmostEqual(self.fanouts.wake_at, 1.001 + GRACE)
        self.assertEqual(sum(each.number for each in self.sweep(1.499 + GRACE)), 499)

    def test_gaps_of_all_are_bounded(self):
        """Past it the oldest are closed at once, and counted soon; many clients may be of one stranger."""
        self.patch(fanouts, "MOST_GAPS_OF_ALL", 50)
        self.fanouts = Fanouts(1000, TTL)
        for number in range(100):
            source, now = number.to_bytes(16, "big"), 1.0 + number / 1000
            self.take(1, None, now, source)
            self.take(3, None, now, source)
            self.take(5, None, now, source)
        self.assertLessEqual(self.fanouts.wake_at, now)
        self.assertEqual(sum(each.number for each in self.sweep(now)), 150)
        self.assertFalse(self.take(2, None, now, (74).to_bytes(16, "big")))
        self.assertTrue(self.take(2, None, now, (75).to_bytes(16, "big")))
        self.assertEqual(sum(each.number for each in self.sweep(now + GRACE)), 49)
        self.assertEqual(self.sweep(now + 2 * GRACE), [])

    def test_gaps_of_who_is_forgotten_count_no_more(self):
        self.patch(fanouts, "MOST_GAPS_OF_ALL", 4)
        for now in (0.0, 2 * TTL):
            for number in (1, 3, 5):
                self.take(number, number, now)
            self.assertEqual(self.fanouts.wake_at, now + GRACE)
            self.sweep(now + TTL)

    def test_clients_are_bounded(self):
        for name in (b"a", b"b", b"c"):
            self.assertTrue(self.take(1, None, 0.0, name * 16))
        self.assertFalse(self.take(1, None, 0.0, b"d" * 16))
        self.assertTrue(self.take(2, None, 0.0, b"a" * 16))

    def test_silent_clients_are_forgotten(self):
        """Not before the last deadline of what they have sent; then a number of theirs is as good as new."""
        self.take(1, None, 0.0, b"a" * 16)
        self.take(9, None, 0.0, b"b" * 16)
        client = self.fanouts.client(b"b" * 16, 0.0)
        assert client is not None
        client.until = 2 * TTL
        self.assertEqual(self.fanouts.wake_at, GRACE)
        self.assertEqual(self.fanouts.sweep(GRACE), ([], []))
        self.assertEqual(self.fanouts.wake_at, TTL)
        self.assertEqual(self.fanouts.sweep(TTL), ([], [b"a" * 16]))
        self.assertFalse(self.take(9, None, 2 * TTL - 1, b"b" * 16))
        self.assertEqual(self.fanouts.sweep(3 * TTL), ([], [b"b" * 16]))
        self.assertTrue(self.take(9, None, 3 * TTL, b"b" * 16))

    def test_everything_is_given_back(self):
        """When all are silent nothing is left to wake up for."""
        self.take(1, 1, 0.0)
        self.take(5, 9, 0.0)
        self.sweep(TTL)
        self.sweep(2 * TTL)
        self.assertEqual(self.fanouts.wake_at, NEVER)

    def test_publishers_are_bounded(self):
        for number in range(MOST_PUBLISHERS + 1):
            self.fanouts.counted(number.to_bytes(16, "big"), KEY, 1, False, 0.0)
        # The first is forgotten, and begins anew.
        self.fanouts.counted(bytes(16), KEY, 9, False, 0.0)
        self.fanouts.counted((5).to_bytes(16, "big"), KEY, 9, False, 0.0)
        self.assertEqual([each.number for each in self.sweep(GRACE)], [7])


class Losses(SynchronousTestCase):
    """
    One subscriber, one to three publishers, one to three clients.

    Each step publishes one fan-out by one publisher, or by two when the client has lost the first. A copy is lost
    between its publisher and the subscriber, or delayed by less than the grace.
    """

    STEPS = st.lists(
        st.tuples(
            st.integers(0, 2),  # client
            st.integers(0, 2),  # publisher
            st.booleans(),  # whether the copy is lost
            st.none() | st.tuples(st.integers(0, 2), st.floats(0, 0.9)),  # published again, and how much later
            st.floats(0, 0.9),  # how late it arrives
        ),
        max_size=30,
    )

    @given(STEPS, st.integers(1, 3), st.integers(1, 3), st.floats(0.01, 0.6), st.sampled_from([1, 2, MOST_GAPS_OF_ALL]))
    @settings(derandomize=True, max_examples=500)
    def test_nothing_twice_and_misses_exact(self, steps, clients, publishers, interval, most_gaps):
        self.patch(fanouts, "MOST_GAPS_OF_ALL", most_gaps)
        subscriber = Fanouts(10, TTL)
        numbers: Counter[int] = Counter()
        counters: Counter[int] = Counter()
        order = count()
        arrivals = []

        def publish(client, number, publisher, when, attempt, delay, lost=False):
            counters[publisher] += 1
            if not lost:
                arrivals.append((when + delay, next(order), client, number, publisher, counters[publisher], attempt))

        def fanout(client, publisher, when, lost=False, again=None, delay=0.0):
            numbers[client] += 1
            publish(client, numbers[client], publisher, when, 1, delay, lost)
            if again is not None:
                publish(client, numbers[client], again[0] % publishers, when + again[1], 2, 0.0)

        everything = [(client, 0) for client in range(clients)]
        for client, publisher in everything:
            fanout(client, publisher, 0.0)
        when = 5.0
        for client, publisher, lost, again, delay in steps:
            fanout(client % clients, publisher % publishers, when, lost, again, delay)
            when += interval
        # One more of each client.
        when += 5.0
        for client in range(clients):
            fanout(client, 0, when)
        delivered: Counter[tuple[int, int]] = Counter()
        missed = 0

        def sweep(until):
            while subscriber.wake_at <= until:
                yield from (each.number for each in subscriber.sweep(subscriber.wake_at)[0])

        for now, _, client, number, publisher, counted, attempt in sorted(arrivals):
            missed += sum(sweep(now))
            source, key = bytes([client]) * 16, KEY
            fresh = subscriber.counted(bytes([publisher]) * 16, key, counted, False, now)
            subscriber.client(source, now)
            series = subscriber.series(source, key, now)
            before = series.repeats
            if series.admit(number) is Seen.NEW:
                delivered[client, number] += 1
            if attempt > 1 or (fresh and series.repeats > before):
                subscriber.repeated(key, now)
        missed += sum(sweep(when + 10))
        self.assertLessEqual(set(delivered.values()), {1})
        if most_gaps == MOST_GAPS_OF_ALL:
            self.assertEqual(len(delivered) + missed, sum(numbers.values()))
        else:
            # A counter that is not waited for counts what is only late.
            self.assertGreaterEqual(len(delivered) + missed, sum(numbers.values()))
