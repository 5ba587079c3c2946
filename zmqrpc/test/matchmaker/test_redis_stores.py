"""Several stores as one, on a clock and with stores that do as the test says."""

from math import inf
from random import Random
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.errors import ConfigError, MatchmakerUnavailable
from zmqrpc.matchmaker._redis.stores import UNITE_SECONDS, RedisStores
from zmqrpc.matchmaker._redis.union import PATIENCE_SECONDS, TRUST_SECONDS
from zmqrpc.record import Role, Sighting
from zmqrpc.test.logs import LogLines
from zmqrpc.testing.matchmaker import make_record

TOPIC = ("openstack", "compute")
RECORD = make_record()


class Store:
    """A store that keeps what is asked until the test answers, and shows what the test says."""

    def __init__(self, clock, number, show, turned):
        self.name = f"the store {number}"
        self.up = self.hears = True
        self.begun = self.emptied = self.left = -inf
        self.asked: list[tuple[str, Any, Deferred[Any]]] = []
        self.followed: list[tuple[str, str]] = []
        self.closed = False
        self._clock = clock
        self._show = show
        self._turned = turned

    def ask(self, what, about):
        deferred: Deferred[Any] = Deferred()
        self.asked.append((what, about, deferred))
        return deferred

    def register(self, record, expire):
        return self.ask("register", (record, expire))

    def withdraw(self, record):
        return self.ask("withdraw", record)

    def lookup(self, topic):
        return self.ask("lookup", topic)

    def records(self):
        return self.ask("records", None)

    def follow(self, topic):
        self.followed.append(topic)

    def leave(self, topic):
        self.followed.remove(topic)

    def close(self):
        self.closed = True
        return succeed(None)

    # What the test does

    def answer(self, value=None):
        """Answer the first question that is left; return what it was."""
        what, about, deferred = self.asked.pop(0)
        deferred.callback(value)
        return what, about

    def refuse(self):
        self.asked.pop(0)[2].errback(MatchmakerUnavailable(f"{self.name} is away"))

    def shows(self, *records):
        self._show(TOPIC, [Sighting(record, 1.0, self.name) for record in records])

    def goes(self):
        self.up, self.left, self.hears = False, self._clock.seconds(), False
        self._turned()

    def comes_back(self):
        self.up = self.hears = True
        self.begun = self._clock.seconds()
        self._turned()


class StoresCase(SynchronousTestCase):
    count = 3

    def setUp(self):
        self.clock = Clock()
        self.clock.advance(1000)
        self.all: list[Store] = []
        self.shown: list[list[Any]] = []

        def make(number):
            def made(show, turned):
                self.all.append(Store(self.clock, number, show, turned))
                return self.all[-1]

            return made

        makers: Any = [make(number) for number in range(self.count)]
        self.stores = RedisStores(
            self.clock, makers, lambda topic, seen: self.shown.append([one.record for one in seen]), Random(1)
        )
        self.addCleanup(lambda: self.assertEqual(self.clock.getDelayedCalls(), []))
        self.addCleanup(self.stores.close)

    def fails(self, deferred, *texts):
        said = str(self.failureResultOf(deferred, MatchmakerUnavailable).value)
        for text in texts:
            self.assertIn(text, said)

    def registered(self, record=RECORD, expire=300.0):
        """Register a record, watched and shown by all."""
        self.stores.follow(TOPIC)
        done = self.stores.register(record, expire)
        for store in self.all:
            store.answer()
            store.shows(record)
        self.successResultOf(done)
        self.clock.advance(UNITE_SECONDS)
        self.assertEqual(self.shown.pop(), [record])

    def restored(self, store):
        """Let time pass for a restoration; return the records that a store got, and answer."""
        self.clock.pump([0.05] * 6)
        got = []
        while store.asked:
            what, (record, _) = store.answer()
            self.assertEqual(what, "register")
            got.append(record)
        return got


