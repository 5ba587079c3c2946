"""What a publisher counts, and what subscribers make of it: plain calls; no reactor, no clock."""

from __future__ import annotations

from itertools import count

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.core.agenda import NEVER
from zmqrpc.core.keys import Counter, decode_counter, instance_key, token_key, topic_key
from zmqrpc.core.publications import IDLE, Publications, Say
from zmqrpc.core.surplus import NO_FILTER
from zmqrpc.core.tokens import MOST_TOKENS
from zmqrpc.test.core.tally import Tally

NOW = 1000.0
PROXY = b"p" * 16
A, B, C, D = (topic_key("x", name) for name in "abcd")
TOKEN, OTHER_TOKEN = token_key(b"t" * 16), token_key(b"u" * 16)


def make(most: int = 100, jitter: float = 1.0) -> Publications:
    numbers = count(1)
    return Publications(PROXY, lambda: b"%016d" % next(numbers), lambda: jitter, most)


def subscribed(*filters: bytes, most: int = 100) -> Publications:
    """Make a publisher at which the first subscriptions have been answered."""
    publications = make(most)
    for filter in filters:
        publications.subscribed(filter, "me", NOW)
    publications.end_pass(NOW - 1)
    return publications


def read(said: list[Say]) -> list[tuple[bytes, bytes, int]]:
    """Return filter, publisher instance and count of each counter."""
    return [(each.key, *counted(each.counter)) for each in said]


def counted(frame: bytes | None) -> tuple[bytes, int]:
    counter = decode_counter(frame) if frame is not None else Counter(b"nobody".ljust(16), 0)
    return counter.publisher, counter.count


class SubscriptionTests(SynchronousTestCase):
    def test_what_is_no_filter_is_refused(self):
        for filter in (
            b"",
            b"T",
            A[:-1],
            A + b"x",
            b"Tx\0a",
            b"K" * 16,
            instance_key(PROXY),
            b"x" * 2**20,
            b"T\n\0a\0",
        ):
            publications = make()
            self.assertIs(publications.subscribed(filter, "me", NOW), NO_FILTER, filter[:20])
            self.assertEqual((publications.end_pass(NOW), len(publications)), ([], 0))

    def test_counters_come_before_tokens(self):
        publications = make()
        for filter in (TOKEN, B, A, OTHER_TOKEN):
            self.assertIsNone(publications.subscribed(filter, "me", NOW))
        expected = [(B, PROXY, 0), (A, PROXY, 0), (TOKEN, PROXY, 0), (OTHER_TOKEN, PROXY, 0)]
        self.assertEqual(read(publications.end_pass(NOW)), expected)
        self.assertEqual(publications.end_pass(NOW), [])

    def test_many_subscriptions_of_a_pass_are_one_counter(self):
        publications = subscribed(A, B)
        publications.publish(A, NOW)
        for _ in range(1000):
            publications.subscribed(A, "me", NOW)
        self.assertEqual(read(publications.end_pass(NOW)), [(A, PROXY, 1)])

    def test_the_larger_the_crowd_the_less_often(self):
        """What a crowd costs grows with its square when each who comes has all others told."""
        for crowd, seconds in ((100, 0.05), (2000, 0.1), (100_000, 0.5)):
            publications = make()
            for _ in range(crowd):
                publications.subscribed(A, "me", NOW)
            publications.end_pass(NOW)
            publications.subscribed(A, "me", NOW)
            self.assertAlmostEqual(publications.wake_at, NOW + seconds)
            self.assertEqual(publications.end_pass(NOW + seconds - 0.01), [])
            self.assertEqual(len(publications.end_pass(NOW + seconds)), 1)

    def test_those_who_come_in_crowds_are_answered_together(self):
        """The first at once; the counter that each of them needs goes to all others, too."""
        publications = make()
        answers = []
        for thousandth in range(100):
            now = NOW + thousandth / 1000
            publications.subscribed(A, "me", now)
            publications.subscribed(token_key(b"%016d" % thousandth), "me", now)
            answers.append(len(publications.end_pass(now)))
        self.assertLess(sum(map(bool, answers)), 4)
        self.assertEqual(answers[0], 2)
        rest = publications.tick(publications.wake_at)
        self.assertEqual(sum(answers) + len(rest), 100 + sum(map(bool, answers)) + 1)

    def test_who_has_left_within_the_pass_is_not_answered(self):
        publications = make()
        for filter in (A, TOKEN):
            publications.subscribed(filter, "me", NOW)
            publications.unsubscribed(filter, NOW)
        self.assertEqual(publications.end_pass(NOW), [])

    def test_unsubscribed_from_what_nobody_knows(self):
        publications = make()
        for filter in (A, TOKEN, b""):
            publications.unsubscribed(filter, NOW)
        self.assertEqual((len(publications), publications.wake_at), (0, NEVER))


