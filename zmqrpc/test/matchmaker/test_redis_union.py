"""What several Redis servers say together, and what each is to have: plain calls, and a clock."""

from math import inf
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.errors import MatchmakerUnavailable
from zmqrpc.matchmaker._entry import lookup_order
from zmqrpc.matchmaker._gathering import GATHER_SECONDS, Gathering
from zmqrpc.matchmaker._redis.holdings import Holdings
from zmqrpc.matchmaker._redis.poll import Poll
from zmqrpc.matchmaker._redis.union import PATIENCE_SECONDS, TRUST_SECONDS, Standing, TopicUnion, believed, merge
from zmqrpc.record import Role, Sighting
from zmqrpc.testing.matchmaker import make_record

NOW = 1000.0
OLD = Standing()
FRESH = Standing(begun=NOW - 1)
AWAY = Standing(up=False, left=NOW - 1)
BACK = Standing(begun=NOW - 1, left=NOW - 5)
EMPTIED = Standing(begun=NOW - 1, emptied=NOW - 1)
"""What stores may be: there for ever, found new, away, back, and new though somebody has known another one."""

TOPIC = ("openstack", "compute")


def seen(*numbers, age=1.0, source="a"):
    return [Sighting(make_record(number=number), age, source) for number in numbers]


class MergeTests(SynchronousTestCase):
    def test_table(self):
        other = Sighting(make_record(number=1, subscribes=True), 2.0, "b")
        for answers, union in (
            ([], []),
            ([[], []], []),
            ([seen(1, 2)], seen(1, 2)),
            ([seen(2), seen(1)], seen(1, 2)),
            ([seen(1, 3), [], seen(2)], seen(1, 2, 3)),
            ([seen(1), seen(1, age=0.5, source="b")], seen(1, age=0.5, source="a, b")),
            ([seen(1, source="b"), seen(1, source="a"), seen(1, source="c")], seen(1, source="a, b, c")),
            ([[other], seen(1)], seen(1, source="a, b")),
            ([[other], seen(1, age=3.0)], [Sighting(other.record, 2.0, "a, b")]),
            ([[other], seen(1, age=None)], [Sighting(other.record, 2.0, "a, b")]),
            ([[structs.replace(other, lasts=9.0)], seen(1, age=3.0)], [Sighting(other.record, 2.0, "a, b", 9.0)]),
            ([seen(1, age=None), seen(1, age=None)], seen(1, age=None)),
        ):
            self.assertEqual(merge(answers, lookup_order), union)

    @given(st.lists(st.lists(st.tuples(st.integers(0, 5), st.floats(0, 9)), unique_by=lambda pair: pair[0])))
    def test_any(self, answers):
        """Everything is there once, in order, as the one says that heard of it last."""
        given = [[one for number, age in sorted(answer) for one in seen(number, age=age)] for answer in answers]
        union = merge(given, lookup_order)
        ages: dict[Any, float] = {}
        for number, age in (pair for answer in answers for pair in answer):
            ages[make_record(number=number)] = min(age, ages.get(make_record(number=number), inf))
        self.assertEqual({sighting.record: sighting.age for sighting in union}, ages)
        self.assertEqual(union, sorted(union, key=lookup_order))

    def test_believed(self):
        for silent, stores, true in (
            ([], 1, False),
            ([FRESH], 1, True),
            ([FRESH], 3, False),
            ([FRESH, BACK], 3, False),
            ([FRESH, BACK, FRESH], 3, True),
            ([OLD], 3, True),
            ([FRESH, OLD], 3, True),
            ([Standing(begun=NOW - TRUST_SECONDS)], 2, True),
            ([Standing(begun=NOW - TRUST_SECONDS + 0.1)], 2, False),
            ([Standing(begun=NOW + 3600)], 2, False),
            ([EMPTIED], 1, False),
            ([FRESH, EMPTIED], 2, False),
            ([BACK, EMPTIED], 2, False),
            ([EMPTIED, OLD], 2, True),
            ([EMPTIED, OLD], 3, True),
            ([Standing(begun=NOW - TRUST_SECONDS, emptied=NOW - TRUST_SECONDS)], 1, True),
            ([Standing(begun=NOW - 1, emptied=NOW - TRUST_SECONDS)], 1, True),
        ):
            self.assertIs(believed(silent, stores, NOW), true, (silent, stores))


