"""Which of many is due next, against a look at all of them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.core.agenda import NEVER
from zmqrpc.core.due import Due

MOST = 120


class Each:
    """Something that can be due."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.sweep_at = NEVER


STEPS = st.lists(st.tuples(st.sampled_from(["by", "pop", "drop"]), st.sampled_from("abcd"), st.integers(0, 20)))


class DueTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.known: dict[str, Each] = {key: Each(key) for key in "abcd"}
        self.due: Due[Each] = Due(self.known)

    def by(self, key: str, when: float) -> bool:
        return self.due.by(self.known[key], when)

    def pop(self, now: float) -> str | None:
        """Give the key of one that is due, and see to it."""
        each = self.due.pop(now)
        if each is None:
            return None
        each.sweep_at = NEVER
        return each.key

    def test_soonest_first(self) -> None:
        self.assertEqual(self.due.wake_at, NEVER)
        for key, when in (("b", 2.0), ("a", 1.0), ("c", 3.0)):
            self.assertTrue(self.by(key, when))
        self.assertEqual(self.due.wake_at, 1.0)
        self.assertEqual([self.pop(2.0) for _ in range(3)], ["a", "b", None])
        self.assertEqual(self.due.wake_at, 3.0)

    def test_sooner_counts_and_later_does_not(self) -> None:
        self.by("a", 2.0)
        self.assertFalse(self.by("a", 3.0))
        self.assertFalse(self.by("a", 2.0))
        self.assertTrue(self.by("a", 1.0))
        self.assertEqual([self.pop(5.0) for _ in range(2)], ["a", None])

    def test_what_is_seen_to_may_be_due_again_at_once(self) -> None:
        self.by("a", 1.0)
        self.assertEqual(self.pop(1.0), "a")
        self.assertTrue(self.by("a", 1.0))
        self.assertEqual(self.pop(1.0), "a")

    def test_who_comes_back_under_a_key_is_not_due_for_who_was_there(self) -> None:
        self.by("a", 1.0)
        self.known["a"] = Each("a")
        self.assertEqual(self.pop(5.0), None)

    def test_clear(self) -> None:
        self.by("a", 1.0)
        self.due.clear()
        self.assertEqual((self.due.wake_at, self.pop(5.0)), (NEVER, None))

    def test_little_is_left_behind(self) -> None:
        for turn in range(5000):
            self.by("a", 5000 - turn)
            self.assertLess(len(self.due), MOST)
        self.assertEqual(self.due.wake_at, 1)

    @given(steps=STEPS)
    def test_as_a_look_at_all(self, steps: list[tuple[str, str, int]]) -> None:
        self.setUp()
        for what, key, when in steps:
            if what == "drop":
                self.known[key] = Each(key)
            elif what == "by":
                sooner = when < self.known[key].sweep_at
                self.assertEqual(self.by(key, when), sooner)
            else:
                expected = {each.key for each in self.known.values() if each.sweep_at <= when}
                found: set[str] = set()
                while (each := self.pop(when)) is not None:
                    self.assertNotIn(each, found)
                    found.add(each)
                self.assertEqual(found, expected)
            times = [each.sweep_at for each in self.known.values()]
            self.assertLessEqual(self.due.wake_at, min(times))