class PublishTests(SynchronousTestCase):
    def test_each_filter_counts_for_itself(self):
        publications = subscribed(A, B)
        counts = [counted(publications.publish(key, NOW)) for key in (A, B, A, A)]
        self.assertEqual(counts, [(PROXY, 1), (PROXY, 1), (PROXY, 2), (PROXY, 3)])

    def test_nobody(self):
        publications = subscribed(A)
        self.assertIsNone(publications.publish(B, NOW))
        publications.unsubscribed(A, NOW)
        self.assertIsNone(publications.publish(A, NOW))

    def test_who_was_cut_off_goes_on_within_a_minute(self):
        """What was written to its dead connection is counted, so that it learns what it has missed."""
        publications = subscribed(A)
        publications.publish(A, NOW)
        publications.unsubscribed(A, NOW)
        self.assertEqual((publications.tick(NOW + 59), len(publications)), ([], 1))
        publications.subscribed(A, "me", NOW + 59)
        self.assertEqual(read(publications.end_pass(NOW + 59)), [(A, PROXY, 1)])
        self.assertEqual(publications.tick(NOW + 59.9), [])
        self.assertEqual(counted(publications.publish(A, NOW + 60)), (PROXY, 2))
        self.assertEqual(read(publications.tick(NOW + 61)), [(A, PROXY, 2)])

    def test_forgotten_after_a_minute(self):
        publications = subscribed(A, B)
        publications.publish(A, NOW)
        publications.unsubscribed(A, NOW)
        publications.tick(NOW + 60)
        self.assertEqual(len(publications), 1)
        publications.subscribed(A, "me", NOW + 60)
        publications.subscribed(C, "me", NOW + 60)
        anew = b"%016d" % 1
        self.assertEqual(read(publications.end_pass(NOW + 60)), [(A, anew, 0), (C, anew, 0)])
        self.assertEqual(counted(publications.publish(B, NOW + 60)), (PROXY, 1))
        self.assertIn(TOKEN, self.answered(publications))

    def answered(self, publications: Publications) -> dict[bytes, bytes]:
        publications.subscribed(TOKEN, "me", NOW)
        answers = {key: publisher for key, publisher, _ in read(publications.end_pass(NOW + 61))}
        self.assertEqual(answers[TOKEN], PROXY)
        return answers


