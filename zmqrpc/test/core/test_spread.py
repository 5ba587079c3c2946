"""How those who all want the same at once are spread."""

from __future__ import annotations

from random import Random

from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.core.spread import KEEP, KNOWN_PAUSE, LONGEST, SHORTEST, UNKNOWN_PAUSE, Crowd, spread

NOW = 1000.0


def make_crowd(count: int = 0, rank: int | None = None, chance: float = 0.5) -> Crowd:
    crowd = Crowd(lambda: chance)
    if rank is None:
        crowd.seen(count, NOW)
    else:
        crowd.listed(rank, count, NOW)
    return crowd


class SpreadTests(SynchronousTestCase):
    def test_a_second_for_each_hundred(self) -> None:
        rows = [(0, SHORTEST), (3, SHORTEST), (10, 0.1), (100, 1.0), (300, 3.0), (500, LONGEST), (10**9, LONGEST)]
        self.assertEqual([spread(count) for count, _ in rows], [seconds for _, seconds in rows])


class CrowdTests(SynchronousTestCase):
    def test_the_most_that_were_there_count_for_a_while(self) -> None:
        crowd = make_crowd(200)
        crowd.seen(3, NOW + KEEP)
        self.assertEqual(crowd.seconds, 2.0)
        crowd.seen(300, NOW + KEEP)
        crowd.seen(3, NOW + 2 * KEEP)
        self.assertEqual(crowd.seconds, 3.0)
        crowd.seen(3, NOW + 2 * KEEP + 1)
        self.assertEqual(crowd.seconds, SHORTEST)

    def test_a_turn_that_is_to_come_stays(self) -> None:
        crowd = make_crowd(200)
        self.assertEqual([crowd.turn(NOW), crowd.turn(NOW + 0.9)], [NOW + 1] * 2)
        self.assertEqual(crowd.turn(NOW + 1), NOW + 2)

    def test_each_has_a_place_of_its_own(self) -> None:
        """By rank where that is known, and by chance within it."""
        turns = [make_crowd(4, rank, chance).turn(0.0) / SHORTEST for rank in range(4) for chance in (0.0, 0.5)]
        for turn, right in zip(turns, [0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875], strict=True):
            self.assertAlmostEqual(turn, right)

    def test_a_rank_is_one_among_those_that_were_listed(self) -> None:
        """There may be others who are not listed; what is listed less for a while changes nothing."""
        crowd = make_crowd(100, 50, 0.0)
        crowd.seen(200, NOW)
        crowd.listed(0, 1, NOW)
        self.assertEqual(crowd.turn(0.0), 1.0)

    def test_a_rank_is_ones_place_in_a_list(self) -> None:
        crowd = make_crowd(chance=0.0)
        crowd.shown([f"{number:03}" for number in range(200)], "150", NOW)
        self.assertEqual(crowd.turn(0.0), 1.5)
        crowd = make_crowd(chance=0.5)
        crowd.shown([f"{number:03}" for number in range(200)], "nobody", NOW)
        self.assertEqual((crowd.seconds, crowd.turn(0.0)), (2.0, 1.0))

    def test_tries_keep_the_turns_apart(self) -> None:
        """All have turns once in the time over which they are spread, whenever each of them notices that it failed."""
        crowd = make_crowd(200, 100, 0.0)
        turns = [crowd.again(NOW)]
        for late in (0.0, 0.3, 1.9):
            turns.append(crowd.again(turns[-1] + late))
        self.assertEqual(turns, [NOW + 1, NOW + 3, NOW + 5, NOW + 7])
        self.assertEqual(crowd.again(NOW + 6.9), NOW + 7, "both connections fail, it is one turn")
        self.assertEqual(crowd.again(NOW + 100), NOW + 102)
        crowd.worked()
        self.assertLess(crowd.turn_at, 0)
        self.assertEqual(crowd.again(NOW), NOW + 1)

    def test_few_try_more_often(self) -> None:
        for count, longest in ((0, UNKNOWN_PAUSE), (3, KNOWN_PAUSE), (100, 1.0)):
            crowd = make_crowd(count)
            turns = [crowd.again(NOW)]
            for _ in range(8):
                turns.append(crowd.again(turns[-1]))
            self.assertAlmostEqual(turns[-1] - turns[-2], longest)
            self.assertLessEqual(turns[1] - turns[0], longest)

    def test_no_number_of_tries_is_too_large(self) -> None:
        crowd = make_crowd()
        for _ in range(3000):
            crowd.again(crowd.turn_at if crowd.turn_at > 0 else NOW)

    def test_nobody_is_alone(self) -> None:
        """Of five hundred that lose a store at once, so many come back in each tenth as in each other."""
        chance = Random(1)
        tenths = [0] * 10
        for rank in range(500):
            crowd = Crowd(chance.random)
            crowd.listed(rank, 500, NOW)
            for _ in range(10):
                crowd.again(crowd.turn_at if crowd.turn_at > 0 else NOW)
            tenths[int((crowd.turn_at - NOW) % LONGEST / LONGEST * 10)] += 1
        self.assertLessEqual(max(tenths) - min(tenths), 4)
