"""What is sent to every member of a target, and what each answers."""

from __future__ import annotations

from twisted.internet.defer import gatherResults
from twisted.trial.unittest import TestCase

from zmqrpc import Answer, Target, expose
from zmqrpc.errors import (
    Cancelled,
    ConfigError,
    DeadlineExceeded,
    EncodingError,
    MatchmakerUnavailable,
    MessageTooLarge,
    NoRoute,
    NoSuchMethod,
    Overloaded,
    RemoteError,
)
from zmqrpc.test.scenarios.test_strangers import Peer
from zmqrpc.test.scenarios.worlds import InMemory, OverSockets, Scenario

WORK = Target("work")


class EachScenarios(Scenario):
    async def test_everybody_answers(self):
        """Every instance is called once, and answers in the order of `members`."""
        workers = [await self.member(name) for name in "cab"]
        client = self.world.client()
        answers = await client.call_each(WORK, "mark", {"number": 7})
        self.assertEqual([answer[:2] for answer in answers], await client.members(WORK))
        self.assertEqual([(answer.result, answer.error) for answer in answers], [("a", None), ("b", None), ("c", None)])
        self.assertEqual([worker.ran for worker in workers], [[7]] * 3)
        self.assertIsInstance(answers[0], Answer)

    async def test_round_trips(self):
        """Each answer says how long it took."""
        a, b = await self.member("a"), await self.member("b")
        client = self.world.client()
        await client.call_each(WORK, "mark")
        began = self.world.clock.seconds()
        waiting = client.call_each(WORK, "hold")
        await self.world.eventually("both run", lambda: a.held and b.held)
        await self.world.sleep(0.2)
        a.let_go()
        # What comes after its answer by the same connection: the answer is there then, however busy the machine is.
        await client.call(Target("work", server="a"), "mark")
        await self.world.sleep(0.2)
        b.let_go()
        first, second = await waiting
        ended = self.world.clock.seconds()
        self.assertGreaterEqual(first.seconds, 0.19)
        self.assertGreaterEqual(second.seconds, first.seconds + 0.19)
        # What is told comes by a clock of another zero, and is rounded.
        self.assertLess(second.seconds, ended - began + 0.001)

    async def test_errors_of_members(self):
        """What goes wrong at one member is its answer, and nobody else's."""
        await self.member("a")
        await self.world.serve("work.b", Other())
        client = self.world.client()
        for method, error in (("mark", NoSuchMethod), ("other", None)):
            a, b = await client.call_each(WORK, method)
            self.assertIsInstance(b.error if error else a.error, NoSuchMethod)
            self.assertIsNone(a.error if error else b.error)
        failed = await client.call_each(Target("work", server="a"), "fail", {"text": "no disk"})
        self.assertIsInstance(failed[0].error, RemoteError)
        self.assertIn("no disk", str(failed[0].error))
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    async def test_a_member_that_is_cut_off(self):
        """Whoever cannot be reached is an answer as well; one that is silent is one at the deadline."""
        await self.member("a")
        await self.world.record("work.b", "tcp://127.0.0.1:1", "b" * 32)
        await self.world.stranger("work.c", Peer(), "c" * 32)
        client = self.world.client()
        a, b, c = await client.call_each(WORK, "mark", timeout=0.5)
        self.assertEqual((a.result, a.error), ("a", None))
        self.assertIsInstance(b.error, NoRoute)
        self.assertIsInstance(c.error, DeadlineExceeded)
        self.assertEqual([answer.instance for answer in (b, c)], ["b" * 32, "c" * 32])

    async def test_one_member(self):
        """A directed target means the instances of that member, which may be several."""
        workers = [await self.member(name) for name in "aab"]
        client = self.world.client()
        answers = await client.call_each(Target("work", server="a"), "mark")
        self.assertEqual(
            {answer.instance for answer in answers}, {worker.node.instance.hex() for worker in workers[:2]}
        )
        self.assertEqual([len(worker.ran) for worker in workers], [1, 1, 0])
        self.assertEqual(len(await client.call_each(Target("work", fanout=True), "mark")), 3)

    async def test_nobody(self):
        """When nobody listens there is nothing to list."""
        await self.member("a")
        client = self.world.client()
        for send in (client.call_each, client.fanout):
            for target in (Target("nobody"), Target("work", server="nobody")):
                error = await self.fails(send(target, "mark", timeout=5), NoRoute)
                self.assertFalse(error.maybe_executed)
                self.assertIn(str(target), str(error))
        await client.call(WORK, "mark")
        await self.fails(client.call_each(Target("work", server="nobody"), "mark", timeout=5), NoRoute)
        self.assertEqual(await client.members(Target("work", server="nobody")), [])

    async def test_no_matchmaker(self):
        """A member that nobody knows of may be there when the store does not answer."""
        await self.member("a")
        client = self.world.client()
        await client.call(WORK, "mark")
        self.world.store.go_down()
        for send in (client.call_each, client.fanout):
            await self.fails(send(Target("other"), "mark", timeout=5), MatchmakerUnavailable)
            await self.fails(send(Target("work", server="b"), "mark", timeout=5), MatchmakerUnavailable)
        self.assertEqual([answer.result for answer in await client.call_each(WORK, "mark", timeout=5)], ["a"])

    async def test_cancelled(self):
        """Cancelling it cancels every call that has not ended."""
        workers = [await self.member(name) for name in "ab"]
        client = self.world.client()
        waiting = client.call_each(WORK, "hold")
        await self.world.eventually("both run", lambda: all(worker.held for worker in workers))
        workers[0].let_go()
        await client.call_each(WORK, "mark")
        waiting.cancel()
        error = await self.fails(waiting, Cancelled)
        self.assertTrue(error.maybe_executed)
        self.assertIn("1 of 2 members had answered", str(error))
        await self.world.eventually("it is cancelled there", lambda: workers[1].cancelled == [0])

    async def test_a_method_that_is_cancelled(self):
        """A member whose method gives up is no reason for the others to count as cancelled."""
        worker = await self.member("a")
        client = self.world.client()
        waiting = client.call_each(WORK, "hold")
        await self.world.eventually("it runs", lambda: worker.held)
        worker.held[0].cancel()
        (answer,) = await waiting
        self.assertIsInstance(answer.error, Cancelled)

    async def test_bounded(self):
        """What does not fit is refused where it does not fit."""
        await self.member("a")
        await self.world.stranger("work.silent", Peer())
        client = self.world.client(max_queued_calls=1, max_message_size=10_000)
        calls = [client.call_each(WORK, "mark", timeout=0.5) for _ in range(3)]
        silent = [answers[1].error for answers in await gatherResults(calls)]
        self.assertEqual([type(error) for error in silent], [DeadlineExceeded, Overloaded, Overloaded])
        for send in (client.call_each, client.fanout):
            error = await self.fails(send(WORK, "echo", {"value": bytes(10_000)}), MessageTooLarge)
            self.assertIn("of this client (10000)", str(error))

    async def test_odd_requests(self):
        """What cannot be sent is refused as it is for a call."""
        await self.member("a")
        client = self.world.client()
        for send in (client.call_each, client.fanout):
            await self.fails(send(WORK, 5), ConfigError)
            await self.fails(send("work", "mark"), ConfigError)
            await self.fails(send(Target(server="a"), "mark"), ConfigError)
            await self.fails(send(WORK, "mark", timeout="5"), ConfigError)
            await self.fails(send(WORK, "mark", [1]), EncodingError)
            await self.fails(send(WORK, "mark", context=3), EncodingError)
            error = await self.fails(send(WORK, "mark", {"number": {1}}), EncodingError)
            self.assertIn("argument['number'] is a builtins.set", str(error))
            error = await self.fails(send(WORK, "mark", timeout=0), DeadlineExceeded)
            self.assertIn("target work", str(error))


class Other:
    """Has one method, and no other."""

    @expose
    def other(self, context):
        return "other"


class EachInMemory(InMemory, EachScenarios, TestCase):
    pass


class EachOverSockets(OverSockets, EachScenarios, TestCase):
    pass
