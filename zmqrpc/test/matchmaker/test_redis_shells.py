"""Asking, hearing and following, on a clock and with connections that do as the test says."""

import itertools
from random import Random
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IReactorPluggableNameResolver
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import directlyProvides, providedBy

from zmqrpc.core.spread import UNKNOWN_PAUSE, Crowd, spread
from zmqrpc.errors import MatchmakerUnavailable
from zmqrpc.matchmaker._entry import write_body
from zmqrpc.matchmaker._redis.answers import NEW_SECONDS, Entry, Look
from zmqrpc.matchmaker._redis.asker import RedisAsker
from zmqrpc.matchmaker._redis.channels import PING_SECONDS, STEADY_SECONDS, RedisChannels
from zmqrpc.matchmaker._redis.connection import connect
from zmqrpc.matchmaker._redis.errors import NO_ANSWER, RedisRefusal
from zmqrpc.matchmaker._redis.follower import (
    AGAIN_SECONDS,
    FIRST_SECONDS,
    MANY,
    MOST_LOOKS,
    POLL_SECONDS,
    QUIET_TURNS,
    RETRY_SECONDS,
    STRAY_SECONDS,
    RedisFollower,
)
from zmqrpc.matchmaker._redis.inquiry import INQUIRY_SECONDS, NEW_EACH
from zmqrpc.matchmaker._redis.names import new_channel, record_field, topic_channel
from zmqrpc.matchmaker._redis.place import RedisPlace
from zmqrpc.matchmaker._redis.scripts import RedisScripts
from zmqrpc.matchmaker._redis.store import RedisStore
from zmqrpc.matchmaker._showing import SHOW_EACH, SHOW_SECONDS
from zmqrpc.record import Sighting
from zmqrpc.testing.matchmaker import make_record

TOPIC = ("openstack", "compute")
CHANNEL = topic_channel(0, TOPIC)


class Connection:
    """A connection that keeps what is asked until the test answers."""

    def __init__(self):
        self.ended: Deferred[None] = Deferred()
        self.up = True
        self.reason = "closed the connection"
        self.asked: list[tuple[tuple[object, ...], Deferred[Any]]] = []

    def ask(self, *words):
        if not self.up:
            return fail(ConnectionLost())
        answer: Deferred[Any] = Deferred()
        self.asked.append((words, answer))
        return answer

    def answer(self, value):
        """Answer the first question that is left; return it. What is subscribed is confirmed by "yes"."""
        words, answer = self.asked.pop(0)
        answer.callback(
            [b"subscribe", str(words[1]).encode(), 1] if (words[0], value) == ("SUBSCRIBE", "yes") else value
        )
        return words

    def abort(self):
        over: Deferred[None] = Deferred()
        self.ended.addCallback(over.callback)
        if self.up:
            self.up = False
            asked, self.asked = self.asked, []
            for _, answer in asked:
                answer.errback(ConnectionLost())
            self.ended.callback(None)
        return over


class Server:
    """Makes connections when the test lets it: `connecting` has those that are under way."""

    def __init__(self):
        self.connecting: list[Deferred[Any]] = []
        self.connections: list[Connection] = []

    def __call__(self, *_):
        self.connecting.append(Deferred())
        return self.connecting[-1]

    def accept(self):
        self.connections.append(Connection())
        self.connecting.pop(0).callback(self.connections[-1])
        return self.connections[-1]

    def refuse(self, text="refused"):
        self.connecting.pop(0).errback(MatchmakerUnavailable(text))


