"""The matchmaker is down, slow, read-only or emptied, and calls go on as far as anybody knows the way."""

from __future__ import annotations

from twisted.internet.defer import Deferred, gatherResults
from twisted.trial.unittest import TestCase

from zmqrpc import Target
from zmqrpc.errors import DeadlineExceeded, MatchmakerUnavailable, NoRoute, ServerLost
from zmqrpc.test.scenarios.endpoints import Worker
from zmqrpc.test.scenarios.worlds import InMemory, OverSockets, Scenario

WORK = Target("work")


class DiscoveryScenarios(Scenario):
    async def test_down_with_known_routes(self):
        """Known routes are used while the store is down, by bare and by directed topics."""
        await self.member("a")
        await self.member("b")
        client = self.world.client()
        await client.call(WORK, "mark")
        self.world.store.go_down()
        names = [await client.call(WORK, "mark", timeout=2) for _ in range(4)]
        self.assertEqual(sorted(names), ["a", "a", "b", "b"])
        self.assertEqual(await client.call(Target("work", server="b"), "mark", timeout=2), "b")
        self.assertEqual(len((await client.fanout(WORK, "mark", timeout=2)).members), 2)

    async def test_down_with_unknown_topics(self):
        """Who asks for a topic that nobody knows of hears that the store does not answer, not that nobody listens."""
        await self.member("a")
        client = self.world.client()
        self.world.store.go_down()
        for send in (client.call, client.cast, client.fanout):
            error = await self.fails(send(WORK, "mark", timeout=5), MatchmakerUnavailable)
            self.assertFalse(error.maybe_executed)
        await self.fails(client.members(WORK), MatchmakerUnavailable)
        self.world.store.come_back()
        self.assertEqual(await client.call(WORK, "mark", timeout=5), "a")

    async def test_ready(self):
        """Whether others can find a node is told when it changes, and not of a blink; nor by its own stop."""
        worker = await self.member("a")
        self.assertEqual(worker.node.not_ready, "")
        changes: list[str] = []
        stop_watch = worker.node.watch_ready(changes.append)
        self.world.store.go_down()
        await self.world.sleep(0.3)
        self.world.store.come_back()
        await self.world.client().call(WORK, "mark", timeout=5)
        self.assertEqual((worker.node.not_ready, changes), ("", []))
        stop_watch()
        await worker.node.stopService()
        self.assertEqual((worker.node.not_ready, changes), ("it is stopping", []))

    async def test_hung(self):
        """A call does not wait for the store beyond its deadline."""
        await self.member("a")
        client = self.world.client()
        self.world.store.go_down(after=0.5)
        began = self.world.seconds()
        error = await self.fails(client.call(WORK, "mark", timeout=0.1), DeadlineExceeded)
        self.assertLess(self.world.seconds() - began, 0.3)
        self.assertFalse(error.maybe_executed)

    async def test_waits_for_the_store(self):
        """Who is willing to wait is served when the store comes back."""
        worker = await self.member("a")
        client = self.world.client()
        self.world.store.go_down()
        call = client.call(WORK, "mark", timeout=8, wait_for_ready=True)
        await self.world.sleep(0.05)
        self.assertFalse(call.called)
        self.world.store.come_back()
        self.assertEqual(await call, "a")
        self.assertEqual(worker.ran, [0])

    async def test_slow(self):
        """Calls that come while the store is asked wait for one answer together."""
        await self.member("a")
        self.world.store.come_back(slow=0.1)
        client = self.world.client()
        began = self.world.seconds()
        names = await gatherResults([client.call(WORK, "mark", timeout=5) for _ in range(50)])
        self.assertEqual(names, ["a"] * 50)
        self.assertLess(self.world.seconds() - began, 1)

    async def test_registered_when_it_is_back(self):
        """A server that starts while the store is down serves at once, and is registered when it is back."""
        self.world.store.go_down()
        node = self.world.node()
        node.server(Target("work", server="a"), [Worker("a")])
        node.startService()
        ready = node.when_ready()
        await self.world.sleep(0.05)
        self.assertFalse(ready.called)
        self.world.store.come_back()
        await ready
        self.assertEqual(await self.world.client().call(WORK, "mark", timeout=5), "a")

    async def test_stop_while_down(self):
        """A stop does not hang on a store that is down."""
        worker = await self.member("a")
        self.world.store.go_down()
        await self.world.stop(worker.node)
        self.assertEqual(len(self.world.store.records()), 1)

    async def test_emptied(self):
        """A store that loses everything disturbs no call, and has every record again in a moment."""
        workers = [await self.member(name) for name in "ab"]
        client = self.world.client()
        names = [await client.call(WORK, "mark") for _ in range(2)]
        self.world.store.forget()
        began = self.world.seconds()
        while len(self.world.store.records()) < 2 or len(names) < 50:
            names.append(await client.call(WORK, "mark", timeout=1))
            await self.world.sleep(0.002)
        self.assertLess(self.world.seconds() - began, 1)
        self.assertEqual(names, (names[:2] * len(names))[: len(names)])
        self.assertEqual({record.member for record in self.world.store.records()}, {"a", "b"})
        self.assertEqual(sum(len(worker.ran) for worker in workers), len(names))

    async def test_emptied_before_the_first_call(self):
        """One empty answer is not believed by who knew somebody a moment ago, though no link leads there yet."""
        await self.member("a")
        client = self.world.client()
        await client.members(WORK)
        self.world.store.forget()
        await self.world.eventually(
            "the client hears of it", lambda: not client.node._discovery._table.topics()[0].usable
        )
        calls = [client.call(target, "mark", timeout=5) for target in (WORK, Target("work", server="a"))]
        self.assertEqual(await gatherResults(calls), ["a", "a"])

    async def test_emptied_for_good(self):
        """Where nobody is registered again, that nobody listens is said after one more look."""
        worker = await self.member("a")
        client = self.world.client()
        await client.members(WORK)
        began = self.world.seconds()
        await self.world.stop(worker.node)
        error = await self.fails(client.call(WORK, "mark", timeout=30), NoRoute)
        self.assertIn("nobody listens", str(error))
        self.assertLess(self.world.seconds() - began, 2)

    async def test_deadline_before_the_second_look(self):
        """A call whose time is up before that look ends with what the first one has found."""
        worker = await self.member("a")
        client = self.world.client()
        await client.members(WORK)
        await self.world.stop(worker.node)
        error = await self.fails(client.call(WORK, "mark", timeout=0.1), NoRoute)
        self.assertIn("nobody listens", str(error))

    async def test_down_after_it_was_emptied(self):
        """A store that does not answer the second look is what the call fails with, and one that does ends the wait."""
        for comes_back in (False, True):
            worker = await self.member("a")
            client = self.world.client()
            await client.members(WORK)
            self.world.kill(worker.node)
            self.world.store.forget()
            await self.world.sleep(0.01)
            call = client.call(WORK, "mark", timeout=30)
            await self.world.sleep(0.05)
            self.assertFalse(call.called)
            if comes_back:
                await self.member("b")
                self.assertEqual(await call, "b")
            else:
                self.world.store.go_down()
                await self.fails(call, MatchmakerUnavailable)
                self.world.store.come_back()

    async def test_stays_empty(self):
        """Who is connected is called, listed and reached by fan-outs for as long as the store stays empty."""
        for name in "ab":
            await self.member(name)
        client = self.world.client()
        await client.fanout(WORK, "mark")
        known = await client.members(WORK)
        await self.empty()
        for _ in range(3):
            await self.world.sleep(0.5)
            names = [await client.call(WORK, "mark", timeout=1) for _ in range(4)]
            self.assertEqual(sorted(names), ["a", "a", "b", "b"])
            self.assertEqual(await client.call(Target("work", server="b"), "mark", timeout=1), "b")
            self.assertCountEqual(await client.members(WORK), known)
            reached = await client.fanout(WORK, "mark", timeout=1)
            self.assertEqual((set(reached.members), reached.missing), (set(known), ()))
        await self.fails(self.world.client().call(WORK, "mark", timeout=1), NoRoute)
        self.world.store.come_back()
        self.assertIn(await self.world.client().call(WORK, "mark", timeout=20, wait_for_ready=True), "ab")
        await self.world.eventually("both are registered", lambda: len(self.world.store.records()) == 2, 20)
        self.assertCountEqual(await client.members(WORK), known)

    async def test_dies_while_it_stays_empty(self):
        """Who dies after the store has lost it is gone, and nobody listens."""
        worker = await self.member("a")
        client = self.world.client()
        await client.call(WORK, "mark")
        await self.empty()
        held = client.call(WORK, "hold", timeout=5)
        await self.world.eventually("it runs", lambda: worker.held)
        self.world.kill(worker.node)
        self.assertTrue((await self.fails(held, ServerLost)).maybe_executed)
        await self.world.sleep(0.05)
        error = await self.fails(client.call(WORK, "mark", timeout=5), NoRoute)
        self.assertIn("nobody listens", str(error))
        self.assertEqual(await client.members(WORK), [])

    async def test_stops_while_it_stays_empty(self):
        """Who stops in good order after the store has lost it fails no call, and is gone."""
        a, b = await self.member("a"), await self.member("b")
        client = self.world.client()
        await client.fanout(WORK, "mark")
        await self.empty()
        held = [client.call(WORK, "hold", {"number": number}, timeout=5) for number in range(2)]
        await self.world.eventually("both run", lambda: a.held and b.held)
        stopped = Deferred.fromCoroutine(self.world.stop(a.node))
        for _ in range(20):
            await client.call(WORK, "mark", timeout=1)
            await self.world.sleep(0.005)
        self.assertEqual(await client.members(WORK), [("b", b.node.instance.hex())])
        for worker in (a, b):
            worker.let_go()
        self.assertCountEqual(await gatherResults(held), ["a", "b"])
        await stopped
        self.assertEqual(await client.call(WORK, "mark", timeout=1), "b")

    async def test_dead_ones_go_with_their_records(self):
        """A member that nobody is connected to vanishes with its record."""
        a, b = await self.member("a"), await self.member("b")
        client = self.world.client()
        await client.fanout(WORK, "mark")
        self.world.kill(b.node)
        reached = await client.fanout(WORK, "mark", timeout=5)
        self.assertEqual([member for member, _, _ in reached.missing], ["b"])
        await self.empty()
        self.assertEqual(await client.members(WORK), [("a", a.node.instance.hex())])

    async def test_emptied_under_way(self):
        """That a record vanishes ends nothing that runs."""
        worker = await self.member("a")
        client = self.world.client()
        call = client.call(WORK, "hold", timeout=8)
        await self.world.eventually("it runs", lambda: worker.held)
        await self.empty()
        await self.world.sleep(0.7)
        worker.let_go()
        self.assertEqual(await call, "a")

    async def test_emptied_again_and_again(self):
        """Whoever goes on emptying the store does not make servers register without end."""
        for name in "abc":
            await self.member(name)
        put, registered = self.world.store._table.put, []
        self.world.store._table.put = lambda record, expire: (registered.append(record), put(record, expire))
        until = self.world.clock.seconds() + 3
        while self.world.clock.seconds() < until:
            self.world.store.forget()
            await self.world.sleep(0.02)
        self.assertLess(len(registered), 3 * 6)
        await self.world.eventually("all are registered", lambda: len(self.world.store.records()) == 3)
        before = len(registered)
        await self.world.sleep(0.5)
        self.assertEqual(len(registered), before)

    async def test_stopped_while_it_registers_again(self):
        """A stop has the last word: nobody comes back who has withdrawn."""
        worker = await self.member("a")
        self.world.store.come_back(slow=0.2)
        self.world.store.forget()
        await self.world.sleep(0.3)
        await self.world.stop(worker.node)
        await self.world.sleep(0.5)
        self.assertEqual(self.world.store.records(), [])

    async def empty(self):
        """Have the store lose everything and take nothing, and let everybody hear of it."""
        self.world.store.go_read_only()
        self.world.store.forget()
        await self.world.sleep(0.05)


class DiscoveryInMemory(InMemory, DiscoveryScenarios, TestCase):
    pass


class DiscoveryOverSockets(OverSockets, DiscoveryScenarios, TestCase):
    pass
