"""When others' doubts have us look at an instance, and how often at most."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.core.agenda import NEVER
from zmqrpc.core.verifying import EACH_SECOND, MOST_WAITING, REST_SECONDS, Verifying

NOW = 1000.0


class VerifyingTests(SynchronousTestCase):
    def setUp(self):
        self.verifying = Verifying()

    def test_at_once(self):
        self.assertEqual(self.verifying.wake_at, NEVER)
        self.verifying.doubted("a", NOW)
        self.assertEqual(self.verifying.wake_at, NOW)
        self.assertEqual((self.verifying.tick(NOW), self.verifying.wake_at), (["a"], NEVER))

    def test_again_after_a_rest(self):
        """A doubt that comes sooner is not forgotten."""
        self.verifying.doubted("a", NOW)
        self.verifying.tick(NOW)
        for later in (1, 2):
            self.verifying.doubted("a", NOW + later)
        self.assertEqual(self.verifying.tick(NOW + 2), [])
        self.assertEqual(self.verifying.wake_at, NOW + REST_SECONDS)
        self.assertEqual(self.verifying.tick(NOW + REST_SECONDS), ["a"])

    def test_forgotten(self):
        self.verifying.doubted("a", NOW)
        self.verifying.forget("a")
        self.verifying.forget("b")
        self.assertEqual((self.verifying.wake_at, self.verifying.tick(NOW)), (NEVER, []))

    def test_few_in_a_second(self):
        for number in range(3 * EACH_SECOND):
            self.verifying.doubted(str(number), NOW)
        looked = [len(self.verifying.tick(now)) for now in (NOW, NOW + 0.5, NOW + 1, NOW + 1.9, NOW + 2)]
        self.assertEqual(looked, [EACH_SECOND, 0, EACH_SECOND, 0, EACH_SECOND])

    def test_bounded(self):
        taken = [self.verifying.doubted(str(number), NOW) for number in range(MOST_WAITING + 7)]
        self.assertEqual(taken, [True] * MOST_WAITING + [False] * 7)
        self.assertTrue(self.verifying.doubted("0", NOW))

    @given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 3)), max_size=60))
    def test_never_too_often(self, doubts):
        """Whatever is doubted when: each is looked at in the end, and not again before it has rested."""
        looked: list[tuple[str, float]] = []
        verifying, now = Verifying(), NOW

        def until(when):
            while verifying.wake_at <= when:
                at = verifying.wake_at
                looked.extend((key, at) for key in verifying.tick(at))

        for key, seconds in doubts:
            now += seconds
            until(now)
            verifying.doubted(key, now)
        until(now + 2 * REST_SECONDS)
        self.assertEqual({key for key, _ in looked}, {key for key, _ in doubts})
        for key in "abc":
            times = [when for each, when in looked if each == key]
            self.assertTrue(all(later >= when + REST_SECONDS for when, later in itertools.pairwise(times)))
        self.assertEqual(verifying.wake_at, NEVER)
