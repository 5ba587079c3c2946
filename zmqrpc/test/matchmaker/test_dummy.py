"""The matchmaker of one process."""

import gc

from twisted.internet.defer import succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from zmqrpc.errors import MatchmakerUnavailable
from zmqrpc.matchmaker._table import Table
from zmqrpc.matchmaker.dummy import DummyFactory, DummyMatchmaker
from zmqrpc.settings import Settings
from zmqrpc.target import Target
from zmqrpc.testing.matchmaker import Heard, MatchmakerContract, make_record


class DummyContract(MatchmakerContract, TestCase):
    shares_doubts = True

    def setUp(self):
        self.reactor = Clock()
        self.table = Table(self.reactor)

    def make_matchmaker(self):
        return DummyMatchmaker(self.table)

    async def lose_everything(self):
        for sighting in self.table.all():
            self.table.remove(sighting.record)
        return True

    def pass_time(self, seconds):
        self.reactor.advance(seconds)
        return succeed(None)

    def turn(self):
        self.reactor.advance(0)
        return succeed(None)


class DummyTests(TestCase):
    def make(self, clock, factory=None):
        return (factory or DummyFactory()).make(clock, "zmq://", Settings())

    def test_shared_by_reactor(self):
        """Nodes of one reactor see each other, those of another do not."""
        factory, clock = DummyFactory(), Clock()
        first, second, stranger = (self.make(on, factory) for on in (clock, clock, Clock()))
        self.successResultOf(first.register(make_record(), 300))
        self.assertEqual(len(self.successResultOf(second.records())), 1)
        self.assertEqual(self.successResultOf(stranger.records()), [])

    def test_table_ends(self):
        """A table does not outlive its matchmakers."""
        factory, clock = DummyFactory(), Clock()
        self.successResultOf(self.make(clock, factory).register(make_record(), 300))
        gc.collect()
        self.assertEqual(self.successResultOf(self.make(clock, factory).records()), [])

    def test_one_timer(self):
        """Without watches there is no timer; with them there is one, at the next expiry of what is watched."""
        clock = Clock()
        matchmaker = self.make(clock)
        for number, expire in enumerate((30, 20, 10, 0)):
            matchmaker.register(make_record(number=number), expire)
        matchmaker.register(make_record("other"), 5)
        self.assertEqual(clock.getDelayedCalls(), [])
        stop = matchmaker.watch("openstack", "compute", Heard())
        clock.advance(0)
        self.assertEqual([call.getTime() for call in clock.getDelayedCalls()], [10])
        clock.advance(10)
        clock.advance(0)
        self.assertEqual([call.getTime() for call in clock.getDelayedCalls()], [20])
        stop()
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_exact_expiry(self):
        """A record is there until its time is up, and not then."""
        clock = Clock()
        matchmaker = self.make(clock)
        matchmaker.register(make_record(), 10)
        clock.advance(9.999)
        self.assertEqual(len(self.successResultOf(matchmaker.lookup("openstack", "compute"))), 1)
        clock.advance(0.001)
        self.assertEqual(self.successResultOf(matchmaker.lookup("openstack", "compute")), [])

    def test_refresh_is_no_change(self):
        """A refresh that changes nothing is not told."""
        clock, heard = Clock(), Heard()
        matchmaker = self.make(clock)
        matchmaker.register(make_record(), 10)
        matchmaker.watch("openstack", "compute", heard)
        clock.advance(5)
        matchmaker.register(make_record(), 10)
        clock.advance(6)
        self.assertEqual(len(heard.calls), 1)

    def test_closed(self):
        """A closed one answers that it is, and leaves nothing on the clock."""
        clock, heard = Clock(), Heard()
        matchmaker = self.make(clock)
        matchmaker.register(make_record(), 10)
        matchmaker.watch("openstack", "compute", heard)
        self.successResultOf(matchmaker.close())
        self.assertEqual(clock.getDelayedCalls(), [])
        self.failureResultOf(matchmaker.register(make_record(), 10), MatchmakerUnavailable)
        self.failureResultOf(matchmaker.lookup("openstack", "compute"), MatchmakerUnavailable)
        matchmaker.watch("openstack", "compute", heard)()
        clock.advance(20)
        self.assertEqual(heard.calls, [])

    def test_any_address(self):
        """A server may choose its address."""
        self.assertIsNone(self.make(Clock()).bind_address(Target("compute", server="node-1")))
