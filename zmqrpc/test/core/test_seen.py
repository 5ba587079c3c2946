"""The duplicate filter against one that remembers every sequence for ever."""

from time import process_time
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.core.envelope import RAN, Ack, Failure, FailureCode, Nack, Refusal, Reply, encode_message
from zmqrpc.core.ranges import MOST_RANGES
from zmqrpc.core.reply_memory import PIECE, ReplyMemory
from zmqrpc.core.seen import DuplicateFilter, Seen

REPLY = b"\x95\x05\x01\xc0\xc0\xc0"
HUGE = 2**63
TOP = 12
SEQUENCES = st.integers(0, TOP)


class NaiveFilter:
    """Does the same without bounds of size: sets of single sequences, and a list of replies."""

    def __init__(self, most_unsettled, most_bytes):
        self.most_unsettled = most_unsettled
        self.most_bytes = most_bytes
        self.settled = {0}
        self.running = set()
        self.replies = {}
        self.forgotten = set()
        self.order = []

    def __len__(self):
        return len(self.order)

    @property
    def reply_bytes(self):
        return sum(map(len, self.replies.values()))

    def admit(self, sequence):
        if sequence in self.replies:
            return self.replies[sequence]
        for known, seen in (
            (self.running, Seen.RUNNING),
            (self.forgotten, Seen.FORGOTTEN),
            (self.settled, Seen.SETTLED),
        ):
            if sequence in known:
                return seen
        if len(self.order) >= self.most_unsettled:
            self.settle([0, sequence, sequence])
            return Seen.FULL
        self.running.add(sequence)
        self.order.append(sequence)
        return Seen.NEW

    def answered(self, sequence, reply):
        if sequence not in self.running:
            return
        self.running.remove(sequence)
        self.replies[sequence] = reply
        if self.reply_bytes <= self.most_bytes:
            return
        for older in self.order:
            if self.reply_bytes <= self.most_bytes // 2:
                break
            if older in self.replies and (older != sequence or len(reply) > self.most_bytes):
                del self.replies[older]
                self.forgotten.add(older)

    def settle(self, flat):
        told = set(range(flat[0] + 1)) if flat else set()
        for low, high in zip(flat[1::2], flat[2::2], strict=False):
            told |= set(range(low, high + 1))
        self.settled |= told
        # More ranges apart than messages may be unsettled: the lowest gaps are settled too.
        gap = [n for n in range(1, max(self.settled)) if n not in self.settled and n + 1 in self.settled]
        if len(gap) > self.most_unsettled:
            self.settled |= set(range(gap[-self.most_unsettled - 1] + 1))
        for sequence in [n for n in self.order if n in self.settled]:
            self.order.remove(sequence)
            self.running.discard(sequence)
            self.forgotten.discard(sequence)
            self.replies.pop(sequence, None)


STEPS = st.one_of(
    st.tuples(st.just("admit"), SEQUENCES),
    st.tuples(st.just("admit"), SEQUENCES),
    st.tuples(st.just("answered"), SEQUENCES, st.integers(1, 40).map(bytes)),
    st.tuples(st.just("settle"), st.lists(SEQUENCES, max_size=5)),
)


class Model(SynchronousTestCase):
    @given(st.integers(1, 6), st.integers(1, 60), st.lists(STEPS, max_size=40))
    @settings(derandomize=True, max_examples=600)
    def test_same_as_the_naive_one(self, most_unsettled, most_bytes, steps):
        real, naive = DuplicateFilter(most_unsettled, most_bytes), NaiveFilter(most_unsettled, most_bytes)
        ran: set[int] = set()
        for name, *arguments in steps:
            seen = getattr(real, name)(*arguments)
            self.assertEqual(seen, getattr(naive, name)(*arguments), (name, arguments))
            self.assertEqual(len(real), len(naive))
            self.assertEqual(real.reply_bytes, naive.reply_bytes)
            self.assertTrue(real.reply_bytes <= most_bytes)
            if seen is Seen.NEW:
                # At most once, whatever was repeated, settled or forgotten in between.
                self.assertNotIn(arguments[0], ran)
                ran.add(arguments[0])


