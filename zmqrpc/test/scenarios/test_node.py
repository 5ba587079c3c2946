"""The life of a node, from making it to its stop, as its user sees it."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import TestCase

from zmqrpc import Target, expose
from zmqrpc.core.envelope import Request
from zmqrpc.dispatcher import OWN_NAMESPACE
from zmqrpc.errors import ClientClosed, ConfigError, NoRoute
from zmqrpc.server import RPCServer
from zmqrpc.test.logs import LogLines
from zmqrpc.test.scenarios.endpoints import Versioned, Worker
from zmqrpc.test.scenarios.worlds import InMemory, OverSockets, Scenario

WORK = Target("work")


class Again:
    """Some methods of a `Worker`."""

    target = Target(version="1.0")

    @expose
    def mark(self, context):
        pass

    @expose
    def add(self, context):
        pass


class Newer(Versioned):
    """The same in another version."""

    target = Target(namespace="math", version="2.4")


class NodeScenarios(Scenario):
    async def test_privileged_start(self):
        """It binds while it may, and is found only when it has started."""
        node = self.world.node()
        node.server(Target("work", server="one"), [Worker("one")])
        self.assertIsNone(node.address)
        node.privilegedStartService()
        address = node.address
        self.assertTrue(address.startswith("tcp://"))
        client = self.world.client()
        await self.fails(client.call(WORK, "mark"), NoRoute)
        node.startService()
        await node.when_ready()
        self.assertEqual(node.address, address)
        self.assertEqual(await client.call(WORK, "mark", wait_for_ready=True), "one")

    async def test_a_server_of_another_kind(self):
        """It runs requests in its own way, and is found, called and asked as any other."""

        class Loud(RPCServer):
            def run(self, request: Request) -> Any:
                if request.namespace == OWN_NAMESPACE:
                    return super().run(request)
                return [request.method, request.namespace, request.interface, request.arguments, request.context]

        node = self.world.node()
        node.server(Target("work", server="one"), [Worker("one")], Loud)
        node.startService()
        await node.when_ready()
        client = self.world.client()
        target = Target("work", namespace="any", version="3.1")
        answer = await client.call(target, "thing", {"a": 1}, context={"user": "ada"}, wait_for_ready=True)
        self.assertEqual(answer, ["thing", "any", "3.1", {"a": 1}, {"user": "ada"}])
        self.assertEqual(
            await client.call(Target("work", namespace="zmqrpc"), "ping"), {"ready": True, "not_ready": ""}
        )

    async def test_refused_in_words(self):
        """What is wrong is said in the words of who wrote it, without the insides of objects."""
        node = self.world.node()
        for target, endpoint, text in (
            (Target(server="one"), Worker("one"), "the target has no topic; give one, as in Target('compute')"),
            (WORK, object(), "the endpoint builtins.object exposes no method; mark them with @zmqrpc.expose"),
        ):
            self.assertEqual(str(self.assertRaises(ConfigError, node.server, target, [endpoint])), text)
        error = await self.fails(self.world.client().call(Target(server="one"), "mark"), ConfigError)
        self.assertEqual(str(error), "the target has no topic; give one, as in Target('compute')")

    async def test_logged(self):
        """Each server is a line in the log when it is there for others, whoever made its node."""
        lines = LogLines(self, "zmqrpc.node")
        node = self.world.node()
        node.server(Target("work", server="one"), [Worker("one")])
        self.assertEqual(lines.about("serving"), [])
        node.startService()
        node.server(Target("more", server="one"), [Worker("more")])
        self.assertEqual(
            lines.about("serving"),
            [
                f"serving topic {topic} as member one at {node.address}, exchange openstack, "
                f"instance {node.instance.hex()}"
                for topic in ("work", "more")
            ],
        )

    async def test_started_once(self):
        """A node that has served does not start again."""
        node = await self.world.serve("work.one", Worker("one"))
        for _ in range(2):
            self.assertEqual(await node.client().call(WORK, "mark"), "one")
        await node.stopService()
        self.assertRaises(ConfigError, node.startService)
        await node.stopService()

    async def test_ready(self):
        """Who waits before the start is told with those who wait after it."""
        node = self.world.node()
        node.server(Target("work", server="one"), [Worker("one")])
        early = node.when_ready()
        await self.world.sleep(0.05)
        self.assertFalse(early.called)
        node.startService()
        await early
        await node.when_ready()
        members = [member for member, _ in await node.client().members(WORK)]
        self.assertEqual(members, ["one"])

    async def test_never_ready(self):
        """Who waits for a node that stops, or has stopped, waits no longer."""
        node = self.world.node()
        waiting = node.when_ready()
        await node.stopService()
        await self.fails(waiting, CancelledError)
        await self.fails(node.when_ready(), CancelledError)
        self.world.store.go_down()
        server = self.world.node()
        server.server(Target("work", server="one"), [Worker("one")])
        server.startService()
        waiting = server.when_ready()
        await self.world.sleep(0.05)
        self.assertFalse(waiting.called)
        self.world.store.come_back()
        await waiting

    async def test_server_later(self):
        """A server that is made while the node runs is bound at once, and found as soon as it is registered."""
        node = self.world.node()
        node.startService()
        self.assertIsNone(node.address)
        client = self.world.client()
        await self.fails(client.call(WORK, "mark"), NoRoute)
        node.server(Target("work", server="one"), [Worker("one")])
        self.assertIsNotNone(node.address)
        await node.when_ready()
        self.assertEqual(await client.call(WORK, "mark", wait_for_ready=True), "one")
        node.server(Target("more", server="one"), [Worker("more")])
        await node.when_ready()
        self.assertEqual(await client.call(Target("more"), "mark", wait_for_ready=True), "more")

    async def test_refused_servers(self):
        """What cannot be served is refused where it is said, and the node goes on."""
        node = await self.world.serve("work.one", Worker("one"))
        two = Target("work", server="two")
        rows: list[tuple[Any, Any, str]] = [
            (Target("work", server="one"), [Worker()], "served by this node already"),
            (Target(server="two"), [Worker()], "has no topic"),
            ("work", [Worker()], "the target 'work' is a str; give a zmqrpc.Target"),
            (two, [object()], "exposes no method"),
            (two, [], "there is no endpoint"),
            (two, Worker(), "an object of type Worker; give a list"),
            (
                two,
                [Worker(), Versioned(), Again()],
                "Worker and Again both expose add, mark in no namespace and version 1.0",
            ),
            (
                two,
                [Versioned(), Versioned()],
                "Versioned and Versioned both expose double in the namespace 'math' and ",
            ),
        ]
        for target, endpoints, says in rows:
            self.assertIn(says, str(self.assertRaises(ConfigError, node.server, target, endpoints)))
        node.server(two, [Worker(), Versioned(), Newer()])
        self.assertEqual(await node.client().call(WORK, "mark"), "one")

    async def test_default_member(self):
        """A server without a member is called like the host."""
        node = self.world.node()
        server = node.server(WORK, [Worker("one")])
        node.startService()
        await node.when_ready()
        self.assertEqual(server.target.server, node.settings.host)
        directed = Target("work", server=node.settings.host)
        self.assertEqual(await node.client().call(directed, "mark"), "one")

    async def test_several_endpoints(self):
        """One server has several endpoints, and one node several servers; each method is found in its own."""
        node = await self.world.serve("work.one", Worker("one"), Versioned())
        node.server(Target("other", server="one"), [Versioned()])
        await node.when_ready()
        client = self.world.client()
        math = Target("other", namespace="math", version="2.0")
        self.assertEqual(await client.stub(math, timeout=5.0, wait_for_ready=True).double(a=4), 8)
        self.assertEqual(await client.call(WORK, "mark"), "one")

    async def test_static_targets(self):
        """A client's targets are connected to at the start, and those of a client that is made later as well."""
        node = await self.world.serve("work.one", Worker("one"))
        first, second = self.world.node(), self.world.node()
        first.client([WORK])
        first.startService()
        second.startService()
        second.client([WORK])
        await self.world.eventually("both are connected", lambda: len(node._callers._by_identity) == 2)

    async def test_close(self):
        """Closing a client leaves a node that it does not own alone."""
        await self.world.serve("work.one", Worker("one"))
        client = self.world.client()
        await client.close()
        self.assertEqual(await client.call(WORK, "mark"), "one")
        await self.world.stop(client.node)
        await self.fails(client.call(WORK, "mark"), ClientClosed)

    async def test_options(self):
        """Each kind of message has the same options."""
        worker = Worker("one")
        client = self.world.client()
        sent: list[Deferred[Any]] = [
            send(
                WORK,
                "add",
                {"a": 1},
                timeout=5.0,
                context={"user": "ada"},
                idempotent=True,
                wait_for_ready=True,
            )
            for send in (client.call, client.cast, client.fanout)
        ]
        await self.world.sleep(0.05)
        self.assertEqual([one.called for one in sent], [False] * 3)
        await self.world.serve("work.one", worker)
        called, cast, reached = [await one for one in sent]
        self.assertEqual((called, cast, [member for member, _ in reached.members]), (11, None, ["one"]))
        self.assertEqual(len(await client.members(WORK, timeout=5.0)), 1)


class NodeInMemory(InMemory, NodeScenarios, TestCase):
    pass


class NodeOverSockets(OverSockets, NodeScenarios, TestCase):
    pass
