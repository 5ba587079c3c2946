"""Finding the master, leaving it, and giving up connections for others, on a clock and without any server."""

from random import Random
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.core.spread import SHORTEST, Crowd
from zmqrpc.errors import MatchmakerUnavailable
from zmqrpc.matchmaker._redis import round as round_
from zmqrpc.matchmaker._redis import sentinels
from zmqrpc.matchmaker._redis.asker import RedisAsker
from zmqrpc.matchmaker._redis.channels import RedisChannels
from zmqrpc.matchmaker._redis.errors import RedisRefusal
from zmqrpc.matchmaker._redis.next_round import ROUND_SECONDS
from zmqrpc.matchmaker._redis.place import SENTINEL, RedisPlace
from zmqrpc.matchmaker._redis.round import FIRST_COUNTS
from zmqrpc.matchmaker._redis.sentinels import FRESH_SECONDS, SWITCH, Sentinels
from zmqrpc.test.logs import LogLines
from zmqrpc.test.matchmaker.test_redis_shells import Connection, Server


class Network:
    """
    Stands for `connect`: makes connections to Sentinels and servers when the test lets it.

    :ivar made: the connections to each port, in the order in which they were made.
    :ivar away: the ports at which nobody answers.
    """

    def __init__(self):
        self.made: dict[int, list[Any]] = {}
        self.away: set[int] = set()
        self.names = {}  # what each Sentinel names: port and epoch

    def __call__(self, reactor, place, limit, heard=None, greet=None):
        if place.port in self.away:
            return Deferred()
        connection: Any = Connection()
        connection.heard = heard
        self.made.setdefault(place.port, []).append(connection)
        return Deferred.fromCoroutine(self.greet(place, connection, greet))

    async def greet(self, place, connection, greet):
        if greet is not None:
            greeting = Deferred.fromCoroutine(greet(connection))
            while connection.asked and not greeting.called:
                connection.answer(self.answer(place, connection.asked[0][0]))
            await greeting
        return connection

    def answer(self, place, words):
        port, epoch = self.names.get(place.port, (0, 0))
        match words:
            case ("ROLE",):
                return [b"master", 0, []]
            case ("SENTINEL", "MASTER", _):
                return [b"flags", b"master", b"config-epoch", str(epoch).encode()]
            case ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", _):
                return [b"10.0.0.9", str(port).encode()]
        raise AssertionError(words)


