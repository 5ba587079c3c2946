"""The unsettled messages of one pair at the client: numbers, windows, retries, deadlines."""

from __future__ import annotations

import itertools
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.core.agenda import NEVER
from zmqrpc.core.call import PendingCall, Stage
from zmqrpc.core.envelope import Ack, Failure, Kind, Reply
from zmqrpc.core.pending import PendingCalls
from zmqrpc.core.ranges import MOST_RANGES
from zmqrpc.core.retry import RetryPolicy
from zmqrpc.core.seen import DuplicateFilter, Seen
from zmqrpc.test.core.pending_calls import NOW, POLICY, make_call, make_pending, sequences


class NumberTests(SynchronousTestCase):
    def test_numbers_count_from_one_and_never_come_back(self):
        pending = make_pending(3)
        pending.take(3)
        self.assertEqual(pending.next_sequence, 4)
        pending.hand_over(make_call(), NOW)
        self.assertEqual(sequences(pending.outstanding()), [1, 2, 4])

    def test_handing_over_marks_the_call(self):
        call = make_call()
        make_pending().hand_over(call, NOW)
        self.assertEqual((call.sequence, call.attempts, call.stage, call.retry_at), (1, 1, Stage.SENT, NOW + 15))

    def test_one_that_comes_from_another_pair_starts_anew(self):
        call, before = make_call(), make_pending(4)
        before.hand_over(call, NOW)
        before.repeat(call, NOW)
        before.take(call.sequence)
        make_pending(1).hand_over(call, NOW + 1)
        self.assertEqual((call.sequence, call.attempts, call.retry_at), (2, 1, NOW + 16))

    def test_an_answer_ends_a_call_once(self):
        pending = make_pending(2)
        first = pending.take(1)
        assert first is not None
        self.assertEqual(first.sequence, 1)
        for late in (1, 3, 0, 2**63):
            self.assertIsNone(pending.take(late), f"answer to {late}")
        self.assertEqual(len(pending), 1)

    def test_what_has_ended_is_settled_and_nothing_else(self):
        pending = make_pending(5)
        for sequence in (2, 1, 4, 9):
            pending.take(sequence)
        self.assertEqual(pending.settled.flat(), [2, 4, 4])

    def test_taking_all_settles_all(self):
        pending = make_pending(3)
        self.assertEqual(sequences(pending.take_all()), [1, 2, 3])
        self.assertEqual((len(pending), pending.settled.flat()), (0, [3]))

    def test_a_pair_that_was_known_goes_on_with_its_numbers(self):
        pending: PendingCalls[PendingCall] = PendingCalls(10, POLICY, first=5)
        pending.hand_over(make_call(), NOW)
        self.assertEqual((sequences(pending.outstanding()), pending.settled.flat()), ([5], [4]))
        self.assertEqual(sequences(pending.within([1, 9])), [5])

    def test_numbers_that_another_link_has_used_are_passed_over(self):
        # calls before, where to begin, the number of the next call, what is settled with the first two ended
        for calls, first, following, settled in (
            (0, 1, 1, [0]),
            (0, 5, 5, [4]),
            (3, 2, 4, [2]),
            (3, 4, 4, [2]),
            (3, 9, 9, [2, 4, 8]),
        ):
            pending = make_pending(calls)
            pending.begin_at(first)
            pending.hand_over(make_call(), NOW)
            for sequence in (1, 2):
                if sequence < following:
                    pending.take(sequence)
            self.assertEqual((pending.outstanding()[-1].sequence, pending.tell_settled()), (following, settled))

    def test_what_was_handed_over_is_counted_by_the_numbers(self):
        pending: PendingCalls[PendingCall] = PendingCalls(10, POLICY, first=7)
        for begin, handed in ((7, 1), (3, 2), (20, 3), (21, 4), (30, 5)):
            pending.begin_at(begin)
            pending.hand_over(make_call(), NOW)
            self.assertEqual(pending.handed, handed)
        pending.take_all()
        self.assertEqual(pending.handed, 5)

    def test_results_of_a_batch(self):
        pending = make_pending(4)
        failed = Reply(2, None, Failure(0, "ValueError", ""))
        encoded = Reply(3, b"", None, "application/json")
        calls: list[Any] = []
        results: list[Any] = []
        rest: list[Any] = []
        messages = [Reply(4, "d"), Ack([1, 1]), failed, Reply(1, "a"), encoded, Reply(4, "again"), Reply(9, "late")]
        pending.take_results(messages, calls, results, rest)
        self.assertEqual((sequences(calls), results), ([4, 1], ["d", "a"]))
        self.assertEqual(rest, [messages[1], failed, encoded])
        self.assertEqual((len(pending), pending.settled.flat()), (2, [1, 4, 4]))


