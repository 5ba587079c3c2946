"""The fan-outs that are to be published: numbers, order, publishers that come and go, deadlines."""

from __future__ import annotations

import gc
from collections import Counter
from typing import Any

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.core.agenda import NEVER
from zmqrpc.core.batch import BATCH_BYTES, decode_batch, encode_batch
from zmqrpc.core.call import Stage
from zmqrpc.core.envelope import Fanout, encode_message
from zmqrpc.core.given import KEPT_SECONDS
from zmqrpc.core.keys import topic_key
from zmqrpc.core.outgoing import Trouble
from zmqrpc.core.publishing import (
    RETRY_FULL,
    RETRY_UNROUTABLE,
    PublishingState,
)
from zmqrpc.core.up_publishers import SETTLED_SECONDS

KEY, OTHER = topic_key("openstack", "compute"), topic_key("openstack", "other")
OURS = b"o" * 16


def read(payload) -> list[Any]:
    """Return the messages of a batch."""
    return list(decode_batch(payload).messages)


def held_bytes(owner) -> int:
    """Return how many bytes of payloads and messages somebody holds, however it does."""
    found: dict[int, Any] = {}
    waiting = [owner]
    while waiting:
        each = waiting.pop()
        if id(each) not in found and not isinstance(each, type):
            found[id(each)] = each
            waiting += gc.get_referents(each)
    return sum(len(each) for each in found.values() if isinstance(each, bytes))


@attrs.define(eq=False)
class Call:
    """What is published."""

    encoded: bytes
    deadline: float
    name: int = 0
    stage: Stage = Stage.QUEUED


def call(name=0, deadline=60.0, topic="compute", size=0):
    request = Fanout(0, 1, 0, 0, "openstack", topic, None, None, None, "go", {"name": name, "text": "x" * size})
    return Call(encode_message(request), deadline, name)


