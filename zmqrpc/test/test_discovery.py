"""What the links show, and what becomes of the records and the matchmaker then."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.core.envelope import Served
from zmqrpc.core.evidence import Evidence
from zmqrpc.core.quarantine import Quarantine
from zmqrpc.core.routing import RoutingTable
from zmqrpc.discovery import ONCE_MORE_SECONDS, POLL_SECONDS, RETRY_SECONDS, Discovery
from zmqrpc.errors import MatchmakerUnavailable
from zmqrpc.hints import Hints
from zmqrpc.matchmaker._shared_doubts import doubt_of
from zmqrpc.notices import Notices
from zmqrpc.record import Record, Role, Sighting
from zmqrpc.target import Target
from zmqrpc.test.logs import LogLines
from zmqrpc.testing import Store

NONE, UNSURE, UNASKED, ALIVE = Evidence
SERVES = frozenset([Served("x", "one", "m"), Served("x", "two", "m")])


def make_record(topic: str, instance: str = "a" * 32) -> Record:
    return Record(Role.SERVER, "x", topic, "m", instance, ("tcp://10.0.0.1:1",))


class Links:
    """Takes what a connection strategy is told."""

    def __init__(self) -> None:
        self.opened: list[str] = []
        self.held: set[str] = set()

    def appeared(self, key, record):
        self.opened.append(key)

    def gone(self, key):
        self.opened.remove(key)

    def hold(self, key, held):
        (self.held.add if held else self.held.discard)(key)


class DiscoveryTests(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        self.store = Store(self.clock)
        self.matchmaker: Any = self.store.matchmaker()
        self.links = Links()
        self.table = RoutingTable()
        self.looked: list[str] = []
        self.answered: list[Any] = []
        self.notices = Notices(self.clock.seconds)
        self.hints = hints = Hints(
            self.matchmaker,
            self.table,
            Quarantine(1, 60, lambda: 1.0),
            self.looked.append,
            self.notices,
            self.clock.seconds,
            lambda when: None,
        )
        self.discovery = Discovery(
            self.matchmaker,
            hints,
            self.table,
            self.links,  # type: ignore[arg-type]
            self.links.hold,
            lambda topic, error: self.answered.append(error),
            lambda topic: False,
            self.clock.seconds,
            lambda: 1.0,
            lambda when: None,
            self.notices.record,
        )
        self.addCleanup(self.discovery.close)

    def learn(self, *records):
        """Have the store hold these records, and look them up."""
        self.store.forget()
        for record in records:
            self.matchmaker.register(record, 3600)
        for name in ("one", "two"):
            self.discovery.resolve(self.table.topic("x", name))
        self.clock.advance(1)

    def show(self, evidence, instance="a" * 32):
        self.discovery.witnessed(instance, evidence, SERVES)

    def test_a_doubt_is_told_of_every_record_behind_the_link(self):
        one, two, other = make_record("one"), make_record("two"), make_record("one", "b" * 32)
        self.learn(one, two, other)
        self.discovery.doubted("a" * 32, "refused")
        self.assertEqual(self.store.hints, [(one, "refused"), (two, "refused")])

    def test_who_answers_after_a_doubt_is_acknowledged_once(self):
        record = make_record("one")
        self.learn(record)
        self.discovery.doubted("a" * 32, "refused")
        for evidence in (NONE, UNSURE, ALIVE, UNSURE, ALIVE):
            self.show(evidence)
        self.assertEqual(self.store.hints, [(record, "refused"), (record, None)])
        self.discovery.doubted("a" * 32, "refused again")
        self.show(ALIVE)
        self.assertEqual(self.store.hints[2:], [(record, "refused again"), (record, None)])

    def others_doubt(self, record, reason="others say so"):
        """Have the store show a doubt that somebody else has said."""
        self.store.matchmaker().register(doubt_of(record, reason), 30)
        self.clock.advance(0.1)
        self.hints.sweep(self.clock.seconds())

    def test_what_others_doubt_is_looked_at(self):
        """Once, and nothing else becomes of it."""
        one, two = make_record("one"), make_record("one", "b" * 32)
        self.learn(one, two)
        self.others_doubt(one)
        self.assertEqual((self.looked, self.store.hints), (["a" * 32], []))
        self.others_doubt(one, "for another reason")
        self.others_doubt(two)
        self.assertEqual(self.looked, ["a" * 32, "b" * 32])
        self.assertEqual(len(self.table.topic("x", "one").servers()), 2)

    def test_who_learns_late_looks_too(self):
        """Also what is doubted already when the topic is looked up first."""
        record = make_record("one")
        self.matchmaker.register(doubt_of(record, "refused"), 30)
        self.matchmaker.register(record, 300)
        self.discovery.resolve(self.table.topic("x", "one"))
        self.clock.advance(0.1)
        self.hints.sweep(self.clock.seconds())
        self.assertEqual(self.looked, ["a" * 32])

    def test_nobody_looks_at_what_he_doubts_himself(self):
        self.learn(make_record("one"))
        self.discovery.doubted("a" * 32, "refused")
        self.clock.advance(1)
        self.hints.sweep(self.clock.seconds())
        self.assertEqual((len(self.store.doubts()), self.looked), (1, []))
        self.hints.neg_acknowledge([make_record("one", "b" * 32)], "slow")
        self.others_doubt(make_record("one", "b" * 32))
        self.assertEqual(self.looked, [])

    def test_nobody_looks_at_strangers(self):
        """A doubt of whom no record leads to, or without an instance, is none."""
        self.learn(make_record("one"))
        self.others_doubt(make_record("one", "c" * 32))
        self.others_doubt(make_record("one", ""))
        self.assertEqual((self.looked, self.hints.wake_at), ([], float("inf")))

    def test_a_topic_with_nothing_but_doubts_is_empty(self):
        self.others_doubt(make_record("one"))
        topic = self.table.topic("x", "one")
        self.discovery.resolve(topic)
        self.clock.advance(0.1)
        self.assertTrue(topic.empty)
        self.assertEqual((topic.answer, self.links.opened), ((), []))

    def test_a_hint_that_is_lost_is_counted(self):
        self.learn(make_record("one"))
        self.store.go_down()
        self.discovery.doubted("a" * 32, "refused")
        self.clock.advance(1)
        self.assertEqual(self.notices.counts, {"doubt_lost": 1})

    def test_each_doubt_is_told_and_one_answer_ends_all(self):
        record = make_record("one")
        self.learn(record)
        for reason in ("refused", "another instance"):
            self.discovery.doubted("a" * 32, reason)
        self.show(ALIVE)
        self.assertEqual(self.store.hints, [(record, "refused"), (record, "another instance"), (record, None)])

    def test_nobody_is_acknowledged_without_a_doubt(self):
        self.learn(make_record("one"), make_record("one", "b" * 32))
        self.discovery.doubted("b" * 32, "refused")
        self.store.hints.clear()
        self.show(ALIVE)
        self.assertEqual(self.store.hints, [])

    def test_a_doubt_ends_with_the_record(self):
        record = make_record("one")
        self.learn(record)
        self.discovery.doubted("a" * 32, "refused")
        self.learn()
        self.show(ALIVE)
        self.learn(record)
        self.show(ALIVE)
        self.assertEqual(self.store.hints, [(record, "refused")])

    def test_what_a_hint_raises_is_logged(self):
        def raises(*arguments):
            raise ZeroDivisionError("a hook of the test")

        self.learn(make_record("one"))
        for hook in (raises, lambda *arguments: fail(ZeroDivisionError("later"))):
            self.matchmaker.acknowledge = self.matchmaker.neg_acknowledge = hook
            self.discovery.doubted("a" * 32, "refused")
            self.show(ALIVE)
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)

    def test_nothing_is_told_after_the_close(self):
        self.learn(make_record("one"))
        self.discovery.doubted("a" * 32, "refused")
        self.discovery.close()
        self.discovery.doubted("a" * 32, "refused")
        self.show(ALIVE)
        self.assertEqual(len(self.store.hints), 1)

    def test_the_link_of_a_record_that_is_kept_no_more_is_given_up(self):
        self.learn(make_record("one"), make_record("one", "b" * 32))
        self.show(ALIVE)
        self.learn(make_record("one", "b" * 32))
        self.assertEqual(self.links.opened, ["a" * 32, "b" * 32])
        self.show(UNSURE)
        self.assertEqual(self.links.opened, ["a" * 32, "b" * 32])
        self.show(NONE)
        self.assertEqual(self.links.opened, ["b" * 32])

    def test_a_link_that_alone_shows_that_its_instance_lives_is_held_until_the_record_is_back(self):
        for evidence in (ALIVE, UNASKED):
            self.learn(make_record("one"))
            self.show(evidence)
            self.assertEqual(self.links.held, set())
            self.learn()
            self.assertEqual((self.links.opened, self.links.held), (["a" * 32], {"a" * 32}))
            self.learn(make_record("one"))
            self.assertEqual((self.links.opened, self.links.held), (["a" * 32], set()))
        self.learn()
        self.show(NONE)
        self.assertEqual((self.links.opened, self.links.held), ([], set()))

    def test_what_is_asked_after_a_failure_is_asked_once(self):
        """Also when it is the second question that failed, after an empty answer that is not believed."""
        topic = self.table.topic("x", "one")
        self.learn(make_record("one"))
        answers: list[Any] = [succeed([]), fail(MatchmakerUnavailable("down")), Deferred()]
        left = iter(answers)
        self.matchmaker.lookup = lambda exchange, name: next(left)
        self.discovery.resolve(topic)
        self.assertTrue(topic.resolving)
        for seconds in (ONCE_MORE_SECONDS, RETRY_SECONDS):
            self.clock.advance(seconds)
            self.discovery.sweep(self.clock.seconds())
        self.discovery.resolve(topic)
        self.assertEqual((topic.resolving, list(left)), (True, []))

    def test_not_known_after_it_was_emptied(self):
        """Where somebody listened a moment ago, one answer that it is not known who does is not the last word."""
        topic = self.table.topic("x", "one")
        lookup = self.matchmaker.lookup
        for again, usable in (
            (succeed([Sighting(make_record("one"))]), True),
            (fail(MatchmakerUnavailable("b")), False),
        ):
            self.matchmaker.lookup = lookup
            self.learn(make_record("one"))
            self.store.forget()
            self.clock.advance(0.1)
            self.assertFalse(topic.usable)
            left = iter([fail(MatchmakerUnavailable("a")), again])
            self.matchmaker.lookup = lambda exchange, name, left=left: next(left)
            self.answered.clear()
            self.discovery.resolve(topic)
            self.assertEqual((topic.resolving, self.answered), (True, []))
            self.clock.advance(ONCE_MORE_SECONDS)
            self.discovery.sweep(self.clock.seconds())
            self.assertEqual((topic.resolving, topic.usable, len(self.answered)), (False, usable, 1))
            self.assertEqual(self.answered[0] is None, usable)

    def test_a_record_that_no_link_can_lead_to(self):
        """It is left out, whatever matchmaker gives it, and told once; the others are used."""
        lines = LogLines(self, "zmqrpc.discovery")
        good = make_record("one")
        for _ in range(3):
            self.learn(good, *(make_record("one", instance) for instance in ("zz", "0" * 31, "A" * 32)))
        topic = self.table.topic("x", "one")
        self.assertEqual((self.links.opened, topic.servers()), ([good.instance], [good]))
        self.assertEqual(len(lines.about("3 records of one whose instance is none")), 1, lines)

    def test_what_cannot_be_taken(self):
        """A fault of ours while an answer is taken is answered to those who wait, and over with the next answer."""
        answered: list[tuple[str, Any]] = []
        self.discovery._answered = lambda topic, error: answered.append((topic.name, error))
        opened = self.links.opened.append
        self.links.appeared = lambda key, record: opened(key) or 1 / 0  # type: ignore[method-assign]
        self.learn(make_record("one"))
        topic = self.table.topic("x", "one")
        self.assertFalse(topic.resolving)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        (error,) = [error for name, error in answered if name == "one" and error is not None]
        self.assertIsInstance(error, MatchmakerUnavailable)
        self.assertIn("could not be taken: ZeroDivisionError", str(error))
        del self.links.appeared
        answered.clear()
        self.learn(make_record("one", "b" * 32))
        self.assertIn(("one", None), answered)
        self.assertEqual(self.links.opened, ["b" * 32])

    def test_a_matchmaker_that_raises(self):
        """One that raises where it should fail is a lookup that has failed."""
        answered: list[Any] = []
        self.discovery._answered = lambda topic, error: answered.append(error)
        self.matchmaker.lookup = lambda exchange, name: 1 / 0
        topic = self.table.topic("x", "one")
        self.discovery.resolve(topic)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertFalse(topic.resolving)
        self.assertIn("ZeroDivisionError", str(answered[0]))

    def hold(self, *names):
        """Have these topics be in use for as long as the test takes."""
        for name in names:
            self.table.route(Target(name), "x").holders += 1

    def look(self, seconds):
        """Let time pass, and list what is looked up in it, with the second."""
        asked: list[tuple[str, float]] = []
        lookup = self.matchmaker.lookup

        def ask(exchange, name):
            asked.append((name, self.clock.seconds()))
            return lookup(exchange, name)

        self.matchmaker.lookup = ask
        for _ in range(seconds):
            self.clock.advance(1)
            if self.discovery.wake_at <= self.clock.seconds():
                self.discovery.sweep(self.clock.seconds())
        self.matchmaker.lookup = lookup
        return asked

    def test_each_topic_is_looked_up_again_at_its_own_time(self):
        """A lookup for its use puts that off, of this topic alone."""
        self.hold("one", "two")
        self.learn(make_record("one"), make_record("two"))
        self.assertEqual(self.look(20), [])
        self.discovery.resolve(self.table.topic("x", "one"))
        again = self.look(int(POLL_SECONDS) + 10)
        self.assertEqual([name for name, _ in again], ["two", "one"])
        self.assertEqual(again[1][1] - again[0][1], 21)
        self.assertEqual([name for name, _ in self.look(int(POLL_SECONDS))], ["two", "one"])

    def test_times_that_were_put_off_do_not_gather(self):
        """Whoever uses many topics often pays for them once; a topic that is given up is not looked up again."""
        self.hold("0")
        topics = [self.table.topic("x", str(number)) for number in range(500)]
        for _ in range(20):
            for topic in topics:
                self.discovery.resolve(topic)
            self.clock.advance(1)
        self.assertLessEqual(len(self.discovery._due), 2 * len(topics) + 100)
        for topic in topics[1:]:
            self.discovery._give_up(topic)
        self.assertEqual([name for name, _ in self.look(int(POLL_SECONDS) + 5)], ["0"])