class AskerTests(SynchronousTestCase):
    def setUp(self):
        self.clock, self.server = Clock(), Server()
        self.asker: Any = RedisAsker(self.clock, self.server, "the server", Random(1), 2.0, bound=10)

    def assertFails(self, asked, text):
        self.assertIn(text, str(self.failureResultOf(asked, MatchmakerUnavailable).value))

    def assertIdle(self):
        self.assertEqual((self.clock.getDelayedCalls(), self.asker._count), ([], 0))

    def test_in_order(self):
        """Questions wait for the one connection and go over it in order, without waiting for each other's answers."""
        asked = [self.asker.ask(("GET", number)) for number in range(3)]
        self.assertEqual(len(self.server.connecting), 1)
        connection = self.server.accept()
        self.assertEqual([words for words, _ in connection.asked], [("GET", number) for number in range(3)])
        asked.append(self.asker.ask(("GET", 3)))
        for number in range(4):
            connection.answer(number)
        self.assertEqual([self.successResultOf(answer) for answer in asked], [0, 1, 2, 3])
        self.assertIdle()

    def test_refused(self):
        """Everything that waits fails with the reason, and so does what comes just after; then it is tried anew."""
        asked = [self.asker.ask(("GET", number)) for number in range(3)]
        self.server.refuse("no way")
        for answer in [*asked, self.asker.ask(("GET", 4))]:
            self.assertFails(answer, "no way")
        self.assertEqual(self.server.connecting, [])
        self.clock.advance(0.11)
        answer = self.asker.ask(("GET", 5))
        self.server.accept().answer("yes")
        self.assertEqual(self.successResultOf(answer), "yes")
        self.assertIdle()

    def test_no_connection_in_time(self):
        answer = self.asker.ask(("GET", 1))
        self.clock.advance(2)
        self.assertFails(answer, "did not answer within 2 s")
        connection = self.server.accept()
        self.assertEqual(connection.asked, [], "nobody waits for it any more")
        self.assertIdle()

    def test_no_answer_of_whom(self):
        """Where the name does not say which server it is, the error does, as far as that is known."""
        address = ""
        self.asker = RedisAsker(self.clock, self.server, "the master g", Random(1), 2.0, address=lambda: address)
        first = self.asker.ask(("GET", 1))
        self.clock.advance(2)
        self.assertFails(first, "the master g did not answer within 2 s")
        address = "10.0.0.1:6379"
        second = self.asker.ask(("GET", 1))
        self.clock.advance(2)
        self.assertFails(second, "the master g (10.0.0.1:6379) did not answer within 2 s")
        self.server.accept()
        self.assertIdle()

    def test_no_answer_in_time(self):
        """The connection is given up; what else was asked on it is asked on a new one, for as long as it may wait."""
        first = self.asker.ask(("GET", 1))
        connection = self.server.accept()
        self.clock.advance(1)
        second = self.asker.ask(("GET", 2))
        self.clock.advance(1)
        self.assertFails(first, "did not answer within 2 s")
        self.assertFalse(connection.up)
        self.assertEqual(self.server.accept().answer("late but there"), ("GET", 2))
        self.assertEqual(self.successResultOf(second), "late but there")
        self.assertIdle()

    def test_kept_from_running(self):
        """An answer that is there counts, though the time is up."""
        answer = self.asker.ask(("GET", 1))
        connection = self.server.accept()
        # As a reactor does it: the timers, then what has arrived, then the timers that were set meanwhile.
        self.clock.rightNow += 5
        (call,) = self.clock.calls
        self.clock.calls.remove(call)
        call.called = 1
        call.func(*call.args)
        connection.answer("here")
        self.assertEqual(self.successResultOf(answer), "here")
        self.assertTrue(connection.up)
        self.assertIdle()

    def test_asked_again_and_no_answer(self):
        """A question that had little time on a new connection does not end that."""
        self.asker.ask(("GET", 1)).addErrback(lambda _: None)
        self.server.accept()
        self.clock.advance(1.9)
        second = self.asker.ask(("GET", 2))
        self.clock.advance(0.1)
        connection = self.server.accept()
        third = self.asker.ask(("GET", 3))
        self.clock.advance(1.9)
        self.assertFails(second, "did not answer")
        self.assertTrue(connection.up)
        connection.answer("for nobody")
        connection.answer("for the third")
        self.assertEqual(self.successResultOf(third), "for the third")

    def test_lost_twice(self):
        """What was asked on two connections that were lost fails."""
        answer = self.asker.ask(("GET", 1))
        for _ in range(2):
            self.assertNoResult(answer)
            self.server.accept().abort()
        self.assertFails(answer, "closed the connection")
        self.assertIdle()

    def test_lost_while_idle(self):
        """A connection is made only when something is asked."""
        self.asker.ask(("GET", 1))
        connection = self.server.accept()
        connection.answer(1)
        connection.abort()
        self.assertEqual(self.server.connecting, [])
        self.asker.ask(("GET", 2))
        self.assertEqual(len(self.server.connecting), 1)

    def test_error(self):
        """An error that the server answers is that of the question, and the connection stays."""
        answer = self.asker.ask(("GET", 1))
        connection = self.server.accept()
        connection.answer(MatchmakerUnavailable("no memory"))
        self.assertEqual(str(self.successResultOf(answer)), "no memory")
        answer = self.asker.ask(("GET", 1))
        connection.asked.pop()[1].errback(MatchmakerUnavailable("no memory"))
        self.assertFails(answer, "no memory")
        self.assertTrue(connection.up)

    def test_bound(self):
        """No more than that many wait; those that were cancelled or have failed do not count."""
        asked = [self.asker.ask(("GET", number)) for number in range(10)]
        self.assertFails(self.asker.ask(("GET", 10)), "10 questions wait for the server already")
        for answer in asked[:5]:
            answer.cancel()
            self.failureResultOf(answer, CancelledError)
        asked += [self.asker.ask(("GET", number)) for number in range(11, 16)]
        self.assertFails(self.asker.ask(("GET", 16)), "10 questions wait")
        connection = self.server.accept()
        self.assertEqual([words[1] for words, _ in connection.asked], [5, 6, 7, 8, 9, 11, 12, 13, 14, 15])
        asked[5].cancel()
        self.failureResultOf(asked[5], CancelledError)
        connection.answer("for nobody")
        self.assertEqual([connection.answer(number)[1] for number in range(9)], [6, 7, 8, 9, 11, 12, 13, 14, 15])
        self.assertEqual([self.successResultOf(answer) for answer in asked[6:]], list(range(9)))
        self.assertIdle()

    def test_close(self):
        waiting = self.asker.ask(("GET", 1))
        self.successResultOf(self.asker.close())
        self.assertFails(waiting, "is closed; make a new Node")
        self.assertFails(self.asker.ask(("GET", 1)), "is closed; make a new Node")
        self.assertTrue(self.server.connecting[0].called, "it was cancelled")
        self.assertIdle()

    def test_close_connected(self):
        answer = self.asker.ask(("GET", 1))
        connection = self.server.accept()
        self.successResultOf(self.asker.close())
        self.assertFalse(connection.up)
        self.assertFails(answer, "closed")
        self.assertIdle()

    def test_reached_otherwise(self):
        """A server that refused a moment ago and was reached since is asked at once."""
        self.assertFails(self.refused(), "refused")
        self.asker.is_there()
        asked = self.asker.ask(("GET", 1))
        self.server.accept().answer("yes")
        self.assertEqual(self.successResultOf(asked), "yes")

    def refused(self):
        asked = self.asker.ask(("GET", 1))
        self.server.refuse()
        return asked


