"""Which pending call is due next, compared with a look at all of them."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.core.agenda import HORIZON, NEVER, Agenda

NOW = 1000.0


class Timed:
    """As much of a pending call as an agenda looks at; counts how often that happens."""

    looks = 0

    def __init__(self, sequence: int, deadline: float, retry_at: float = NEVER):
        self.sequence = sequence
        self.retry_at = retry_at
        self._deadline = deadline

    @property
    def deadline(self) -> float:
        Timed.looks += 1
        return self._deadline


class Table:
    """Calls with an agenda; `ask` does what a sweep does."""

    def __init__(self) -> None:
        self.calls: dict[int, Any] = {}
        self.agenda = Agenda(self.calls)
        self.sequence = 0

    def add(self, deadline: float, retry_at: float = NEVER) -> int:
        self.sequence += 1
        self.calls[self.sequence] = Timed(self.sequence, deadline, retry_at)
        return self.sequence

    def due_by_a_look_at_all(self, now: float) -> list[int]:
        return [number for number, call in self.calls.items() if min(call.deadline, call.retry_at) <= now]

    def ask(self, now: float) -> list[int]:
        due = sorted(self.agenda.take_due(now))
        for number in due:
            call = self.calls[number]
            if call.deadline <= now:
                del self.calls[number]
            elif call.retry_at <= now:
                call.retry_at = NEVER
                self.agenda.enter(call)
            else:
                self.agenda.enter(call)
        return due


class AgendaTests(SynchronousTestCase):
    def test_nothing(self):
        agenda = Agenda({})
        self.assertEqual((agenda.wake_at, agenda.take_due(NOW), agenda.wake_at), (NEVER, set(), NEVER))

    def test_near_and_far(self):
        """What is due is taken out once, whether it was due soon or late when it was added."""
        table = Table()
        for seconds in (0.5, 5, 50, 0.7):
            table.add(NOW + seconds)
        self.assertEqual((table.ask(NOW), table.agenda.wake_at), ([], NOW + 0.5))
        self.assertEqual((table.ask(NOW + 0.6), table.agenda.wake_at), ([1], NOW + 0.7))
        self.assertEqual((table.ask(NOW + 0.7), table.agenda.wake_at), ([4], NOW + 5))
        self.assertEqual((table.ask(NOW + 60), table.agenda.wake_at), ([2, 3], NEVER))

    def test_added_between(self):
        """What was added since it was asked is found, before the horizon and behind it."""
        table = Table()
        table.add(NOW + 20)
        table.ask(NOW)
        table.add(NOW + 0.3)
        table.add(NOW + 10)
        self.assertEqual((table.ask(NOW + 0.1), table.agenda.wake_at), ([], NOW + 0.3))
        self.assertEqual((table.ask(NOW + 0.3), table.agenda.wake_at), ([2], NOW + 10))

    def test_ended(self):
        """Nobody is woken for what has ended, once the agenda was asked."""
        table = Table()
        first, _ = table.add(NOW + 0.1), table.add(NOW + 0.2)
        table.ask(NOW)
        del table.calls[first]
        self.assertEqual(table.agenda.wake_at, NOW + 0.2)

    def test_looks(self):
        """Ten thousand calls that are due one by one are not looked at again and again."""
        table = Table()
        count = 10_000
        for number in range(count):
            # In no order: 7919 is a prime.
            table.add(NOW + number * 7919 % count * 0.001)
        Timed.looks = 0
        now, asked = NOW, 0
        while table.calls:
            asked += 1
            table.ask(now)
            now = max(table.agenda.wake_at, now + 0.001)
        self.assertGreater(asked, count * 0.9)
        self.assertLess(Timed.looks, 15 * count)

    def test_kept(self):
        """What has ended is not kept, however much comes and goes before it would have been due."""
        table = Table()
        table.add(NOW + 0.9)
        kept = []
        for number in range(500):
            for _ in range(100):
                table.add(NOW + 0.9)
            table.ask(NOW + number * 0.001)
            for sequence in list(table.calls)[1:]:
                del table.calls[sequence]
            kept.append(len(table.agenda))
        self.assertLess(max(kept), 2000)

    steps = st.lists(
        st.tuples(
            st.sampled_from(["add", "add", "ask", "end", "retry"]),
            st.floats(0, 4 * HORIZON),
            st.floats(0, 4 * HORIZON),
        ),
        max_size=60,
    )

    @settings(derandomize=True, max_examples=300)
    @given(steps)
    def test_finds_what_a_look_at_all_finds(self, steps):
        table = Table()
        now = NOW
        for what, first, second in steps:
            if what == "add":
                table.add(now + first, now + second if second > HORIZON else NEVER)
            elif what == "ask":
                now += first
                expected = table.due_by_a_look_at_all(now)
                due = table.ask(now)
                self.assertEqual([number for number in due if number in expected], expected)
                self.assertEqual(table.due_by_a_look_at_all(now), [])
                times = [min(call.deadline, call.retry_at) for call in table.calls.values()]
                self.assertLessEqual(table.agenda.wake_at, min(times, default=NEVER))
                self.assertGreater(table.agenda.wake_at, now)
            elif table.calls:
                number = list(table.calls)[int(first * 1000) % len(table.calls)]
                if what == "end":
                    del table.calls[number]
                else:
                    table.calls[number].retry_at = now + second
                    table.agenda.enter(table.calls[number])