class Outcomes(SynchronousTestCase):
    def setUp(self):
        self.filter = DuplicateFilter(3, 100)

    def test_life_of_a_message(self):
        self.assertIs(self.filter.admit(1), Seen.NEW)
        self.assertIs(self.filter.admit(1), Seen.RUNNING)
        self.filter.answered(1, REPLY)
        self.assertEqual(self.filter.admit(1), REPLY)
        self.filter.settle([1])
        self.assertIs(self.filter.admit(1), Seen.SETTLED)
        self.assertEqual((len(self.filter), self.filter.reply_bytes), (0, 0))

    def test_no_sequence_is_zero(self):
        self.assertIs(self.filter.admit(0), Seen.SETTLED)

    def test_out_of_order(self):
        for sequence in (5, 2, 4):
            self.assertIs(self.filter.admit(sequence), Seen.NEW)
            self.assertIs(self.filter.admit(sequence), Seen.RUNNING)

    def test_full(self):
        for sequence in (1, 2, 3):
            self.filter.admit(sequence)
        self.assertIs(self.filter.admit(4), Seen.FULL)
        self.assertIs(self.filter.admit(3), Seen.RUNNING)
        self.filter.settle([1])
        # Whoever sent it was told that it does not run.
        self.assertIs(self.filter.admit(4), Seen.SETTLED)
        self.assertIs(self.filter.admit(5), Seen.NEW)
        # Lower than the highest one, and not settled.
        self.filter.settle([0, 2, 2])
        self.filter.admit(9)
        self.assertIs(self.filter.admit(7), Seen.FULL)

    def test_settled_while_running(self):
        self.filter.admit(1)
        self.filter.settle([1])
        self.filter.answered(1, REPLY)
        self.assertIs(self.filter.admit(1), Seen.SETTLED)
        self.assertEqual(self.filter.reply_bytes, 0)

    def test_settled_before_it_arrived(self):
        self.filter.settle([0, 2, 2])
        self.assertIs(self.filter.admit(2), Seen.SETTLED)
        self.assertIs(self.filter.admit(1), Seen.NEW)

    def test_settling_nothing(self):
        self.filter.admit(1)
        for flat in ([], [0], [0, 5], [0, 3, 2], [0, 0, 0]):
            self.filter.settle(flat)
            self.assertIs(self.filter.admit(1), Seen.RUNNING)

    def test_second_answer_is_not_kept(self):
        self.filter.admit(1)
        self.filter.answered(1, REPLY)
        self.filter.answered(1, b"another")
        self.assertEqual(self.filter.admit(1), REPLY)
        self.assertEqual(self.filter.reply_bytes, len(REPLY))

    def test_older_settled_than_before(self):
        """Batches of two connections may arrive in the wrong order."""
        self.filter.settle([5, 8, 9])
        self.filter.settle([3])
        self.filter.settle([2, 4, 4])
        for sequence in (4, 5, 8):
            self.assertIs(self.filter.admit(sequence), Seen.SETTLED)
        self.assertIs(self.filter.admit(6), Seen.NEW)