class TopicUnionTests(SynchronousTestCase):
    def test_views(self):
        """What is shown, given the copies: who they are of, what they hold, and when they were read."""
        for case, copies, shown in (
            ("nothing is read", [(OLD, None, 0), (OLD, None, 0)], None),
            ("one of one", [(OLD, seen(1), NOW)], seen(1)),
            ("one of one that is new", [(FRESH, [], NOW)], []),
            ("one of one that was emptied", [(EMPTIED, [], NOW)], None),
            ("one of one that was emptied, and has somebody again", [(EMPTIED, seen(1), NOW)], seen(1)),
            ("an emptied one and a new one", [(EMPTIED, [], NOW), (FRESH, [], NOW)], None),
            ("an emptied one and an old one", [(EMPTIED, [], NOW), (OLD, [], NOW)], []),
            ("one that is away", [(AWAY, None, 0)], None),
            ("one is still to be read", [(OLD, seen(1), NOW), (OLD, None, 0)], None),
            ("it was waited for", [(OLD, seen(1), NOW - PATIENCE_SECONDS), (OLD, None, 0)], seen(1)),
            ("one that is away is not waited for", [(OLD, seen(1), NOW), (AWAY, None, 0)], seen(1)),
            ("all say so", [(FRESH, [], NOW), (BACK, [], NOW)], []),
            ("a new one says so", [(FRESH, [], NOW), (AWAY, None, 0)], None),
            ("one that is back says so", [(BACK, [], NOW), (AWAY, None, 0)], None),
            ("an old one says so", [(OLD, [], NOW), (AWAY, None, 0)], []),
            ("the union", [(OLD, seen(1), NOW), (FRESH, seen(2), NOW)], seen(1, 2)),
            ("a new one takes nothing away", [(OLD, seen(1), NOW), (FRESH, [], NOW)], seen(1)),
            ("who is away does not count", [(AWAY, seen(1), NOW - 9), (OLD, seen(2), NOW)], seen(2)),
            ("who is away counts on", [(AWAY, seen(1), NOW - 9), (BACK, seen(2), NOW)], seen(1, 2)),
            ("who is back and not read", [(BACK, seen(1), NOW - 9), (OLD, seen(2), NOW)], seen(2)),
            ("nobody, and one away", [(AWAY, seen(1), NOW - 9), (OLD, [], NOW)], []),
            ("all are away", [(AWAY, seen(1), NOW - 9), (AWAY, seen(2), NOW - 9)], seen(1, 2)),
            ("all are away and empty", [(AWAY, [], NOW - 9), (AWAY, [], NOW - 9)], None),
            ("read while away", [(AWAY, [], NOW), (FRESH, [], NOW)], None),
        ):
            union = TopicUnion(len(copies), lookup_order)
            for number, (_, sightings, read_at) in enumerate(copies):
                if sightings is not None:
                    union.read(number, sightings, read_at)
            self.assertEqual(union.view([standing for standing, _, _ in copies], NOW), shown, case)

    def test_wakes(self):
        """When time alone changes what is shown."""
        for copies, wake_at in (
            ([(OLD, seen(1), NOW)], inf),
            ([(OLD, seen(1), NOW), (OLD, None, 0)], NOW + PATIENCE_SECONDS),
            ([(OLD, seen(1), NOW), (AWAY, seen(2), NOW - 9)], inf),
            ([(FRESH, seen(1), NOW), (AWAY, seen(2), NOW - 9)], FRESH.trusted_at),
            ([(FRESH, [], NOW), (AWAY, None, 0)], FRESH.trusted_at),
            ([(AWAY, seen(1), NOW - 9), (AWAY, None, 0)], inf),
            ([(EMPTIED, [], NOW)], EMPTIED.young_until),
            ([(Standing(begun=NOW, emptied=NOW - 4), [], NOW)], NOW - 4 + TRUST_SECONDS),
        ):
            union = TopicUnion(len(copies), lookup_order)
            for number, (_, sightings, read_at) in enumerate(copies):
                if sightings is not None:
                    union.read(number, sightings, read_at)
            union.view([standing for standing, _, _ in copies], NOW)
            self.assertEqual(union.wake_at, wake_at, copies)

    @given(
        st.lists(
            st.tuples(
                st.sampled_from([OLD, FRESH, AWAY, BACK, EMPTIED]),
                st.none() | st.sets(st.integers(0, 3)),
                st.sampled_from([NOW - 9, NOW - 2, NOW]),
            ),
            min_size=1,
            max_size=4,
        )
    )
    def test_any_copies(self, copies):
        """What a store that is there has is shown; that nobody is there is shown only when it can be believed."""
        union = TopicUnion(len(copies), lookup_order)
        for number, (_, numbers, read_at) in enumerate(copies):
            if numbers is not None:
                union.read(number, seen(*sorted(numbers)), read_at)
        view = union.view([standing for standing, _, _ in copies], NOW)
        if view is None:
            return
        current = [copy for number, copy in enumerate(copies) if union.is_current(number, copy[0])]
        there = {number for _, numbers, _ in current for number in numbers}
        known = {number for _, numbers, _ in copies for number in numbers or ()}
        shown = {sighting.record for sighting in view}
        self.assertTrue({make_record(number=number) for number in there} <= shown)
        self.assertTrue(shown <= {make_record(number=number) for number in known})
        if not shown:
            self.assertTrue(believed([standing for standing, _, _ in current], len(copies), NOW))

    def test_lacking(self):
        """A store lacks what others show; what is not shown at all is the matter of who watches."""
        ours = [make_record(number=number) for number in (1, 2)]
        union = TopicUnion(2, lookup_order)
        self.assertEqual(union.lacking(0, ours), [])
        union.read(0, seen(1), NOW)
        self.assertEqual(union.lacking(0, ours), [ours[1]])
        self.assertEqual(union.lacking(1, ours), [], "it was not read yet")
        union.read(1, [], NOW)
        self.assertEqual(union.view([OLD, OLD], NOW), seen(1))
        self.assertEqual((union.lacking(0, ours), union.lacking(1, ours)), ([], [ours[0]]))
        union.read(0, seen(1, 2), NOW)
        union.view([OLD, OLD], NOW)
        self.assertEqual(union.lacking(1, ours), ours)