class PublishingTests(SynchronousTestCase):
    def setUp(self):
        self.state = PublishingState(OURS, 64 * 2**20, 100, 10**6, 3)
        self.now = 1.0

    def up(self, *names):
        for name in names:
            self.state.publisher_up(name, name, 64 * 2**20, self.now)

    def add(self, *names, key=KEY, **options):
        calls = [call(name, topic="compute" if key == KEY else "other", **options) for name in names]
        self.assertTrue(all(self.state.add(key, each) for each in calls))
        return calls

    def write(self):
        """Write what can be written; return publisher, and number, attempt and name of each, for each batch."""
        written = []
        while (batch := self.state.next_batch(self.now)) is not None:
            self.payload = batch.payload
            written.append((batch.publisher, self.read(batch.payload)))
            self.state.taken(batch)
        return written

    def next_batch(self) -> Any:
        return self.state.next_batch(self.now)

    def read(self, payload):
        batch = decode_batch(payload)
        self.assertEqual((batch.source, batch.destination, batch.settled), (OURS, None, []))
        return [(message.sequence, message.attempt, message.arguments["name"]) for message in read(payload)]

    def published(self, name, key=KEY):
        return [each.name for each in self.state.published(name, key, self.now)]

    def test_one_batch(self):
        self.add(1, 2, 3)
        self.assertEqual(self.write(), [])
        self.up("a")
        self.assertEqual(self.write(), [("a", [(1, 1, 1), (2, 1, 2), (3, 1, 3)])])
        self.assertEqual(self.published("a"), [1, 2, 3])
        self.assertEqual(self.published("a"), [])
        self.assertEqual(len(self.state), 0)

    def test_batches_are_small(self):
        self.up("a")
        self.add(1, 2, 3, size=BATCH_BYTES // 2 - 2000)
        self.add(4, size=BATCH_BYTES * 2)
        self.assertEqual([names for _, names in self.write()], [[(1, 1, 1), (2, 1, 2)], [(3, 1, 3)], [(4, 1, 4)]])
        self.assertEqual([self.published("a") for _ in range(3)], [[1, 2], [3], [4]])

    def test_no_larger_than_the_publisher_takes(self):
        """Batches are no larger than it says, down to one fan-out each."""
        self.state.publisher_up("a", "a", 5000, self.now)
        self.add(1, 2, 3, size=1500)
        self.add(4, size=3500)
        written = []
        while (batch := self.next_batch()) is not None:
            self.assertLessEqual(len(batch.payload), 5000)
            written.append([name for _, _, name in self.read(batch.payload)])
            self.state.taken(batch)
        self.assertEqual(written, [[1, 2], [3], [4]])
        self.assertEqual(self.state.take_oversized(), [])

    def test_where_it_fits(self):
        """What is too large for the publisher of its key goes by another, and what follows it too."""
        for large in "ab":
            self.setUp()
            for name in "ab":
                self.state.publisher_up(name, name, 5000 if name == large else 2000, self.now)
            self.add(1)
            ((first, _),) = self.write()
            self.published(first)
            self.add(2, size=2000)
            self.add(3)
            ((second, names),) = self.write()
            self.assertEqual((second, names), (large, [(2, 1, 2), (3, 1, 3)]))

    def test_it_fits_nowhere(self):
        """It ends, takes no number, and what waits behind it goes on; one that is not up is not asked."""
        self.state.publisher_up("a", "a", 1000, self.now)
        self.state.publisher_up("b", "b", 2000, self.now)
        self.add(1)
        (large,) = self.add(2, size=2000)
        self.add(3)
        self.assertEqual([names for _, names in self.write()], [[(1, 1, 1)], [(2, 1, 3)]])
        self.assertEqual(self.state.take_oversized(), [(large, False, 2000)])
        self.assertEqual(self.state.take_oversized(), [])
        self.assertEqual(len(self.state), 2)
        # Where no publisher is up it waits.
        self.state.publisher_lost("a", self.now)
        self.state.publisher_lost("b", self.now)
        self.add(4, size=2000)
        self.assertEqual((self.write(), self.state.take_oversized()), ([], []))

    def test_repeated_it_fits_nowhere(self):
        """What was published at one that is lost, and is too large for the others, counts as not repeated."""
        self.up("a")
        self.add(1, size=2000)
        self.add(2, size=2000)
        self.write()
        self.published("a")
        third = self.add(3, size=2000)
        self.write()
        third[0].stage = Stage.QUEUED
        self.state.publisher_lost("a", self.now)
        self.state.publisher_up("b", "b", 1000, self.now)
        self.assertEqual(self.write(), [])
        self.assertEqual(self.state.take_oversized(), [(third[0], True, 1000)])
        self.assertEqual(self.state.unrepeated, 2)

    def test_numbers_of_each_key(self):
        """A fan-out that is cancelled before it is written leaves no gap."""
        (first, _) = self.add(1, 2)
        self.add(3, key=OTHER)
        self.assertFalse(self.state.withdraw(first))
        self.assertFalse(self.state.withdraw(first))
        self.up("a")
        self.assertEqual({names[0][2]: names[0][0] for _, names in self.write()}, {2: 1, 3: 1})
        self.add(4)
        self.assertEqual(self.write(), [("a", [(2, 1, 4)])])

    def test_one_publisher_for_each_key(self):
        self.up("a", "b", "c")
        chosen = set()
        for number in range(20):
            self.add(number)
            ((name, _),) = self.write()
            chosen.add(name)
            self.published(name)
        self.assertEqual(len(chosen), 1)

    def test_clients_spread(self):
        chosen: Counter[str] = Counter()
        for number in range(60):
            self.state = PublishingState(number.to_bytes(16, "big"), 2**20, 100, 10**6, 3)
            self.up("a", "b", "c")
            self.state.add(KEY, call())
            batch: Any = self.state.next_batch(1.0)
            chosen[batch.publisher] += 1
        self.assertGreater(min(chosen.values()), 8)
        self.assertEqual(len(chosen), 3)

    def test_one_that_has_just_come_up_waits_for_its_subscribers(self):
        """Where there is another; subscribers find a publisher within two seconds."""
        self.up("old", "older")
        self.add(1)
        ((first, _),) = self.write()
        second = {"old": "older", "older": "old"}[first]
        self.now += SETTLED_SECONDS
        newcomers = [str(number) for number in range(20)]
        self.up(*newcomers)
        self.state.publisher_lost(first, self.now)
        self.assertEqual(self.write(), [(second, [(1, 2, 1)])])
        self.state.publisher_lost(second, self.now)
        ((third, _),) = self.write()
        self.assertIn(third, newcomers)
        self.now += SETTLED_SECONDS
        self.up(first, second)
        self.state.publisher_lost(third, self.now)
        ((fourth, _),) = self.write()
        self.assertIn(fourth, newcomers)

    def test_where_others_have_no_subscriber_one_that_has_just_come_up_is_tried(self):
        self.up("old")
        self.now += SETTLED_SECONDS
        self.up("new")
        self.add(1)
        ((name, _),) = self.write()
        self.state.returned(name, self.payload, False, self.now)
        self.assertEqual((name, self.write()), ("old", [("new", [(1, 2, 1)])]))

    def test_lost_before_it_answers(self):
        """What it had goes by another in the same order, before what is new, and its caller hears of it once."""
        self.up("a")
        self.add(1, 2)
        self.write()
        self.add(3)
        self.write()
        self.add(4)
        self.state.publisher_lost("a", self.now)
        self.assertEqual(self.write(), [])
        self.up("b")
        self.assertEqual(self.write(), [("b", [(1, 2, 1), (2, 2, 2), (3, 2, 3), (4, 1, 4)])])
        self.assertEqual(self.published("b"), [1, 2, 3, 4])

    def test_lost_just_after_it_answered(self):
        """It is published again, and its caller is told nothing more."""
        self.up("a")
        self.add(1)
        self.write()
        self.assertEqual(self.published("a"), [1])
        self.now += KEPT_SECONDS
        self.add(2)
        self.write()
        self.assertEqual(self.published("a"), [2])
        self.up("b")
        self.state.publisher_lost("a", self.now)
        self.assertEqual(self.write(), [("b", [(2, 2, 2)])])
        self.assertEqual(self.published("b"), [])

    def test_lost_and_only_silent(self):
        """What it answers later counts for what it had, not for what it gets when it is back."""
        self.up("a")
        self.add(1)
        self.write()
        self.state.publisher_lost("a", self.now)
        self.up("b")
        self.assertEqual(self.write(), [("b", [(1, 2, 1)])])
        self.state.publisher_lost("b", self.now)
        self.assertEqual(self.published("a"), [1])
        self.add(2)
        self.up("b")
        self.assertEqual(self.write(), [("b", [(2, 1, 2)])])
        self.assertEqual(self.published("b"), [])
        self.assertEqual(self.published("b"), [2])

    def test_lost_twice_and_only_silent(self):
        """What it was given before goes by another once, and ends with its answer all the same."""
        self.up("a")
        (first, _) = self.add(1, 2)
        self.write()
        for _ in range(2):
            self.state.publisher_lost("a", self.now)
            self.up("a")
        self.state.withdraw(first)
        self.assertEqual(self.published("a"), [2])
        self.assertEqual(self.write(), [])

    def test_lost_and_returned_afterwards(self):
        self.up("a")
        self.add(1)
        self.write()
        self.state.publisher_lost("a", self.now)
        self.state.returned("a", self.payload, False, self.now)
        self.assertEqual(self.published("a"), [])
        self.up("b")
        self.assertEqual(self.write(), [("b", [(1, 2, 1)])])

    def test_what_was_for_one_member_is_given_back(self):
        """By a publisher that routes as well, and is lost: it answers nothing that was to be published."""
        self.up("a")
        (fanout,) = self.add(1)
        self.write()
        self.state.publisher_lost("a", self.now)
        self.state.returned("a", encode_batch(OURS, b"d" * 16, 0, (), [fanout.encoded]), False, self.now)
        self.assertEqual(self.published("a"), [1])

    def test_many_are_lost(self):
        self.state = PublishingState(OURS, 64 * 2**20, 1000, 10**6, 3)
        for number in range(102):
            self.up(str(number))
            self.add(number)
            self.write()
            self.state.publisher_lost(str(number), self.now)
        self.assertEqual(self.published("0"), [])
        self.assertEqual(self.published("101"), list(range(102)))

    def test_what_is_lost_is_bounded(self):
        """However many publishers are lost, and whatever becomes of what they had not answered."""
        for ends in (self.end_overdue, self.end_withdrawn, self.end_published, self.end_nothing):
            self.state = PublishingState(OURS, 64 * 2**20, 1000, 100_000, 3)
            self.now = 1.0
            for number in range(40):
                self.up(str(number))
                calls = []
                while self.state.add(KEY, each := call(number, self.now + 5.0, size=9000)):
                    calls.append(each)
                self.write()
                self.state.publisher_lost(str(number), self.now)
                ends(calls)
                self.assertLess(held_bytes(self.state), 210_000, (ends, number))
        self.assertGreater(held_bytes(self.state), 90_000)

    def end_overdue(self, calls):
        self.now += 6.0
        self.assertEqual(len(self.state.overdue(self.now)), len(calls))

    def end_withdrawn(self, calls):
        self.assertTrue(all(self.state.withdraw(each) for each in calls))

    def end_published(self, calls):
        """By another, that keeps them for as long as it may."""
        self.up("other")
        self.write()
        while self.published("other"):
            pass
        self.now += KEPT_SECONDS
        self.state.resume(self.now)
        self.state.publisher_lost("other", self.now)

    def end_nothing(self, calls):
        pass

    def test_what_many_small_ones_leave_is_bounded(self):
        """Of those that are lost so much is remembered as would be waited for; what was lost first is not."""
        self.state = PublishingState(OURS, 64 * 2**20, 1000, 10_000, 3)
        for number in range(5):
            self.up(str(number))
            self.add(number, size=1800)
            self.write()
            self.state.publisher_lost(str(number), self.now)
        self.assertEqual([self.published(str(number)) for number in range(4)], [[], [], [], []])
        self.assertEqual(self.published("4"), [0, 1, 2, 3, 4])

    def test_what_is_forgotten_is_not_taken_for_what_is_new(self):
        """It was only silent, and answers as many payloads as it was given before what it gets now."""
        self.state = PublishingState(OURS, 64 * 2**20, 1000, 10_000, 3)
        self.up("a")
        for number in (1, 2, 3):
            self.add(number, size=2500)
            self.write()
        self.state.publisher_lost("a", self.now)
        self.up("b")
        self.write()
        self.state.publisher_lost("b", self.now)
        self.up("a")
        self.assertEqual(self.write(), [("a", [(1, 3, 1), (2, 3, 2), (3, 3, 3)])])
        self.assertEqual([self.published("a") for _ in range(4)], [[], [], [], [1, 2, 3]])
        self.assertEqual(self.published("b"), [])

    def test_one_that_falls_silent_again_and_again_is_given_no_more(self):
        """What it had before it was lost it has still, when it is back by the same connection."""
        self.state = PublishingState(OURS, 64 * 2**20, 1000, 10_000, 3)
        given = 0
        for number in range(10):
            self.up("a")
            self.add(number, deadline=self.now + 0.5, size=4000)
            given += len(self.write())
            self.state.publisher_lost("a", self.now)
            self.now += 1.0
            self.state.overdue(self.now)
        self.assertEqual(given, 3)
        self.up("a")
        self.assertGreater(self.state.unanswered_bytes, 10_000)
        for _ in range(given):
            self.assertEqual(self.published("a"), [])
        self.assertEqual(self.state.unanswered_bytes, 0)
        self.add(11)
        self.write()
        self.assertEqual(self.published("a"), [11])

    def test_what_is_unanswered_is_held_once(self):
        """Not as the payload and as its messages; and not at all when its caller has given it up."""
        self.state = PublishingState(OURS, 64 * 2**20, 1000, 100_000, 3)
        self.up("a")
        calls = self.add(*range(10), size=9000)
        self.write()
        self.payload = b""
        self.assertLess(held_bytes(self.state), 110_000)
        for each in calls:
            self.state.withdraw(each)
        calls.clear()
        self.assertLess(held_bytes(self.state), 5000)

    def test_what_is_kept_is_held_once(self):
        """Not as the payload and as its messages."""
        self.state = PublishingState(OURS, 64 * 2**20, 1000, 100_000, 3)
        self.up("a")
        for number in range(30):
            self.add(number, size=9000)
            self.write()
            self.payload = b""
            self.published("a")
        self.assertGreater(held_bytes(self.state), 80_000)
        self.assertLess(held_bytes(self.state), 110_000)

    def test_how_far_it_got(self):
        (fanout,) = self.add(1)
        self.up("a")
        self.write()
        self.assertIs(fanout.stage, Stage.SENT)
        self.state.returned("a", self.payload, False, self.now)
        self.assertIs(fanout.stage, Stage.QUEUED)
        self.now += RETRY_UNROUTABLE
        self.assertIsNone(self.state.next_batch(self.now))
        self.now += RETRY_UNROUTABLE
        self.state.resume(self.now)
        self.write()
        self.state.publisher_lost("a", self.now)
        self.assertIs(fanout.stage, Stage.SENT)

    def test_what_is_kept_is_bounded(self):
        """In bytes, and in time also when nothing more is published."""
        self.state = PublishingState(OURS, 64 * 2**20, 100, 10_000, 3)
        self.up("a")
        for number in range(30):
            self.add(number, size=1000)
            self.write()
            self.published("a")
        self.assertLessEqual(self.state._given.kept_bytes, 10_000)
        self.assertEqual(self.state.wake_at, self.now + KEPT_SECONDS)
        self.now += KEPT_SECONDS
        self.state.resume(self.now)
        self.assertEqual(self.state._given.kept_bytes, 0)
        self.state.overdue(self.now)
        self.state.overdue(100.0)
        self.assertEqual(self.state.wake_at, NEVER)

    def test_not_published_again_after_its_deadline(self):
        self.up("a")
        self.add(1, deadline=2.0)
        self.write()
        self.published("a")
        self.state.publisher_lost("a", self.now)
        self.now = 3.0
        self.up("b")
        self.assertEqual(self.write(), [])
        self.assertEqual(self.state.unrepeated, 1)

    def test_nobody_subscribes_there(self):
        """It is tried at the others, and after a moment at all again."""
        self.up("a", "b")
        self.add(1)
        ((first, _),) = self.write()
        self.state.returned(first, self.payload, False, self.now)
        self.add(2)
        ((second, names),) = self.write()
        self.assertEqual({first, second}, {"a", "b"})
        self.assertEqual(names, [(1, 2, 1), (2, 1, 2)])
        self.state.returned(second, self.payload, False, self.now)
        self.assertEqual(self.write(), [])
        self.assertEqual(self.state.wake_at, self.now + RETRY_UNROUTABLE)
        self.now += RETRY_UNROUTABLE
        self.state.resume(self.now)
        ((third, names),) = self.write()
        self.assertEqual(names, [(1, 3, 1), (2, 2, 2)])
        self.assertEqual(self.published(third), [1, 2])

    def test_where_somebody_subscribes_it_stays(self):
        self.up("a", "b")
        self.add(1)
        ((first, _),) = self.write()
        self.state.returned(first, self.payload, False, self.now)
        ((second, _),) = self.write()
        self.published(second)
        self.add(2)
        self.assertEqual(self.write(), [(second, [(2, 1, 2)])])

    def test_returned_is_none_of_ours(self):
        self.up("a")
        self.add(1)
        self.write()
        for payload in (b"", b"nonsense", self.payload[:-1] + b"\xc3"):
            self.state.returned("a", payload, False, self.now)
            self.state.returned("b", payload, False, self.now)
        self.state.returned("b", self.payload, False, self.now)
        self.assertEqual(self.write(), [])
        self.assertEqual(self.published("a"), [1])
        self.state.returned("a", self.payload, False, self.now)
        self.assertEqual(self.state.published("a", b"?", self.now), [])

    def test_what_was_never_written_leaves_no_gap(self):
        """A publisher that takes no more was given nothing, so that a number is not used up by it."""
        for gone in (False, True):
            self.setUp()
            self.up("a")
            self.add(1)
            self.write()
            (withdrawn, *_) = self.add(2) + self.add(3, deadline=1.5) + self.add(4)
            batch = self.next_batch()
            self.assertEqual([number for number, _, _ in self.read(batch.payload)], [2, 3, 4])
            self.state.not_taken(batch, gone, self.now)
            self.assertFalse(self.state.withdraw(withdrawn))
            self.assertEqual([uncertain for _, _, uncertain in self.state.overdue(1.5)], [False])
            self.state.publisher_lost("a", self.now)
            self.now = 2.0
            self.up("b")
            self.assertEqual(self.write(), [("b", [(1, 2, 1), (2, 1, 4)])])

    def test_what_was_written_keeps_its_number_when_it_is_not_taken(self):
        self.up("a")
        self.add(1, 2)
        self.write()
        self.state.returned("a", self.payload, True, self.now)
        self.now += RETRY_FULL
        self.state.resume(self.now)
        new, _ = self.add(3, 4)
        self.state.not_taken(self.next_batch(), False, self.now)
        self.state.withdraw(new)
        self.now += RETRY_FULL
        self.state.resume(self.now)
        self.assertEqual(self.write(), [("a", [(1, 2, 1), (2, 2, 2), (3, 1, 4)])])

    def test_what_was_not_taken_counts_as_unwritten(self):
        self.up("a")
        calls = self.add(1, 2)
        self.state.not_taken(self.next_batch(), False, self.now)
        self.assertEqual(self.state.take_unwritten(), calls)
        self.assertEqual(len(self.state), 0)

    def test_full(self):
        """What a publisher does not take keeps its place."""
        self.up("a")
        self.add(1)
        self.state.not_taken(self.next_batch(), False, self.now)
        self.add(2)
        self.assertEqual(self.write(), [])
        self.assertEqual(self.state.wake_at, self.now + RETRY_FULL)
        self.now += RETRY_FULL
        self.state.resume(self.now)
        self.assertEqual(self.write(), [("a", [(1, 1, 1), (2, 1, 2)])])
        self.state.returned("a", self.payload, True, self.now)
        self.assertEqual(self.write(), [])
        self.now += RETRY_FULL
        self.state.resume(self.now)
        self.assertEqual(self.write(), [("a", [(1, 2, 1), (2, 2, 2)])])

    def test_gone(self):
        """One that is gone takes nothing more, though nobody has told of it yet."""
        self.up("a")
        self.add(1)
        self.state.not_taken(self.next_batch(), True, self.now)
        self.assertEqual(self.write(), [])
        self.state.publisher_lost("a", self.now)
        self.up("b")
        self.assertEqual(self.write(), [("b", [(1, 1, 1)])])

    def test_what_is_unanswered_is_bounded(self):
        self.state = PublishingState(OURS, 64 * 2**20, 100, 10_000, 3)
        self.up("a")
        self.add(1, size=9900)
        self.add(2, key=OTHER)
        self.assertEqual(len(self.write()), 2)
        self.assertEqual(self.published("a"), [1])
        self.add(3, size=9000)
        self.assertFalse(self.state.add(KEY, call(size=2000)))
        self.assertEqual([names for _, names in self.write()], [[(2, 1, 3)]])

    def test_room_for_calls(self):
        for _ in range(100):
            self.assertTrue(self.state.add(KEY, call()))
        self.assertFalse(self.state.add(KEY, call()))
        self.assertEqual(len(self.state.take_all()), 100)
        self.assertTrue(self.state.add(KEY, call()))
        # One alone may be of any size.
        self.state.take_all()
        self.assertTrue(self.state.add(KEY, call(size=10**7)))

    def test_deadlines(self):
        waits, goes = call(1, 5.0), call(2, 6.0, "other")
        self.state.add(KEY, waits)
        self.assertEqual(self.state.wake_at, 5.0)
        self.assertEqual(self.state.overdue(4.0), [])
        self.assertEqual(self.state.overdue(5.0), [(waits, Trouble.NO_PUBLISHER, False)])
        self.up("a")
        self.state.add(OTHER, goes)
        self.write()
        self.assertEqual(self.state.overdue(6.0), [(goes, Trouble.UNANSWERED, True)])
        self.assertEqual(self.published("a", OTHER), [])
        unroutable = call(3, 7.0)
        self.state.add(KEY, unroutable)
        self.write()
        self.state.returned("a", self.payload, False, 6.5)
        self.assertEqual(self.write(), [])
        self.assertEqual(self.state.overdue(7.0), [(unroutable, Trouble.UNROUTABLE, False)])
        lost = call(4, 8.0)
        self.state.add(KEY, lost)
        self.now = 7.5
        self.assertEqual(self.write(), [("a", [(2, 1, 4)])])
        self.state.publisher_lost("a", 7.6)
        self.assertEqual(self.state.next_batch(7.6), None)
        self.assertEqual(self.state.overdue(8.0), [(lost, Trouble.NO_PUBLISHER, True)])

    def test_cancelled_after_it_was_written(self):
        self.up("a")
        (first, _) = self.add(1, 2)
        self.write()
        self.assertTrue(self.state.withdraw(first))
        self.assertEqual(self.published("a"), [2])
        self.assertEqual([uncertain for _, uncertain in self.state.take_all()], [])

    def published_under(self, *keys):
        """Publish one fan-out under each key, and return the number of each."""
        numbers = []
        for key in keys:
            self.state.add(key, call())
            ((_, ((number, _, _),)),) = self.write()
            self.state.published("a", key, self.now)
            self.now += KEPT_SECONDS
            self.state.resume(self.now)
            numbers.append(number)
        return numbers

    def test_keys_are_bounded(self):
        """A key that is forgotten goes on with the number that it would have had, whatever others have."""
        self.up("a")
        keys = [b"1", b"2", b"3", b"4"]
        self.assertEqual(self.published_under(*[b"1"] * 50), list(range(1, 51)))
        self.assertEqual(self.published_under(*keys[1:]), [1, 1, 1])
        self.assertEqual(self.published_under(*keys, *keys), [51, 2, 2, 2, 52, 3, 3, 3])
        self.assertEqual(len(dict(self.state.ways())), 3)

    def test_keys_that_are_forgotten_are_bounded(self):
        """Past it a key never begins at a number that it has had."""
        self.up("a")
        self.published_under(*[b"1"] * 50)
        self.published_under(*[b"%d" % number for number in range(100, 140)])
        self.assertEqual(self.published_under(b"1", b"new"), [51, 51])

    def test_keys_with_something_under_way_are_not_forgotten(self):
        """What is unanswered, kept, or may be answered by one that is lost."""
        self.state = PublishingState(OURS, 64 * 2**20, 100, 10**6, 1)
        self.up("a", "b")
        for make in (self.make_unanswered, self.make_kept, self.make_lost):
            make()
            self.state.add(make.__name__.encode(), call())
            self.assertIn(KEY, dict(self.state.ways()), make)

    def make_unanswered(self):
        self.add(1)
        ((self.name, _),) = self.write()

    def make_kept(self):
        self.published(self.name)

    def make_lost(self):
        self.now += KEPT_SECONDS
        self.state.resume(self.now)
        (late,) = self.add(2)
        self.write()
        self.state.publisher_lost(self.name, self.now)
        self.state.withdraw(late)
        self.state.take_all()
        self.write()

    def test_how_long_it_is_kept(self):
        """For a second before a loss that may be known one and a half seconds late."""
        self.up("a", "b")
        self.add(1)
        ((name, _),) = self.write()
        self.published(name)
        self.now += 2.49
        self.state.resume(self.now)
        self.state.publisher_lost(name, self.now)
        ((other, names),) = self.write()
        self.assertEqual((other != name, names), (True, [(1, 2, 1)]))


class Storm(SynchronousTestCase):
    """Publishers come, go, give back and fill up, callers give up: nothing that could be published is lost."""

    RARE = ("lost", "mute", "blink", "return", "full", "gone", "wait", "withdraw")
    EVENTS = st.lists(
        st.tuples(
            st.sampled_from([*("add", "write") * 3, *("up", "answer") * 2, *RARE]),
            st.integers(0, 2),
        ),
        max_size=80,
    )

    @given(EVENTS, st.sampled_from([10**6, 1500]))
    @settings(derandomize=True, max_examples=500)
    def test_each_fan_out_has_one_end_and_numbers_have_no_gaps(self, events, most_bytes):
        self.state = PublishingState(OURS, 64 * 2**20, 1000, most_bytes, 3)
        self.forgets = most_bytes < 10**6
        self.now = 1.0
        self.calls: dict[int, Call] = {}
        self.connections = [0, 0, 0]
        self.given: dict[str, list[bytes]] = {}
        self.written: dict[int, int] = {}
        self.came: set[int] = set()
        self.ended: list[int] = []
        self.not_published: set[int] = set()
        for event, which in [("up", 0), ("up", 1), *events]:
            self.happens(event, which, f"{which}/{self.connections[which]}")
        self.state.publisher_up("2/last", "2", 64 * 2**20, self.now)
        for _ in range(5):
            self.happens("wait", 1, "")
            self.happens("write", 0, "")
            for name in list(self.given):
                self.happens("answer", 0, name)
        self.assertEqual(sorted(self.ended), sorted(self.calls))
        self.assertEqual(self.not_published & self.came, set())
        self.assertEqual((len(self.state), self.state._open_bytes), (0, 0))

    def happens(self, event, which, name):
        state, now = self.state, self.now
        if event == "add":
            number = len(self.calls) + 1
            new = call(number, now + 1.0 if which == 0 else 10_000.0, size=which * 100)
            if state.add(KEY, new):
                self.calls[number] = new
        elif event == "withdraw":
            left = [number for number in self.calls if number not in self.ended]
            if left:
                number = left[which % len(left)]
                self.ends(number, state.withdraw(self.calls[number]))
        elif event in ("up", "mute", "blink"):
            if event != "up":
                state.publisher_lost(name, now)
            if event != "mute":
                state.publisher_up(name, str(which), 64 * 2**20, now)
        elif event == "lost":
            state.publisher_lost(name, now)
            self.given.pop(name, None)
            self.connections[which] += 1
        elif event in ("write", "full", "gone"):
            self.write(event)
        elif event == "answer":
            for payload in self.given.pop(name, ()):
                came = {message.arguments["name"] for message in read(payload)}
                told = {each.name for each in state.published(name, KEY, now)}
                self.assertLessEqual(told, came)
                if not self.forgets:
                    self.assertEqual(told, came.difference(self.ended))
                self.came |= came
                self.ended += told
        elif event == "return":
            for payload in self.given.pop(name, ()):
                state.returned(name, payload, which == 0, now)
        else:
            self.now += (0.06, 0.2, 3.0)[which]
            for each, _, uncertain in state.overdue(self.now):
                self.ends(each.name, uncertain)
            state.resume(self.now)

    def ends(self, number, uncertain):
        self.ended.append(number)
        if not uncertain:
            self.not_published.add(number)

    def write(self, event):
        while (batch := self.state.next_batch(self.now)) is not None:
            if event != "write":
                self.state.not_taken(batch, event == "gone", self.now)
                continue
            self.given.setdefault(batch.publisher, []).append(batch.payload)
            numbers = {message.sequence: message.arguments["name"] for message in read(batch.payload)}
            self.assertEqual(list(numbers), sorted(numbers))
            self.state.taken(batch)
            self.assertEqual({each: self.written.get(each, name) for each, name in numbers.items()}, numbers)
            self.written |= numbers
            self.assertEqual(sorted(self.written), list(range(1, len(self.written) + 1)))
            self.assertEqual(len(set(self.written.values())), len(self.written))
