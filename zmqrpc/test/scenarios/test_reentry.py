"""What callbacks do to other calls while a batch, a refusal or an answer of the store is worked off."""

from __future__ import annotations

from twisted.trial.unittest import TestCase

from zmqrpc import Target
from zmqrpc.errors import Cancelled
from zmqrpc.test.scenarios.worlds import InMemory, OverSockets, Scenario

WORK = Target("work")


class ReentryScenarios(Scenario):
    async def test_cancelled_by_the_result_before_it(self):
        """The first result of a batch cancels the second call; the others end as if it were not there."""
        await self.member("a")
        client = self.world.client()
        await client.call(WORK, "mark", timeout=5)
        calls = [client.call(WORK, "mark", {"number": number}, timeout=5) for number in range(6)]
        calls[0].addCallback(lambda result: calls[1].cancel() or result)
        self.assertEqual(await calls[0], "a")
        await self.fails(calls[1], Cancelled)
        for call in calls[2:]:
            self.assertEqual(await call, "a")

    async def test_cancelled_while_it_waits_for_the_store(self):
        """What the callback of one parked call cancels ends as cancelled, and does not run."""
        worker = await self.member("a")
        client = self.world.client()
        members = client.members(WORK)
        call = client.call(WORK, "mark", {"number": 7}, timeout=5)
        members.addCallback(lambda found: call.cancel() or found)
        self.assertEqual([member for member, _ in await members], ["a"])
        error = await self.fails(call, Cancelled)
        self.assertFalse(error.maybe_executed)
        await client.call(WORK, "mark", {"number": 8}, timeout=5)
        self.assertEqual(worker.ran, [8])

    async def test_stopped_by_what_a_lost_connection_still_brought(self):
        """A client may be stopped by the last answer that is read before a connection is dropped."""
        worker = await self.member("a")
        client = self.world.client()
        await client.call(WORK, "mark", timeout=5)
        links, stopped = client.node._links, []

        def stop_instead(router):
            stopped.append(client.node.stopService())

        self.patch(type(links.connector.router), "drain", stop_instead)
        self.world.kill(worker.node)
        await self.world.eventually("the loss is noticed", lambda: stopped)
        await stopped[0]
        self.world.nodes.remove(client.node)
        self.assertIsNone(links.connector._router)


class ReentryInMemory(InMemory, ReentryScenarios, TestCase):
    """The scenarios in memory, under each seed."""


class ReentryOverSockets(OverSockets, ReentryScenarios, TestCase):
    """The scenarios over loopback."""