class WindowTests(SynchronousTestCase):
    def test_full_when_it_is_used_up(self):
        pending: PendingCalls[PendingCall] = PendingCalls(2, None)
        self.assertEqual((pending.full, pending.hand_over(make_call(), NOW)), (False, False))
        self.assertEqual((pending.hand_over(make_call(), NOW), pending.full), (True, True))
        pending.take(1)
        self.assertFalse(pending.full)

    def test_a_peer_may_make_it_smaller(self):
        pending = make_pending(2)
        pending.most_unsettled = 1
        self.assertTrue(pending.full)
        pending.take(1)
        self.assertTrue(pending.full)
        pending.take(2)
        self.assertFalse(pending.full)


class SettledTests(SynchronousTestCase):
    """What batches tell a server, and what it makes of that."""

    def test_more_than_a_batch_can_tell_is_told_in_turn(self):
        pending = make_pending(300)
        for sequence in range(2, 300, 2):
            pending.take(sequence)
        told: set[int] = set()
        for _ in range(3):
            flat = pending.tell_settled()
            self.assertEqual((flat[0], flat[1::2]), (0, flat[2::2]))
            self.assertLessEqual(len(flat), 1 + 2 * MOST_RANGES)
            told |= set(flat[1:])
        self.assertEqual(told, set(range(2, 300, 2)))
        self.assertEqual(pending.tell_settled()[:3], [0, 2, 2])

    def test_few_are_told_every_time(self):
        pending = make_pending(3)
        pending.take(2)
        self.assertEqual([pending.tell_settled() for _ in range(3)], [[0, 2, 2]] * 3)

    def test_slow_calls_do_not_fill_the_window_of_the_server(self):
        # One of ten takes long: soon there are more gaps than a batch can tell.
        pending = make_pending(window=1000)
        server = DuplicateFilter(1000, 10**6)
        for number in range(5000):
            call = make_call()
            pending.hand_over(call, NOW)
            server.settle(pending.tell_settled())
            self.assertIs(server.admit(call.sequence), Seen.NEW, f"{len(pending)} are unsettled")
            server.answered(call.sequence, b"reply")
            if number % 10:
                pending.take(call.sequence)