class BoundTests(SynchronousTestCase):
    """There are more filters than are counted."""

    def refused(self, publications: Publications, filter: bytes, text: str = "", *, ends: bool) -> None:
        fault = publications.subscribed(filter, "me", NOW)
        assert fault is not None
        self.assertIn(text, fault.text)
        self.assertEqual(fault.ends, ends)

    def test_one_too_many(self):
        """Who comes last waits, and those who are there are counted and repeated as ever."""
        publications = subscribed(A, B, C, most=3)
        self.refused(publications, D, "one too many, 3 may be subscribed to", ends=False)
        self.assertIsNone(publications.publish(D, NOW))
        self.assertEqual([counted(publications.publish(key, NOW)) for key in (A, B, C)], [(PROXY, 1)] * 3)
        for second in range(1, 10):
            self.assertEqual({each.key for each in publications.tick(NOW + second)}, {A, B, C}, second)

    def test_counted_when_another_is_left(self):
        """Under another instance than anything before it, since one was forgotten."""
        publications = subscribed(A, B, C, most=2)
        publications.unsubscribed(C, NOW)
        self.refused(publications, D, ends=False)
        publications.unsubscribed(A, NOW)
        self.assertEqual(read(publications.end_pass(NOW + 1)), [(D, b"%016d" % 1, 0)])
        self.assertEqual(counted(publications.publish(D, NOW + 1)), (b"%016d" % 1, 1))
        self.assertEqual(counted(publications.publish(B, NOW + 1)), (PROXY, 1))
        self.assertEqual((publications.publish(A, NOW + 1), publications.publish(C, NOW + 1)), (None, None))
        self.assertEqual(len(publications), 2)

    def test_a_tenth_more_are_let_be(self):
        filters = [topic_key("x", str(number)) for number in range(24)]
        publications = subscribed(*filters[:20], most=20)
        for number in (20, 21, 20, 22, 23, 21):
            self.refused(publications, filters[number], ends=number == 23)
        publications.unsubscribed(filters[22], NOW)
        self.refused(publications, filters[23], ends=False)

    def test_long_filters(self):
        """They are fewer: for each of their bytes ZeroMQ takes some 200."""
        filters = [topic_key("x", f"{number:0200}") for number in range(20)]
        publications = make(most=10)
        faults = [publications.subscribed(filter, "me", NOW) for filter in filters]
        self.assertEqual([fault and fault.ends for fault in faults], [None] * 3 + [True] * 17)
        # What is short fits, and those that were left make room for it.
        self.assertIsNone(publications.subscribed(A, "me", NOW))
        publications.unsubscribed(filters[0], NOW)
        publications.unsubscribed(filters[1], NOW)
        self.assertIsNone(publications.subscribed(topic_key("y" * 200, "z" * 200), "me", NOW))
        self.assertEqual(len(publications), 3)

    def test_those_that_nobody_subscribes_to_go_first(self):
        publications = subscribed(A, B, C, most=3)
        publications.unsubscribed(C, NOW)
        publications.unsubscribed(B, NOW)
        for filter in (D, topic_key("x", "e")):
            self.assertIsNone(publications.subscribed(filter, "me", NOW))
        self.assertEqual(len(publications), 3)
        self.assertEqual(counted(publications.publish(A, NOW)), (PROXY, 1))

    def test_nothing_is_forgotten_for_what_is_published(self):
        publications = subscribed(A, B, C, most=2)
        for number in range(100):
            self.assertIsNone(publications.publish(topic_key("x", f"nobody-{number}"), NOW))
        self.assertEqual([counted(publications.publish(key, NOW)) for key in (A, B)], [(PROXY, 1)] * 2)

    def test_too_many_tokens(self):
        """Of one connection: its others are answered, and so are those of others."""
        publications = make()
        for number in range(MOST_TOKENS):
            self.assertIsNone(publications.subscribed(token_key(b"%016d" % number), "me", NOW))
        self.refused(publications, TOKEN, "one token too many", ends=True)
        # One that it has already is no more than it was.
        self.assertIsNone(publications.subscribed(token_key(b"%016d" % 7), "me", NOW))
        self.assertIsNone(publications.subscribed(OTHER_TOKEN, "another", NOW))
        self.assertEqual(len(publications.end_pass(NOW)), MOST_TOKENS + 1)
        for number in range(MOST_TOKENS):
            publications.unsubscribed(token_key(b"%016d" % number), NOW)
        publications.unsubscribed(OTHER_TOKEN, NOW)
        self.assertEqual((len(publications._open), publications._open._open), (0, {}))
        self.assertIsNone(publications.subscribed(TOKEN, "me", NOW))


class IdleTests(SynchronousTestCase):
    def test_repeated_once_a_second(self):
        publications = subscribed(A)
        publications.publish(A, NOW)
        heard = []
        for tenth in range(1, 51):
            heard += [(tenth, count) for _, _, count in read(publications.tick(NOW + tenth / 10))]
        self.assertEqual(heard, [(10, 1), (20, 1), (30, 1), (40, 1), (50, 1)])

    def test_what_is_published_need_not_be_repeated(self):
        publications = subscribed(A)
        for half in range(20):
            publications.publish(A, NOW + half / 2)
            self.assertEqual(publications.tick(NOW + half / 2), [])
        self.assertEqual(len(publications.tick(NOW + 9.5 + IDLE)), 1)

    def test_spread_in_time(self):
        jitters = iter(number / 200 for number in range(100, 200))
        publications = Publications(PROXY, lambda: b"", lambda: next(jitters), 100)
        for number in range(100):
            publications.subscribed(topic_key("x", str(number)), "me", NOW)
        publications.end_pass(NOW)
        for second in range(3):
            said = [len(publications.tick(NOW + second + tick / 20)) for tick in range(20)]
            self.assertLessEqual(max(said), 11, second)

    def test_few_at_once(self):
        """Those that are due together do not hold up everything else."""
        publications = make(most=1000)
        for number in range(1000):
            publications.subscribed(topic_key("x", str(number)), "me", NOW)
        publications.end_pass(NOW)
        sizes = []
        while publications.wake_at <= NOW + IDLE:
            sizes.append(len(publications.tick(NOW + IDLE)))
        self.assertEqual(sizes, [256, 256, 256, 232])

    def test_comings_and_goings_leave_nothing(self):
        publications = make(most=10)
        for number in range(1000):
            filter = topic_key("x", str(number % 50))
            publications.subscribed(filter, "me", NOW + number / 10)
            publications.unsubscribed(filter, NOW + number / 10)
            publications.tick(NOW + number / 10)
            self.assertLessEqual(len(publications), 10)
        for _ in range(3):
            publications.tick(NOW + 1000)
        self.assertEqual((len(publications), publications.wake_at, len(publications._idle)), (0, NEVER, 0))


