"""Several members: who gets a call, a cast, a fan-out."""

from __future__ import annotations

from collections import Counter

from twisted.internet.defer import gatherResults
from twisted.trial.unittest import TestCase

from zmqrpc import Target
from zmqrpc.errors import DeadlineExceeded, NoRoute
from zmqrpc.test.scenarios.endpoints import Worker
from zmqrpc.test.scenarios.worlds import InMemory, OverSockets, Scenario

WORK = Target("work")


class RoutingScenarios(Scenario):
    async def test_round_robin(self):
        """Calls to a bare topic take its members strictly in turn."""
        for name in "abc":
            await self.member(name)
        client = self.world.client()
        names = [await client.call(WORK, "mark") for _ in range(12)]
        self.assertEqual(names, names[:3] * 4)
        self.assertEqual(sorted(names[:3]), ["a", "b", "c"])
        at_once = await gatherResults([client.call(WORK, "mark") for _ in range(300)])
        self.assertEqual(Counter(at_once), {"a": 100, "b": 100, "c": 100})

    async def test_round_robin_from_the_start(self):
        """Members that are still being connected to get their turns."""
        for name in "abc":
            await self.member(name)
        client = self.world.client()
        names = await gatherResults([client.call(WORK, "mark") for _ in range(30)])
        self.assertEqual(Counter(names), {"a": 10, "b": 10, "c": 10})

    async def test_directed(self):
        """A directed topic leads to its member only."""
        a, b = await self.member("a"), await self.member("b")
        client = self.world.client()
        for _ in range(5):
            self.assertEqual(await client.call(Target("work", server="b"), "mark"), "b")
        self.assertEqual((a.ran, b.ran), ([], [0] * 5))
        error = await self.fails(client.call(Target("work", server="c"), "mark"), NoRoute)
        self.assertFalse(error.maybe_executed)
        self.assertEqual((a.ran, b.ran), ([], [0] * 5))

    async def test_topics_and_exchanges_are_exact(self):
        """A topic that begins like another, or has its name in another exchange, is another."""
        await self.world.serve("work_more.a", Worker("more"))
        client = self.world.client()
        await self.fails(client.call(WORK, "mark"), NoRoute)
        await self.fails(client.call(Target("work_more", exchange="other"), "mark"), NoRoute)
        self.assertEqual(await client.call(Target("work_more"), "mark"), "more")

    async def test_nobody(self):
        """That nobody listens is said at once, and the answer is not final."""
        client = self.world.client()
        began = self.world.seconds()
        for send in (client.call, client.cast, client.fanout):
            error = await self.fails(send(WORK, "mark", timeout=50), NoRoute)
            self.assertFalse(error.maybe_executed)
        self.assertLess(self.world.seconds() - began, 1)
        self.assertEqual(await client.members(WORK), [])
        await self.member("a")
        self.assertEqual(await client.call(WORK, "mark"), "a")

    async def test_wait_for_ready(self):
        """Who is willing to wait is served by the first member that comes, or ends at its deadline."""
        client = self.world.client()
        directed = Target("work", server="a")
        calls = [
            client.call(WORK, "mark", timeout=8, wait_for_ready=True),
            client.call(directed, "mark", timeout=8, wait_for_ready=True),
            client.cast(WORK, "mark", timeout=8, wait_for_ready=True),
        ]
        fanout = client.fanout(WORK, "mark", timeout=8, wait_for_ready=True)
        began = self.world.seconds()
        await self.fails(client.call(WORK, "mark", timeout=0.2, wait_for_ready=True), DeadlineExceeded)
        self.assertLess(self.world.seconds() - began, 0.4)
        await self.member("a")
        self.assertEqual(await gatherResults(calls), ["a", "a", None])
        self.assertEqual([member for member, _ in (await fanout).members], ["a"])
        self.assertLess(self.world.seconds() - began, 2)

    async def test_appears_later(self):
        """A member that appears is used without a restart of anybody."""
        await self.member("a")
        client = self.world.client()
        self.assertEqual([await client.call(WORK, "mark") for _ in range(3)], ["a"] * 3)
        late = await self.member("b")
        calls = []

        async def used():
            while not late.ran:
                calls.append(await client.call(WORK, "mark"))
                await self.world.sleep(0.01)

        await used()
        self.assertLess(len(calls), 100)

    async def test_members(self):
        """Members are listed with their instances."""
        a, b = await self.member("a"), await self.member("b")
        client = self.world.client()
        both = [("a", a.node.instance.hex()), ("b", b.node.instance.hex())]
        self.assertEqual(await client.members(WORK), both)
        self.assertEqual(await client.members(Target("work", server="b")), both[1:])

    async def test_fanout(self):
        """A fan-out reaches every member once, and says whom it reached."""
        workers = [await self.member(name) for name in "abc"]
        client = self.world.client()
        reached = await client.fanout(WORK, "mark", {"number": 7})
        self.assertEqual(reached.members, tuple((worker.name, worker.node.instance.hex()) for worker in workers))
        self.assertEqual(reached.missing, ())
        await self.world.eventually("all run", lambda: all(worker.ran for worker in workers))
        self.assertEqual([worker.ran for worker in workers], [[7], [7], [7]])

    async def test_fanout_to_a_member(self):
        """A fan-out to a directed topic reaches that member's instances and nobody else."""
        a, b = await self.member("a"), await self.member("b")
        reached = await self.world.client().fanout(Target("work", server="b"), "mark")
        self.assertEqual([member for member, _ in reached.members], ["b"])
        await self.world.eventually("it runs", lambda: b.ran)
        self.assertEqual(a.ran, [])

    async def test_fanout_misses_the_dead(self):
        """A recorded member that cannot be reached is listed as missing, with why."""
        a, b = await self.member("a"), await self.member("b")
        client = self.world.client()
        self.world.kill(b.node)
        reached = await client.fanout(WORK, "mark", timeout=5)
        self.assertEqual([member for member, _ in reached.members], ["a"])
        [(member, instance, error)] = reached.missing
        self.assertEqual((member, instance), ("b", b.node.instance.hex()))
        self.assertIsInstance(error, NoRoute)
        self.assertEqual((a.ran, b.ran), ([0], []))

    async def test_one_name_twice(self):
        """Two instances of one member name share its directed calls, and each gets every fan-out."""
        first, second = await self.member("a"), await self.member("a")
        client = self.world.client()
        for _ in range(10):
            await client.call(Target("work", server="a"), "mark")
        self.assertEqual((len(first.ran), len(second.ran)), (5, 5))
        reached = await client.fanout(WORK, "mark", {"number": 1})
        instances = {("a", first.node.instance.hex()), ("a", second.node.instance.hex())}
        self.assertEqual(set(reached.members), instances)
        await self.world.eventually("both run", lambda: first.ran[-1] == second.ran[-1] == 1)
        self.assertEqual((len(first.ran), len(second.ran)), (6, 6))

    async def test_several_servers_of_a_node(self):
        """One node may serve several topics and members, also ones added after its start."""
        first, second, third = Worker("first"), Worker("second"), Worker("third")
        node = await self.world.serve("work.a", first)
        port = node.address
        node.server(Target("other", server="x"), [second])
        client = self.world.client()
        await node.when_ready()
        self.assertEqual(await client.call(Target("other"), "mark"), "second")
        self.assertEqual(await client.call(WORK, "mark"), "first")
        node.server(Target("work", server="b"), [third])
        await node.when_ready()
        self.assertEqual(await client.call(Target("work", server="b"), "mark"), "third")
        self.assertEqual(node.address, port)

    async def test_serve_after_start(self):
        """A node that only called binds at once when it is given a server."""
        client = self.world.client()
        self.assertIsNone(client.node.address)
        client.node.server(Target("work", server="late"), [Worker("late")])
        self.assertIsNotNone(client.node.address)
        await client.node.when_ready()
        self.assertEqual(await client.call(WORK, "mark"), "late")
        self.assertEqual(await self.world.client().call(WORK, "mark"), "late")


class RoutingInMemory(InMemory, RoutingScenarios, TestCase):
    pass


class RoutingOverSockets(OverSockets, RoutingScenarios, TestCase):
    pass
