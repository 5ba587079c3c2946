"""What a client does not use any more is given up, and what it uses is not; however many targets it names."""

from __future__ import annotations

from twisted.internet.defer import gatherResults
from twisted.trial.unittest import TestCase

from zmqrpc import Target
from zmqrpc.errors import MatchmakerUnavailable, NoRoute, Overloaded
from zmqrpc.test.scenarios.endpoints import Worker
from zmqrpc.test.scenarios.worlds import InMemory, OverSockets, Scenario

WORK = Target("work")
TTL = 0.4


class UnusedScenarios(Scenario):
    def held(self, client):
        """Count what a client holds: routes, topics, watches, and links."""
        table, discovery = client.node._delivery.table, client.node._discovery
        return len(table.routes), len(table.topics()), len(discovery._watches), len(client.node._links.all())

    async def forgotten(self, client, routes=0, topics=0, links=0):
        """Wait until a client holds no more than this."""
        expected = (routes, topics, topics, links)
        await self.world.eventually(f"it holds {expected}", lambda: self.held(client) == expected)

    async def test_topics_that_do_not_exist(self):
        """What was misspelt is not looked up for ever."""
        client = self.world.client(route_ttl=TTL)
        for number in range(20):
            await self.fails(client.call(Target(f"work{number}"), "mark", timeout=5), NoRoute)
        self.assertGreater(self.held(client), (0, 0, 0, 0))
        await self.forgotten(client)
        self.assertEqual(client.node._discovery._polled, {})
        await self.member("a")
        self.assertEqual(await client.call(WORK, "mark"), "a")

    async def test_members_that_come_and_go(self):
        """The routes to members go, and the topic that is used stays with its links."""
        worker = await self.member("a")
        client = self.world.client(route_ttl=TTL)
        for number in range(20):
            directed = Target("work", server=f"m{number}")
            await self.fails(client.call(directed, "mark", timeout=5), NoRoute)
            if not number % 4:
                passing = await self.member(f"m{number}")
                self.assertEqual(await client.call(directed, "mark", timeout=5), f"m{number}")
                await self.world.stop(passing.node)
        for _ in range(30):
            await client.call(WORK, "mark", {"number": 1})
            await self.world.sleep(TTL / 20)
        await self.forgotten(client, 1, 1, 1)
        self.assertEqual(worker.ran, [1] * 30)
        self.assertEqual(len(client.node._delivery.table._unavailable), 0)

    async def test_used_again(self):
        """The link of a topic that is not used is closed; used again it is opened, and every call runs once."""
        worker = await self.member("a")
        client = self.world.client(route_ttl=TTL)
        for number in range(3):
            self.assertEqual(await client.call(WORK, "mark", {"number": number}), "a")
            await client.cast(WORK, "mark", {"number": number + 10})
            await self.forgotten(client)
        self.assertEqual(worker.ran, [0, 10, 1, 11, 2, 12])

    async def test_shared_link(self):
        """A link that another topic leads to stays."""
        node = await self.world.serve("work.a", Worker("work"))
        node.server(Target("more", server="a"), [Worker("more")])
        await node.when_ready()
        client = self.world.client(route_ttl=TTL)
        self.assertEqual(await client.call(Target("more"), "mark"), "more")
        for _ in range(30):
            await client.call(WORK, "mark")
            await self.world.sleep(TTL / 20)
        await self.forgotten(client, 1, 1, 1)
        self.assertEqual(await client.call(Target("more"), "mark"), "more")

    async def test_every_kind_of_use(self):
        """Fan-outs and questions for members are use as well."""
        await self.member("a")
        client = self.world.client(route_ttl=TTL)
        [link] = await self.linked(client)
        for use in (lambda: client.fanout(WORK, "mark"), lambda: client.members(WORK)):
            for _ in range(30):
                await use()
                await self.world.sleep(TTL / 20)
            self.assertIs((await self.linked(client))[0], link)

    async def linked(self, client):
        await client.members(WORK)
        return client.node._links.all()

    async def test_call_that_takes_long(self):
        """What has a call under way or waiting is kept, for however long."""
        worker = await self.member("a")
        client = self.world.client(route_ttl=TTL)
        held = client.call(WORK, "hold", timeout=20)
        waits = client.call(Target("later"), "mark", timeout=20, wait_for_ready=True)
        await self.world.eventually("it runs", lambda: worker.held)
        [link] = client.node._links.all()
        await self.world.sleep(4 * TTL)
        self.assertEqual(client.node._links.all(), [link])
        later = Worker("later")
        await self.world.serve("later.b", later)
        self.assertEqual(await waits, "later")
        worker.let_go()
        self.assertEqual(await held, "a")
        await self.forgotten(client)

    async def test_call_that_comes_back(self):
        """A call whose route was given up while it was under way goes on, over a route that is new."""
        first = await self.member("a")
        client = self.world.client(route_ttl=TTL)
        held = client.call(WORK, "hold", {"number": 1}, timeout=20, idempotent=True)
        await self.world.eventually("it runs", lambda: first.held)
        await self.world.sleep(4 * TTL)
        self.assertEqual(self.held(client)[0], 0)
        second = await self.member("b")
        self.world.kill(first.node)
        await self.world.eventually("it runs elsewhere", lambda: second.held)
        second.let_go()
        self.assertEqual(await held, "b")

    async def test_static(self):
        """What was prepared stays connected, used or not."""
        await self.member("a")
        node = self.world.node(route_ttl=TTL)
        client = node.client([WORK])
        client.node = node
        node.startService()
        await self.world.eventually("the link is up", lambda: self.held(client) == (1, 1, 1, 1))
        await self.world.sleep(4 * TTL)
        self.assertEqual(self.held(client), (1, 1, 1, 1))
        self.assertEqual(await client.call(WORK, "mark"), "a")

    async def test_store_that_is_down(self):
        """What nobody could learn again is kept until the store answers."""
        await self.member("a")
        client = self.world.client(route_ttl=TTL)
        await client.call(WORK, "mark")
        self.world.store.go_down()
        await self.fails(client.call(Target("other"), "mark", timeout=5), MatchmakerUnavailable)
        client.node._discovery.resolve(client.node._delivery.table.topic("openstack", "work"))
        await self.forgotten(client, 0, 1, 1)
        self.assertEqual(await client.call(WORK, "mark", timeout=5), "a")
        self.world.store.come_back()
        await self.forgotten(client)

    async def test_most_routes(self):
        """There are as many routes as may be; those not used for longest make room, and every call is right."""
        names = "abcdefgh"
        workers = [await self.member(name) for name in names]
        client = self.world.client(max_routes=3)
        for _ in range(3):
            for name in names:
                self.assertEqual(await client.call(Target("work", server=name), "mark", timeout=5), name)
                self.assertLessEqual(self.held(client)[0], 3)
        at_once = [client.call(Target("work", server=name), "hold", timeout=5) for name in names]
        await self.world.eventually("they run", lambda: all(worker.held for worker in workers))
        self.assertEqual(self.held(client)[:3], (3, 1, 1))
        for worker in workers:
            worker.let_go()
        self.assertEqual(await gatherResults(at_once), list(names))

    async def test_most_topics(self):
        """A topic goes with the last route to it; while calls wait for all of them, one more is refused."""
        await self.member("a")
        client = self.world.client(max_routes=3)
        for number in range(10):
            await self.fails(client.call(Target(f"work{number}"), "mark", timeout=5), NoRoute)
            self.assertLessEqual(self.held(client), (3, 3, 3, 0))
        self.world.store.come_back(slow=0.2)
        waiting = [client.call(Target(f"other{number}"), "mark", timeout=5) for number in range(3)]
        for send in (client.call, client.cast, client.fanout):
            error = await self.fails(send(WORK, "mark", timeout=5), Overloaded)
            self.assertIn("max_routes", str(error))
            self.assertFalse(error.maybe_executed)
        await self.fails(client.members(WORK), Overloaded)
        for call in waiting:
            await self.fails(call, NoRoute)
        self.assertEqual(await client.call(WORK, "mark", timeout=5), "a")
        self.assertEqual(self.held(client), (3, 3, 3, 1))


class UnusedInMemory(InMemory, UnusedScenarios, TestCase):
    pass


class UnusedOverSockets(OverSockets, UnusedScenarios, TestCase):
    pass
