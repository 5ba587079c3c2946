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
from zmqrpc.core.link_timers import BEAT_SECONDS
from zmqrpc.core.pending import PendingCalls
from zmqrpc.core.ranges import MOST_RANGES
from zmqrpc.core.retry import RetryPolicy
from zmqrpc.core.seen import DuplicateFilter, Seen
from zmqrpc.target import Target

NOW = 1000.0
TARGET = Target(topic="compute")
POLICY = RetryPolicy(base=15, multiplier=2, attempts=3)


def make_call(deadline: float = NOW + 60) -> PendingCall:
    call = PendingCall()
    call.begin(Kind.CALL, TARGET, b"", deadline)
    return call


def make_pending(calls: int = 0, policy: RetryPolicy | None = POLICY, window: int = 1000) -> PendingCalls[PendingCall]:
    pending: PendingCalls[PendingCall] = PendingCalls(window, policy)
    for _ in range(calls):
        pending.hand_over(make_call(), NOW)
    return pending


def sequences(calls: list[PendingCall]) -> list[int]:
    return [call.sequence for call in calls]


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


class NamedTests(SynchronousTestCase):
    """Calls that an instance has named, in ACK or BEAT, and names no more."""

    def make(
        self,
        *monitors: float | None,
        kind: Kind = Kind.CALL,
        policy: RetryPolicy | None = POLICY,
        patience: float = 5.0,
    ) -> Any:
        pending: PendingCalls[PendingCall] = PendingCalls(1000, policy, patience=patience)
        for monitor in monitors:
            call = make_call(NOW + 10_000)
            call.kind = kind
            if monitor is not None:
                call.monitor = monitor
            pending.hand_over(call, NOW)
        return pending

    def asked(self, pending: PendingCalls[PendingCall], until: float) -> list[tuple[float, int]]:
        """Wake on time, repeat what is asked again; list when each is, and check that nothing is given up."""
        times = []
        while pending.wake_at <= until:
            now = pending.wake_at
            again, given_up = pending.unacknowledged(now)
            self.assertEqual(given_up, [])
            for call in again:
                pending.repeat(call, now)
                times.append((now - NOW, call.sequence))
            pending.overdue(now)
        return times

    def test_when_it_is_asked_again(self) -> None:
        # its patience, what names it and when, when it is asked again: then as any repetition, and no more than these
        acknowledged, running = PendingCalls.acknowledged, PendingCalls.running
        rows: list[tuple[float | None, list[tuple[Any, float]], list[float]]] = [
            (None, [(acknowledged, 0.1)], [5.1, 35.1, 95.1]),
            (None, [(acknowledged, 0.1), (running, 0.5), (running, 1.0)], [6.0, 36.0, 96.0]),
            (None, [(running, 0.5)], [5.5, 35.5, 95.5]),
            (1.0, [(acknowledged, 0.1)], [1.1, 31.1, 91.1]),
            (1.2, [(acknowledged, 0.1), (running, 0.5), (running, 1.0)], [2.2, 32.2, 92.2]),
            (0.7, [(acknowledged, 0.1), (running, 0.5), (running, 1.0)], [2.0, 32.0, 92.0]),
            (20.0, [(acknowledged, 0.1), (running, 0.5)], [20.5, 50.5, 110.5]),
            (0, [(acknowledged, 0.1), (running, 0.5)], []),
        ]
        for monitor, names, expected in rows:
            pending = self.make(monitor)
            times = []
            for name, after in names:
                times += self.asked(pending, NOW + after)
                name(pending, [1, 1], NOW + after)
            times += self.asked(pending, NOW + 5000)
            self.assertEqual([round(after, 6) for after, _ in times], expected, f"{monitor}, {names}")
            # It waits on for its deadline.
            self.assertEqual((len(pending), pending.wake_at), (1, NOW + 10_000))

    def test_as_long_as_it_is_named_it_is_not_asked(self) -> None:
        pending = self.make(None, 1.5, 0.6)
        for turn in range(2, 4000):
            self.assertEqual(self.asked(pending, NOW + turn / 2), [])
            pending.running([1, 3], NOW + turn / 2)
        self.assertLess(len(pending._agenda), 3000)

    def test_no_patience_is_shorter_than_the_time_between_two_beats(self) -> None:
        """What each BEAT names is not asked for between them, whatever its caller or the option says."""
        for monitor, patience in ((0.2, 5.0), (None, 0.2), (0.001, 0.001)):
            pending = self.make(monitor, patience=patience)
            pending.acknowledged([1, 1], NOW)
            for turn in range(1, 20):
                # Late now and then, since whoever sends it has other things to do.
                beat = NOW + turn * BEAT_SECONDS + 0.3 * (turn % 2)
                self.assertEqual(self.asked(pending, beat), [], f"{monitor}, {patience}")
                pending.running([1, 1], beat)
            # One that is not named any more is asked for after two of them.
            [(at, _), *_] = self.asked(pending, beat + 5)
            self.assertAlmostEqual(at, beat + 2 * BEAT_SECONDS - NOW)

    def test_each_name_begins_anew(self) -> None:
        """However often a call was asked for, after losses of connections or by the timer."""
        pending = self.make(None)
        [call] = pending.outstanding()
        for turn in range(50):
            pending.repeat(call, NOW + turn)
        pending.running([1, 1], NOW + 100)
        self.assertEqual([after for after, _ in self.asked(pending, NOW + 5000)], [105.0, 135.0, 195.0])
        self.assertEqual(call.attempts, 54)

    def test_what_was_never_named_is_given_up_as_before(self) -> None:
        pending = self.make(None, None)
        pending.acknowledged([2, 2], NOW)
        self.assertEqual(self.asked(pending, NOW + 224), [(5, 2), (15, 1), (35, 2), (45, 1), (95, 2), (105, 1)])
        again, given_up = pending.unacknowledged(NOW + 225)
        self.assertEqual((again, sequences(given_up), sequences(pending.outstanding())), ([], [1], [2]))

    def test_without_repetitions_nothing_is_asked(self) -> None:
        for policy in (None, RetryPolicy(15, 2, 0)):
            pending = self.make(None, policy=policy)
            pending.acknowledged([1, 1], NOW)
            self.assertEqual(self.asked(pending, NOW + 5000), [])
            self.assertEqual(len(pending), 1)

    def test_a_beat_shortens_nothing_that_is_acknowledged_otherwise(self) -> None:
        # kind, when it is sent again though it was named at 0.5 s, and when it was named at 12 s as well
        rows = [
            (Kind.CAST, 15.0, 15.0),
            (Kind.FANOUT, 15.0, 15.0),
            (Kind.NOTIFY, 15.0, 17.0),
            (Kind.CALL, 5.5, 17.0),
        ]
        for kind, once, twice in rows:
            for beats, expected in (((0.5,), once), ((0.5, 12.0), twice)):
                pending = self.make(None, kind=kind)
                for after in beats:
                    pending.running([1, 1], NOW + after)
                [call] = pending.outstanding()
                self.assertEqual(call.retry_at, NOW + expected, f"{kind.name} at {beats}")

    def test_what_moves_to_another_instance_is_not_named_there(self) -> None:
        pending = self.make(None)
        [call] = pending.outstanding()
        pending.acknowledged([1, 1], NOW)
        pending.take(1)
        call.unsent(call.encoded)
        self.make().hand_over(call, NOW)
        self.assertEqual((call.attempts, call.named, call.tries), (1, 0, 1))

    def test_when_it_was_named_last(self) -> None:
        """Nothing else that happens to a call counts as that, nor a time at which it would be sent again."""
        pending = self.make(None, 0, 1.0)
        calls = pending.outstanding()
        self.assertEqual([call.named_at for call in calls], [None] * 3)
        pending.acknowledged([1, 3], NOW + 1)
        pending.running([1, 3], NOW + 2)
        for turn, happens in enumerate((pending.spare, pending.put_off, pending.repeat), 8):
            for call in calls:
                happens(call, NOW + turn)
                self.assertEqual(call.named_at, NOW + 2, f"{happens.__name__}, {call.sequence}")
        pending.acknowledged([2, 2], NOW + 20)
        self.assertEqual([call.named_at for call in calls], [NOW + 2, NOW + 20, NOW + 2])

    def test_a_cast_is_not_named_by_a_beat(self) -> None:
        for kind, named_at in ((Kind.CAST, None), (Kind.FANOUT, None), (Kind.NOTIFY, NOW + 1)):
            pending = self.make(None, kind=kind)
            pending.running([1, 1], NOW + 1)
            self.assertEqual([call.named_at for call in pending.outstanding()], [named_at], kind.name)

    def test_put_off_it_is_not_named(self) -> None:
        """However long it is put off, it is sent again no more often than one that is not."""
        pending = self.make(None, policy=RetryPolicy(15, 2, 2))
        pending.acknowledged([1, 1], NOW)
        self.assertEqual(self.asked(pending, NOW + 34.9), [(5, 1)])
        for now in (NOW + 35, NOW + 40):
            again, _ = pending.unacknowledged(now)
            pending.put_off(again[0], now)
            pending.overdue(now)
        self.assertEqual(self.asked(pending, NOW + 5000), [(45, 1)])

    def test_put_off_while_nothing_is_said_at_all(self) -> None:
        pending = self.make(None)
        pending.acknowledged([1, 1], NOW)
        again, _ = pending.unacknowledged(NOW + 5)
        pending.put_off(again[0], NOW + 5)
        pending.overdue(NOW + 5)
        self.assertEqual(self.asked(pending, NOW + 30), [(10, 1)])


