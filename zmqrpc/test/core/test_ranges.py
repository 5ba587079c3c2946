"""Ranges against a set that holds every sequence by itself."""

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.core.ranges import MOST_RANGES, Ranges

TOP = 30
SEQUENCES = st.integers(1, TOP)
BOUNDS = st.tuples(st.integers(0, TOP), st.integers(0, TOP))
HUGE = 2**63


def spelled(ranges):
    """List every sequence of ``[(low, high), ...]``."""
    return [sequence for low, high in ranges for sequence in range(low, high + 1)]


def filled(*sequences):
    ranges = Ranges()
    for sequence in sequences:
        ranges.add(sequence)
    return ranges


class Model(SynchronousTestCase):
    def assert_same(self, ranges, expected):
        self.assertEqual({number for number in range(1, TOP + 2) if number in ranges}, expected)
        flat = ranges.flat()
        bounds = list(zip(flat[1::2], flat[2::2], strict=True))
        self.assertEqual(spelled([(1, flat[0]), *bounds]), sorted(expected))
        # Ascending, and apart: a range that touches the one before it would be one with it.
        edge = flat[0]
        for low, high in bounds:
            self.assertTrue(edge + 1 < low <= high, flat)
            edge = high
        self.assertEqual(ranges.watermark, flat[0])
        self.assertEqual(ranges.highest, max(expected, default=0))

    @given(st.lists(SEQUENCES, max_size=TOP))
    @settings(derandomize=True)
    def test_add(self, sequences):
        ranges = Ranges()
        expected: set[int] = set()
        for sequence in sequences:
            ranges.add(sequence)
            expected.add(sequence)
            self.assert_same(ranges, expected)

    @given(st.lists(BOUNDS, max_size=12))
    @settings(derandomize=True, max_examples=300)
    def test_add_range_returns_what_is_fresh(self, bounds):
        ranges = Ranges()
        expected: set[int] = set()
        for low, high in bounds:
            new = set(range(max(low, 1), high + 1)) - expected
            self.assertEqual(spelled(ranges.add_range(low, high)), sorted(new))
            expected |= new
            self.assert_same(ranges, expected)

    @given(st.lists(st.lists(st.integers(0, TOP), max_size=9), max_size=5))
    @settings(derandomize=True, max_examples=300)
    def test_merge(self, told):
        """Numbers in any order, as a hostile peer writes them."""
        ranges = Ranges()
        expected: set[int] = set()
        for flat in told:
            claimed = set(range(1, flat[0] + 1)) if flat else set()
            for low, high in zip(flat[1::2], flat[2::2], strict=False):
                claimed |= set(range(max(low, 1), high + 1))
            self.assertEqual(sorted(spelled(ranges.merge(flat))), sorted(claimed - expected))
            expected |= claimed
            self.assert_same(ranges, expected)

    @given(st.sets(SEQUENCES))
    @settings(derandomize=True)
    def test_flat_and_merge_are_inverse(self, sequences):
        ranges, copy = filled(*sequences), Ranges()
        copy.merge(ranges.flat())
        self.assertEqual(copy.flat(), ranges.flat())

    @given(st.sets(SEQUENCES), st.integers(1, 5))
    @settings(derandomize=True)
    def test_narrow(self, sequences, most):
        ranges = filled(*sequences)
        flat = ranges.flat()
        lows = flat[1::2]
        # The ranges that are left are the highest ones, and everything below them is in the set.
        expected = set(sequences)
        if len(lows) > most:
            expected |= set(range(1, lows[-most - 1]))
        self.assertEqual(spelled(ranges.narrow(most)), sorted(expected - sequences))
        self.assert_same(ranges, expected)
        self.assertTrue(len(ranges.flat()) <= 1 + 2 * most)


class Extremes(SynchronousTestCase):
    def test_empty(self):
        ranges = Ranges()
        self.assertEqual(ranges.flat(), [0])
        self.assertEqual(ranges.merge([]), [])
        self.assertNotIn(1, ranges)
        self.assertIn(0, ranges)  # no message has it, so none may run under it

    def test_in_order_is_a_watermark(self):
        self.assertEqual(filled(*range(1, 1000)).flat(), [999])

    def test_huge(self):
        ranges = filled(2, 5)
        self.assertEqual(ranges.merge([0, 1, HUGE]), [(1, 1), (3, 4), (6, HUGE)])
        self.assertEqual(ranges.flat(), [HUGE])
        self.assertEqual(ranges.merge([2**64 - 1]), [(HUGE + 1, 2**64 - 1)])

    def test_flat_holds_the_lowest(self):
        evens = list(range(2, 2 * MOST_RANGES + 20, 2))
        self.assertEqual(filled(*evens).flat(), [0, *(even for even in evens[:MOST_RANGES] for _ in "lh")])

    def test_merge_ignores_what_follows_the_most(self):
        ranges = Ranges()
        ranges.merge([0, *(number for even in range(2, 2 * MOST_RANGES + 20, 2) for number in (even, even))])
        self.assertIn(2 * MOST_RANGES, ranges)
        self.assertNotIn(2 * MOST_RANGES + 2, ranges)

    def test_odd_last_number_is_ignored(self):
        ranges = Ranges()
        self.assertEqual(ranges.merge([3, 5]), [(1, 3)])
        self.assertNotIn(5, ranges)