class HoldingsTests(SynchronousTestCase):
    def test_held(self):
        holdings, record, moved = Holdings(), make_record(), make_record(subscribes=True)
        never = make_record(number=2)
        holdings.put(record, 300, NOW)
        holdings.put(never, 0, NOW)
        holdings.put(make_record(role=Role.DOUBT), 300, NOW)
        self.assertEqual(holdings.of(TOPIC, NOW + 100), {record: 200.0, never: 0.0})
        holdings.put(moved, 300, NOW + 100)
        self.assertEqual(holdings.of(TOPIC, NOW + 100), {moved: 300.0, never: 0.0})
        self.assertEqual(holdings.of(TOPIC, NOW + 400), {never: 0.0}, "it has expired")
        holdings.remove(record)
        self.assertEqual(holdings.of(TOPIC, NOW), {never: 0.0})
        holdings.remove(never)
        holdings.remove(never)
        self.assertEqual((holdings.of(TOPIC, NOW), holdings.topics), ({}, []))


class PollTests(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        self.addCleanup(lambda: self.assertEqual(self.clock.getDelayedCalls(), []))

    def poll(self, awaited=(True, True, True), will_do=lambda answers: "yes" in answers):
        self.asked: list[Deferred[str]] = [Deferred() for _ in awaited]
        return Poll(self.clock, self.asked, awaited, will_do).over

    def test_all(self):
        """When all that are waited for have answered it is over."""
        over = self.poll()
        for asked in self.asked:
            self.assertNoResult(over)
            asked.callback("yes")
        self.assertEqual(self.successResultOf(over), ["yes"] * 3)

    def test_awaited(self):
        over = self.poll((True, False, False))
        self.asked[1].callback("no")
        self.asked[0].callback("yes")
        self.assertEqual(self.successResultOf(over), ["yes", "no", None])
        self.asked[2].errback(ZeroDivisionError())

    def test_patience(self):
        over = self.poll()
        self.asked[0].callback("yes")
        self.clock.advance(PATIENCE_SECONDS / 2)
        self.asked[1].callback("yes")
        self.assertNoResult(over)
        self.clock.advance(PATIENCE_SECONDS / 2)
        self.assertEqual(self.successResultOf(over), ["yes", "yes", None])
        self.asked[2].callback("too late")

    def test_will_not_do(self):
        """All are waited for while what is there will not do."""
        over = self.poll((True, False, False))
        self.asked[0].callback("no")
        self.clock.advance(PATIENCE_SECONDS)
        self.asked[1].errback(MatchmakerUnavailable("away"))
        self.assertNoResult(over)
        self.asked[2].callback("no")
        first, failure, last = self.successResultOf(over)
        self.assertEqual((first, str(failure.value), last), ("no", "away", "no"))

    def test_answered_at_once(self):
        asked = [succeed("yes"), succeed("yes")]
        over = Poll(self.clock, asked, [False, True], lambda answers: "yes" in answers).over
        self.assertEqual(self.successResultOf(over)[0], "yes")

    def test_cancelled(self):
        over = self.poll()
        self.asked[0].callback("yes")
        over.cancel()
        self.failureResultOf(over, CancelledError)
        self.assertTrue(all(asked.called for asked in self.asked))


class GatheringTests(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        self.asked: list[tuple[list[int], Deferred[Any]]] = []
        self.gathering: Any = Gathering(self.clock, self.ask, 3)

    def ask(self, asked):
        self.asked.append((list(asked), Deferred()))
        return self.asked[-1][1]

    def test_one_turn(self):
        """What is asked in one turn goes together, as far as it may, in order."""
        answers = [self.gathering.ask(number) for number in range(7)]
        self.assertEqual(self.asked, [])
        self.clock.advance(0)
        self.assertEqual([asked for asked, _ in self.asked], [[0, 1, 2], [3, 4, 5], [6]])
        for asked, deferred in self.asked:
            deferred.callback([-number for number in asked])
        self.assertEqual([self.successResultOf(answer) for answer in answers], [0, -1, -2, -3, -4, -5, -6])

    def test_own_errors(self):
        """An error in place of an answer is that of one."""
        answers = [self.gathering.ask(number) for number in range(3)]
        self.clock.advance(0)
        self.asked[0][1].callback([1, MatchmakerUnavailable("mine"), 3])
        self.assertEqual(self.successResultOf(answers[0]), 1)
        self.assertEqual(str(self.failureResultOf(answers[1], MatchmakerUnavailable).value), "mine")
        self.assertEqual(self.successResultOf(answers[2]), 3)

    def test_common_errors(self):
        """Each has its own copy, as an error that is raised again grows."""
        answers = [self.gathering.ask(number) for number in range(2)]
        self.clock.advance(0)
        self.asked[0][1].errback(MatchmakerUnavailable("away"))
        errors = [self.failureResultOf(answer, MatchmakerUnavailable).value for answer in answers]
        self.assertEqual([str(error) for error in errors], ["away", "away"])
        self.assertIsNot(errors[0], errors[1])

    def test_pace(self):
        """While something is under way more is gathered."""
        self.gathering.ask(0)
        self.clock.advance(0)
        self.gathering.ask(1)
        self.clock.advance(GATHER_SECONDS / 2)
        self.gathering.ask(2)
        self.assertEqual(len(self.asked), 1)
        self.clock.advance(GATHER_SECONDS / 2)
        self.assertEqual([asked for asked, _ in self.asked], [[0], [1, 2]])
        for asked, deferred in self.asked:
            deferred.callback(asked)
        self.gathering.ask(3)
        self.clock.advance(0)
        self.assertEqual(len(self.asked), 3)

    def test_cancelled(self):
        """What was cancelled is not asked; when it was asked already its answer is for nobody."""
        answers = [self.gathering.ask(number) for number in range(3)]
        answers[1].cancel()
        self.failureResultOf(answers[1], CancelledError)
        self.clock.advance(0)
        answers[2].cancel()
        self.failureResultOf(answers[2], CancelledError)
        self.assertEqual(self.asked[0][0], [0, 2])
        self.asked[0][1].callback([5, 6])
        self.assertEqual(self.successResultOf(answers[0]), 5)
        self.gathering.ask(4).addErrback(lambda _: None).cancel()
        self.clock.advance(1)
        self.assertEqual(len(self.asked), 1)

    def test_close(self):
        """What waits is asked at once, so that it ends with the rest."""
        self.gathering.close()
        answer = self.gathering.ask(0)
        self.gathering.close()
        self.asked[0][1].errback(Failure(MatchmakerUnavailable("closed")))
        self.failureResultOf(answer, MatchmakerUnavailable)
        self.assertEqual(self.clock.getDelayedCalls(), [])