class SentinelsTests(SynchronousTestCase):
    def setUp(self):
        self.clock, self.network = Clock(), Network()
        self.patch(sentinels, "connect", self.network)
        self.patch(round_, "connect", self.network)
        self.lines = LogLines(self, "zmqrpc.matchmaker")
        self.network.names = dict.fromkeys((1, 2, 3), (101, 0))
        places = [RedisPlace(f"10.0.0.{number}", number, kind=SENTINEL) for number in (1, 2, 3)]
        self.sentinels: Any = Sentinels(self.clock, places, "g", RedisPlace(""), 1.0, 3.0, Random(1))
        self.moves: list[None] = []
        self.sentinels.moved = lambda: self.moves.append(None)

    def connect(self):
        return self.sentinels.connect(lambda *_: None)

    def rounds(self):
        """Return how often the third Sentinel was connected to for a question."""
        return len(self.network.made.get(3, [])) - 1

    def hear(self):
        """Have every Sentinel confirm that it will tell of switches; return the connections."""
        hearing = [connections[0] for connections in self.network.made.values() if connections[0].asked]
        for connection in hearing:
            connection.answer("yes")
        return hearing

    def settle(self):
        """Let what is known become old."""
        self.clock.advance(FRESH_SECONDS)

    def test_once(self):
        """Several connections at once, and within half a second, ask the Sentinels once; then they ask again."""
        for asking in (self.connect(), self.connect()):
            self.assertIsInstance(self.successResultOf(asking), Connection)
        self.assertEqual(len(self.network.made[101]), 2)
        self.assertEqual(self.sentinels.address(), "10.0.0.9:101")
        before = self.rounds()
        self.settle()
        self.successResultOf(self.connect())
        self.assertEqual(self.rounds(), before + 1)
        self.assertEqual((self.moves, self.lines), ([], []))

    def test_silent_ones(self):
        """The first answer counts after half a second, when no majority has come."""
        self.network.away = {1, 2}
        asking = self.connect()
        self.clock.advance(FIRST_COUNTS - 0.01)
        self.assertNoResult(asking)
        self.clock.advance(0.01)
        self.successResultOf(asking)

    def test_switch(self):
        """When one tells of a switch, all are asked soon, and who is connected has to leave; the log has one line."""
        self.successResultOf(self.connect())
        hearing = self.hear()
        self.settle()
        self.network.names = {1: (101, 0), 2: (102, 1), 3: (102, 1)}
        before = self.rounds()
        for message in (b"other 10.0.0.9 101 10.0.0.9 102", b"", b"\xff"):
            hearing[2].heard(SWITCH.encode(), message)
        self.assertEqual(self.rounds(), before, "of other groups nothing is heard")
        hearing[2].heard(SWITCH.encode(), b"g 10.0.0.9 101 10.0.0.9 102")
        self.assertEqual(self.rounds(), before, "others are told in the same moment")
        self.assertEqual(len(self.moves), 1, "the old one is left at once")
        hearing[1].heard(SWITCH.encode(), b"g 10.0.0.9 101 10.0.0.9 102")
        self.clock.advance(SHORTEST)
        self.assertEqual((self.rounds(), len(self.moves)), (before + 1, 2))
        self.assertEqual(self.lines, ["the Redis master g has moved from 10.0.0.9:101 to 10.0.0.9:102"])
        self.successResultOf(self.connect())
        self.assertEqual((self.rounds(), len(self.network.made[102])), (before + 1, 1), "it is known already")
        hearing[0].heard(SWITCH.encode(), b"g 10.0.0.9 101 10.0.0.9 102")
        self.clock.advance(SHORTEST)
        self.assertEqual((self.rounds(), len(self.moves)), (before + 1, 2), "that is no news")

    def test_told_all_the_time(self):
        """Who tells of one switch after another has all asked, and the master left, ten times a second at most."""
        self.successResultOf(self.connect())
        hearing = self.hear()
        self.settle()
        before = self.rounds()
        for number in range(1000):
            hearing[0].heard(SWITCH.encode(), b"g 10.0.0.9 101 10.0.0.9 %d" % (200 + number))
            self.clock.advance(0.001)
        self.assertLessEqual(self.rounds() - before, 11)
        self.assertLessEqual(len(self.moves), 11)

    def test_told_and_not_answered(self):
        """They are asked again and again until the majority answers, and knows of what was told."""
        self.successResultOf(self.connect())
        hearing = self.hear()
        self.settle()
        self.network.away = {1, 2}
        hearing[2].heard(SWITCH.encode(), b"g 10.0.0.9 101 10.0.0.9 102")
        self.clock.pump([0.1] * 10)
        self.assertEqual(len(self.moves), 1, "the old one is left")
        self.network.away = set()
        self.clock.pump([0.1] * 5)
        self.assertEqual(len(self.moves), 1, "they know of it no more than they have answered")
        self.network.names = dict.fromkeys((1, 2, 3), (102, 1))
        self.clock.pump([0.1] * 30)
        self.assertEqual(len(self.moves), 2)
        before = self.rounds()
        self.clock.pump([0.1] * 15)
        self.assertEqual(self.rounds(), before)

    def test_told_while_asked(self):
        """What was asked before it was told does not count, and is not waited for."""
        self.network.away = {1, 2}
        asking = self.connect()
        self.hear()
        self.clock.advance(0.1)
        self.network.away = set()
        self.network.names = dict.fromkeys((1, 2, 3), (102, 1))
        self.sentinels._told("10.0.0.9:102")
        self.clock.advance(SHORTEST)
        self.successResultOf(asking)
        self.assertEqual(list(self.network.made)[-1], 102)

    def test_looks(self):
        """Whatever is told or not, the master is looked for now and then."""
        self.successResultOf(self.connect())
        self.hear()
        self.clock.advance(1)
        self.network.names = dict.fromkeys((1, 2, 3), (102, 1))
        self.clock.pump([0.5] * 2 * int(ROUND_SECONDS))
        self.assertEqual(len(self.moves), 1)

    def test_cut_off(self):
        """A Sentinel that knows less than was known does not count when it is the only one that answers."""
        self.network.names = dict.fromkeys((1, 2, 3), (101, 5))
        self.successResultOf(self.connect())
        self.settle()
        self.network.away = {1, 2}
        for epoch, moves in ((4, 0), (6, 1)):
            self.network.names[3] = (102, epoch)
            asking = self.connect()
            self.clock.pump([0.1] * 30)
            self.successResultOf(asking)
            self.assertEqual(len(self.moves), moves)
            self.clock.pump([0.1] * 30)
        self.network.away = set()
        self.network.names = dict.fromkeys((1, 2, 3), (101, 0))
        self.clock.pump([0.5] * 2 * int(ROUND_SECONDS))
        self.assertEqual(len(self.moves), 2, "the majority counts though it begins anew")

    def test_missed(self):
        """A switch that nobody has heard is found when it is heard again."""
        self.successResultOf(self.connect())
        hearing = self.hear()
        self.settle()
        for connection in hearing:
            connection.abort()
        self.network.names = dict.fromkeys((1, 2, 3), (102, 1))
        self.clock.advance(0.1)
        self.assertEqual(self.moves, [])
        for connections in self.network.made.values():
            if connections[-1].asked:
                connections[-1].answer("yes")
        self.clock.advance(SHORTEST)
        self.assertEqual(len(self.moves), 1)

    def test_moved_within_a_question(self):
        """Who connects anew from within `moved` gets the new master at once."""
        self.successResultOf(self.connect())
        self.settle()
        self.network.names = dict.fromkeys((1, 2, 3), (102, 1))
        found: list[Any] = []
        self.sentinels.moved = lambda: found.append(self.connect())
        self.successResultOf(self.connect())
        self.successResultOf(found[0])
        self.assertEqual((len(self.network.made[101]), len(self.network.made[102])), (1, 2))

    def test_cancelled(self):
        """A connection that nobody waits for any more is not made; others are."""
        self.network.away = {1, 2}
        first, second = self.connect(), self.connect()
        first.addErrback(lambda _: None).cancel()
        self.clock.advance(FIRST_COUNTS)
        self.successResultOf(second)
        self.assertEqual(len(self.network.made[101]), 1)

    def test_close(self):
        for away in (set(), {1, 2}):
            self.network.away = away
            self.setUp()
            self.network.away = away
            asking = self.connect().addErrback(lambda _: None)
            asking.cancel()
            self.sentinels.close()
            self.assertEqual(self.clock.getDelayedCalls(), [])


