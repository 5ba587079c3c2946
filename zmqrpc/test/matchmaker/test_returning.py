"""A hundred servers of one topic whose records are lost at once, on a clock: how soon and how evenly they are back."""

from random import Random
from typing import Any

import msgspec
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.core.registration import Register, Registration
from zmqrpc.core.restoration import RESTORE_FIRST
from zmqrpc.core.spread import Crowd, spread
from zmqrpc.matchmaker._entry import write_body
from zmqrpc.matchmaker._redis.answers import Entry, Look
from zmqrpc.matchmaker._redis.follower import QUIET_TURNS, RedisFollower
from zmqrpc.matchmaker._redis.names import record_field, topic_channel
from zmqrpc.testing.matchmaker import make_record

TOPIC = ("openstack", "compute")
COUNT = 100
TURNS = spread(COUNT)


class Database:
    """One topic, and who follows it."""

    def __init__(self, clock):
        self.clock = clock
        self.version = 5
        self.entries: dict[str, Entry] = {}
        self.followers: list[RedisFollower] = []
        self.stored: list[float] = []
        self.looks = 0

    def look(self, topic, version, soonest) -> Deferred[Look]:
        self.looks += 1
        return succeed(Look(self.now, self.version, 0, dict(self.entries)))

    @property
    def now(self):
        return round(self.clock.seconds() * 1000)

    def put(self, record):
        self.stored.append(self.clock.seconds())
        self.entries[record_field(record)] = Entry(record, self.now, 0)
        self.tell(record_field(record), f"{self.now} 0 {write_body(record)}", [])

    def remove(self, fields):
        for field in fields:
            del self.entries[field]
        self.tell("", "", fields)

    def tell(self, field, value, gone):
        before, self.version = self.version, self.version + 1
        message = msgspec.msgpack.encode([before, self.version, field, value, gone, -1])
        for follower in self.followers:
            follower.heard(topic_channel(0, TOPIC), message)


class Server:
    """What keeps the record of one server in the database."""

    def __init__(self, database, number):
        chance = Random(number)
        self.database = database
        self.wakes: Any = None
        self.lists: list[int] = []
        self.record = make_record(member=f"m-{number:03}", number=number)
        self.registration = Registration(300, 180, lambda: chance.uniform(0.5, 1))
        self.follower = RedisFollower(
            *(database.clock, "the Redis server h:1", 0, database.look, self.show, chance, Crowd(chance.random))
        )
        self.follower.ours(self.record.instance)
        database.followers.append(self.follower)
        self.perform(self.registration.set_records((self.record,)))
        self.follower.add(TOPIC)

    def show(self, topic, sightings):
        self.lists.append(len(sightings))
        exchange, name = topic
        self.registration.shown(
            exchange, name, [sighting.record for sighting in sightings], self.database.clock.seconds()
        )
        self.wake_up_later()

    def perform(self, effects):
        for effect in effects:
            if isinstance(effect, Register):
                self.database.put(self.record)
                self.perform(self.registration.succeeded(self.database.clock.seconds()))
        self.wake_up_later()

    def wake_up_later(self):
        if self.wakes is not None and self.wakes.active():
            self.wakes.cancel()
        clock = self.database.clock
        wait = max(0.0, self.registration.wake_at - clock.seconds())
        self.wakes = clock.callLater(wait, lambda: self.perform(self.registration.tick(clock.seconds())))


class ReturningTests(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        self.clock.advance(1000)
        self.database = Database(self.clock)
        self.servers = [Server(self.database, number) for number in range(COUNT)]
        self.clock.pump([0.05] * 100)
        self.assertEqual({server.lists[-1] for server in self.servers}, {COUNT})
        self.database.stored.clear()
        self.database.looks = 0
        for server in self.servers:
            server.lists.clear()
        self.lost = self.clock.seconds()

    def come_back(self):
        """Let time pass; check that each has stored its record once, and evenly, and return after how long the last."""
        self.clock.pump([0.01] * 600)
        self.assertEqual(len(self.database.entries), COUNT)
        self.assertEqual(len(self.database.stored), COUNT, "each once")
        self.assertEqual({server.lists[-1] for server in self.servers}, {COUNT})
        times = [at - self.lost for at in self.database.stored]
        tenths = [sum(tenth <= 10 * at / TURNS < tenth + 1 for at in times) for tenth in range(20)]
        self.assertLessEqual(max(tenths), 3 * COUNT / 10, tenths)
        return max(times)

    def test_emptied(self):
        """All look in their turns, register in a moment, and hear of each other when all had their turns."""
        self.database.entries.clear()
        self.database.version = 1000
        for follower in self.database.followers:
            follower.found_new()
        self.assertLess(self.come_back(), TURNS + RESTORE_FIRST + 0.1)
        self.assertLessEqual(self.database.looks, 2 * COUNT)
        self.assertLessEqual(max(len(server.lists) for server in self.servers), 3 + QUIET_TURNS)

    def test_removed(self):
        """One message takes all of them away."""
        self.database.remove(list(self.database.entries))
        self.assertLess(self.come_back(), TURNS + RESTORE_FIRST + 0.1)
        self.assertEqual(self.database.looks, 0)

    def test_removed_while_another_comes(self):
        """Who is new has nobody store its record sooner."""
        another = make_record(member="new", number=COUNT)
        self.database.remove(list(self.database.entries)[: COUNT // 2])
        self.clock.advance(0.01)
        self.database.put(another)
        self.database.stored.clear()
        self.clock.pump([0.01] * 600)
        times = [at - self.lost for at in self.database.stored]
        self.assertEqual(len(times), COUNT // 2)
        self.assertLess(max(times), spread(COUNT // 2) + RESTORE_FIRST + 0.1)
        self.assertGreater(max(times), spread(COUNT // 2) * 0.8)

    def tearDown(self):
        for server in self.servers:
            server.follower.close()
            server.wakes.cancel()
        self.assertEqual(self.clock.getDelayedCalls(), [])
