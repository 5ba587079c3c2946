"""Who is willing to wait (`wait_for_ready`) waits for somebody to listen, up to the timeout, however it comes."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from zmqrpc import Target
from zmqrpc.errors import ClientClosed, DeadlineExceeded
from zmqrpc.test.scenarios.worlds import InMemory, OverSockets, Scenario

WORK = Target("work")
MEMBER = Target("work", server="a")


class ReadyScenarios(Scenario):
    def begin(self, target=WORK, timeout=8):
        """Send in each way that can wait, to a target that nobody serves yet."""
        self.client = client = self.world.client()
        sends = (client.call, client.cast, client.fanout, client.call_each)
        return [send(target, "mark", timeout=timeout, wait_for_ready=True) for send in sends]

    async def ends(self, sent, worker):
        """Wait for all of them: each ran once."""
        call, cast, fanout, each = sent
        self.assertEqual(await call, worker.name)
        self.assertIsNone(await cast)
        self.assertIn((worker.name, worker.node.instance.hex()), (await fanout).members)
        self.assertIn(worker.name, [answer.result for answer in await each])
        await self.world.eventually("each ran", lambda: len(worker.ran) == 4)

    async def wait_a_moment(self, sent):
        await self.world.sleep(0.1)
        self.assertEqual([deferred.called for deferred in sent], [False] * 4)

    async def hear_goodbye(self, client):
        links = client.node._delivery.links.all()
        await self.world.eventually("it says that it stops", lambda: any(link.state.stopping for link in links))

    async def test_nobody_yet(self):
        for target in (WORK, MEMBER):
            sent = self.begin(target)
            await self.wait_a_moment(sent)
            worker = await self.member("a")
            await self.ends(sent, worker)
            await self.world.stop(worker.node)

    async def test_another_member_only(self):
        """A directed target is not ready when others of its topic are."""
        other = await self.member("b")
        sent = self.begin(MEMBER)
        await self.wait_a_moment(sent)
        await self.ends(sent, await self.member("a"))
        self.assertEqual(other.ran, [])

    async def test_no_matchmaker(self):
        worker = await self.member("a")
        self.world.store.go_down()
        sent = self.begin()
        await self.wait_a_moment(sent)
        self.world.store.come_back()
        await self.ends(sent, worker)

    async def test_only_one_that_is_dead(self):
        """A record that leads nowhere is nobody; fan-outs report it all the same when there is somebody."""
        await self.world.record("work.b", "tcp://127.0.0.1:1", "b" * 32)
        sent = self.begin()
        await self.wait_a_moment(sent)
        worker = await self.member("a")
        await self.ends(sent, worker)
        reached = await self.client.fanout(WORK, "mark", timeout=5)
        self.assertEqual([member for member, _, _ in reached.missing], ["b"])

    async def test_only_one_that_is_stopping(self):
        """One that stops takes nothing new, and is waited past."""
        old = await self.member("a")
        held = self.world.client().call(WORK, "hold", timeout=20)
        await self.world.eventually("it runs", lambda: old.held)
        client = self.world.client()
        await client.call(WORK, "mark")
        stopping = Deferred.fromCoroutine(self.world.stop(old.node))
        await self.hear_goodbye(client)
        sends = (client.call, client.cast, client.fanout, client.call_each)
        sent = [send(WORK, "mark", timeout=8, wait_for_ready=True) for send in sends]
        await self.wait_a_moment(sent)
        await self.ends(sent, await self.member("b"))
        self.assertEqual(len(old.ran), 2)
        old.let_go()
        await held
        await stopping

    async def test_stopping_without_a_store(self):
        """One that stops while the store is down stays recorded; it is waited past as well."""
        old = await self.member("a")
        held = self.world.client().call(WORK, "hold", timeout=20)
        await self.world.eventually("it runs", lambda: old.held)
        client = self.world.client()
        await client.call(WORK, "mark")
        self.world.store.go_down()
        stopping = Deferred.fromCoroutine(self.world.stop(old.node))
        await self.hear_goodbye(client)
        sends = (client.call, client.cast, client.fanout, client.call_each)
        sent = [send(WORK, "mark", timeout=8, wait_for_ready=True) for send in sends]
        await self.wait_a_moment(sent)
        self.world.store.come_back()
        worker = await self.member("b")
        await self.ends(sent, worker)
        old.let_go()
        await held
        await stopping

    async def test_time_is_up(self):
        """Who has waited to the end hears what was missing."""
        for wait, says in ((self.begin, "nobody listens there"), (self.begin_without_store, "cannot tell who listens")):
            for deferred in wait(timeout=0.2):
                error = await self.fails(deferred, DeadlineExceeded)
                self.assertFalse(error.maybe_executed)
                self.assertIn(says, str(error))

    def begin_without_store(self, timeout):
        self.world.store.go_down()
        return self.begin(Target("other"), timeout)

    async def test_stop_while_it_waits(self):
        sent = self.begin()
        await self.wait_a_moment(sent)
        fails = [Deferred.fromCoroutine(self.fails(each, ClientClosed)) for each in sent]
        await self.world.stop(self.client.node)
        for fail in fails:
            await fail

    async def test_cancelled(self):
        """What waits can be cancelled; nothing is sent when somebody comes."""
        sent = self.begin()
        await self.wait_a_moment(sent)
        for deferred in sent:
            deferred.addErrback(lambda _: None)
            deferred.cancel()
        worker = await self.member("a")
        await self.client.call(WORK, "mark", {"number": 9})
        self.assertEqual(worker.ran, [9])


class ReadyInMemory(InMemory, ReadyScenarios, TestCase):
    pass


class ReadyOverSockets(OverSockets, ReadyScenarios, TestCase):
    pass