class UnheardTests(SynchronousTestCase):
    """Who waits no longer for an instance that is silent."""

    def test_rows(self) -> None:
        # the patience of each call, for how long it is silent, which end alone, whether all are lost
        rows: list[tuple[list[float | None], float, list[int], bool]] = [
            ([], 100.0, [], False),
            ([None, None], 4.999, [], False),
            ([None, None], 5.0, [], True),
            ([1.0, None], 0.999, [], False),
            ([1.0, None, 2.0], 1.0, [1], False),
            ([1.0, None, 2.0], 2.0, [1, 3], False),
            ([1.0, None], 5.0, [1], True),
            # While one may wait longer the instance stays, and the others end alone.
            ([30.0, None, 1.0, None], 5.0, [3, 2, 4], False),
            ([0, None], 5.0, [2], False),
            ([30.0, None], 30.0, [1], True),
            ([0, 0], 1e6, [], False),
            ([1.0], 100.0, [1], False),
        ]
        for monitors, silence, alone, given_up in rows:
            pending: PendingCalls[PendingCall] = PendingCalls(1000, POLICY, patience=5.0)
            for monitor in monitors:
                call = make_call()
                call.monitor = monitor
                pending.hand_over(call, NOW)
            ended, lost = pending.unheard(silence)
            self.assertEqual((sequences(ended), lost), (alone, given_up), f"{monitors} after {silence} s")
            left = set(range(1, len(monitors) + 1)) - set(alone)
            self.assertEqual(set(sequences(pending.outstanding())), left)

    def test_without_a_patience(self) -> None:
        pending = make_pending(3)
        self.assertEqual(pending.unheard(1e9), ([], False))


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
