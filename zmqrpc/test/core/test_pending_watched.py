"""Calls that run are watched: what their instance names, and names no more, and one that is silent."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.core.call import PendingCall
from zmqrpc.core.envelope import Kind
from zmqrpc.core.link_timers import BEAT_SECONDS
from zmqrpc.core.pending import PendingCalls
from zmqrpc.core.retry import RetryPolicy
from zmqrpc.test.core.pending_calls import NOW, POLICY, make_call, make_pending, sequences


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

    def test_silence_before_a_call(self) -> None:
        """It does not count against the patience of its own that a call has."""
        pending = self.make(1.0)
        pending._calls[1].monitored_from = NOW
        self.assertEqual(pending.unheard(4.0, NOW + 0.9), ([], False))
        (call,), given_up = pending.unheard(5.0, NOW + 1.0)
        self.assertEqual((call.sequence, given_up), (1, False))

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
        """A time at which it would be sent again does not count as that, as often as that is put off."""
        pending = self.make(None, 1.0, 20.0, 0)
        calls = pending.outstanding()
        told = [NOW + 2, NOW + 2, NOW + 2, None]
        self.assertEqual([pending.named_at(call) for call in calls], [None] * 4)
        pending.acknowledged([1, 4], NOW + 1)
        pending.running([1, 4], NOW + 2)
        self.assertEqual([pending.named_at(call) for call in calls], told)
        for turn, happens in enumerate((pending.spare, pending.put_off, pending.put_off, pending.spare), 8):
            for call in calls:
                happens(call, NOW + turn)
            self.assertEqual([pending.named_at(call) for call in calls], told)
        pending.running([2, 2], NOW + 30)
        told[1] = NOW + 30
        self.assertEqual([pending.named_at(call) for call in calls], told)

    def test_never_named_but_put_off(self) -> None:
        pending = self.make(None)
        [call] = pending.outstanding()
        pending.spare(call, NOW + 15)
        self.assertIsNone(pending.named_at(call))
        pending.acknowledged([1, 1], NOW + 16)
        self.assertEqual(pending.named_at(call), NOW + 16)

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
            ended, lost = pending.unheard(silence, NOW + silence)
            self.assertEqual((sequences(ended), lost), (alone, given_up), f"{monitors} after {silence} s")
            left = set(range(1, len(monitors) + 1)) - set(alone)
            self.assertEqual(set(sequences(pending.outstanding())), left)

    def test_without_a_patience(self) -> None:
        pending = make_pending(3)
        self.assertEqual(pending.unheard(1e9, NOW + 1e9), ([], False))