class ChannelsTests(SynchronousTestCase):
    def setUp(self):
        self.clock, self.server, self.crowd = Clock(), Server(), Crowd(Random(1).random)
        self.subscribed: list[str] = []
        self.states: list[str | None] = []
        self.channels: Any = RedisChannels(
            self.clock,
            self.server,
            lambda *_: None,
            self.subscribed.append,
            self.states.append,
            Random(1),
            2.0,
            self.crowd,
        )

    def test_subscribes(self):
        """All that is wanted, each by itself; what is answered is heard."""
        self.channels.add("a")
        self.channels.add("b")
        connection = self.server.accept()
        self.channels.add("c")
        self.assertEqual([words for words, _ in connection.asked], [("SUBSCRIBE", name) for name in "abc"])
        connection.answer("yes")
        connection.answer("yes")
        self.assertEqual((self.subscribed, self.states), (["a", "b"], []))
        connection.answer("yes")
        self.assertEqual((self.subscribed, self.states), (["a", "b", "c"], [None]))

    def test_twice(self):
        """What is wanted already is not asked for again."""
        for _ in range(2):
            self.channels.add("a")
        connection = self.server.accept()
        self.channels.add("a")
        connection.answer("yes")
        self.channels.add("a")
        self.assertEqual((connection.asked, self.subscribed), ([], ["a"]))

    def test_again(self):
        """A connection that is lost is made again, and again, with longer waits; everything is subscribed anew."""
        self.channels.add("a")
        self.server.accept().answer("yes")
        self.clock.advance(STEADY_SECONDS)
        self.server.connections[-1].abort()
        waits = []
        for _ in range(12):
            begin = self.clock.seconds()
            while not self.server.connecting:
                self.clock.advance(0.01)
            waits.append(self.clock.seconds() - begin)
            self.server.refuse()
        self.assertLess(waits[0], 0.12)
        self.assertLess(max(waits), UNKNOWN_PAUSE + 0.02)
        self.assertGreater(waits[-1], UNKNOWN_PAUSE - 0.02)
        self.clock.advance(UNKNOWN_PAUSE)
        self.server.accept().answer("yes")
        self.assertEqual(self.subscribed, ["a", "a"])
        self.assertEqual(self.states[-2:], ["refused", None])
        self.clock.advance(STEADY_SECONDS)
        self.server.connections[-1].abort()
        self.clock.advance(0.1)
        self.assertEqual(len(self.server.connecting), 1, "the waits are short again")

    def test_brief(self):
        """Who confirms all and hangs up, again and again, fails once, and is asked less and less often."""
        self.channels.add("a")
        for _ in range(1000):
            if self.server.connecting:
                self.server.accept().answer("yes")
                self.clock.advance(0.01)
                self.server.connections[-1].abort()
            self.clock.advance(0.01)
        self.assertEqual(self.states[:2], [None, "closed the connection"])
        self.assertEqual(self.states.count(None), 1, "works, and that it works again is not said")
        self.assertLess(len(self.server.connections), 20)
        self.clock.advance(UNKNOWN_PAUSE)
        self.server.accept().answer("yes")
        self.channels.add("b")
        self.server.connections[-1].answer("yes")
        self.assertEqual(self.states.count(None), 1)
        self.clock.advance(STEADY_SECONDS)
        self.assertEqual(self.states[-1], None)
        self.server.connections[-1].abort()
        self.clock.advance(0.1)
        self.server.accept().answer("yes")
        self.assertEqual(self.states.count(None), 2)
        self.server.connections[-1].answer("yes")
        self.assertEqual(self.states[-2:], ["closed the connection", None], "this one lasted: no need to wait")

    def test_no_confirmation(self):
        """What confirms nothing is no answer, whatever it is."""
        self.channels.add("a")
        for answer in ("OK", b"OK", 1, None, [], [b"subscribe"], [b"subscribe", b"b", 1], [b"message", b"a", b""]):
            connection = self.server.accept()
            connection.answer(answer)
            self.assertFalse(connection.up)
            self.assertEqual((self.subscribed, self.states[-1]), ([], NO_ANSWER))
            self.clock.advance(2 * UNKNOWN_PAUSE)
        self.assertNotIn(None, self.states)

    def test_refused_channel(self):
        """A channel that is refused is the reason of the outage, and tried again."""
        self.channels.add("a")
        self.channels.add("b")
        connection = self.server.accept()
        connection.answer("yes")
        connection.asked.pop(0)[1].errback(MatchmakerUnavailable("not allowed"))
        self.assertFalse(connection.up)
        self.assertEqual(self.states, ["not allowed"])
        self.clock.advance(0.1)
        self.assertEqual(len(self.server.connecting), 1)

    def test_silence(self):
        """The other side has to say now and then that it is there."""
        self.channels.add("a")
        connection = self.server.accept()
        connection.answer("yes")
        for _ in range(3):
            self.clock.advance(PING_SECONDS)
            self.assertEqual(connection.answer("PONG"), ("PING",))
        self.clock.advance(PING_SECONDS)
        self.clock.advance(2)
        self.assertFalse(connection.up)
        self.assertEqual(self.states, [None, "no answer to PING within 2 s"])

    def test_removed(self):
        """What is not wanted any more is given up; what is wanted again is subscribed again."""
        self.channels.add("a")
        self.channels.remove("b")
        connection = self.server.accept()
        self.channels.remove("a")
        self.assertEqual([words for words, _ in connection.asked], [("SUBSCRIBE", "a"), ("UNSUBSCRIBE", "a")])
        connection.answer("yes")
        self.assertEqual(self.subscribed, [])
        self.channels.add("a")
        connection.answer("yes")
        connection.answer("yes")
        self.assertEqual(self.subscribed, ["a"])

    def test_close(self):
        for begin in (lambda: None, lambda: self.channels.add("a"), self.server.accept, lambda: None):
            begin()
        connection = self.server.connections[-1]
        self.successResultOf(self.channels.close())
        self.assertFalse(connection.up)
        self.assertEqual((self.clock.getDelayedCalls(), self.states), ([], []))
        self.channels.add("a")
        self.assertEqual(self.server.connecting, [])

    def test_close_while_connecting(self):
        self.channels.add("a")
        self.successResultOf(self.channels.close())
        self.assertTrue(self.server.connecting[0].called, "it was cancelled")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_close_while_waiting(self):
        self.channels.add("a")
        self.server.refuse()
        self.successResultOf(self.channels.close())
        self.assertEqual(self.clock.getDelayedCalls(), [])