class RangeTests(SynchronousTestCase):
    """`within`: ranges that a peer wrote, of ten calls that are unsettled from 3 to 12."""

    # ranges, sequences found
    ROWS: list[tuple[list[int], list[int]]] = [
        ([], []),
        ([5, 5], [5]),
        ([5, 7, 9, 9], [5, 6, 7, 9]),
        ([0, 4], [3, 4]),
        ([1, 2], []),
        ([12, 99], [12]),
        ([13, 99], []),
        ([0, 2**64 - 1], list(range(3, 13))),
        ([2**63, 2**64 - 1], []),
        ([7, 5], []),
        ([5], []),
        ([5, 5, 6], [5]),
        # What the wire forbids: a number named twice, and ranges that do not ascend.
        ([5, 5, 5, 5], [5]),
        ([5, 7, 6, 8], [5, 6, 7, 8]),
        ([0, 2**64 - 1, 0, 2**64 - 1], list(range(3, 13))),
        ([9, 9, 5, 5], [9]),
    ]

    def test_rows(self):
        for ranges, found in self.ROWS:
            pending = make_pending(12)
            pending.take(1)
            pending.take(2)
            self.assertEqual(sequences(pending.within(ranges)), found, f"{ranges}")

    def test_many_huge_ranges_are_looked_at_once(self):
        pending = make_pending(1000)
        ranges = list(itertools.chain.from_iterable((n * 2**32, (n + 1) * 2**32 - 1) for n in range(100_000)))
        self.assertEqual(len(pending.within(ranges)), 1000)

    @settings(derandomize=True, max_examples=200)
    @given(st.lists(st.integers(0, 40) | st.integers(0, 2**64 - 1), max_size=12), st.sets(st.integers(1, 30)))
    def test_each_call_at_most_once_and_only_what_is_named(self, ranges, ended):
        pending = make_pending(30)
        for sequence in ended:
            pending.take(sequence)
        found = sequences(pending.within(ranges))
        named = {n for low, high in zip(ranges[::2], ranges[1::2], strict=False) for n in range(low, min(high, 30) + 1)}
        self.assertEqual(len(found), len(set(found)))
        self.assertLessEqual(set(found), named - ended)

    @settings(derandomize=True, max_examples=200)
    @given(st.lists(st.integers(1, 30), unique=True).map(sorted), st.sets(st.integers(1, 30)))
    def test_ranges_as_the_wire_has_them_are_found_whole(self, bounds, ended):
        ranges = bounds[: len(bounds) // 2 * 2]
        pending = make_pending(30)
        for sequence in ended:
            pending.take(sequence)
        named = {n for low, high in zip(ranges[::2], ranges[1::2], strict=True) for n in range(low, high + 1)}
        self.assertEqual(sequences(pending.within(ranges)), sorted(named - ended))


class RetryTests(SynchronousTestCase):
    def retries(self, policy: RetryPolicy | None, most: int = 10) -> tuple[list[float], bool]:
        """Leave one call unanswered: when it was sent again, and whether it was given up."""
        pending: PendingCalls[PendingCall] = PendingCalls(10, policy)
        pending.hand_over(make_call(NEVER), 0.0)
        times: list[float] = []
        while len(times) < most and pending.wake_at < NEVER:
            now = pending.wake_at
            again, given_up = pending.unacknowledged(now)
            if given_up:
                self.assertEqual((len(pending), again), (0, []))
                return times, True
            for call in again:
                pending.repeat(call, now)
                times.append(now)
            pending.overdue(now)
        return times, False

    # policy, when it goes again, whether it is given up then
    ROWS: list[tuple[RetryPolicy | None, list[float], bool]] = [
        (RetryPolicy(15, 2, 3), [15, 45, 105], True),
        (RetryPolicy(15, 2, 1), [15], True),
        (RetryPolicy(15, 2, 0), [], True),
        (RetryPolicy(1, 1, 2), [1, 2], True),
        (RetryPolicy(1, 2, -1), [1, 3, 7, 15, 31, 63, 127, 255, 511, 1023], False),
        (RetryPolicy(), [15, 45, 105], True),
        (None, [], False),
    ]

    def test_rows(self):
        for policy, times, given_up in self.ROWS:
            self.assertEqual(self.retries(policy), (times, given_up), f"{policy}")

    def test_what_is_spared_has_its_time_once_more(self):
        """It counts as not sent: it is asked about again, and not given up for that."""
        pending = make_pending(1, RetryPolicy(15, 2, 1))
        for now in (NOW + 15, NOW + 30, NOW + 45):
            self.assertEqual(pending.wake_at, now)
            (call,), given_up = pending.unacknowledged(now)
            pending.spare(call, now)
            pending.overdue(now)
            self.assertEqual((given_up, call.attempts), ([], 1))

    def test_no_number_of_attempts_overflows(self):
        self.assertLess(RetryPolicy(15, 2, -1).next_retry(0, 10**9), NEVER)

    def test_giving_up_settles(self):
        pending = make_pending(1, RetryPolicy(15, 2, 0))
        _, given_up = pending.unacknowledged(NOW + 15)
        self.assertEqual((sequences(given_up), pending.settled.flat()), ([1], [1]))
        self.assertIsNone(pending.take(1))

    def test_what_is_acknowledged_is_not_sent_again(self):
        pending = make_pending(2)
        self.assertEqual(pending.acknowledged([1, 1], NOW), [])
        again, given_up = pending.unacknowledged(NOW + 15)
        self.assertEqual((sequences(again), given_up), ([2], []))

    def test_what_runs_is_not_sent_again(self):
        pending = make_pending(2)
        pending.running([2, 2, 7, 9], NOW)
        again, _ = pending.unacknowledged(NOW + 15)
        self.assertEqual(sequences(again), [1])

    def test_a_stage_never_goes_back_but_by_a_repetition(self):
        pending = make_pending(1)
        (call,) = pending.outstanding()
        for tell, expected in (
            (pending.acknowledged, Stage.ACKNOWLEDGED),
            (pending.running, Stage.RUNNING),
            (pending.acknowledged, Stage.RUNNING),
        ):
            tell([1, 1], NOW)
            self.assertEqual(call.stage, expected)
        pending.repeat(call, NOW + 1)
        self.assertEqual((call.stage, call.attempts, call.retry_at), (Stage.SENT, 2, NOW + 31))

    def test_an_acknowledgement_ends_what_has_no_answer(self):
        pending = make_pending()
        for kind in (Kind.CALL, Kind.CAST, Kind.FANOUT, Kind.NOTIFY):
            call = make_call()
            call.kind = kind
            pending.hand_over(call, NOW)
        self.assertEqual(sequences(pending.acknowledged([1, 9], NOW)), [2, 3, 4])
        self.assertEqual((sequences(pending.outstanding()), pending.settled.flat()), ([1], [0, 2, 4]))
        self.assertEqual(pending.acknowledged([1, 9], NOW), [])

    def test_without_a_policy_a_repetition_has_no_timer(self):
        pending = make_pending(1, None)
        (call,) = pending.outstanding()
        pending.repeat(call, NOW)
        self.assertEqual((call.attempts, call.retry_at, pending.wake_at), (2, NEVER, NOW + 60))

    def test_a_repetition_that_came_back_is_made_again_and_counts_for_nothing(self):
        """However often: that the way was full says nothing of the member."""
        pending = make_pending(1)
        [call] = pending.outstanding()
        pending.repeat(call, NOW)
        for turn in range(1, 20):
            now = NOW + turn
            pending.undelivered(call, now)
            self.assertLessEqual(pending.wake_at, now)
            self.assertEqual(pending.unacknowledged(now), ([call], []))
            pending.repeat(call, now)
            pending.overdue(now)
        self.assertEqual(call.attempts, 3)


class DeadlineTests(SynchronousTestCase):
    def test_ends_what_is_due_and_no_more(self):
        pending = make_pending(0, None)
        for seconds in (3, 1, 2):
            pending.hand_over(make_call(NOW + seconds), NOW)
        self.assertEqual(pending.wake_at, NOW + 1)
        self.assertEqual(sequences(pending.overdue(NOW + 0.999)), [])
        self.assertEqual(sequences(pending.overdue(NOW + 2)), [2, 3])
        self.assertEqual((pending.wake_at, pending.settled.flat()), (NOW + 3, [0, 2, 3]))
        self.assertEqual(sequences(pending.overdue(NOW + 9)), [1])
        self.assertEqual((pending.wake_at, len(pending)), (NEVER, 0))

    def test_deadlines_one_by_one_cost_no_look_at_all_calls_each(self):
        looks = 0

        class Looked:
            sequence, retry_at, kind, stage, encoded = 0, NEVER, Kind.CALL, Stage.QUEUED, b""

            def __init__(self, deadline: float):
                self._deadline = deadline

            @property
            def deadline(self) -> float:
                nonlocal looks
                looks += 1
                return self._deadline

        pending = make_pending(0)
        count = 3000
        for number in range(count):
            call: Any = Looked(NOW + 1 + number * 0.001)
            pending.hand_over(call, NOW)
        looks = ended = 0
        while len(pending):
            now = pending.wake_at
            pending.unacknowledged(now)
            ended += len(pending.overdue(now))
        self.assertEqual(ended, count)
        self.assertLess(looks, 20 * count)

    def test_wakes_for_whatever_comes_first(self):
        for deadline, wake in ((NOW + 5, NOW + 5), (NOW + 50, NOW + 15)):
            pending = make_pending()
            pending.hand_over(make_call(deadline), NOW)
            self.assertEqual(pending.wake_at, wake)

    @settings(derandomize=True, max_examples=200)
    @given(
        st.lists(st.tuples(st.floats(0.001, 100), st.floats(0, 30)), min_size=1, max_size=20),
        st.integers(-1, 3),
        st.sets(st.integers(1, 20)),
    )
    def test_waking_at_wake_at_ends_every_call_at_its_time(self, given_over, attempts, answered):
        """Each call ends once: answered, given up, or at its deadline and not a moment later."""
        pending = make_pending(0, RetryPolicy(1, 2, attempts))
        ends: dict[int, int] = {}
        now, given_over = NOW, iter(given_over)

        def end(call: PendingCall) -> None:
            ends[call.sequence] = ends.get(call.sequence, 0) + 1

        for timeout, later in given_over:
            pending.hand_over(make_call(now + timeout), now)
            until = now + later
            while pending.wake_at <= until:
                self.assertGreaterEqual(pending.wake_at, now)
                now = pending.wake_at
                again, given_up = pending.unacknowledged(now)
                for call in again:
                    if call.deadline > now:
                        pending.repeat(call, now)
                for call in given_up + pending.overdue(now):
                    self.assertLessEqual(now, call.deadline)
                    end(call)
                self.assertGreater(pending.wake_at, now)
            now = until
            for sequence in answered & set(sequences(pending.outstanding())):
                taken = pending.take(sequence)
                assert taken is not None
                end(taken)
        for call in pending.take_all():
            self.assertGreater(call.deadline, now)
            end(call)
        self.assertEqual(ends, dict.fromkeys(range(1, pending.next_sequence), 1))
        self.assertEqual(pending.settled.flat(), [pending.next_sequence - 1])