class AskedTests(StoresCase):
    def test_everywhere(self):
        """All are asked at once."""
        for ask in (
            lambda: self.stores.register(RECORD, 300),
            lambda: self.stores.withdraw(RECORD),
            lambda: self.stores.lookup(TOPIC),
            self.stores.records,
        ):
            deferred: Any = ask()
            self.assertEqual([len(store.asked) for store in self.all], [1, 1, 1])
            deferred.addErrback(lambda _: None)
            for store in self.all:
                store.refuse()

    def test_withdrawn_everywhere(self):
        """Who is withdrawn is so when all have done it, and otherwise those are named that have not."""
        done = self.stores.withdraw(RECORD)
        for store in self.all:
            self.clock.advance(PATIENCE_SECONDS)
            self.assertNoResult(done)
            store.answer()
        self.successResultOf(done)
        self.all[1].goes()
        done = self.stores.withdraw(RECORD)
        self.all[0].answer()
        self.all[2].answer()
        self.clock.advance(PATIENCE_SECONDS)
        self.assertNoResult(done)
        self.all[1].refuse()
        self.assertEqual(str(self.failureResultOf(done, MatchmakerUnavailable).value), "the store 1 is away")

    def test_refused_for_good(self):
        """One that refuses for good is named in the log once, and in the error where nobody has taken it."""
        lines = LogLines(self, "zmqrpc.matchmaker")
        for _ in range(2):
            done = self.stores.register(RECORD, 300)
            self.all[0].asked.pop(0)[2].errback(ConfigError("the store 0 does not allow it"))
            for store in self.all[1:]:
                store.answer()
            self.successResultOf(done)
        self.assertEqual(list(lines), ["a record was refused: the store 0 does not allow it"])
        done = self.stores.register(RECORD, 300)
        self.all[0].asked.pop(0)[2].errback(ConfigError("the store 0 does not allow it"))
        for store in self.all[1:]:
            store.refuse()
        self.assertEqual(
            str(self.failureResultOf(done, ConfigError).value),
            "the store 0 does not allow it; the store 1 is away; the store 2 is away",
        )

    def test_one_is_enough(self):
        doubt = make_record(role=Role.DOUBT)
        for ask in (lambda: self.stores.register(RECORD, 300), lambda: self.stores.withdraw(doubt)):
            done = ask()
            self.all[0].refuse()
            self.all[1].answer()
            self.assertNoResult(done)
            self.clock.advance(PATIENCE_SECONDS)
            self.successResultOf(done)
            self.all[2].refuse()

    def test_all_refuse(self):
        for ask in (lambda: self.stores.register(RECORD, 300), lambda: self.stores.lookup(TOPIC)):
            done: Any = ask()
            for store in self.all:
                self.assertNoResult(done)
                store.refuse()
            self.fails(done, "the store 0 is away; the store 1 is away; the store 2 is away")

    def test_defect(self):
        """What is no outage is passed on as it is."""
        done = self.stores.lookup(TOPIC)
        self.all[0].refuse()
        self.all[1].asked.pop()[2].errback(ZeroDivisionError())
        self.all[2].refuse()
        self.failureResultOf(done, ZeroDivisionError)

    def test_lookup(self):
        """Who is away is not waited for, unless the others cannot say that nobody is there."""
        self.all[2].goes()
        done = self.stores.lookup(TOPIC)
        self.all[0].answer([])
        self.all[1].answer([Sighting(RECORD)])
        self.assertEqual(self.successResultOf(done), [Sighting(RECORD)])
        done = self.stores.lookup(TOPIC)
        self.all[0].begun = self.all[1].begun = self.clock.seconds() - 1
        self.all[0].answer([])
        self.all[1].answer([])
        self.clock.advance(PATIENCE_SECONDS)
        self.assertNoResult(done)
        for _ in range(2):
            self.all[2].refuse()
        self.fails(done, "the store 0 and the store 1 came back less than 10 s ago", "beside that, the store 2 is away")
        self.clock.advance(TRUST_SECONDS)
        done = self.stores.lookup(TOPIC)
        self.all[0].answer([])
        self.all[1].answer([])
        self.assertEqual(self.successResultOf(done), [])

    def test_all_emptied(self):
        """When all have lost everything nobody is believed, but one that has been there for long is."""
        now = self.clock.seconds()
        for store in self.all[:2]:
            store.begun = store.emptied = now
        done = self.stores.lookup(TOPIC)
        for store in self.all:
            store.answer([])
        self.assertEqual(self.successResultOf(done), [])
        self.all[2].begun = now
        done = self.stores.lookup(TOPIC)
        for store in self.all:
            store.answer([])
        self.fails(done, "the store 0 and the store 1 came back empty less than 10 s ago")

    def test_trusted_while_waiting(self):
        """One whose time comes while another is waited for is believed."""
        for store in self.all:
            store.begun = self.clock.seconds() - TRUST_SECONDS + 0.1
        done = self.stores.lookup(TOPIC)
        self.all[0].answer([])
        self.all[1].answer([])
        self.clock.advance(0.2)
        self.all[2].refuse()
        self.assertEqual(self.successResultOf(done), [])

    def test_cancelled(self):
        done = self.stores.lookup(TOPIC)
        done.cancel()
        self.failureResultOf(done, CancelledError)
        self.assertTrue(all(deferred.called for store in self.all for _, _, deferred in store.asked))


