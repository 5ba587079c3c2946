"""How servers and clients end, in good order and not, and what becomes of the calls."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.trial.unittest import TestCase

from zmqrpc import Target
from zmqrpc.core.batch import encode_batch
from zmqrpc.core.envelope import Ack, Cast, Goaway, Hello, Served, Welcome, encode_message
from zmqrpc.errors import ClientClosed, ConfigError, Draining, NoRoute, ServerLost
from zmqrpc.test.scenarios.endpoints import Worker
from zmqrpc.test.scenarios.test_strangers import STRANGER, Peer
from zmqrpc.test.scenarios.worlds import InMemory, OverSockets, Scenario

WORK = Target("work")


class EndScenarios(Scenario):
    async def test_stop_under_load(self):
        """A member that stops fails no call: what runs is answered, what comes later goes to another."""
        workers = [await self.member(name) for name in "abc"]
        client = self.world.client()
        answers: list[str] = []
        load = True

        async def one_after_another():
            while load:
                answers.append(await client.call(WORK, "mark", timeout=5))
                if len(answers) % 20 == 0:
                    await self.world.sleep(0.001)

        loops = [Deferred.fromCoroutine(one_after_another()) for _ in range(10)]
        await self.world.eventually("all are in use", lambda: all(len(worker.ran) > 20 for worker in workers))
        await self.world.stop(workers[0].node)
        ran = len(workers[0].ran)
        await self.world.stop(workers[1].node)
        before = len(answers)
        await self.world.eventually("the last one goes on", lambda: len(answers) > before + 50)
        load = False
        await gatherResults(loops)
        self.assertEqual(len(workers[0].ran), ran)
        self.assertEqual(sum(len(worker.ran) for worker in workers), len(answers))

    async def test_stop_lets_running_calls_finish(self):
        """A stop waits for what runs, and its answer arrives."""
        worker = await self.member("a")
        client = self.world.client()
        call = client.call(WORK, "hold", timeout=8)
        await self.world.eventually("it runs", lambda: worker.held)
        stopped = Deferred.fromCoroutine(self.world.stop(worker.node))
        await self.world.eventually("it is withdrawn", lambda: not self.world.store.records())
        await self.world.sleep(0.2)
        self.assertFalse(stopped.called)
        worker.let_go()
        self.assertEqual(await call, "a")
        await stopped
        self.assertEqual(worker.ran, [0])

    async def test_draining_alone(self):
        """While the only member stops, those who are connected to it hear that; when it is gone, nobody listens."""
        worker = await self.member("a")
        client, stranger = self.world.client(), self.world.client()
        call = client.call(WORK, "hold", timeout=8)
        await self.world.eventually("it runs", lambda: worker.held)
        waiting = client.call(Target("work", server="b"), "mark", timeout=8, wait_for_ready=True)
        stopped = Deferred.fromCoroutine(self.world.stop(worker.node))
        await self.world.sleep(0.3)
        for send in (client.call, client.cast):
            for target in (WORK, Target("work", server="a")):
                error = await self.fails(send(target, "mark", timeout=5), Draining)
                self.assertFalse(error.maybe_executed)
                self.assertIn(f"a at {worker.node.address}, stopping, ", str(error))
                self.assertIn("wait_for_ready", str(error))
        for target in (Target("work", server="b"), Target("other"), Target("work", exchange="other")):
            await self.fails(client.call(target, "mark", timeout=5), NoRoute)
        await self.fails(stranger.call(WORK, "mark", timeout=5), NoRoute)
        await self.fails(client.fanout(WORK, "mark", timeout=5), NoRoute)
        self.assertEqual(await client.members(WORK), [])
        self.assertEqual(worker.ran, [0])
        await self.member("b")
        self.assertEqual(await waiting, "b")
        self.assertEqual(await client.call(WORK, "mark", timeout=5), "b")
        await self.fails(client.call(Target("work", server="a"), "mark", timeout=5), Draining)
        worker.let_go()
        self.assertEqual(await call, "a")
        await stopped
        await self.world.sleep(0.1)
        await self.fails(client.call(Target("work", server="a"), "mark", timeout=5), NoRoute)

    async def test_drain_and_stop_later(self):
        """A member that only drains is found by nobody and takes nothing, answers what it has, and goes on calling."""
        worker, other = await self.member("a"), await self.member("b")
        client, own = self.world.client(), worker.node.client()
        call = client.call(Target("work", server="a"), "hold", timeout=8)
        await self.world.eventually("it runs", lambda: worker.held)
        drained = [worker.node.drain(), worker.node.drain()]
        await self.world.eventually("it is withdrawn", lambda: all(each.called for each in drained))
        self.assertEqual([record.member for record in self.world.store.records()], ["b"])
        await self.fails(client.call(Target("work", server="a"), "mark", timeout=5), Draining)
        self.assertEqual([await client.call(WORK, "mark", timeout=5) for _ in range(3)], ["b"] * 3)
        self.assertEqual(await own.call(WORK, "mark", timeout=5), "b")
        worker.let_go()
        self.assertEqual(await call, "a")
        await worker.node.drain()
        await self.world.stop(worker.node)
        await self.world.stop(other.node)

    async def test_rest(self):
        """Who is told that nothing follows keeps nothing, unless something is under way; the client may call again."""

        def kept(worker: Worker) -> int:
            return sum(len(caller.filter) for caller in worker.node._callers.all())

        workers = [await self.member(name) for name in "ab"]
        client = self.world.client()
        call = client.call(Target("work", server="b"), "hold", timeout=8)
        self.assertEqual(await client.call(Target("work", server="a"), "mark", timeout=5), "a")
        await self.world.eventually("it runs", lambda: workers[1].held)
        await client.node.rest()
        self.assertEqual(kept(workers[0]), 0)
        workers[1].let_go()
        self.assertEqual(await call, "b")
        self.assertEqual(kept(workers[1]), 1)
        self.assertEqual(await client.call(Target("work", server="a"), "mark", timeout=5), "a")
        await gatherResults([client.node.rest(), client.node.rest()])
        self.assertEqual([kept(each) for each in workers], [0, 0])

    async def test_farewells_that_cross(self):
        """Who has said GOAWAY says nothing more on that connection, also when the peer says so just then."""
        heard: list[str] = []

        def received(identity, batch):
            for message in batch.messages:
                heard.append(type(message).__name__)
                answer: Any = None
                if type(message) is Hello:
                    answer = Welcome(1, batch.sent, "server", [], {}, [Served("openstack", "work", "m")])
                elif type(message) is Cast:
                    answer = Ack([message.sequence, message.sequence])
                elif type(message) is Goaway:
                    answer = Goaway("stops")
                if answer is not None:
                    router.send(identity, encode_batch(STRANGER, batch.source, 0, (), [encode_message(answer)]))

        router = await self.world.stranger("work.m", Peer(received), STRANGER.hex())
        client = self.world.client()
        await client.cast(WORK, "mark", timeout=5)
        await client.node.rest()
        await self.world.sleep(0.1)
        self.assertEqual([name for name in heard if name != "Ping"], ["Hello", "Cast", "Goaway"])

    async def test_draining_and_recorded(self):
        """A member that stops while the store is down is recorded yet; who finds it there hears the same."""
        worker = await self.member("a")
        client, other = self.world.client(), self.world.client()
        call = client.call(WORK, "hold", timeout=20)
        await self.world.eventually("it runs", lambda: worker.held)
        self.world.store.go_down()
        stopped = Deferred.fromCoroutine(self.world.stop(worker.node))
        await self.world.sleep(0.5)
        self.world.store.come_back()
        for caller in (client, other):
            for _ in range(2):
                error = await self.fails(caller.call(WORK, "mark", timeout=5), Draining)
                self.assertFalse(error.maybe_executed)
            reached = await caller.fanout(WORK, "mark", timeout=5)
            self.assertEqual([type(error) for _, _, error in reached.missing], [Draining])
        worker.let_go()
        self.assertEqual(await call, "a")
        await stopped
        self.assertEqual(worker.ran, [0])

    async def test_drain_timeout(self):
        """What runs for longer than the drain timeout is cancelled, and its caller is told that it may have run."""
        worker = await self.member("a", drain_timeout=0.2)
        client = self.world.client()
        call = client.call(WORK, "hold", timeout=8)
        await self.world.eventually("it runs", lambda: worker.held)
        began = self.world.seconds()
        stopped = Deferred.fromCoroutine(self.world.stop(worker.node))
        with self.assertRaises(Exception) as caught:
            await call
        self.assertTrue(caught.exception.maybe_executed)
        await stopped
        self.assertEqual(worker.cancelled, [0])
        self.assertLess(self.world.seconds() - began, 3)

    async def test_records_are_withdrawn(self):
        """A stop withdraws the records of a node, and no others."""
        a, b = await self.member("a"), await self.member("b")
        await self.world.stop(a.node)
        self.assertEqual([record.instance for record in self.world.store.records()], [b.node.instance.hex()])
        self.assertEqual(await self.world.client().members(WORK), [("b", b.node.instance.hex())])

    async def test_killed(self):
        """Calls that a killed member had end as perhaps executed; those that are idempotent run elsewhere."""
        workers = [await self.member(name) for name in "ab"]
        client = self.world.client()
        calls = [client.call(WORK, "hold", {"number": number}, timeout=20) for number in range(2)]
        again = [client.call(WORK, "hold", {"number": number}, timeout=20, idempotent=True) for number in range(10, 14)]
        await self.world.eventually("all run", lambda: sum(len(worker.held) for worker in workers) == 6)
        victim, heir = workers if 0 in workers[0].held else reversed(workers)
        self.world.kill(victim.node)
        error = await self.fails(calls[0], ServerLost)
        self.assertTrue(error.maybe_executed)
        self.assertEqual(error.journey.member, victim.name)
        await self.world.eventually("the idempotent ones move", lambda: len(heir.held) == 5)
        heir.let_go()
        self.assertEqual(await gatherResults(again), [heir.name] * 4)
        self.assertEqual(await calls[1], heir.name)
        self.assertEqual(heir.cancelled, [])

    async def test_killed_node_of_several_members(self):
        """Each error names the member that was meant, and where that is nobody all it may be; and the age is theirs."""
        node, worker = self.world.node(), Worker()
        meant = {
            Target("work", server="a"): "a",
            Target("work", server="b"): "b",
            Target("work"): "a, b",
            Target("store"): "c",
        }
        for name in ("work.a", "work.b", "store.c"):
            node.server(Target.parse(name), [worker])
        node.startService()
        await node.when_ready()
        client = self.world.client()
        calls = [client.call(target, "hold", {"number": number}) for number, target in enumerate(meant)]
        await self.world.eventually("all run", lambda: len(worker.held) == 4)
        self.world.kill(node)
        for call, (target, member) in zip(calls, meant.items(), strict=True):
            error = await self.fails(call, ServerLost)
            self.assertEqual((error.journey.target, error.journey.member), (str(target), member))
            self.assertIn(f"member {member}, at tcp://", str(error))
            self.assertIsNotNone(error.journey.record_age)

    async def test_killed_with_a_queue(self):
        """Calls that wait for a member which turns out to be dead go to another."""
        workers = [await self.member(name) for name in "ab"]
        self.world.kill(workers[0].node)
        client = self.world.client()
        names = await gatherResults([client.call(WORK, "mark", timeout=5) for _ in range(20)])
        self.assertEqual(names, ["b"] * 20)
        self.assertEqual((len(workers[0].ran), len(workers[1].ran)), (0, 20))

    async def test_killed_alone(self):
        """When the only member is dead, though recorded, a call says so and did not run."""
        worker = await self.member("a")
        client = self.world.client()
        await client.call(WORK, "mark")
        self.world.kill(worker.node)
        await self.fails(client.call(WORK, "mark", timeout=5), ServerLost)
        error = await self.fails(client.call(WORK, "mark", timeout=5), NoRoute)
        self.assertFalse(error.maybe_executed)
        self.assertIn("work", str(error))

    async def test_killed_alone_while_it_ran(self):
        """An idempotent call that nobody is left for ends as one that may not run twice."""
        worker = await self.member("a")
        client = self.world.client()
        call = client.call(WORK, "hold", timeout=5, idempotent=True)
        await self.world.eventually("it runs", lambda: worker.held)
        self.world.kill(worker.node)
        self.assertTrue((await self.fails(call, ServerLost)).maybe_executed)

    async def test_restarted_on_its_port(self):
        """Nothing that was meant for an instance runs at its successor on the same port."""
        old, new = Worker("old"), Worker("new")
        old_node = await self.world.serve("work.a", old)
        port = int(old_node.address.rpartition(":")[2])
        client = self.world.client()
        calls = [client.call(WORK, "hold", {"number": number}, timeout=20) for number in range(20)]
        await self.world.eventually("they run", lambda: len(old.held) == 20)
        late = [client.call(WORK, "mark", {"number": number}, timeout=20) for number in range(20, 40)]
        casts = [client.cast(WORK, "mark", {"number": number}, timeout=20) for number in range(40, 60)]
        self.world.kill(old_node)
        await self.successor(new, port)
        for call in calls:
            self.assertTrue((await self.fails(call, ServerLost)).maybe_executed)
        ran_at_old = set(old.ran)
        for number, call in enumerate(late + casts, 20):
            try:
                await call
            except ServerLost as error:
                self.assertTrue(error.maybe_executed)
            except NoRoute as error:
                self.assertFalse(error.maybe_executed)
                self.assertNotIn(number, ran_at_old)
        self.assertEqual(await client.call(WORK, "mark", {"number": 99}, timeout=5, wait_for_ready=True), "new")
        self.assertEqual(set(new.ran) & ran_at_old, set())

    async def test_successor_keeps_its_connection(self):
        """Who looks for a dead instance on the port of its successor does not disturb the link to the latter."""
        old_node = await self.world.serve("work.a", Worker("old"))
        client = self.world.client()
        await client.call(WORK, "mark")
        self.world.kill(old_node)
        new = Worker("new")
        node = await self.successor(new, int(old_node.address.rpartition(":")[2]))
        await client.call(WORK, "mark", timeout=5, idempotent=True, wait_for_ready=True)
        answers: list[str] = []
        for number in range(200):
            call = client.call(WORK, "mark", {"number": number}, timeout=5)
            call.addCallback(answers.append)
            await self.world.sleep(0.005)
        await self.world.eventually("all answers", lambda: len(answers) == 200, 0.5)
        self.assertEqual(node.notices.counts["wrong_instance"], 0)
        self.assertEqual(node.notices.counts["repeated"], 0)

    async def successor(self, worker, port):
        """Serve on a port that may take a moment to be free."""
        options = {"rpc_zmq_min_port": port, "rpc_zmq_max_port": port + 1}
        for _ in range(1000):
            try:
                return await self.world.serve("work.a", worker, **options)
            except ConfigError:
                self.world.nodes.pop()
                await self.world.sleep(0.005)
        raise AssertionError("the port is never free")

    async def test_client_stops(self):
        """A client that is stopped ends its calls, and makes no more."""
        worker = await self.member("a")
        client = self.world.client()
        held = client.call(WORK, "hold", timeout=20)
        waiting = client.call(Target("nobody"), "mark", timeout=20, wait_for_ready=True)
        await self.world.eventually("it runs", lambda: worker.held)
        queued = client.call(WORK, "mark", timeout=20)
        stopped = Deferred.fromCoroutine(self.world.stop(client.node))
        self.assertTrue((await self.fails(held, ClientClosed)).maybe_executed)
        self.assertFalse((await self.fails(waiting, ClientClosed)).maybe_executed)
        await self.fails(queued, ClientClosed)
        await stopped
        for send in (client.call, client.cast, client.fanout):
            self.assertFalse((await self.fails(send(WORK, "mark"), ClientClosed)).maybe_executed)
            self.assertFalse((await self.fails(send(Target("nobody"), "mark"), ClientClosed)).maybe_executed)
        await self.fails(client.members(Target("nobody")), ClientClosed)
        self.assertEqual(worker.cancelled, [])
        worker.let_go()

    async def test_client_stops_from_within(self):
        """A client may be stopped by whoever hears how its call ended, in the middle of all that happens then."""
        for idempotent in (False, True):
            worker = await self.member("a")
            client = self.world.client()
            calls = [client.call(WORK, "hold", {"number": n}, timeout=5, idempotent=idempotent) for n in range(3)]
            await self.world.eventually("they run", lambda: len(worker.held) == 3)  # noqa: B023
            stopped = []
            for call in calls:
                call.addBoth(lambda _: stopped.append(client.node.stopService()))  # noqa: B023
            self.world.kill(worker.node)
            await self.world.eventually("the ends", lambda: len(stopped) == 3)  # noqa: B023
            await gatherResults(stopped)
            self.world.nodes.remove(client.node)

    async def test_client_not_started(self):
        """A client whose node was not started makes no calls."""
        client = self.world.node().client()
        for send in (client.call, client.cast, client.fanout):
            await self.fails(send(WORK, "mark"), ClientClosed)
        await self.fails(client.members(WORK), ClientClosed)

    async def test_client_killed(self):
        """What a killed client asked for runs to its end and disturbs nobody."""
        worker = await self.member("a")
        client, other = self.world.client(), self.world.client()
        client.call(WORK, "hold")
        await self.world.eventually("it runs", lambda: worker.held)
        self.world.kill(client.node)
        worker.let_go()
        self.assertEqual(await other.call(WORK, "mark"), "a")
        self.assertEqual(worker.cancelled, [])


class EndsInMemory(InMemory, EndScenarios, TestCase):
    pass


class EndsOverSockets(OverSockets, EndScenarios, TestCase):
    pass
