"""Whom the application has complained about, and for how long it is avoided."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.core.quarantine import Quarantine


def make_quarantine(first: float = 1.0, longest: float = 60.0, jitter: float = 1.0) -> Quarantine:
    return Quarantine(first, longest, lambda: jitter)


class QuarantineTests(SynchronousTestCase):
    # what happens, when, what it brings: a complaint the seconds of its term, time the links whose terms end
    ROWS: list[tuple[str, float, object, bool]] = [
        ("complain", 0, 1, True),
        ("complain", 0.5, None, True),  # begins anew: it would have ended at 1
        ("tick", 1.4, [], True),
        ("tick", 1.5, ["a"], False),
        ("complain", 30, 2, True),
        ("tick", 32, ["a"], False),
        ("complain", 32, 4, True),
        ("forget", 33, True, False),
        ("forget", 33, False, False),
        ("complain", 34, 1, True),
        ("tick", 35, ["a"], False),
        ("tick", 94, [], False),
        ("complain", 94, 2, True),  # just not forgotten
        ("tick", 96, ["a"], False),
        ("tick", 156, [], False),
        ("complain", 156, 1, True),  # forgotten
    ]

    def test_rows(self):
        quarantine = make_quarantine()
        for event, now, brings, holds in self.ROWS:
            act = {"complain": lambda: quarantine.complain("a", now), "tick": lambda: quarantine.tick(now)}  # noqa: B023
            brought = act.get(event, lambda: quarantine.forget("a"))()
            self.assertEqual((brought, "a" in quarantine), (brings, holds), f"{event} at {now}")

    def test_terms_double_up_to_the_longest(self):
        quarantine, now, terms = make_quarantine(), 0.0, []
        for _ in range(9):
            terms.append(quarantine.complain("a", now))
            now = quarantine.wake_at
            self.assertEqual(quarantine.tick(now), ["a"])
        self.assertEqual(terms, [1, 2, 4, 8, 16, 32, 60, 60, 60])

    def test_terms_of_no_time(self):
        """None begins, and nothing is remembered."""
        quarantine = make_quarantine(first=0, longest=0)
        for now in (0, 0, 5):
            self.assertIsNone(quarantine.complain("a", now))
        self.assertEqual(("a" in quarantine, quarantine.forget("a"), quarantine.tick(9)), (False, False, []))
        self.assertEqual(quarantine.wake_at, float("inf"))

    def test_jitter(self):
        quarantine = make_quarantine(jitter=0.5)
        self.assertEqual((quarantine.complain("a", 0), quarantine.wake_at), (0.5, 0.5))

    def test_each_link_for_itself(self):
        quarantine = make_quarantine()
        quarantine.complain("a", 0)
        quarantine.complain("b", 0.5)
        self.assertEqual((quarantine.wake_at, quarantine.tick(1), "b" in quarantine), (1, ["a"], True))
        self.assertEqual(quarantine.wake_at, 1.5)

    def test_nothing_is_kept_for_ever(self):
        quarantine = make_quarantine()
        for number in range(100):
            quarantine.complain(str(number), 0)
        quarantine.tick(1)
        quarantine.tick(61)
        self.assertEqual((quarantine._terms, quarantine.wake_at), ({}, float("inf")))

    @given(st.lists(st.tuples(st.sampled_from(["complain", "tick", "forget"]), st.floats(0, 100)), max_size=50))
    def test_whoever_is_in_it_comes_out(self, events):
        """Whatever happens, a term ends no later than the longest term after the last complaint."""
        quarantine, now = make_quarantine(), 0.0
        for event, passed in events:
            now += passed
            if event == "tick":
                quarantine.tick(now)
            elif event == "forget":
                quarantine.forget("a")
            else:
                quarantine.complain("a", now)
            if "a" in quarantine:
                self.assertLessEqual(quarantine.wake_at, now + 60)
        quarantine.tick(now + 60)
        self.assertNotIn("a", quarantine)