class FollowedTests(StoresCase):
    def test_shown(self):
        """The first is shown when all have been read; then each change, several in one."""
        self.stores.follow(TOPIC)
        self.all[0].shows()
        self.all[1].shows(RECORD)
        self.clock.advance(UNITE_SECONDS)
        self.assertEqual(self.shown, [])
        self.all[2].shows()
        self.clock.advance(UNITE_SECONDS)
        self.assertEqual(self.shown, [[RECORD]])
        for store in self.all:
            store.shows(make_record(number=2))
        self.clock.advance(UNITE_SECONDS)
        self.assertEqual(self.shown[1:], [[make_record(number=2)]])

    def test_not_waited_for_long(self):
        self.stores.follow(TOPIC)
        self.all[0].shows(RECORD)
        self.clock.advance(PATIENCE_SECONDS - 0.01)
        self.assertEqual(self.shown, [])
        self.clock.advance(0.01)
        self.assertEqual(self.shown, [[RECORD]])

    def test_goes_and_comes(self):
        """What only one had is gone when that goes, and there again when it has been read again."""
        self.stores.follow(TOPIC)
        self.all[0].shows(RECORD)
        for store in self.all[1:]:
            store.shows(make_record(number=2))
        self.clock.advance(UNITE_SECONDS)
        self.all[0].goes()
        self.clock.advance(UNITE_SECONDS)
        self.all[0].comes_back()
        self.clock.advance(UNITE_SECONDS)
        self.all[0].shows(RECORD)
        self.clock.advance(UNITE_SECONDS)
        both, two = [RECORD, make_record(number=2)], [make_record(number=2)]
        self.assertEqual(self.shown, [both, two, two, both])

    def test_last_one_back_empty(self):
        """What is known is shown on until the one that is back has been there for a while."""
        self.stores.follow(TOPIC)
        for store in self.all:
            store.shows(RECORD)
        for store in self.all:
            store.goes()
        self.all[0].comes_back()
        self.all[0].shows()
        self.clock.pump([0.1] * int(TRUST_SECONDS * 10 - 1))
        self.assertEqual(self.shown[-1], [RECORD])
        self.clock.advance(0.2)
        self.assertEqual(self.shown[-1], [])

    def test_left(self):
        """A topic that is followed no longer is not shown."""
        self.stores.follow(TOPIC)
        self.all[0].shows(RECORD)
        self.stores.leave(TOPIC)
        self.all[1].shows(RECORD)
        self.clock.advance(1)
        self.assertEqual((self.shown, [store.followed for store in self.all]), ([], [[], [], []]))

    def test_close(self):
        self.stores.follow(TOPIC)
        self.all[0].shows(RECORD)
        self.successResultOf(self.stores.close())
        self.all[1].shows(RECORD)
        self.all[2].goes()
        self.assertEqual((self.clock.getDelayedCalls(), self.shown), ([], []))
        self.assertTrue(all(store.closed for store in self.all))


class RestoredTests(StoresCase):
    def test_lost(self):
        """Who lacks it gets it, with the time that it has left, and nobody else."""
        self.registered(expire=300.0)
        self.clock.advance(100)
        self.all[1].shows()
        self.clock.advance(0.1)
        self.assertEqual(self.all[1].asked, [])
        self.clock.pump([0.05] * 5)
        ((what, (record, expire), _),) = self.all[1].asked
        self.assertEqual((what, record), ("register", RECORD))
        self.assertTrue(199 < expire < 200, expire)
        self.all[1].answer()
        self.all[1].shows(RECORD)
        self.clock.advance(1)
        self.assertEqual([store.asked for store in self.all], [[], [], []])

    def test_withdrawn(self):
        """What was withdrawn does not come back, also when that was just about to happen."""
        self.registered()
        self.all[1].shows()
        self.clock.advance(0.1)
        self.stores.withdraw(RECORD)
        for store in self.all:
            store.answer()
        self.assertEqual(self.restored(self.all[1]), [])

    def test_expired(self):
        """Who is not refreshed any more is not kept there by us."""
        self.registered(expire=10.0)
        self.clock.advance(11)
        self.all[1].shows()
        self.assertEqual(self.restored(self.all[1]), [])

    def test_under_way(self):
        """What is being stored is not stored once more before that has ended."""
        self.registered()
        for _ in range(20):
            self.all[1].shows()
            self.clock.advance(0.05)
        ((what, (record, _), _),) = self.all[1].asked
        self.assertEqual((what, record), ("register", RECORD))

    def test_back_by_itself(self):
        """What is there again when its time comes is not stored, and the next loss is as the first."""
        self.registered()
        for _ in range(3):
            self.all[1].shows()
            self.clock.advance(0.05)
            self.all[1].shows(RECORD)
            self.assertEqual(self.restored(self.all[1]), [])
        self.all[1].shows()
        self.assertEqual(self.restored(self.all[1]), [RECORD])

    def test_all_have_lost_it(self):
        """This is seen by who watches, and so is no matter of ours."""
        self.registered()
        for store in self.all:
            store.shows()
        self.clock.advance(0.02)
        self.assertEqual(self.shown, [[]])
        self.assertEqual([self.restored(store) for store in self.all], [[], [], []])

    def test_away(self):
        """Nothing is given to who is away; when it is back it gets what it lacks, in a moment."""
        self.registered()
        self.all[1].goes()
        self.clock.advance(60)
        self.assertEqual(self.all[1].asked, [])
        self.all[1].comes_back()
        self.all[1].shows()
        self.assertEqual(self.restored(self.all[1]), [RECORD])

    def test_refused(self):
        """One that takes nothing is asked again and again, with longer waits."""
        self.stores.follow(TOPIC)
        done = self.stores.register(RECORD, 0)
        self.all[1].shows()
        self.all[1].refuse()
        for store in (self.all[0], self.all[2]):
            store.answer()
            store.shows(RECORD)
        self.successResultOf(done)
        times = []
        begin = self.clock.seconds()
        while self.clock.seconds() < begin + 60:
            self.clock.advance(0.01)
            if self.all[1].asked:
                times.append(self.clock.seconds())
                self.all[1].refuse()
        self.assertTrue(8 < len(times) < 15, times)
        self.assertLess(times[0] - begin, 0.3)
        self.assertGreater(times[-1] - times[-2], 4.9)


