"""Every member and every proxy is restarted, one after the other, while calls are made."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.trial.unittest import TestCase

from zmqrpc import Target, expose
from zmqrpc.errors import ServerLost
from zmqrpc.test.scenarios.worlds import InMemory, OverSockets, Scenario

WORK = Target("work")
MEMBERS, PROXIES = 5, 3


class Slow:
    """
    Methods that take their time.

    :ivar recorded_at_last: whether it was registered when it gave its last answer.
    """

    def __init__(self, world):
        self._world = world
        self.node: Any = None
        self.ran = 0
        self.recorded_at_last = None

    @expose
    async def take(self, context, seconds):
        await self._world.sleep(seconds)
        self.ran += 1
        instances = [record.instance for record in self._world.store.records()]
        self.recorded_at_last = self.node.instance.hex() in instances
        return "done"


class RollingScenarios(Scenario):
    seeds = range(2)

    async def restart_all(self, proxies=0, **options):
        """Restart each member and each proxy under load; no call may fail, each has an answer of one of them."""
        world = self.world
        running_proxies = [await world.proxy() for _ in range(proxies)]
        slows = []

        async def start(name):
            slow = Slow(world)
            slows.append(slow)
            slow.node = await world.serve(f"work.{name}", slow, **options)
            return slow

        running = {f"member-{number}": await start(f"member-{number}") for number in range(MEMBERS)}
        client = world.client(**options)
        answers, going_on = [], [True]

        async def one_after_another(number):
            while going_on:
                seconds = 0.02 * (number % 4)
                answers.append(await client.call(WORK, "take", {"seconds": seconds}, timeout=5))
                await world.sleep(0.05)

        loops = [Deferred.fromCoroutine(one_after_another(number)) for number in range(12)]
        for name, slow in list(running.items()):
            await world.eventually("it is in use", lambda slow=slow: slow.ran > 5)
            # The last that it answers.
            long = client.call(Target("work", server=name), "take", {"seconds": 0.3}, timeout=5)
            await world.sleep(0.1)
            await world.stop(slow.node)
            answers.append(await long)
            self.assertIs(slow.recorded_at_last, False, name)
            running[name] = await start(name)
        for proxy in running_proxies:
            await world.stop(proxy)
            await world.proxy()
            before = len(answers)
            await world.eventually("calls are answered", lambda before=before: len(answers) > before + 20)
        await world.eventually("all are in use again", lambda: all(slow.ran > 5 for slow in running.values()))
        going_on.clear()
        await gatherResults(loops)
        self.assertEqual(set(answers), {"done"})
        # No call ran twice: each that ran was answered.
        self.assertEqual(sum(slow.ran for slow in slows), len(answers))

    async def test_static_direct(self):
        await self.restart_all()

    async def test_dynamic_direct(self):
        await self.restart_all(zmq_topology="dynamic-direct")

    async def test_router_proxy(self):
        await self.restart_all(PROXIES, zmq_topology="router-proxy")

    async def test_longer_than_the_drain(self):
        """A call that takes longer ends as lost when the time to drain is up, and so does the stop, within a second."""
        slow = Slow(self.world)
        slow.node = await self.world.serve("work.one", slow, drain_timeout=0.5)
        client = self.world.client()
        call = client.call(WORK, "take", {"seconds": 30}, timeout=60)
        await self.world.eventually("it runs", lambda: slow.node._callers.requests.running)
        began, began_at = self.world.seconds(), self.world.clock.seconds()
        stopped = Deferred.fromCoroutine(self.world.stop(slow.node))
        error = await self.fails(call, ServerLost)
        self.assertTrue(error.maybe_executed)
        await stopped
        self.assertGreater(self.world.clock.seconds() - began_at, 0.4)
        self.assertLess(self.world.seconds() - began, 1.5)


class RollingInMemory(InMemory, RollingScenarios, TestCase):
    pass


class RollingOverSockets(OverSockets, RollingScenarios, TestCase):
    pass
