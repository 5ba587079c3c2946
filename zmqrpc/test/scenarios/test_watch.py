"""Who watches a target hears of everybody who comes and goes."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import TestCase

from zmqrpc import Target
from zmqrpc.errors import ConfigError, Overloaded
from zmqrpc.test.scenarios.worlds import InMemory, OverSockets, Scenario

WORK = Target("work")


class Heard:
    """Remembers what a watch told."""

    def __init__(self) -> None:
        self.lists: list[list[tuple[str, str]]] = []

    def __call__(self, listed):
        self.lists.append(list(listed))
        listed.append("mine now")

    def names(self):
        """Return the members of the last list."""
        return [member for member, _ in self.lists[-1]] if self.lists else None


class WatchScenarios(Scenario):
    async def hears(self, heard, *names):
        await self.world.eventually(f"{names}", lambda: heard.names() == list(names))

    async def test_changes(self):
        """It is called once soon, and after each change, with what `members` lists."""
        client, heard = self.world.client(), Heard()
        end = client.watch(WORK, heard)
        await self.hears(heard)
        b = await self.member("b")
        await self.hears(heard, "b")
        await self.member("a")
        await self.hears(heard, "a", "b")
        self.assertEqual(heard.lists[-1], await client.members(WORK))
        await self.world.stop(b.node)
        await self.hears(heard, "a")
        self.assertEqual(len(heard.lists), 4)
        end()
        end()
        await self.member("c")
        await self.world.eventually("it is known", lambda: len(client._delivery.table.topics()[0].servers()) == 2)
        await client.call(WORK, "mark")
        self.assertEqual(len(heard.lists), 4)

    async def test_emptied(self):
        """Nothing is told when the store has lost everybody who is connected, nor when each is registered again."""
        workers = [await self.member(name) for name in "abc"]
        client, heard = self.world.client(), Heard()
        await client.fanout(WORK, "mark")
        client.watch(WORK, heard)
        await self.hears(heard, "a", "b", "c")
        self.world.store.go_read_only()
        self.world.store.forget()
        await self.world.sleep(0.05)
        self.world.store.come_back()
        store, order = self.world.store.matchmaker(), (2, 0, 1)
        for number in order:
            (record,) = workers[number].node._offers.records()
            await store.register(record, 300)
            await self.world.sleep(0.05)
            self.assertEqual(await client.members(WORK), heard.lists[0])
        self.assertEqual(len(heard.lists), 1)

    async def test_one_member(self):
        """A directed target hears of its member only."""
        client, heard = self.world.client(), Heard()
        client.watch(Target("work", server="a"), heard)
        await self.hears(heard)
        await self.member("b")
        a = await self.member("a")
        await self.hears(heard, "a")
        again = await self.member("a")
        await self.hears(heard, "a", "a")
        self.assertEqual({instance for _, instance in heard.lists[-1]}, {w.node.instance.hex() for w in (a, again)})
        self.assertEqual(len(heard.lists), 3)

    async def test_known_already(self):
        """What is known is told soon, and never from within `watch`."""
        await self.member("a")
        client, heard = self.world.client(), Heard()
        await client.call(WORK, "mark")
        client.watch(WORK, heard)
        self.assertEqual(heard.lists, [])
        await self.hears(heard, "a")
        client.watch(Target("work", fanout=True), heard)
        await self.world.eventually("the other", lambda: len(heard.lists) == 2)

    async def test_before_the_start(self):
        """A client that is not started yet is told when it is."""
        await self.member("a")
        node, heard = self.world.node(), Heard()
        node.client().watch(WORK, heard)
        await self.world.sleep(0.05)
        self.assertEqual(heard.lists, [])
        node.startService()
        await self.hears(heard, "a")

    async def test_no_matchmaker(self):
        """Nothing is told while nothing is known; an outage changes nothing that is."""
        worker = await self.member("a")
        self.world.store.go_down()
        client, heard = self.world.client(), Heard()
        client.watch(WORK, heard)
        await self.world.sleep(0.1)
        self.assertEqual(heard.lists, [])
        self.world.store.come_back()
        await self.hears(heard, "a")
        self.world.store.go_down()
        await client.call(Target("work"), "mark")
        self.world.store.come_back()
        await self.world.stop(worker.node)
        await self.hears(heard)
        self.assertEqual(len(heard.lists), 2)

    async def test_kept_records(self):
        """Whoever is connected stays in the list while the store has lost it, and goes when it dies."""
        a = await self.member("a")
        client, heard = self.world.client(), Heard()
        client.watch(WORK, heard)
        await self.hears(heard, "a")
        await client.call(WORK, "mark")
        self.world.store.forget()
        self.world.store.go_down()
        await client.call(WORK, "mark")
        self.world.kill(a.node)
        self.world.store.come_back()
        await self.hears(heard)
        self.assertEqual(len(heard.lists), 2)

    async def test_is_use(self):
        """A watched target is not given up, however long nobody calls it; another is."""
        client, heard = self.world.client(route_ttl=0.2), Heard()
        await client.members(Target("other"))
        end = client.watch(WORK, heard)
        await self.hears(heard)
        table = client._delivery.table
        await self.world.eventually("the other goes", lambda: len(table.topics()) == 1)
        await self.world.sleep(0.5)
        await self.member("a")
        await self.hears(heard, "a")
        end()
        await self.world.eventually("it goes as well", lambda: not table.topics())

    async def test_raises(self):
        """What a callback raises is logged, and neither its last nor another's."""
        client, heard, others = self.world.client(), Heard(), Heard()

        def broken(listed):
            heard(listed)
            raise ValueError("broken")

        async def broken_later(listed):
            raise KeyError("later")

        ends = [client.watch(WORK, callback) for callback in (broken, broken_later, others)]
        await self.hears(others)
        await self.member("a")
        await self.hears(others, "a")
        self.assertEqual(len(heard.lists), 2)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 2)
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 2)
        for end in ends:
            end()

    async def test_from_within(self):
        """A callback may end watches, begin others, and call."""
        await self.member("a")
        client, heard, other, never = self.world.client(), Heard(), Heard(), Heard()
        calls: list[Any] = []

        def callback(listed):
            heard(listed)
            end()
            end_never()
            client.watch(WORK, other)
            calls.append(client.call(WORK, "mark"))

        end = client.watch(WORK, callback)
        end_never = client.watch(WORK, never)
        await self.hears(other, "a")
        self.assertEqual(await calls[0], "a")
        await self.member("b")
        await self.hears(other, "a", "b")
        self.assertEqual((len(heard.lists), never.lists), (1, []))

    async def test_stopped(self):
        """A stop of the client ends every watch; to end it once more, or to watch a stopped client, does nothing."""
        client, heard = self.world.client(), Heard()
        end = client.watch(WORK, heard)
        await self.hears(heard)
        await self.world.stop(client.node)
        client.watch(WORK, heard)
        await self.member("a")
        await self.world.sleep(0.1)
        end()
        self.assertEqual(len(heard.lists), 1)

    async def test_wrong(self):
        """What cannot be watched is refused."""
        client = self.world.client(max_routes=1)
        for target, callback in ((Target(server="a"), Heard()), ("work", Heard()), (WORK, None)):
            with self.assertRaises(ConfigError):
                client.watch(target, callback)
        await client.members(Target("another"))
        client.watch(WORK, Heard())
        with self.assertRaises(Overloaded):
            client.watch(Target("one too many"), Heard())


class WatchInMemory(InMemory, WatchScenarios, TestCase):
    pass


class WatchOverSockets(OverSockets, WatchScenarios, TestCase):
    pass