class Subscriber:
    """Who subscribes to some filters."""

    def __init__(self) -> None:
        self.filters: set[bytes] = set()
        self.tally = Tally()


EVENTS = st.one_of(
    st.tuples(st.just("publish"), st.sampled_from((A, B, C, D)), st.sets(st.integers(0, 2))),
    st.tuples(st.just("publish"), st.sampled_from((A, B)), st.sets(st.integers(0, 2))),
    st.tuples(st.sampled_from(("subscribe", "unsubscribe")), st.sampled_from((A, B, C, D)), st.integers(0, 2)),
    st.tuples(st.just("wait"), st.sampled_from((0.1, 0.7, 3.0, 70.0)), st.sets(st.integers(0, 2))),
)


class PropertyTests(SynchronousTestCase):
    @given(st.lists(EVENTS, max_size=80), st.sampled_from((2, 3, 100)))
    @settings(max_examples=300)
    def test_subscribers_count_exactly_what_was_dropped(self, events: list[tuple[str, object, object]], most: int):
        """Whatever is dropped on the way to them, and also when filters are forgotten, within each instance."""
        publications, now = make(most, jitter=0.7), NOW
        everybody = [Subscriber() for _ in range(3)]
        published: dict[tuple[bytes, bytes], list[int]] = {}

        def deliver(key: bytes, frame: bytes, alone: bool, lost_by: object) -> None:
            for number, subscriber in enumerate(everybody):
                if key in subscriber.filters and not (isinstance(lost_by, set) and number in lost_by):
                    subscriber.tally.take(key, frame, alone)

        def tick(lost_by: object) -> None:
            for each in publications.tick(now):
                deliver(each.key, each.counter, True, lost_by)

        for event, subject, who in events:
            if event == "publish":
                assert isinstance(subject, bytes)
                frame = publications.publish(subject, now)
                if frame is None:
                    is_wanted = any(subject in each.filters for each in everybody)
                    self.assertEqual(is_wanted, subject in publications._surplus)
                    continue
                publisher, number = counted(frame)
                # A number is given once, and the next one is one more.
                log = published.setdefault((publisher, subject), [])
                self.assertEqual(number, len(log) + 1)
                log.append(number)
                deliver(subject, frame, False, who)
            elif event == "wait":
                assert isinstance(subject, float)
                until = now + subject
                while publications.wake_at <= until:
                    now = max(now, publications.wake_at)
                    tick(who)
                now = until
            else:
                assert isinstance(subject, bytes) and isinstance(who, int)
                subscriber = everybody[who]
                if event == "subscribe":
                    fault = publications.subscribed(subject, "me", now)
                    if fault is None or not fault.ends:
                        # Else the connection that brought it is ended, as if nothing had come by it.
                        subscriber.filters.add(subject)
                    now += 0.02
                    for each in publications.end_pass(now):
                        deliver(each.key, each.counter, True, None)
                elif subject in subscriber.filters:
                    subscriber.filters.remove(subject)
                    if not any(subject in each.filters for each in everybody):
                        publications.unsubscribed(subject, now)
        until = now + 2 * IDLE
        while publications.wake_at <= until:
            now = max(now, publications.wake_at)
            tick(None)

        for subscriber in everybody:
            tally = subscriber.tally
            self.assertEqual(tally.faults, [])
            for about, seen in tally.seen.items():
                self.assertEqual(tally.missed[about], seen - tally.base[about] - tally.received[about])
        # As many are counted as may be, and what is counted was heard of in the end, the last message included.
        wanted = {key for subscriber in everybody for key in subscriber.filters}
        self.assertEqual(len(publications._surplus), max(0, len(wanted) - most))
        next_one = {key: counted(publications.publish(key, now)) for key in wanted if key not in publications._surplus}
        for subscriber in everybody:
            for key in subscriber.filters & next_one.keys():
                publisher, number = next_one[key]
                self.assertEqual(subscriber.tally.seen[publisher, key], number - 1)
