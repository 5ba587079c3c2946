"""What one peer, call or callback does wrong stays with it."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import TestCase

from zmqrpc import Target
from zmqrpc.core.batch import encode_batch
from zmqrpc.core.envelope import Call, Hello, Reply, Served, Welcome, encode_message
from zmqrpc.errors import ClientClosed, ConfigError, DeadlineExceeded, MatchmakerUnavailable, Overloaded
from zmqrpc.test.scenarios.endpoints import Worker
from zmqrpc.test.scenarios.test_strangers import STRANGER, Peer
from zmqrpc.test.scenarios.worlds import InMemory, OverSockets, Scenario

WORK = Target("work")


class FaultScenarios(Scenario):
    async def pretended(self, answer):
        """Register a member that welcomes, and answers each call with what `answer` makes of its batch."""
        voice: dict[str, Any] = {}

        def say(*messages, destination=None):
            batch = self.batch(*messages, destination=destination or voice["source"])
            router.send(voice["identity"], batch)

        def received(identity, batch):
            voice.update(identity=identity, source=batch.source)
            for message in batch.messages:
                if type(message) is Hello:
                    say(Welcome(1, batch.sent, "server", [], {}, [Served("openstack", "work", "m")]))
                elif type(message) is Call:
                    answer(say, message)

        router = await self.world.stranger("work.m", Peer(received), STRANGER.hex())
        return say

    @staticmethod
    def batch(*messages, destination):
        return encode_batch(STRANGER, destination, 0, (), [encode_message(message) for message in messages])

    async def test_braces_in_what_a_peer_says(self):
        """What a peer says is no format of ours."""
        say = await self.pretended(lambda say, call: say(Reply(call.sequence, "good")))
        client = self.world.client()
        self.assertEqual(await client.call(WORK, "mark", timeout=5), "good")
        say(Welcome(1, 0, "{0}{nothing}", [], {}, [Served("{}", "{1}", "m")]))
        await self.world.eventually("the count", lambda: client.node.notices.counts["unexpected"])
        self.assertEqual(await client.call(WORK, "mark", timeout=5), "good")

    async def test_answer_to_another_instance(self):
        """A batch for another instance is dropped, whatever it answers."""

        def answer(say, call):
            say(Reply(call.sequence, "not ours"), destination=b"other".ljust(16))
            say(Reply(call.sequence, "ours"))

        await self.pretended(answer)
        client = self.world.client()
        self.assertEqual(await client.call(WORK, "mark", timeout=5), "ours")
        self.assertEqual(client.node.notices.counts["wrong_instance"], 1)

    async def test_link_that_fails(self):
        """An error of ours about one link is logged, and the others go on: their deadlines hold."""
        await self.member("a")
        await self.world.serve("other.b", Worker("b"))
        client = self.world.client()
        await client.call(WORK, "mark", timeout=5)
        await client.call(Target("other"), "mark", timeout=5)
        [faulty] = [link for link in client.node._links.all() if link.member == "a"]

        def tick(now, outstanding):
            raise ZeroDivisionError("a fault of ours")

        class Faulty:
            """The state of the link, but for its tick."""

            def __getattr__(_, name):
                return tick if name == "tick" else getattr(state, name)

        state, faulty.state = faulty.state, Faulty()
        try:
            client.node._links.wake_by(faulty, self.world.clock.seconds())
            began = self.world.seconds()
            error = await self.fails(client.call(Target("other"), "hold", timeout=0.5), DeadlineExceeded)
            self.assertTrue(error.maybe_executed)
            self.assertLess(self.world.seconds() - began, 1)
        finally:
            faulty.state = state
        self.assertTrue(self.flushLoggedErrors(ZeroDivisionError))

    async def test_deadline_while_its_server_stops(self):
        """A call whose time is up is cancelled also at a server that stops, which then has nothing to wait for."""
        worker = await self.member("a")
        client = self.world.client()
        call = client.call(WORK, "hold", timeout=1)
        await self.world.eventually("it runs", lambda: worker.held)
        began = self.world.seconds()
        stopped = worker.node.stopService()
        await self.fails(call, DeadlineExceeded)
        await stopped
        self.assertEqual(worker.cancelled, [0])
        self.assertLess(self.world.seconds() - began, 5)

    async def test_deadline_of_a_client_that_is_gone(self):
        """What nobody waits for any more is cancelled, though nobody is left to say so."""
        worker = await self.member("a")
        client = self.world.client()
        client.call(WORK, "hold", timeout=1).addErrback(lambda _: None)
        await client.cast(WORK, "hold", {"number": 1}, timeout=1)
        await self.world.eventually("they run", lambda: len(worker.held) == 2)
        self.world.kill(client.node)
        await self.world.eventually("the cancellation", lambda: worker.cancelled)
        await self.world.sleep(1.5)
        self.assertEqual((worker.cancelled, list(worker.held)), ([0], [1]))
        worker.let_go()

    async def test_bytes_in_flight(self):
        """Calls in flight to one instance are bounded in bytes; others wait, within their own bound."""
        worker = await self.member("a")
        client = self.world.client(max_unsettled_bytes=200_000, max_queued_bytes=150_000)
        await client.call(WORK, "mark", timeout=5)
        calls = [
            client.call(WORK, "hold", {"number": number, "value": bytes(100_000)}, timeout=20) for number in range(5)
        ]
        await self.world.eventually("two run", lambda: len(worker.held) == 2)
        for refused in calls[3:]:
            await self.fails(refused, Overloaded)
        while len(worker.ran) < 4:
            worker.let_go()
            await self.world.sleep(0.02)
        worker.let_go()
        self.assertEqual([await call for call in calls[:3]], ["a"] * 3)
        self.assertEqual(await client.call(WORK, "mark", timeout=5), "a")

    async def test_cast_that_waited_for_discovery(self):
        """Without acknowledgements a cast is over when it is handed over, however it came there."""
        worker = await self.member("a")
        client = self.world.client(rpc_use_acks=False)
        await client.call(WORK, "mark", timeout=5)
        worker.node.server(Target("more", server="a"), [Worker("more")])
        await self.world.sleep(0.1)
        handed: list[Any] = []
        client.cast(Target("more"), "mark", timeout=5).addCallback(handed.append)
        [link] = [link for link in client.node._links.all() if link.member == "a"]
        while not handed:
            self.assertFalse(link.pending, "it was handed over and waits for its acknowledgement")
            await self.world.sleep(0.001)

    async def test_callback_that_calls_again_when_its_node_stops(self):
        """No errback of a call that ends with its node opens anything."""
        worker = await self.member("a")
        await self.world.serve("other.b", Worker("b"))
        client = self.world.client()
        await client.call(WORK, "mark", timeout=5)
        errors: list[Any] = []

        def again(failure):
            errors.append(failure.value)
            client.prepare(Target("other"))
            return client.call(Target("other"), "mark").addErrback(lambda failure: errors.append(failure.value))

        ended = client.call(WORK, "hold", timeout=20).addErrback(again)
        await self.world.sleep(0.05)
        await client.node.stopService()
        await ended
        self.assertEqual([type(error) for error in errors], [ClientClosed, ClientClosed])
        self.assertEqual(client.node._links.all(), [])
        worker.let_go()

    async def test_ready_is_cancelled_by_a_stop(self):
        node = self.world.node()
        before: Deferred[None] = node.when_ready()
        await node.stopService()
        for waiting in (before, node.when_ready()):
            await self.fails(waiting, CancelledError)

    async def test_same_member_twice(self):
        """Two servers of one node under one target would share one record."""
        worker = await self.member("a")
        with self.assertRaises(ConfigError) as caught:
            worker.node.server(Target("work", server="a"), [Worker("again")])
        self.assertIn("work.a", str(caught.exception))
        worker.node.server(Target("work", server="b"), [Worker("b")])

    async def test_words(self):
        """Errors name what was asked for."""
        client = self.world.client()
        for target in ("work", None):
            await self.fails(client.call(target, "mark"), ConfigError)
        for ask in (client.fanout, client.call, client.cast):
            error = await self.fails(ask(WORK, "mark", timeout=0), DeadlineExceeded)
            self.assertFalse(error.maybe_executed)
        self.world.store.go_down()
        error = await self.fails(client.members(WORK, timeout=5), MatchmakerUnavailable)
        self.assertNotIn("FANOUT", str(error))


class FaultsInMemory(InMemory, FaultScenarios, TestCase):
    pass


class FaultsOverSockets(OverSockets, FaultScenarios, TestCase):
    pass