class FollowerTests(SynchronousTestCase):
    def setUp(self):
        self.clock, self.crowd = Clock(), Crowd(Random(1).random)
        self.looks: list[tuple[tuple[str, str], int, int]] = []
        self.answers: list[Deferred[Look]] = []
        self.shown: list[tuple[str, str]] = []
        self.lists: list[list[Sighting]] = []
        self.follower = RedisFollower(
            self.clock, "the Redis server h:1", 0, self.look, self.show, Random(1), self.crowd
        )
        self.addCleanup(lambda: self.assertEqual(self.clock.getDelayedCalls(), []))
        self.addCleanup(self.follower.close)

    def look(self, topic, version, soonest):
        self.looks.append((topic, version, soonest))
        self.answers.append(Deferred())
        return self.answers[-1]

    def show(self, topic, sightings):
        self.shown.append(topic)
        self.lists.append(sightings)

    def answer(self, version=5, soonest=0, now=1000, unchanged=False):
        self.answers.pop(0).callback(Look(now, version, soonest, None if unchanged else {}))

    def follow(self):
        """Follow a topic, subscribed and looked at."""
        self.follower.add(TOPIC)
        self.follower.subscribed(CHANNEL)
        self.clock.advance(0)
        self.answer()
        self.clock.advance(0)
        self.looks.clear()
        self.shown.clear()

    def change(self, before, after):
        self.follower.heard(CHANNEL, msgspec.msgpack.encode([before, after, "", "", [], -1]))

    def test_subscribed(self):
        self.follower.add(TOPIC)
        self.clock.advance(FIRST_SECONDS / 2)
        self.assertEqual(self.looks, [])
        self.follower.subscribed(CHANNEL)
        self.clock.advance(0)
        self.assertEqual(self.looks, [(TOPIC, -1, 0)])
        self.answer()
        self.clock.advance(0)
        self.assertEqual(self.shown, [TOPIC])

    def test_deaf(self):
        """A topic whose channel cannot be heard is looked at all the same, and then now and then."""
        self.follower.add(TOPIC)
        self.clock.advance(FIRST_SECONDS)
        self.answer()
        for _ in range(3):
            self.looks.clear()
            self.clock.advance(POLL_SECONDS / 2)
            self.assertEqual(self.looks, [])
            self.clock.advance(POLL_SECONDS / 2)
            self.assertEqual(self.looks, [(TOPIC, 5, 0)])
            self.answer()

    def test_together(self):
        """Topics that have to be looked at now and then are looked at together, and no sooner than they have to be."""
        other = ("openstack", "other")
        self.follow()
        self.clock.advance(10)
        self.follower.add(other)
        self.follower.subscribed(topic_channel(0, other))
        self.clock.advance(0)
        self.answer()
        self.clock.advance(0)
        for _ in range(5):
            self.looks.clear()
            self.clock.advance(0.75 * POLL_SECONDS - 10.1)
            self.assertEqual(self.looks, [])
            while not self.looks:
                self.clock.advance(0.1)
            both = len(self.looks) == 2
            while self.answers:
                self.answer(unchanged=True)
            self.clock.advance(0)
        self.assertTrue(both)

    def test_not_together(self):
        """One that could not be looked at is not looked at again because another one is."""
        self.follow()
        self.follower.add(("openstack", "other"))
        self.clock.advance(FIRST_SECONDS)
        self.answers.pop().errback(MatchmakerUnavailable("it hangs"))
        self.looks.clear()
        self.change(6, 7)
        self.clock.advance(0)
        self.assertEqual(self.looks, [(TOPIC, 5, 0)])

    def test_nothing_new(self):
        """What has not changed is shown again as it is; whoever asks once more is told the ages of now."""
        self.follow()
        self.clock.advance(POLL_SECONDS)
        self.answer(unchanged=True)
        self.clock.advance(0)
        first, second = self.lists
        self.assertIs(first, second)
        self.follower.again(TOPIC)
        self.clock.advance(1)
        self.assertIsNot(self.lists[2], first)
        self.change(5, 6)
        self.clock.advance(1)
        self.assertIsNot(self.lists[3], self.lists[2])
        self.assertEqual(len(self.lists), 4)

    def test_change(self):
        self.follow()
        self.change(5, 6)
        self.clock.advance(0.1)
        self.assertEqual((self.looks, self.shown), ([], [TOPIC]))

    def test_missed(self):
        self.follow()
        self.change(6, 7)
        self.clock.advance(0)
        self.assertEqual((self.looks, self.shown), ([(TOPIC, 5, 0)], []))

    def test_malformed(self):
        self.follow()
        self.follower.heard(CHANNEL, b"\xc1")
        self.clock.advance(0)
        self.assertEqual(self.looks, [(TOPIC, 5, 0)])

    def test_always_malformed(self):
        """However often it is told, the looks are ever farther apart; after a while the first is at once."""
        self.follow()
        times = []
        for _ in range(10_000):
            self.follower.heard(CHANNEL, b"x")
            self.clock.advance(0.001)
            if self.looks:
                self.looks.clear()
                times.append(self.clock.seconds())
                self.answer()
        waits = [after - before for before, after in itertools.pairwise(times)]
        self.assertEqual(waits, sorted(waits, key=lambda wait: round(wait, 2)))
        self.assertGreater(min(waits), AGAIN_SECONDS - 0.002)
        self.assertTrue(STRAY_SECONDS - 0.01 < waits[-1] < STRAY_SECONDS + 0.01, waits)
        self.assertLess(len(times), 18)
        self.clock.advance(2 * STRAY_SECONDS)
        self.answers.clear()
        self.looks.clear()
        self.follower.heard(CHANNEL, b"x")
        self.clock.advance(0)

    def test_pace(self):
        """Many changes at once are passed on together."""
        self.follow()
        for number in range(5, 105):
            self.change(number, number + 1)
            self.clock.advance(0.001)
        self.clock.advance(1)
        self.assertLess(len(self.shown), 10)

    def test_failed(self):
        self.follow()
        self.change(6, 7)
        for _ in range(3):
            self.clock.advance(0)
            self.answers.pop(0).errback(MatchmakerUnavailable("down"))
            self.assertEqual(len(self.looks), 1)
            self.clock.advance(RETRY_SECONDS)
            self.assertEqual(len(self.looks), 2)
            self.looks.pop()

    def test_defect(self):
        """What a look raises otherwise is logged, and the topic is looked at again."""
        self.follow()
        self.change(6, 7)
        self.clock.advance(0)
        self.answers.pop(0).errback(ZeroDivisionError())
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.clock.advance(RETRY_SECONDS)
        self.assertEqual(len(self.looks), 2)

    def test_lookup(self):
        """A lookup of somebody else serves as a look, unless one is due for what it may not have seen."""
        self.follow()
        self.clock.advance(POLL_SECONDS / 2)
        self.follower.looked(TOPIC, Look(1000, 6, 0, {}), self.follower.asked(TOPIC))
        self.clock.advance(POLL_SECONDS / 2)
        self.assertEqual(self.looks, [])
        self.follower.subscribed(CHANNEL)
        self.follower.looked(TOPIC, Look(1000, 6, 0, {}), self.follower.asked(TOPIC))
        self.clock.advance(0)
        self.assertEqual(self.looks, [(TOPIC, 6, 0)])

    def test_new(self):
        """That nobody is there, in a database that is just new, is not shown; somebody who comes is, at once."""
        unsure = Look(1000, 0, 0, {}, 1000)
        for come in (False, True):
            self.follower.add(TOPIC)
            self.follower.subscribed(CHANNEL)
            self.clock.advance(0)
            self.answers.pop(0).callback(unsure)
            self.clock.advance(NEW_SECONDS - 0.001)
            self.follower.again(TOPIC)
            if come:
                self.change(0, 5)
            self.clock.advance(0 if come else 0.002)
            self.assertEqual((len(self.looks), self.shown), (2, []))
            self.answer()
            self.clock.advance(0)
            self.assertEqual(self.shown, [TOPIC])
            self.follower.remove(TOPIC)
            self.looks.clear()
            self.shown.clear()

    def test_subscribed_while_looking(self):
        """A look that may have been made before is made again."""
        self.follower.add(TOPIC)
        self.clock.advance(FIRST_SECONDS)
        self.follower.subscribed(CHANNEL)
        self.clock.advance(0)
        self.assertEqual(len(self.looks), 1)
        self.answer()
        self.clock.advance(0)
        self.assertEqual(len(self.looks), 2)

    def test_expiry(self):
        """A topic is looked at soon after a record of it may have expired."""
        self.follower.add(TOPIC)
        self.clock.advance(FIRST_SECONDS)
        self.answer(soonest=4000, now=1000)
        self.clock.advance(3.0)
        self.assertEqual(len(self.looks), 1)
        self.clock.advance(0.3)
        self.assertEqual(self.looks[1:], [(TOPIC, 5, 4000)])
        self.answer(soonest=9000, now=4100)
        self.clock.advance(4.5)
        self.assertEqual(len(self.looks), 2)

    def test_new_database(self):
        """Everybody looks, one after the other."""
        self.follow()
        self.follower.found_new()
        self.clock.advance(0.3)
        self.assertEqual(len(self.looks), 1)

    def test_new_database_of_many(self):
        """The more there are, the longer it takes until each has looked; each looks at all topics in one turn."""
        self.crowd.listed(150, 300, 0.0)
        self.follow()
        self.follower.add(("openstack", "other"))
        self.clock.advance(FIRST_SECONDS)
        self.answer()
        self.looks.clear()
        self.follower.found_new()
        self.change(0, 1000)
        self.change(1000, 1001)
        self.clock.advance(1.49)
        self.assertEqual(self.looks, [], "others who are back already do not make it sooner")
        self.clock.advance(0.02)
        self.assertEqual(len(self.looks), 2)

    def test_expired_while_nobody_answers(self):
        """What expires during an outage is not looked for again and again."""
        self.follower.add(TOPIC)
        self.follower.subscribed(CHANNEL)
        self.clock.advance(0)
        self.answer(soonest=1500)
        self.looks.clear()
        for _ in range(1000):
            self.clock.advance(0.01)
            while self.answers:
                self.answers.pop(0).errback(MatchmakerUnavailable("away"))
        self.assertTrue(5 <= len(self.looks) <= 25, len(self.looks))

    def looks_of_a_second(self, answer):
        """Count the looks of the next second, each of which is answered at once."""
        self.looks.clear()
        for _ in range(1000):
            self.clock.advance(0.001)
            while self.answers:
                answer()
        return len(self.looks)

    def test_expired_and_kept(self):
        """Nor where the server answers, and does not remove it."""
        self.follow()
        self.follower.subscribed(CHANNEL)
        self.assertLessEqual(self.looks_of_a_second(lambda: self.answer(soonest=500)), 11)

    def test_expired_in_what_may_be_young(self):
        """Nor where it is not known yet whether anybody is there, however long that may take."""
        self.follower.add(TOPIC)
        self.follower.subscribed(CHANNEL)
        self.clock.advance(0)
        self.answer(soonest=900)
        young = Look(1000, 0, 0, {}, since=701)
        self.assertLessEqual(self.looks_of_a_second(lambda: self.answers.pop(0).callback(young)), 12)

    def test_looks_that_are_always_too_old(self):
        """Looks that come later than what was told after them are put off longer and longer."""
        self.follow()

        def answer():
            self.change(0, 0)
            self.answer(version=1)

        self.change(7, 8)
        self.assertLessEqual(self.looks_of_a_second(answer), 10)

    def test_new_database_told_of_by_many(self):
        """What our look finds is passed on at once, what others tell meanwhile when all have had their turns."""
        self.crowd.listed(0, 300, 0.0)
        self.follow()
        self.follower.found_new()
        self.clock.advance(0.1)
        self.shown.clear()
        self.answer()
        self.clock.advance(0.5)
        self.assertEqual(len(self.shown), 1)
        for number in range(10):
            self.change(5 + number, 6 + number)
            self.clock.advance(0.1)
        self.assertEqual(len(self.shown), 1)
        self.clock.advance(QUIET_TURNS * spread(300))
        self.assertEqual(len(self.shown), 2)

    def test_many_that_go_at_once(self):
        """They all hear of it, and not all at once, since each of them does something then."""
        gone = [f"field-{number}" for number in range(300)]
        self.follow()
        self.shown.clear()
        message = msgspec.msgpack.encode([5, 6, "", "", gone[:MANY], -1])
        self.follower.heard(CHANNEL, message)
        self.clock.advance(SHOW_SECONDS)
        self.assertEqual(self.shown, [TOPIC])
        message = msgspec.msgpack.encode([6, 7, "", "", gone, -1])
        self.follower.heard(CHANNEL, message)
        self.clock.advance(SHOW_SECONDS)
        self.assertEqual(self.shown, [TOPIC])
        self.clock.advance(3.0)
        self.assertEqual(self.shown, [TOPIC, TOPIC])

    def after_many_went(self, number):
        """Be the instance of this number among 300, of which the first 100 go at once, and then another one comes."""
        records = [make_record(member=f"m-{each:03}", number=each) for each in range(301)]
        fields = [record_field(record) for record in records]
        self.follower.ours(f"{number:032x}")
        self.follower.add(TOPIC)
        self.clock.advance(FIRST_SECONDS)
        entries = {field: Entry(record, 1000, 0) for field, record in zip(fields[:-1], records[:-1], strict=True)}
        self.answers.pop().callback(Look(1000, 5, 0, entries))
        self.clock.pump([0.1] * 10)
        self.lists.clear()
        self.follower.heard(CHANNEL, msgspec.msgpack.encode([5, 6, "", "", fields[:100], -1]))
        self.clock.pump([0.05])
        value = f"1000 0 {write_body(records[-1])}"
        self.follower.heard(CHANNEL, msgspec.msgpack.encode([6, 7, fields[-1], value, [], -1]))

    def test_of_many_that_go_at_once_none_is_ours(self):
        """Who lost nothing hears of it at once, and of who is new then within what a list of so many takes."""
        for number in (200, 1000):  # one who is left, and one who only calls them
            self.setUp()
            self.after_many_went(number)
            self.assertEqual([len(each) for each in self.lists], [200])
            self.clock.pump([0.01] * (round(100 * 201 * SHOW_EACH) + 1))
            self.assertEqual([len(each) for each in self.lists], [200, 201])
            self.follower.close()

    def test_of_many_that_go_at_once_one_is_ours(self):
        """Who has something to store waits, also when somebody new comes: else all of them would do so at once."""
        at = []
        for seed in range(20):
            self.setUp()
            self.follower._chance = Random(seed)
            self.after_many_went(50)
            went = self.clock.seconds() - 0.05
            while not self.lists:
                self.clock.advance(0.01)
            at.append(self.clock.seconds() - went)
            self.assertEqual(len(self.lists[0]), 201)
            self.follower.close()
        self.assertLess(max(at), spread(100) + 0.02)
        for half in (0, 1):
            self.assertIn(sum(half <= 2 * seconds / spread(100) < half + 1 for seconds in at), range(5, 16), at)

    def test_long_lists(self):
        """Of a topic with many records a list is passed on less often, and the first change at once."""
        records = {f"f-{number}": Entry(make_record(number=number), 1000, 0) for number in range(200)}
        self.follower.add(TOPIC)
        self.clock.advance(FIRST_SECONDS)
        self.answers.pop().callback(Look(1000, 5, 0, records))
        self.clock.advance(1.0)
        self.shown.clear()
        for number in range(16):
            self.change(5 + number, 6 + number)
            self.clock.advance(0.02)
        self.assertEqual(len(self.shown), 2)

    def test_learns_how_many_there_are(self):
        """And which of them we are, as soon as it is known which instance is ours."""
        records = {
            f"f-{number}": Entry(make_record(member=f"m-{number}", number=number), 1000, 0) for number in range(5)
        }
        ours = make_record(member="m-3", number=3)
        self.follower.ours(ours.instance)
        self.follower.add(TOPIC)
        self.clock.advance(FIRST_SECONDS)
        self.answers.pop().callback(Look(1000, 5, 0, records))
        self.clock.advance(0.1)
        now = self.clock.seconds()
        self.assertTrue(0.6 <= (self.crowd.turn(now) - now) / self.crowd.seconds <= 0.8)

    def test_many(self):
        """Not all topics are looked at at once."""
        topics = [("openstack", f"topic-{number}") for number in range(3 * MOST_LOOKS)]
        for topic in topics:
            self.follower.add(topic)
        self.clock.advance(FIRST_SECONDS)
        self.assertEqual(len(self.answers), MOST_LOOKS)
        while self.answers:
            self.answer()
            self.clock.advance(0)
            self.assertLessEqual(len(self.answers), MOST_LOOKS)
        self.assertCountEqual([topic for topic, _, _ in self.looks], topics)

    def test_removed(self):
        """What is no longer followed is neither looked at nor shown, also when that was under way."""
        self.follow()
        self.change(5, 6)
        self.change(9, 10)
        self.clock.advance(0)
        self.shown.clear()
        self.change(6, 7)
        self.assertEqual(self.follower.remove(TOPIC), CHANNEL)
        self.follower.remove(TOPIC)
        self.answer()
        self.change(7, 8)
        self.follower.again(TOPIC)
        self.follower.subscribed(CHANNEL)
        self.clock.advance(POLL_SECONDS)
        self.assertEqual((self.shown, len(self.looks)), ([], 1))

    def test_followed_anew_while_looking(self):
        """An answer for the one before is not taken."""
        self.follower.add(TOPIC)
        self.clock.advance(FIRST_SECONDS)
        self.follower.remove(TOPIC)
        self.follower.add(TOPIC)
        self.answer()
        self.clock.advance(0)
        self.assertEqual(self.shown, [])
        self.clock.advance(FIRST_SECONDS)
        self.answer()
        self.clock.advance(0.1)
        self.assertEqual((self.shown, len(self.looks)), ([TOPIC], 2))

    def test_again(self):
        """A further watch is shown what is known."""
        self.follower.again(TOPIC)
        self.follow()
        self.follower.again(TOPIC)
        self.clock.advance(0.1)
        self.assertEqual((self.shown, self.looks), ([TOPIC], []))


