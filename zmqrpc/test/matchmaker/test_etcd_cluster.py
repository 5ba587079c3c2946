"""The matchmaker in etcd, with three real members, some of which fail."""

import time
from random import Random
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import gatherResults
from twisted.internet.threads import deferToThread

from zmqrpc.errors import MatchmakerUnavailable
from zmqrpc.matchmaker._etcd.place import EtcdPlace
from zmqrpc.matchmaker.etcd import etcd_matchmaker
from zmqrpc.test.etcd import EtcdCluster
from zmqrpc.test.integration.support import eventually, pause
from zmqrpc.test.matchmaker.support import StoreCase
from zmqrpc.testing.matchmaker import make_record

reactor: Any = _reactor

DEFAULTS = ("--heartbeat-interval=100", "--election-timeout=1000")
"""The times that etcd has where nobody sets them."""


class ClusterCase(StoreCase):
    timeout = 90
    options: tuple[str, ...] = ()

    def setUp(self):
        super().setUp()
        self.cluster = EtcdCluster(self, *self.options)

    def matchmaker(self, first=None, limit=1.0):
        """Make a matchmaker that begins with a member."""
        made: Any = etcd_matchmaker(reactor, EtcdPlace.from_url(self.cluster.url), limit, Random(1))
        if first is not None:
            made.store._asker._rotation.current = self.cluster.members.index(first)
        return self.closing(made)

    async def watching(self, matchmaker, *records):
        heard = await super().watching(matchmaker, *records)
        await eventually("the stream", lambda: matchmaker.store._follower.hears)
        return heard

    async def registered(self, matchmaker, record, expire=300):
        """Register as a node does: until it has worked; return after how many seconds."""
        begin = time.monotonic()
        while True:
            try:
                await matchmaker.register(record, expire)
                return time.monotonic() - begin
            except MatchmakerUnavailable:
                self.assertLess(time.monotonic() - begin, 10)
                await pause(0.05)

    def others(self, member):
        return [other for other in self.cluster.members if other is not member]


class LeaderTests(ClusterCase):
    """The leader is lost."""

    async def test_killed(self):
        """A registration works again after the election, and a watch misses nothing."""
        leader = self.cluster.leader()
        mine, theirs = self.matchmaker(leader), self.matchmaker(self.others(leader)[0])
        first, second = make_record(), make_record(number=2)
        await theirs.register(first, 300)
        heard = await self.watching(mine, first)
        leader.kill()
        took = await self.registered(theirs, second)
        await eventually("what was registered meanwhile", lambda: heard.last(first, second))
        self.assertLess(took, 5)
        self.assertEqual(await mine.lookup("openstack", "compute"), await theirs.lookup("openstack", "compute"))

    async def test_hung(self):
        leader = self.cluster.leader()
        mine, theirs = self.matchmaker(leader), self.matchmaker(self.others(leader)[0])
        first, second = make_record(), make_record(number=2)
        await theirs.register(first, 300)
        heard = await self.watching(mine, first)
        leader.stop_answering()
        await self.registered(theirs, second)
        await eventually("what was registered meanwhile", lambda: heard.last(first, second))
        leader.answer_again()
        third = make_record(number=3)
        await self.registered(mine, third)
        await eventually("what came afterwards", lambda: heard.last(first, second, third))


class ElectionTests(ClusterCase):
    """The leader is killed; with etcd's own times."""

    options = DEFAULTS

    async def test_nobody_asks(self):
        """Those who only listen notice, whomever they hear, miss nothing, and have nothing to say about it."""
        record, other = make_record(), make_record(number=2)
        leader = self.cluster.leader()
        all_members = [self.matchmaker(member) for member in self.cluster.members]
        await all_members[0].register(record, 300)
        heard = [await self.watching(matchmaker, record) for matchmaker in all_members]
        leader.kill()
        await deferToThread(self.cluster.leader, leader)
        await self.registered(self.matchmaker(self.others(leader)[0], limit=5.0), other)
        for each in heard:
            await eventually("what came meanwhile", lambda each=each: each.last(record, other))
        await pause(2.5)
        self.assertEqual(self.lines, [])

    async def test_asked(self):
        """What is asked just then is done when there is another leader, if there is time for that."""
        leader = self.cluster.leader()
        mine = self.matchmaker(leader, limit=6.0)
        first, second = make_record(), make_record(number=2)
        await mine.register(first, 300)
        heard = await self.watching(mine, first)
        leader.kill()
        refreshing = mine.register(first, 300)
        registering = mine.register(second, 300)
        self.assertEqual(await self.found(mine), [first])
        await gatherResults([refreshing, registering])
        await eventually("both", lambda: heard.last(first, second))
        self.assertEqual(self.lines, [])