class ReplyMemoryOfOne(SynchronousTestCase):
    def setUp(self):
        self.filter = DuplicateFilter(10, 100)

    def answer(self, sequence, size):
        self.filter.admit(sequence)
        self.filter.answered(sequence, bytes(size))

    def test_oldest_are_forgotten(self):
        for sequence in range(1, 6):
            self.answer(sequence, 20)
        self.assertEqual(self.filter.reply_bytes, 100)
        self.answer(6, 20)
        # Down to half, and never the messages themselves.
        self.assertEqual(self.filter.reply_bytes, 40)
        outcomes = [self.filter.admit(sequence) for sequence in range(1, 7)]
        self.assertEqual(outcomes, [Seen.FORGOTTEN] * 4 + [bytes(20)] * 2)
        self.filter.settle([4])
        self.assertEqual((len(self.filter), self.filter.reply_bytes), (2, 40))

    def test_what_it_was_is_told_of_what_is_forgotten(self):
        """Not each answer says that the method has run to its end."""
        failures = [Failure(code, "Some", "text \u00c0", "trace") for code in FailureCode]
        answers: list[tuple[Any, Seen]] = [
            (Reply(1, {"big": "result"}), Seen.RAN),
            (Reply(1), Seen.RAN),
            (Reply(1, b"17", content_type="application/json"), Seen.RAN),
            (Ack([0xC0C0, 0xC0C0]), Seen.RAN),
            (Nack(Refusal.OVERLOADED, [1, 1], "full \u00c0"), Seen.FORGOTTEN),
            *((Reply(1, None, each), Seen.RAN if each.code in RAN else Seen.FORGOTTEN) for each in failures),
        ]
        self.assertEqual(set(RAN), {0, 5, 6, 10})
        answer: Any
        for answer, seen in answers:
            self.filter = DuplicateFilter(10, 1)
            self.filter.admit(1)
            self.filter.answered(1, encode_message(answer))
            self.assertIs(self.filter.admit(1), seen, answer)
            self.assertEqual(self.filter.reply_bytes, 0)
            self.filter.settle([1])
            self.assertEqual((len(self.filter), self.filter.reply_bytes), (0, 0))

    def test_newest_is_kept_when_it_fits(self):
        self.answer(1, 60)
        self.answer(2, 60)
        self.assertIs(self.filter.admit(1), Seen.FORGOTTEN)
        self.assertEqual(self.filter.admit(2), bytes(60))

    def test_larger_than_all_memory(self):
        self.answer(1, 101)
        self.assertIs(self.filter.admit(1), Seen.FORGOTTEN)
        self.assertEqual(self.filter.reply_bytes, 0)

    def test_large_ones_are_forgotten_when_nobody_asks_any_more(self):
        """What is small is kept with the numbers: a refusal must not become an answer that is lost."""
        kept = DuplicateFilter(10, 10**6)
        for sequence, size in ((1, 600), (2, 100), (3, 700)):
            kept.admit(sequence)
            kept.answered(sequence, bytes(size))
        kept.admit(4)
        kept.forget_large()
        self.assertEqual(
            [kept.admit(sequence) for sequence in range(1, 5)],
            [Seen.FORGOTTEN, bytes(100), Seen.FORGOTTEN, Seen.RUNNING],
        )
        self.assertEqual((len(kept), kept.reply_bytes), (4, 100))