class StoreTests(SynchronousTestCase):
    """What a store asks of itself while changes are told: whether it is the one that is known, and how many use it."""

    def setUp(self):
        self.clock, self.server = Clock(), Server()
        self.store: Any = RedisStore(self.clock, "the server", 0, self.server, lambda *_: None, 2.0, Random(1))
        self.store.follow(TOPIC)
        self.hearing = self.server.accept()
        for _ in range(2):
            self.hearing.answer("yes")
        self.clock.advance(0)
        self.clock.advance(0)
        self.asking = self.server.accept()
        self.since: Any = b"1"
        self.begun = (1, 0)
        self.count: Any = [new_channel(0), 250]
        self.answer()

    def answer(self):
        """Answer everything; return the first word of each question and how many bytes it takes, PINGs left out."""
        asked = []
        for connection in (self.asking, self.hearing):
            while connection.asked:
                words, answer = connection.asked.pop(0)
                match words:
                    case ("EVAL", *_):
                        topics = (len(words) - len(RedisScripts(0).look(()))) // 3
                        answer.callback(msgspec.msgpack.encode([1000, *self.begun, [[0, 0, []]] * topics]))
                    case ("GET", "zmqrpc:since"):
                        answer.errback(self.since) if isinstance(self.since, Exception) else answer.callback(self.since)
                    case ("PUBSUB", "NUMSUB", "zmqrpc:0:new"):
                        answer.errback(self.count) if isinstance(self.count, Exception) else answer.callback(self.count)
                    case _:
                        answer.callback([b"subscribe", str(words[-1]).encode(), 1])
                        continue
                asked.append((words[0], sum(len(f"$00..{word}..") for word in words)))
        return asked

    def asked(self, seconds):
        """Return what is asked meanwhile."""
        asked = []
        for _ in range(round(seconds * 10)):
            self.clock.advance(0.1)
            asked += self.answer()
        return asked

    def test_inquires(self):
        """With a few bytes, as each server does it for ever."""
        asked = self.asked(40)
        for word in ("GET", "PUBSUB"):
            times = [size for name, size in asked if name == word]
            self.assertTrue(40 // INQUIRY_SECONDS <= len(times) <= 40 / (INQUIRY_SECONDS / 2), asked)
            self.assertLess(max(times), 60)
        self.assertEqual({name for name, _ in asked}, {"GET", "PUBSUB"})

    def test_idle(self):
        """Who watches forty topics in which nothing happens asks some twenty questions a minute, all that it has."""
        for number in range(39):
            self.store.follow(("openstack", f"topic-{number}"))
        self.asked(1)
        names = [name for name, _ in self.asked(600)]
        looks = names.count("EVAL")
        self.assertTrue(2 * 600 // POLL_SECONDS <= looks <= 2 * 600 / (0.75 * POLL_SECONDS) + 2, looks)
        self.assertLess(len(names), 200)

    def test_emptied(self):
        """What is not the answer that is known makes it look at everything, and say that it knew another one."""
        answers = (
            None,
            b"2",
            b"2 1",
            b"",
            "1",
            1,
            [b"1"],
            RedisRefusal("no", "WRONGTYPE"),
            MatchmakerUnavailable("no"),
        )
        for answer in answers:
            self.setUp()
            self.since = b"1 1"
            self.assertNotIn("EVAL", [name for name, _ in self.asked(INQUIRY_SECONDS)], answer)
            self.since = answer
            looks = [size for name, size in self.asked(INQUIRY_SECONDS) if name == "EVAL"]
            self.assertEqual(len({*looks}), 2, answer)

    def test_new(self):
        """That nobody is there, in a database that is just new, is asked once more."""
        for before in (0, 500):
            self.begun = (900, 0)
            found = self.store.lookup(TOPIC)
            self.clock.advance(0)
            self.assertEqual([name for name, _ in self.answer()], ["EVAL"])
            self.clock.advance(NEW_SECONDS - 0.101)
            self.assertNotIn("EVAL", [name for name, _ in self.answer()])
            self.clock.advance(0.002)
            self.clock.advance(0)
            self.assertNoResult(found)
            self.begun = (900, before)
            self.assertEqual([name for name, _ in self.answer()], ["EVAL"])
            self.assertEqual(self.successResultOf(found), [])
            self.assertEqual(self.store.emptied > 0, before > 0)

    def test_counts(self):
        """How many hear what all hear."""
        for count in (250, 300):
            self.count = [b"zmqrpc:0:new", count]
            self.asked(INQUIRY_SECONDS)
            self.assertEqual(self.store.turns, spread(count))

    def test_told_often(self):
        """Whoever tells again and again that it is new has us look and say what we knew ten times a second at most."""
        self.asked(1)
        answered = []
        for _ in range(1000):
            self.store._heard(new_channel(0), b"")
            self.clock.advance(0.001)
            answered += self.answer()
        self.assertEqual({name for name, _ in answered}, {"EVAL"})
        self.assertLessEqual(len(answered), 2 / NEW_EACH + 2)
        self.assertEqual((self.store.trouble, self.store.up), ("", True))

    def test_too_many(self):
        """That so many wait already is no outage."""
        refused = [self.store._asker.ask(("PING",)) for _ in range(100)]
        self.assertIn(
            "100 questions wait", str(self.failureResultOf(self.store.records(), MatchmakerUnavailable).value)
        )
        self.assertEqual((self.store.trouble, self.store.up), ("", True))
        for each in refused:
            each.cancel()
            self.failureResultOf(each)

    def test_cannot_count(self):
        """No outage is seen in it; who is refused that asks again only when changes are told anew."""
        refused = RedisRefusal("no", "NOPERM")
        for answer, least, most in ((MatchmakerUnavailable("away"), 3, 6), ([], 3, 6), (refused, 1, 1)):
            self.count = answer
            times = [name for name, _ in self.asked(3 * INQUIRY_SECONDS)].count("PUBSUB")
            self.assertTrue(least <= times <= most, f"{answer}: {times}")
        self.assertEqual((self.store.trouble, self.store.up), ("", True))
        self.assertEqual(self.store.turns, spread(0))
        self.hearing.abort()
        asked = {name for name, _ in self.asked(INQUIRY_SECONDS)}
        self.assertLessEqual(asked, {"EVAL"}, "who hears nothing waits for that")
        self.hearing = self.server.accept()
        self.assertEqual([name for name, _ in self.asked(INQUIRY_SECONDS + 1)].count("PUBSUB"), 1)

    def test_closed(self):
        self.store.close()
        self.assertEqual(self.clock.getDelayedCalls(), [])


class ConnectionTests(SynchronousTestCase):
    def test_numeric_host(self):
        """An address is connected to at once: nobody has to look it up, which a thread would do."""
        reactor: Any = MemoryReactorClock()
        connecting = connect(reactor, RedisPlace("10.0.0.1", 6380), 2.0)
        ((host, port, *_),) = reactor.tcpClients
        self.assertEqual((host, port), ("10.0.0.1", 6380))
        reactor.advance(1.9)
        self.assertNoResult(connecting)
        # The limit, and one turn to read what has come while the process was kept from running.
        reactor.advance(0.1)
        reactor.advance(0)
        self.failureResultOf(connecting, MatchmakerUnavailable)

    def test_named_host(self):
        """A name is looked up, by the reactor."""
        asked: list[str] = []

        class Resolver:
            def resolveHostName(self, receiver, name, **_):
                asked.append(name)

        reactor: Any = MemoryReactorClock()
        reactor.nameResolver = Resolver()
        directlyProvides(reactor, providedBy(reactor), IReactorPluggableNameResolver)
        connecting = connect(reactor, RedisPlace("redis.example.org"), 2.0)
        self.assertEqual((asked, reactor.tcpClients), (["redis.example.org"], []))
        connecting.cancel()
        self.failureResultOf(connecting)


class ProtocolTests(SynchronousTestCase):
    """What arrives, in whatever pieces; the answers are those of txredisapi."""

    def setUp(self):
        from zmqrpc.matchmaker._redis.protocol import RedisProtocol

        self.heard: list[tuple[bytes, bytes]] = []
        self.clock = Clock()
        self.protocol = RedisProtocol(
            self.clock.callLater, lambda channel, message: self.heard.append((channel, message)), lambda _: None
        )
        self.protocol.makeConnection(StringTransport())
        self.answers: list[Any] = []

    def test_its_timers_are_those_of_its_reactor(self):
        """Not of the global one, which does not run where the reactor is one of several in a line of forks."""
        self.protocol.replyTimeout = 5
        answer = self.protocol.execute_command("PING")
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.clock.advance(6)
        self.failureResultOf(answer)

    def receive(self, stream, sizes):
        for _ in range(4):
            self.protocol.execute_command("PING").addCallback(self.answers.append)
        at = 0
        for size in sizes:
            self.protocol.dataReceived(stream[at : at + size])
            at += size
        if at < len(stream):
            self.protocol.dataReceived(stream[at:])

    @settings(derandomize=True, max_examples=200, deadline=None)
    @given(st.lists(st.integers(1, 60), max_size=30))
    def test_any_pieces(self, sizes):
        self.setUp()
        messages = [
            (b"a", b""),
            (b"channel", b"x\r\ny"),
            (b"a", b"*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\nb\r\n"),
            (b"", b"$"),
        ]
        told = [b"*3\r\n$7\r\nmessage\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n" % (len(c), c, len(m), m) for c, m in messages]
        answers = [
            b"+PONG\r\n",
            b"*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n",
            b"*2\r\n$4\r\npong\r\n$0\r\n\r\n",
            b"$3\r\nabc\r\n",
        ]
        stream = b"".join(part for pair in zip(told, answers, strict=True) for part in pair) + told[0] + told[1]
        self.receive(stream, sizes)
        self.assertEqual(self.heard, [*messages, *messages[:2]])
        self.assertEqual(self.answers, ["PONG", [b"subscribe", b"a", 1], [b"pong", b""], b"abc"])

    def test_a_large_message(self):
        """It is left to txredisapi, which does not look at the beginning again with each piece."""
        payload = b"x" * 300_000
        stream = b"*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$300000\r\n%s\r\n" % payload
        self.receive(stream * 2, [1000] * 700)
        self.assertEqual(self.heard, [(b"a", payload)] * 2)
