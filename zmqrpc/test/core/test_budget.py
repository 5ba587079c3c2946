"""How many repetitions a node may send."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.core.budget import RetryBudget

NOW = 1000.0


def spend(budget):
    """Take all there is, and return how many that was, at most 10,000."""
    return next((number for number in range(10_000) if not budget.take()), 10_000)


class BudgetTests(SynchronousTestCase):
    def test_ten_are_lent(self):
        budget = RetryBudget(0.1)
        budget.sent(0, NOW)
        self.assertEqual(spend(budget), 10)

    def test_what_is_lent_is_earned_back_first(self):
        budget = RetryBudget(0.1)
        budget.sent(0, NOW)
        spend(budget)
        # calls in all, what there is then
        for total, there in ((100, 0), (110, 1), (115, 0), (120, 1), (200, 8)):
            budget.sent(total, NOW + 0.5)
            self.assertEqual(spend(budget), there, total)

    def test_one_comes_in_each_second_that_brings_less(self):
        budget = RetryBudget(0.1)
        budget.sent(1000, NOW)
        spend(budget)
        # calls in all, seconds: what there is then
        rows = ((1000, 1, 0), (1000, 2, 1), (1004, 4, 2), (1004, 4.5, 0), (1044, 5.5, 4), (1044, 10.5, 5))
        for total, seconds, there in rows:
            budget.sent(total, NOW + seconds)
            self.assertEqual(spend(budget), there, seconds)

    def test_no_more_than_a_hundred_are_saved(self):
        budget = RetryBudget(0.1)
        budget.sent(0, NOW)
        budget.sent(5_000, NOW + 100)
        self.assertEqual(spend(budget), 100)

    def test_a_busy_node_saves_what_a_second_brings(self):
        budget = RetryBudget(0.1)
        budget.sent(0, NOW)
        budget.sent(100_000, NOW + 10)
        self.assertEqual(spend(budget), 1000)

    def test_what_a_busy_node_has_saved_fades_when_it_is_not(self):
        for quiet, there in ((1, 900), (2, 810), (10, 348), (60, 100)):
            budget = RetryBudget(0.1)
            budget.sent(0, NOW)
            budget.sent(100_000, NOW + 10)
            budget.sent(100_000, NOW + 10 + quiet)
            self.assertEqual(spend(budget), there)

    def test_a_share_of_nothing(self):
        budget = RetryBudget(0)
        budget.sent(0, NOW)
        self.assertEqual(spend(budget), 10)
        budget.sent(1_000_000, NOW + 3)
        # What is lent has to be paid back by calls; time pays as well.
        budget.sent(1_000_000, NOW + 20)
        self.assertEqual(spend(budget), 10)

    def test_no_bound(self):
        budget = RetryBudget(-1)
        budget.sent(0, NOW)
        self.assertEqual(spend(budget), 10_000)

    def test_a_total_that_goes_back_earns_nothing(self):
        budget = RetryBudget(0.5)
        for total in (1000, 900, 1000):
            budget.sent(total, NOW)
            spend(budget)
        budget.sent(1002, NOW)
        self.assertEqual(spend(budget), 1)

    @given(st.floats(0, 1), st.lists(st.tuples(st.integers(0, 300), st.floats(0, 3), st.integers(0, 40)), max_size=60))
    def test_never_more_than_the_share(self, share, steps):
        budget, total, now, taken = RetryBudget(share), 0, NOW, 0
        for calls, passed, wanted in steps:
            total, now = total + calls, now + passed
            budget.sent(total, now)
            taken += sum(budget.take() for _ in range(wanted))
            self.assertLessEqual(taken, max(10, share * total) + (now - NOW) + 0.001)