class ReplyMemoryOfAll(SynchronousTestCase):
    """A bound over many filters, however each of them is used."""

    MOST = 10 * PIECE

    def setUp(self):
        self.lent = 0
        self.dropped: list[tuple[int, str]] = []

        def lends():
            self.lent += 1

        self.memory = ReplyMemory(self.MOST, lends, lambda number, option: self.dropped.append((number, option)))
        self.filters = [DuplicateFilter(1000, 4 * PIECE, self.memory) for _ in range(5)]

    def answer(self, which, sequence, size):
        self.filters[which].admit(sequence)
        self.filters[which].answered(sequence, bytes(size))

    def held(self):
        return sum(each.reply_bytes for each in self.filters)

    def test_who_holds_most_forgets_the_oldest(self):
        self.answer(0, 1, 100)
        for which in (1, 2):
            for sequence in range(1, 5):
                self.answer(which, sequence, PIECE)
        self.assertEqual(self.dropped, [])
        for sequence in (1, 2):
            self.answer(3, sequence, PIECE - 10)
        self.assertEqual(self.dropped, [(2, "max_replies_memory")])
        self.assertEqual(self.memory.held, self.held())
        self.assertLessEqual(self.held(), self.MOST - self.MOST // 8)
        oldest = [self.filters[1].admit(sequence) for sequence in range(1, 5)]
        self.assertEqual(oldest, [Seen.FORGOTTEN] * 2 + [bytes(PIECE)] * 2)
        # Who holds little keeps it.
        self.assertEqual(self.filters[0].admit(1), bytes(100))
        self.assertEqual(self.filters[3].admit(2), bytes(PIECE - 10))

    def test_small_replies_seldom_ask(self):
        for sequence in range(1, 160):
            self.answer(0, sequence, 100)
        self.assertEqual(self.lent, 1)

    def test_what_is_not_used_is_taken_back_first(self):
        for which in (0, 1):
            for sequence in range(1, 5):
                self.answer(which, sequence, PIECE)
        self.filters[0].settle([4])
        for which in (2, 3):
            for sequence in (1, 2, 3):
                self.answer(which, sequence, PIECE)
        self.assertEqual((self.held(), self.dropped), (10 * PIECE, []))

    def test_that_of_one_is_told_as_well(self):
        for sequence in range(1, 6):
            self.answer(0, sequence, PIECE)
        self.assertEqual(self.dropped, [(3, "max_reply_memory")])

    def test_what_is_released_is_free(self):
        for which in (0, 1):
            for sequence in range(1, 5):
                self.answer(which, sequence, PIECE)
        self.memory.release(self.filters[0])
        self.filters[1].forget_large()
        self.assertEqual((self.memory.held, self.memory._lent), (0, 0))

    def test_nothing_is_lent_to_who_is_released(self):
        """Where something is answered after all it is bounded as that of one that was ever alone."""
        self.memory.release(self.filters[0])
        for sequence in range(1, 7):
            self.answer(0, sequence, PIECE)
        self.assertEqual((self.memory.held, self.memory._lent), (0, 0))
        self.assertLessEqual(self.held(), 4 * PIECE)

    @given(
        st.lists(
            st.tuples(st.integers(0, 4), st.integers(1, 30), st.integers(1, 5 * PIECE), st.integers(0, 9)),
            max_size=60,
        )
    )
    @settings(derandomize=True, max_examples=200)
    def test_never_more(self, steps):
        self.setUp()
        for which, sequence, size, settled in steps:
            self.filters[which].settle([settled])
            self.answer(which, sequence, size)
            self.assertLessEqual(self.held(), self.memory._lent)
            self.assertLessEqual(self.memory._lent, self.MOST)
            self.assertEqual(self.memory._lent, sum(each.room for each in self.filters))


class Hostile(SynchronousTestCase):
    def setUp(self):
        self.filter = DuplicateFilter(65536, 2**26)
        for sequence in range(1, 65537):
            self.filter.admit(sequence)

    def assert_quick(self, settles):
        begun = process_time()
        for flat in settles:
            self.filter.settle(flat)
        self.assertTrue(process_time() - begun < 1, f"{process_time() - begun:.2f} s")

    def test_huge_watermark(self):
        self.assert_quick([[HUGE]])
        self.assertEqual(len(self.filter), 0)
        self.assertIs(self.filter.admit(HUGE), Seen.SETTLED)
        self.assertIs(self.filter.admit(HUGE + 1), Seen.NEW)

    def test_huge_ranges(self):
        wide = 2**40
        flat = [0, *(number for n in range(1, 65) for number in (2 * n * wide, (2 * n + 1) * wide))]
        self.assert_quick([flat, [*flat[:1], *(number + 7 for number in flat[1:])]])
        self.assertEqual(len(self.filter), 65536)
        self.assertIs(self.filter.admit(2 * wide), Seen.SETTLED)
        self.assertIs(self.filter.admit(4 * wide - 1), Seen.FULL)

    def test_many_ranges(self):
        """A batch of 64 MiB holds millions of them; each that is told beside what is kept would be a walk over that."""
        wide = 2**20
        flat = [0, *(number for n in range(1, 5000) for number in (2 * n * wide, (2 * n + 1) * wide))]
        self.assert_quick([flat])
        self.assertIs(self.filter.admit(2 * wide), Seen.SETTLED)

    def test_ranges_that_never_meet_are_bounded(self):
        kept = DuplicateFilter(100, 1000)
        kept.admit(1)
        for batch in range(50):
            first = 2 + batch * 2 * MOST_RANGES
            evens = range(first, first + 2 * MOST_RANGES, 2)
            kept.settle([0, *(number for even in evens for number in (even, even))])
        last = 2 + 50 * 2 * MOST_RANGES - 2
        # The lowest gaps count as settled: what is in them never runs.
        self.assertEqual(len(kept), 0)
        for sequence in (1, 3, last - 2 * 100 - 1, last, last - 2):
            self.assertIs(kept.admit(sequence), Seen.SETTLED, sequence)
        for sequence in (last - 1, last - 2 * 100 + 1, last + 1):
            self.assertIs(kept.admit(sequence), Seen.NEW, sequence)
