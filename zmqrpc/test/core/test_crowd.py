"""Who may have how much of a server that has more to do than it can."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.core.crowd import Crowd

NOW = 1000.0


class CrowdTests(SynchronousTestCase):
    def test_nobody_asks_while_nothing_waits_or_is_refused(self):
        crowd = Crowd(10, 1.0)
        self.assertFalse(crowd.there)
        crowd.none_left()
        self.assertFalse(crowd.there)

    def test_alone_one_may_have_everything(self):
        crowd = Crowd(10, 1.0)
        crowd.refused(NOW)
        self.assertEqual(crowd.room(b"a", held=7, waits=True, waiting=3, running=4, now=NOW), 6)

    def test_each_who_asks_has_an_equal_part(self):
        crowd = Crowd(12, 0)
        crowd.refused(NOW)
        for client in (b"a", b"b"):
            crowd.room(client, 0, True, 0, 0, NOW)
        # held, waiting, running: how many may wait then, of all
        for held, waiting, running, most in (
            (4, 4, 0, 4),
            (3, 4, 0, 5),
            (0, 4, 0, 8),
            (9, 9, 0, 9),
            (0, 11, 0, 12),
            (0, 12, 0, 12),
            (4, 0, 9, 0),
            (3, 0, 9, 1),
        ):
            with self.subTest(held=held, waiting=waiting, running=running):
                self.assertEqual(crowd.room(b"c", held, True, waiting, running, NOW), most)

    def test_who_asks_no_more_is_forgotten(self):
        crowd = Crowd(12, 0)
        crowd.refused(NOW)
        crowd.room(b"b", 0, True, 0, 0, NOW)
        self.assertEqual(crowd.room(b"a", 6, True, 6, 0, NOW + 0.5), 6)
        crowd.refused(NOW + 0.9)
        self.assertEqual(crowd.room(b"a", 6, True, 6, 0, NOW + 1.6), 12)

    def test_it_is_over_when_nothing_was_refused_for_a_second(self):
        crowd = Crowd(12, 0)
        crowd.refused(NOW)
        for client in (b"a", b"b"):
            crowd.room(client, 0, True, 0, 0, NOW)
        self.assertTrue(crowd.look(0, 0, NOW + 0.9))
        self.assertTrue(crowd.look(3, 4, NOW + 1))
        self.assertTrue(crowd.there)
        self.assertFalse(crowd.look(3, 3, NOW + 1))
        self.assertFalse(crowd.there)
        crowd.refused(NOW + 2)
        self.assertEqual(crowd.room(b"a", 12, True, 12, 0, NOW + 2), 12)

    def test_what_waits_too_long_has_no_room(self):
        crowd = Crowd(10_000, 1.0)
        for number in range(1, 4):
            crowd.left(2, NOW, NOW + number / 512)
        self.assertEqual(crowd.room(b"a", 0, True, 0, 0, NOW), 1025)
        self.assertEqual(crowd.wait(512), 0.5)
        self.assertEqual([crowd.look(waiting, 0, NOW) for waiting in (512, 513)], [False, True])
        crowd.none_left()
        self.assertEqual((crowd.room(b"a", 0, True, 0, 0, NOW), crowd.wait(500)), (10_000, 0))
        self.assertEqual((crowd.look(513, 0, NOW), crowd.there), (False, False))

    def test_any_time_may_be_allowed(self):
        crowd = Crowd(10_000, 0)
        crowd.left(1, NOW, NOW + 0.002)
        self.assertEqual(crowd.room(b"a", 0, True, 0, 0, NOW), 10_000)

    def test_one_that_blocks_says_little_of_the_others(self):
        crowd = Crowd(10_000, 1.0)
        crowd.left(1, NOW, NOW + 5)
        self.assertEqual(crowd.room(b"a", 0, True, 0, 0, NOW), 501)
        for number in range(1, 50):
            crowd.left(1, NOW, NOW + 5 + number / 8)
        self.assertEqual(crowd.room(b"a", 0, True, 0, 0, NOW), 9)

    def test_who_has_nothing_waiting_need_not_wait(self):
        crowd = Crowd(100, 1.0)
        for number in range(50):
            crowd.left(1, NOW, NOW + number / 8)
        for waits, waiting, most in (
            (True, 20, 9),
            (False, 20, 21),
            (False, 99, 100),
            (False, 100, 100),
            (False, 2, 9),
        ):
            self.assertEqual(crowd.room(b"a", 0, waits, waiting, 0, NOW), most)

    @given(st.lists(st.tuples(st.integers(0, 3), st.booleans(), st.floats(0, 0.4)), max_size=60))
    def test_whoever_has_less_than_his_part_finds_room(self, steps):
        """Whatever was before: once those who have more have no more than their parts, there is room for him."""
        crowd, now = Crowd(40, 0), NOW
        held = dict.fromkeys(range(4), 0)
        for caller, ends, passed in steps:
            now += passed
            crowd.refused(now)
            waiting = sum(held.values())
            room = crowd.room(bytes([caller]), held[caller], True, waiting, 0, now)
            self.assertLessEqual(room, 40)
            held[caller] += max(0, room - waiting)
            self.assertLessEqual(sum(held.values()), 40)
            if ends:
                held = {each: number // 2 for each, number in held.items()}
        for caller in held:
            crowd.room(bytes([caller]), held[caller], True, sum(held.values()), 0, now)
        held = {each: min(number, 9) for each, number in held.items()}
        waiting = sum(held.values())
        self.assertGreater(crowd.room(bytes([0]), held[0], True, waiting, 0, now), waiting)
