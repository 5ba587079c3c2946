"""What becomes of calls when there is more to do than a member, or all of them, can do."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import DeferredList, gatherResults
from twisted.internet.task import deferLater
from twisted.trial.unittest import SynchronousTestCase, TestCase

from zmqrpc import Target, expose
from zmqrpc.caller import Caller
from zmqrpc.errors import DeadlineExceeded, NotAcknowledged, Overloaded
from zmqrpc.test.scenarios.endpoints import Worker
from zmqrpc.test.scenarios.test_strangers import Peer
from zmqrpc.test.scenarios.worlds import InMemory, OverSockets, Scenario
from zmqrpc.testing import Network

WORK = Target("work")
TOPOLOGIES = ("static-direct", "dynamic-direct", "router-proxy")


class OverloadScenarios(Scenario):
    """Run in each topology: `topology` is its name."""

    topology = "static-direct"

    async def members(self, *names, **options):
        if self.topology == "router-proxy":
            await self.world.proxy()
        return [await self.member(name, **options) for name in names]

    def client(self, **options):
        return self.world.client(zmq_topology=self.topology, **options)

    async def fill(self, worker, number=1):
        """Have a member run so many calls of somebody else."""
        other = self.client()
        target = Target("work", server=worker.name)
        held = [other.call(target, "hold", {"number": -each}, timeout=30) for each in range(1, number + 1)]
        await self.world.eventually("they run", lambda: len(worker.held) == number)
        return held

    async def test_another_has_room(self):
        """What a member refuses as it has no room did not run, and goes to one that has."""
        full, free = await self.members("a", "b", max_running_calls=1)
        held = await self.fill(full)
        client = self.client()
        for send in (client.call, client.cast, client.call, client.cast):
            await send(WORK, "mark", {"number": 1}, timeout=5)
        await self.world.eventually("the casts run", lambda: len(free.ran) == 4)
        self.assertEqual(full.ran, [-1])
        full.let_go()
        await gatherResults(held)

    async def test_nobody_has_room(self):
        """Each is asked once, and the error tells of it."""
        workers = await self.members("a", "b", "c", max_running_calls=1)
        held = [each for worker in workers for each in await self.fill(worker)]
        client = self.client()
        error = await self.fails(client.call(WORK, "mark", timeout=5), Overloaded)
        self.assertFalse(error.maybe_executed)
        self.assertIn("1 calls running (max_running_calls); 2 asked before did not take it either", str(error))
        for worker in workers:
            self.assertEqual(worker.node.notices.counts["overloaded"], 1)
            worker.let_go()
        await gatherResults(held)
        self.assertIn(await client.call(WORK, "mark", timeout=5), "abc")

    async def test_zero_attempts_mean_zero(self):
        """With `rpc_retry_attempts` of 0 nothing is repeated: neither after a refusal nor after a loss."""
        full, free = await self.members("a", "b", max_running_calls=1)
        held = await self.fill(full)
        client = self.client(rpc_retry_attempts=0)
        outcomes = await DeferredList([client.call(WORK, "mark", timeout=5) for _ in range(2)], consumeErrors=True)
        self.assertEqual(sorted(good for good, _ in outcomes), [False, True])
        (error,) = [outcome.value for good, outcome in outcomes if not good]
        self.assertIsInstance(error, Overloaded)
        self.assertIn("no other was asked (rpc_retry_attempts, rpc_retry_budget)", str(error))
        full.let_go()
        await gatherResults(held)
        call = client.call(Target("work", server="b"), "hold", timeout=20, idempotent=True)
        await self.world.eventually("it runs", lambda: free.held)
        self.world.kill(free.node)
        with self.assertRaises(Exception) as caught:
            await call
        self.assertTrue(caught.exception.maybe_executed)

    async def test_a_spent_budget(self):
        """When the budget is spent a call ends as it would have ended at last, and that is counted."""
        full, free = await self.members("a", "b", max_running_calls=1)
        held = await self.fill(full)
        client = self.client(rpc_retry_budget=0)
        taken = 0
        for number in range(40):
            try:
                await client.call(WORK, "mark", {"number": number}, timeout=5)
                taken += 1
            except Overloaded as error:
                self.assertIn("no other was asked", str(error))
        # Half of them come to the one that is full, and ten of those go on.
        self.assertEqual((taken, len(free.ran)), (30, 30))
        self.assertEqual(client.node.notices.counts["retry_budget_spent"], 10)
        full.let_go()
        await gatherResults(held)

    async def test_too_many_clients(self):
        """A member that remembers as many clients as it may is overloaded for one more, whose calls go elsewhere."""
        (full,) = await self.members("a", max_clients=1)
        held = await self.fill(full)
        client = self.client()
        began = self.world.seconds()
        for target in (WORK, Target("work", server="a")):
            for _ in range(2):
                error = await self.fails(client.call(target, "mark", timeout=5), Overloaded)
                self.assertFalse(error.maybe_executed)
                self.assertIn("a at tcp://", str(error))
                self.assertIn("(max_clients)", str(error))
            error = await self.fails(client.cast(target, "mark", timeout=5), Overloaded)
        [answer] = await client.call_each(WORK, "mark", timeout=5)
        self.assertIsInstance(answer.error, Overloaded)
        self.assertIn("(max_clients)", str(answer.error))
        self.assertLess(self.world.seconds() - began, 1)
        free = await self.member("b")
        calls = [client.call(WORK, "mark", timeout=5) for _ in range(4)]
        self.assertEqual(await gatherResults(calls), ["b"] * 4)
        self.assertEqual((len(full.ran), len(free.ran)), (1, 4))
        full.let_go()
        await gatherResults(held)

    async def test_too_many_clients_where_no_instance_is_recorded(self):
        """Who refuses HELLO need not be whom the record names: a fixed table names nobody."""
        if self.topology == "router-proxy":
            return
        (full,) = await self.members("a", max_clients=1)
        await self.world.record("fixed.a", full.node.address)
        held = await self.fill(full)
        error = await self.fails(self.client().call(Target("fixed"), "mark", timeout=5), Overloaded)
        self.assertIn("(max_clients)", str(error))
        full.let_go()
        await gatherResults(held)

    async def test_too_many_clients_for_a_while(self):
        """Who waits for a member to be ready waits until it remembers fewer."""
        # Where a machine is so busy that the farewell of the first is lost, it is remembered for as long as this says,
        # or until its call would have ended.
        options = {"rpc_message_ttl": 3.0} if isinstance(self, OverSockets) else {}
        (full,) = await self.members("a", max_clients=1, **options)
        first, client = self.client(), self.client()
        held = first.call(WORK, "hold", timeout=8)
        await self.world.eventually("it runs", lambda: full.held)
        call = client.call(WORK, "mark", {"number": 9}, timeout=20, wait_for_ready=True)
        await self.world.sleep(1)
        self.assertFalse(call.called)
        full.let_go()
        await held
        await self.world.stop(first.node)
        self.assertEqual(await call, "a")
        self.assertEqual(full.ran, [0, 9])

    async def test_full_queues_here(self):
        """A call that there is no room for at one link goes to another that has: it was not sent."""
        (free,) = await self.members("a")
        await self.world.stranger("work.silent", Peer())
        if self.topology != "static-direct":
            return
        client = self.client(max_queued_calls=2)
        await client.call(Target("work", server="a"), "mark", timeout=5)
        calls = [client.call(WORK, "mark", {"number": number}, timeout=0.2) for number in range(20)]
        outcomes = await DeferredList(calls, consumeErrors=True)
        self.assertEqual(sum(good for good, _ in outcomes), 20, outcomes)
        self.assertEqual(len(free.ran), 21)
        self.assertEqual(client.node.notices.counts["retry_budget_spent"], 0)


class StaticInMemory(InMemory, OverloadScenarios, TestCase):
    seeds = range(2)


class DynamicInMemory(InMemory, OverloadScenarios, TestCase):
    topology = "dynamic-direct"
    seeds = range(2)


class RoutedInMemory(InMemory, OverloadScenarios, TestCase):
    topology = "router-proxy"
    seeds = range(2)


class StaticOverSockets(OverSockets, OverloadScenarios, TestCase):
    pass


class RoutedOverSockets(OverSockets, OverloadScenarios, TestCase):
    topology = "router-proxy"


class Slow:
    """A method that takes as long as the test says, on the clock of the network."""

    def __init__(self, clock):
        self.clock = clock
        self.seconds = 0.0
        self.ran = 0

    @expose
    def work(self, context, number=0):
        self.ran += 1
        return deferLater(self.clock, self.seconds, lambda: number)


class StormTests(SynchronousTestCase):
    """Many calls, and servers that are all too slow for them."""

    def storm(self, topology, **options):
        """Call 200 times a second; for ten seconds every server takes five times as long, and has no room for all."""
        network = Network(1)
        with network:
            if topology == "router-proxy":
                network.proxy()
            endpoints = [Slow(network.clock) for _ in range(3)]
            nodes = [
                network.serve(f"work.m{number}", each, max_running_calls=10) for number, each in enumerate(endpoints)
            ]
            client = network.client(zmq_topology=topology, **options)
            network.result_of(client.call(WORK, "work", timeout=5))
            outcomes: list[Any] = []
            sent = 0
            for until, seconds in ((2, 0.1), (12, 0.5), (14, 0.1)):
                for each in endpoints:
                    each.seconds = seconds
                before = len(outcomes)
                while network.clock.seconds() < until:
                    client.call(WORK, "work", timeout=2, idempotent=True).addBoth(outcomes.append)
                    sent += 1
                    network.run(0.005)
            network.run(3)
            attempts = sum(each.ran for each in endpoints) + sum(node.notices.counts["overloaded"] for node in nodes)
            return sent + 1, attempts, outcomes, outcomes[before + 200 :], client

    def test_slow_servers_are_not_trampled(self):
        """While all are slow, all attempts together are no more than 1.1 times the calls."""
        for topology in TOPOLOGIES:
            with self.subTest(topology=topology):
                sent, attempts, outcomes, afterwards, _ = self.storm(topology)
                self.assertEqual(len(outcomes), sent - 1)
                self.assertGreater(attempts, sent)
                self.assertLessEqual(attempts, 1.1 * sent)
                refused = [each.value for each in outcomes if not isinstance(each, int)]
                self.assertGreater(len(refused), 500)
                self.assertEqual({type(error) for error in refused}, {Overloaded})
                self.assertFalse(any(error.maybe_executed for error in refused))
                self.assertTrue(all(isinstance(each, int) for each in afterwards))

    def test_without_a_budget_they_are(self):
        sent, attempts, *_ = self.storm("static-direct", rpc_retry_budget=-1)
        self.assertGreater(attempts, 1.5 * sent)


class TimerTests(SynchronousTestCase):
    """What nobody acknowledges is sent again by time."""

    def unacknowledged(self, topology, timeout, **options):
        """Cast to a member that reads and says nothing; return how often it was repeated, and the outcome."""
        network = Network(1)
        with network:
            if topology == "router-proxy":
                network.proxy()
            worker = Worker("a")
            node = network.serve("work.a", worker)
            client = network.client(zmq_topology=topology, **options)
            network.result_of(client.call(WORK, "mark"))
            self.patch(Caller, "acknowledge", lambda caller, sequence: None)
            outcomes: list[Any] = []
            client.cast(WORK, "mark", {"number": 1}, timeout=timeout).addBoth(outcomes.append)
            network.run(1.5)
            (outcome,) = outcomes
            self.assertLessEqual(worker.ran.count(1), 1)
            return node.notices.counts["repeated"], None if outcome is None else type(outcome.value)

    def test_how_often(self):
        acks = {"rpc_ack_timeout_base": 0.1, "rpc_ack_timeout_multiplier": 2.0}
        for topology in TOPOLOGIES:
            for timeout, options, repeated, error in (
                (1.4, {"rpc_retry_attempts": 0}, 0, NotAcknowledged),
                (1.4, {"rpc_retry_attempts": 1}, 1, NotAcknowledged),
                (1.4, {"rpc_retry_attempts": 2}, 2, NotAcknowledged),
                # At 0.1, 0.3 and 0.7 s.
                (1.4, {"rpc_retry_attempts": -1}, 3, DeadlineExceeded),
                # At each tenth, and never past the deadline.
                (0.55, {"rpc_retry_attempts": -1, "rpc_ack_timeout_multiplier": 1.0}, 5, DeadlineExceeded),
                (0.05, {"rpc_retry_attempts": -1}, 0, DeadlineExceeded),
                (1.4, {"rpc_use_acks": False}, 0, None),
            ):
                with self.subTest(topology=topology, timeout=timeout, options=options):
                    outcome = self.unacknowledged(topology, timeout, **(acks | options))
                    self.assertEqual(outcome, (repeated, error))

    def test_a_spent_budget(self):
        """What the budget does not allow is not repeated, and waits on for its deadline."""
        network = Network(1)
        with network:
            worker = Worker("a")
            node = network.serve("work.a", worker)
            client = network.client(
                rpc_ack_timeout_base=0.1, rpc_ack_timeout_multiplier=1, rpc_retry_attempts=2, rpc_retry_budget=0
            )
            network.result_of(client.call(WORK, "mark"))
            self.patch(Caller, "acknowledge", lambda caller, sequence: None)
            ends = [client.cast(WORK, "mark", {"number": number}, timeout=1.2) for number in range(1, 31)]
            network.run(1.5)
            for each in ends:
                self.failureResultOf(each, DeadlineExceeded)
            self.assertIn(node.notices.counts["repeated"], (10, 11))
            self.assertGreater(client._delivery.links.notices.counts["retry_budget_spent"], 10)