class OneStoreTests(StoresCase):
    """With one store everything is as that says."""

    count = 1

    def test_lookup(self):
        self.all[0].begun = self.clock.seconds()
        done = self.stores.lookup(TOPIC)
        self.all[0].answer([])
        self.assertEqual(self.successResultOf(done), [])
        done = self.stores.lookup(TOPIC)
        self.all[0].refuse()
        self.fails(done, "the store 0 is away")

    def test_emptied(self):
        """One that others have known, and that is new, is not believed that nobody is there, until it has been told."""
        store = self.all[0]
        store.begun = store.emptied = self.clock.seconds()
        done = self.stores.lookup(TOPIC)
        store.answer([])
        self.fails(done, "the store 0 came back empty less than 10 s ago and may not know yet who is there")
        done = self.stores.records()
        store.answer([])
        self.fails(done, "the store 0 came back empty less than 10 s ago")
        done = self.stores.lookup(TOPIC)
        store.answer([Sighting(RECORD)])
        self.assertEqual(self.successResultOf(done), [Sighting(RECORD)])
        self.clock.advance(TRUST_SECONDS)
        done = self.stores.lookup(TOPIC)
        store.answer([])
        self.assertEqual(self.successResultOf(done), [])

    def test_emptied_and_followed(self):
        """What is empty at first is shown when it can be believed, or somebody is there; a loss is shown at once."""
        store = self.all[0]
        store.begun = store.emptied = self.clock.seconds()
        self.stores.follow(TOPIC)
        store.shows()
        self.clock.pump([0.1] * 99)
        self.assertEqual(self.shown, [])
        self.clock.advance(0.2)
        self.assertEqual(self.shown, [[]])
        store.begun = store.emptied = self.clock.seconds()
        store.shows(RECORD)
        store.shows()
        self.assertEqual(self.shown, [[], [RECORD], []])
        self.clock.advance(60)
        self.assertEqual(self.shown, [[], [RECORD], []])

    def test_emptied_and_filled(self):
        store = self.all[0]
        store.begun = store.emptied = self.clock.seconds()
        self.stores.follow(TOPIC)
        store.shows()
        store.shows(RECORD)
        self.clock.advance(60)
        self.assertEqual(self.shown, [[RECORD]])

    def test_emptied_before_it_was_shown(self):
        """Who has registered there sees at once that it is lost."""
        store = self.all[0]
        self.stores.register(RECORD, 300)
        store.answer()
        store.begun = store.emptied = self.clock.seconds()
        self.stores.follow(TOPIC)
        store.shows()
        self.assertEqual(self.shown, [[]])

    def test_deaf(self):
        """One of which changes cannot be heard is shown all the same."""
        self.all[0].goes()
        self.stores.follow(TOPIC)
        self.all[0].shows()
        self.assertEqual(self.shown, [[]])

    def test_shown(self):
        """At once, and what is lacking is left to who watches."""
        self.stores.follow(TOPIC)
        self.stores.register(RECORD, 300)
        self.all[0].answer()
        for records in ([RECORD], []):
            self.all[0].shows(*records)
        self.all[0].goes()
        self.all[0].comes_back()
        self.all[0].shows()
        self.clock.advance(60)
        self.assertEqual((self.shown, self.all[0].asked), ([[RECORD], [], []], []))
