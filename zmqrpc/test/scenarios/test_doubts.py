"""
Who is suspect: what leads a server out of the rotation and back, what others hear of it, and what they make of that.

With dead addresses: what a client does that finds a hundred of them and one that lives.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.trial.unittest import TestCase

from zmqrpc import Target
from zmqrpc.core.link import Phase
from zmqrpc.record import Record, Role
from zmqrpc.test.scenarios.worlds import InMemory, Scenario

WORK = Target("work")
TOPOLOGIES = ("static-direct", "dynamic-direct")


class Counted:
    """A `Liveness` that notes when it is asked for an answer at once."""

    def __init__(self, liveness, asked):
        self.__dict__.update(_liveness=liveness, _asked=asked)

    def __getattr__(self, name):
        return getattr(self._liveness, name)

    def __setattr__(self, name, value):
        setattr(self._liveness, name, value)

    def ask(self, now):
        self._asked.append(now)
        self._liveness.ask(now)


class DoubtScenarios(Scenario):
    async def begin(self, topology, names="ab"):
        """Serve these members; return a client that has called each, and its host."""
        self.workers = {name: await self.member(name) for name in names}
        self.client = await self.knowing(topology)

    async def knowing(self, topology, **options):
        """Start a client that has reached everybody once, and has nothing to do then."""
        client = self.world.client(zmq_topology=topology, **options)
        await client.fanout(WORK, "mark", timeout=5)
        return client

    def routed(self, client):
        """List whom the next calls of a client go to."""
        table = client.node._delivery.table
        records = table.route(WORK, "openstack").recorded
        return "".join(sorted(records[key].member for key in table.route(WORK, "openstack").choices))

    async def leaves(self, client, name, within):
        """Wait until a member is out of the rotation; fail when it takes too long."""
        began = self.world.clock.seconds()
        await self.world.eventually(f"{name} is out", lambda: name not in self.routed(client))
        self.assertLess(self.world.clock.seconds() - began, within)

    async def comes_back(self, client, name, within):
        began = self.world.clock.seconds()
        await self.world.eventually(f"{name} is back", lambda: name in self.routed(client), 30)
        self.assertLess(self.world.clock.seconds() - began, within)

    def talk(self, client, times=100):
        """Call on, every 20 ms."""
        return gatherResults(
            [self.world.sleep(0.02 * n).addCallback(lambda _: self.mark(client)) for n in range(times)]
        )

    def mark(self, client):
        return client.call(WORK, "mark", timeout=20, idempotent=True).addErrback(lambda failure: None)

    # What leads out of the rotation, and back

    async def test_disconnected_and_refused(self):
        """A lost connection and refused ones: out at once, tried again ever more seldom, and back by itself."""
        for topology in TOPOLOGIES:
            await self.begin(topology)
            host = self.workers["a"].node.host
            talking = self.talk(self.client)
            self.world.network.refuse(host)
            self.world.network.break_connections(self.client.node.host, host)
            await self.leaves(self.client, "a", 0.1)
            await talking
            await self.world.sleep(3)
            self.assertEqual(self.routed(self.client), "b")
            [link] = [each for each in self.client.node._links.all() if each.member == "a"]
            self.assertGreater(link.state.fails, 3)
            self.assertLess(link.attempt, 40)
            self.world.network.accept(host)
            await self.comes_back(self.client, "a", 10.5)
            await self.world.eventually("the doubt is taken back", lambda: not self.world.store.doubts())
            for worker in self.workers.values():
                await self.world.stop(worker.node)
            await self.world.stop(self.client.node)

    async def test_silent(self):
        """Who does not answer is out in two seconds, told to others, and back with the first that he says."""
        await self.begin("static-direct")
        talking = self.talk(self.client, 200)
        self.workers["a"].node.clock.suspend(4.0)
        await self.leaves(self.client, "a", 2.1)
        await self.world.eventually("it is told", self.world.store.doubts)
        self.assertRegex(self.world.store.doubts()[0].reason, "^silent for 1.5 s|connection")
        await talking
        await self.comes_back(self.client, "a", 10.5)
        await self.world.eventually("the doubt is taken back", lambda: not self.world.store.doubts())

    async def test_answered(self):
        """An answer to what others doubt changes nothing, and ends nobody else's doubt."""
        await self.begin("static-direct")
        await self.doubt("a")
        await self.world.sleep(3)
        self.assertEqual((self.routed(self.client), len(self.world.store.doubts())), ("ab", 1))

    async def doubt(self, name, reason="so it is said"):
        """Have somebody say that a member is in doubt."""
        [record] = [each for each in self.world.store.records() if each.member == name]
        names = (record.exchange, record.topic, record.member, record.instance)
        doubt = Record(Role.DOUBT, *names, record.addresses, reason=reason)
        await self.world.store.matchmaker().register(doubt, 30)

    # What others make of it

    async def test_killed(self):
        """Who talks to it knows at once, and the others by him, without a call of their own."""
        for topology in TOPOLOGIES:
            await self.begin(topology)
            other = await self.knowing(topology)
            await self.world.sleep(1)
            talking = self.talk(self.client)
            self.world.kill(self.workers["a"].node)
            await self.leaves(self.client, "a", 0.1)
            await self.leaves(other, "a", 0.5)
            await talking
            for each in (self.client.node, other.node, self.workers["b"].node):
                await self.world.stop(each)
            self.world.store.forget()

    async def test_lost_host(self):
        """A host that vanishes without a word is found out by an idle client as soon as by one that talks."""
        await self.begin("static-direct")
        other = await self.knowing("static-direct")
        await self.world.sleep(20)
        talking = self.talk(self.client, 300)
        self.world.network.isolate(self.workers["a"].node.host)
        await self.leaves(self.client, "a", 2.1)
        await self.leaves(other, "a", 3.0)
        await talking

    async def test_partitioned_client(self):
        """A client that is cut off from all servers takes them from nobody but itself."""
        await self.begin("static-direct", "abc")
        others = [await self.knowing(topology) for topology in TOPOLOGIES]
        for worker in self.workers.values():
            self.world.network.partition(self.client.node.host, worker.node.host)
        talking = self.talk(self.client, 10)
        await self.world.eventually("all are doubted", lambda: len(self.world.store.doubts()) == 3)
        for _ in range(100):
            await self.world.sleep(0.05)
            self.assertEqual([self.routed(other) for other in others], ["abc", "abc"])
        self.assertEqual(self.routed(self.client), "")
        for other in others:
            self.assertEqual({await other.call(WORK, "mark", timeout=1) for _ in range(3)}, set("abc"))
        self.world.network.heal()
        await talking
        for name in "abc":
            await self.comes_back(self.client, name, 15)
        await self.world.eventually("the doubts are taken back", lambda: not self.world.store.doubts())

    async def test_a_new_instance_is_not_burdened(self):
        await self.begin("static-direct")
        other = await self.knowing("static-direct")
        self.world.kill(self.workers["a"].node)
        await self.world.eventually("it is doubted", self.world.store.doubts)
        successor = await self.member("a")
        for client in (self.client, other):
            await self.comes_back(client, "a", 0.5)
        doubted = {doubt.instance for doubt in self.world.store.doubts()}
        self.assertNotIn(successor.node.instance.hex(), doubted)

    async def test_what_the_application_says_is_shared(self):
        """Others look, find nothing, and go on; it is taken back when the application does."""
        await self.begin("static-direct")
        other = await self.knowing("static-direct")
        [(_, instance)] = self.client.neg_acknowledge(Target("work", server="a"), "answers nonsense")
        await self.world.eventually("it is told", self.world.store.doubts)
        [doubt] = self.world.store.doubts()
        self.assertEqual((doubt.instance, doubt.reason), (instance, "answers nonsense"))
        await self.world.sleep(0.5)
        self.assertEqual((self.routed(self.client), self.routed(other)), ("b", "ab"))
        self.client.acknowledge(Target("work", server="a"))
        await self.world.sleep(0.1)
        self.assertEqual((self.world.store.doubts(), self.routed(self.client)), ([], "ab"))

    async def test_a_store_that_is_down(self):
        """Doubts are lost then, and counted."""
        await self.begin("static-direct")
        self.world.store.go_down()
        self.client.neg_acknowledge(WORK, "slow")
        counts = self.client.node.notices.counts
        await self.world.eventually("they are counted", lambda: counts["doubt_lost"] == 2)
        self.world.store.come_back()

    async def test_listed_nowhere(self):
        """Members, watches, fan-outs and registrations know no doubts."""
        await self.begin("static-direct")
        seen: list[Any] = []
        self.client.watch(WORK, seen.append)
        listed = await self.client.members(WORK)
        await self.world.sleep(0.1)
        stored = self.world.store.records()
        for name in "ab":
            await self.doubt(name)
        await self.world.sleep(5)
        fresh = await self.knowing("dynamic-direct")
        for client in (self.client, fresh):
            self.assertEqual(await client.members(WORK), listed)
            self.assertEqual(list((await client.fanout(WORK, "mark")).members), listed)
        self.assertEqual((len(seen), self.world.store.records()), (1, stored))

    async def test_asked_once_in_a_while(self):
        """Whoever writes doubts all the time costs one PING in five seconds."""
        await self.begin("static-direct", "a")
        await self.world.sleep(20)
        [link] = self.client.node._links.all()
        asked: list[float] = []
        link.state.liveness = link.liveness = Counted(link.liveness, asked)
        for _ in range(100):
            await self.doubt("a")
            await self.world.sleep(0.1)
            await self.world.store.matchmaker().withdraw(self.world.store.doubts()[0])
            await self.world.sleep(0.01)
        self.assertLessEqual(len(asked), 3)
        self.assertGreater(len(asked), 1)

    async def test_through_a_proxy(self):
        """A link through a router proxy asks its instance in the same way."""
        await self.world.proxy()
        await self.begin("router-proxy")
        await self.world.sleep(20)
        self.workers["a"].node.clock.suspend(3.0)
        await self.doubt("a")
        await self.leaves(self.client, "a", 2.1)
        await self.comes_back(self.client, "a", 5)

    # Dead addresses

    async def test_dead_addresses(self):
        """A hundred dead and one alive: the first call has its answer soon, and those after it do not wait."""
        await self.member("live")
        for number in range(100):
            host = f"dead-{number}"
            address = self.world.network.add_host(host)
            record = Record(
                Role.SERVER, "openstack", "work", host, f"{number + 1:032x}", (f"tcp://{address}:{1000 + number}",)
            )
            await self.world.store.matchmaker().register(record, 300)
        for topology in TOPOLOGIES:
            client = self.world.client(zmq_topology=topology)
            for number in range(50):
                self.world.network.partition(client.node.host, f"dead-{number}")
            began = self.world.clock.seconds()
            self.assertEqual(await client.call(WORK, "mark", timeout=20), "live")
            self.assertLess(self.world.clock.seconds() - began, 0.2)
            took: list[float] = []

            async def call(client=client, took=took):
                began = self.world.clock.seconds()
                await client.call(WORK, "mark", timeout=20)
                took.append(self.world.clock.seconds() - began)

            calls = []
            for _ in range(600):
                await self.world.sleep(0.005)
                calls.append(Deferred.fromCoroutine(call()))
            await gatherResults(calls)
            self.assertLess(sorted(took)[int(0.99 * len(took))], 0.05, (topology, sorted(took)[-10:]))
            reached = await client.fanout(WORK, "mark", timeout=5)
            self.assertEqual((len(reached.members), len(reached.missing)), (1, 100))
            await self.world.stop(client.node)

    async def test_nobody_alive(self):
        """Where all are dead the call says so, and does not wait for its deadline where connections are refused."""
        for name in "ab":
            self.world.kill((await self.member(name)).node)
        for topology in TOPOLOGIES:
            client = self.world.client(zmq_topology=topology)
            error = await self.fails(client.call(WORK, "mark", timeout=5), Exception)
            self.assertIn("a at tcp://", str(error))
            self.assertIn(Phase.BACKOFF, {link.state.phase for link in client.node._links.all()})


class DoubtsInMemory(InMemory, DoubtScenarios, TestCase):
    seeds = range(2)
