"""The bytes of requests that wait or run: counted by batches, and released when all of a batch has run."""

from __future__ import annotations

from collections import deque

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.core.batch import BATCH_BYTES
from zmqrpc.core.load import Load


class LoadTests(SynchronousTestCase):
    def load(self, *batches: tuple[int, int], most: int = 1000) -> Load:
        """Make one that has taken batches of so many requests and so many bytes."""
        load, waiting = Load(most), 0
        for number, size in batches:
            waiting += number
            load.took(waiting, size)
        return load

    # how many requests and bytes of each batch were taken, how many wait yet, how many bytes are left
    WAITING = [
        ([], 0, 0),
        ([(0, 500)], 0, 0),  # all of it was refused, or is no request
        ([(3, 500)], 3, 500),
        ([(3, 500)], 1, 500),
        ([(3, 500)], 0, 0),
        ([(3, 500), (1, 20), (2, 7)], 6, 527),
        ([(3, 500), (1, 20), (2, 7)], 4, 527),
        ([(3, 500), (1, 20), (2, 7)], 3, 27),
        ([(3, 500), (1, 20), (2, 7)], 2, 7),
        ([(3, 500), (1, 20), (2, 7)], 1, 7),
        ([(3, 500), (0, 20), (2, 7)], 2, 7),
        ([(3, 500), (1, 20), (2, 7)], 0, 0),
    ]

    def test_a_batch_counts_while_one_of_it_waits(self):
        for batches, waiting, left in self.WAITING:
            load = self.load(*batches)
            load.admits(waiting, 1)
            self.assertEqual(load.bytes, left, f"{batches}, {waiting} wait")

    def test_up_to_the_bound(self):
        load = self.load((1, 400))
        self.assertEqual([load.admits(1, size) for size in (1, 600, 601)], [True, True, False])
        self.assertTrue(load.admits(0, 601))

    def test_the_only_one_may_be_larger(self):
        load = Load(1000)
        self.assertTrue(load.admits(0, 10**9))
        load.took(1, 10**9)
        self.assertFalse(load.admits(1, 1))
        self.assertTrue(load.admits(0, 10**9))

    # the places that are cancelled of three, one and two that wait, the bytes that are left of 500, 20 and 7
    CANCELLED = [
        ([], 527),
        ([0], 527),
        ([0, 1, 2], 27),
        ([3], 507),
        ([1, 3, 5], 507),
        ([4, 5], 520),
        ([2, 3, 4, 5], 500),
        ([0, 1, 2, 3, 4, 5], 0),
    ]

    def test_what_is_cancelled_does_not_wait(self):
        for places, left in self.CANCELLED:
            load = self.load((3, 500), (1, 20), (2, 7))
            load.cancelled(6, places)
            self.assertEqual(load.bytes, left, str(places))
            load.admits(0, 1)
            self.assertEqual(load.bytes, 0)

    def test_cancelled_after_some_have_run(self):
        load = self.load((3, 500), (1, 20), (2, 7))
        load.cancelled(4, [0, 1])
        self.assertEqual(load.bytes, 7)
        load.admits(1, 1)
        self.assertEqual(load.bytes, 7)

    def test_what_goes_on_running_has_its_share(self):
        load = self.load((5, 500), (1, 20))
        shares = [load.began(4), load.began(2), load.began(0)]
        self.assertEqual(shares, [100, 100, 20])
        load.admits(0, 1)
        self.assertEqual(load.bytes, 220)
        for share, left in zip(shares, (120, 20, 0), strict=True):
            load.ended(share)
            self.assertEqual(load.bytes, left)

    def test_a_large_batch_counts_as_one_message(self):
        load = self.load((1000, BATCH_BYTES), (1000, BATCH_BYTES + 1), most=10**9)
        self.assertEqual([load.began(1999), load.began(0)], [BATCH_BYTES // 1000, BATCH_BYTES + 1])

    def test_one_that_nobody_took(self):
        self.assertEqual(Load(1000).began(0), 0)


@attrs.define(eq=False)
class Batch:
    size: int
    number: int = 0
    share: int = 0


EVENTS = st.one_of(
    st.tuples(st.just("take"), st.integers(0, 5), st.integers(0, 400)),
    st.tuples(st.just("take and put first"), st.integers(1, 5), st.integers(0, 400)),
    st.tuples(st.just("run"), st.integers(0, 4), st.integers(0, 4)),
    st.tuples(st.just("cancel"), st.integers(0, 7), st.integers(1, 3)),
    st.tuples(st.just("end"), st.integers(0, 3), st.just(0)),
)


class AnyOrderTests(SynchronousTestCase):
    @settings(derandomize=True, max_examples=300)
    @given(st.lists(EVENTS, max_size=60))
    def test_the_bytes_are_those_of_the_batches_that_wait_and_the_shares_that_run(self, events):
        load = Load(1000)
        waiting: deque[Batch] = deque()
        running: list[int] = []

        def expected() -> int:
            return sum({id(batch): batch.size for batch in waiting}.values()) + sum(running)

        for what, first, second in events:
            if what.startswith("take"):
                admitted = load.admits(len(waiting), second)
                self.assertEqual(load.bytes, expected())
                self.assertEqual(admitted, expected() == 0 or expected() + second <= 1000)
                batch = Batch(second, first if admitted else 0)
                batch.share = second // max(1, batch.number)
                waiting.extend([batch] * batch.number)
                load.took(len(waiting), second)
                if what.endswith("first") and batch.number:
                    # It takes its share along when it goes on running; until then the others count for all.
                    last = waiting.pop()
                    waiting.appendleft(last if batch.number == 1 else Batch(0, 1, batch.share))
                    load.put_first()
            elif what == "run":
                for turn in range(first):
                    if waiting:
                        batch = waiting.popleft()
                        if turn >= second:
                            running.append(load.began(len(waiting)))
                            self.assertEqual(running[-1], batch.share)
            elif what == "cancel":
                places = list(range(first, len(waiting), second))
                load.cancelled(len(waiting), places)
                waiting = deque(batch for place, batch in enumerate(waiting) if place not in places)
                self.assertEqual(load.bytes, expected())
            elif running:
                load.ended(running.pop(first % len(running)))
            self.assertLessEqual(expected(), 1000 + sum(running))
        load.admits(0, 0)
        self.assertEqual(load.bytes, sum(running))