class RenewTests(SynchronousTestCase):
    def setUp(self):
        self.clock, self.server = Clock(), Server()
        self.asker: Any = RedisAsker(self.clock, self.server, "the server", Random(1), 2.0)
        self.states: list[str | None] = []
        self.channels: Any = RedisChannels(
            self.clock,
            self.server,
            lambda *_: None,
            lambda _: None,
            self.states.append,
            Random(1),
            2.0,
            Crowd(Random(1).random),
        )

    def test_asker(self):
        """What was asked is asked on another connection, whether the old one was up or being made."""
        asked = self.asker.ask(("GET", 1))
        self.asker.renew()
        self.assertTrue(self.server.connecting.pop(0).called, "it was cancelled")
        connection = self.server.accept()
        self.assertEqual(len(connection.asked), 1)
        self.asker.renew()
        self.assertFalse(connection.up)
        self.assertEqual(self.server.accept().answer("yes"), ("GET", 1))
        self.assertEqual(self.successResultOf(asked), "yes")
        self.asker.renew()
        self.assertEqual(self.server.connecting, [], "nobody asks")

    def test_asker_was_refused(self):
        """It is tried again at once."""
        self.asker.ask(("GET", 1)).addErrback(lambda _: None)
        self.server.refuse()
        self.asker.renew()
        asked = self.asker.ask(("GET", 1))
        self.server.accept().answer("yes")
        self.assertEqual(self.successResultOf(asked), "yes")

    def test_asker_closed(self):
        self.asker.close()
        self.asker.renew()
        self.assertEqual(self.server.connecting, [])

    def test_read_only(self):
        """A server that takes no changes any more is left; what waits for it is asked elsewhere."""
        first, second = self.asker.ask(("SET", 1)), self.asker.ask(("SET", 2))
        connection = self.server.accept()
        connection.asked.pop(0)[1].errback(RedisRefusal("the server is a replica", "READONLY"))
        self.failureResultOf(first, MatchmakerUnavailable)
        self.assertFalse(connection.up)
        self.assertEqual(self.server.accept().answer("yes"), ("SET", 2))
        self.assertEqual(self.successResultOf(second), "yes")

    def test_channels(self):
        """Another connection is made in a moment, from whatever state; that is no outage."""
        self.channels.renew()
        self.clock.advance(SHORTEST)
        self.assertEqual(self.server.connecting, [], "nothing is wanted yet")
        self.channels.add("a")
        self.channels.renew()
        self.clock.advance(SHORTEST)
        self.assertTrue(self.server.connecting.pop(0).called, "it was cancelled")
        connection = self.server.accept()
        connection.answer("yes")
        self.channels.renew()
        self.clock.advance(SHORTEST)
        self.assertFalse(connection.up)
        self.assertEqual(self.server.accept().answer("yes"), ("SUBSCRIBE", "a"))
        self.assertEqual(self.states, [None, None])
        self.server.connections[-1].abort()
        self.clock.advance(0.1)
        self.server.refuse()
        self.channels.renew()
        self.clock.advance(SHORTEST)
        self.assertEqual(len(self.server.connecting), 1, "without a wait")
        self.channels.close()
        self.channels.renew()
        self.clock.advance(SHORTEST)
        self.assertEqual((len(self.server.connecting), self.clock.getDelayedCalls()), (1, []))