class FollowerTests(ClusterCase):
    """The member that we use is lost."""

    async def test_killed(self):
        """Nothing that is asked fails, and a watch misses nothing."""
        used = self.others(self.cluster.leader())[0]
        mine, theirs = self.matchmaker(used), self.matchmaker(self.cluster.leader())
        first, second = make_record(), make_record(number=2)
        heard = await self.watching(mine)
        used.kill()
        await mine.register(first, 300)
        await theirs.register(second, 300)
        await eventually("both", lambda: heard.last(first, second))
        self.assertEqual(len(await mine.lookup("openstack", "compute")), 2)
        self.assertEqual(self.lines, [], "others answer")

    async def test_hung(self):
        """What is asked is asked elsewhere after half the time limit."""
        used = self.others(self.cluster.leader())[0]
        mine, theirs = self.matchmaker(used), self.matchmaker(self.cluster.leader())
        first, second = make_record(), make_record(number=2)
        heard = await self.watching(mine)
        used.stop_answering()
        await theirs.register(second, 300)
        begin = time.monotonic()
        self.assertEqual(len(await mine.lookup("openstack", "compute")), 1)
        self.assertLess(time.monotonic() - begin, 0.9)
        await mine.register(first, 300)
        await eventually("both", lambda: heard.last(first, second))
        self.assertEqual(self.lines, [], "others answer")

    async def test_hung_while_idle(self):
        """Who asks nothing notices as well, and misses nothing."""
        used = self.others(self.cluster.leader())[0]
        mine, theirs = self.matchmaker(used), self.matchmaker(self.cluster.leader())
        heard = await self.watching(mine)
        used.stop_answering()
        await theirs.register(make_record(), 300)
        await eventually("what came meanwhile", lambda: heard.last(make_record()))
        self.assertEqual(self.lines, [], "others answer")


class CutOffTests(ClusterCase):
    """The member that we use does not reach the others; with etcd's own times."""

    options = DEFAULTS

    async def test_cut_off(self):
        """It is left, also by who only listens, and no change is missed."""
        used = self.others(self.cluster.leader())[0]
        mine, theirs = self.matchmaker(used), self.matchmaker(self.cluster.leader())
        first, second, third = (make_record(number=number) for number in (1, 2, 3))
        await theirs.register(first, 300)
        heard = await self.watching(mine, first)
        self.cluster.cut_off(used)
        begin = time.monotonic()
        await theirs.register(second, 300)
        await eventually("what it cannot hear there", lambda: heard.last(first, second))
        self.assertLess(time.monotonic() - begin, 4)
        await mine.register(third, 300)
        self.assertEqual(len(await mine.lookup("openstack", "compute")), 3)
        self.assertEqual(self.lines, [], "others answer")
        self.cluster.join()


class QuorumTests(ClusterCase):
    """The majority is lost."""

    async def test_lost(self):
        """What is asked fails with a sentence, in time, once in the log; then all is as before."""
        leader = self.cluster.leader()
        mine = self.matchmaker(leader)
        record = make_record()
        await mine.register(record, 300)
        heard = await self.watching(mine, record)
        first, second = self.others(leader)
        first.kill()
        second.kill()
        begin = time.monotonic()
        for ask in (
            lambda: mine.lookup("openstack", "compute"),
            lambda: mine.register(record, 300),
            lambda: mine.withdraw(record),
            mine.records,
        ):
            with self.assertRaises(MatchmakerUnavailable) as caught:
                await ask()
            for member in self.cluster.members:
                self.assertIn(f"127.0.0.1:{member.port}", str(caught.exception))
        self.assertLess(time.monotonic() - begin, 5)
        self.assertTrue(heard.last(record), "what was known is known")
        await pause(2)
        self.assertEqual(len(self.lines), 1, self.lines)
        for member in (first, second):
            member.begin()
        # So that who begins with one of them has no outage of its own.
        await gatherResults([deferToThread(member.wait) for member in (first, second)])
        await self.registered(mine, record)
        other = make_record(number=2)
        await self.registered(self.matchmaker(first), other)
        await eventually("what is new", lambda: heard.last(record, other))
        await eventually("the end of the outage", lambda: self.lines.about("works again"))
        self.assertEqual(len(self.lines), 2, self.lines)

    async def test_all_killed(self):
        """Each is named, by whoever only listens, too; what all have is said once."""
        mine = self.matchmaker()
        await self.watching(mine)
        for member in self.cluster.members:
            member.kill()
        names = ", ".join(f"127.0.0.1:{member.port}" for member in self.cluster.members)
        said = f"etcd cannot be used at {names} (refuses the connection); start it, or correct the transport URL"
        await eventually("all are named", lambda: mine.away() == said)
        self.assertEqual(await self.refused(mine.register(make_record(), 300)), said)
        self.assertEqual(mine.away(), said)
        for member in self.cluster.members:
            self.assertIn(f":{member.port} (", self.lines[0].replace(",", " ("))

    async def test_back_empty(self):
        """A watch hears that everything is lost, and what is registered again."""
        mine, theirs = self.matchmaker(), self.matchmaker()
        record, other = make_record(), make_record(number=2)
        await mine.register(record, 300)
        await theirs.register(other, 300)
        heard = await self.watching(mine, record, other)
        for member in self.cluster.members:
            member.kill()
            member.lose()
        self.cluster.start()
        for number in range(10):  # so that the new store is further than the old one was
            await self.registered(theirs, make_record("other", number=number))
        await self.registered(theirs, other)
        await eventually("what is there now", lambda: heard.last(other))
        await self.registered(mine, record)
        await eventually("all of it", lambda: heard.last(record, other))
