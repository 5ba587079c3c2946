"""Nodes that find each other by a table that somebody has written, which knows no instances."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import fail, succeed
from twisted.trial.unittest import TestCase

from zmqrpc import Target
from zmqrpc.errors import ConfigError, NoRoute, ServerLost
from zmqrpc.record import Record, Role
from zmqrpc.test.logs import LogLines
from zmqrpc.test.ports import free_port
from zmqrpc.test.scenarios.endpoints import Worker
from zmqrpc.test.scenarios.worlds import InMemory, MemoryWorld, OverSockets, Scenario
from zmqrpc.testing.store import Store, StoreMatchmaker

WORK = Target("work")


class FixedStore(Store):
    """A table with a line for each target."""

    def __init__(self, clock: Any) -> None:
        super().__init__(clock)
        self.lines: dict[str, str] = {}

    def write(self, **lines):
        """Replace the table: addresses by topic and member, with ``_`` between these."""
        self.lines = {name.replace("_", "."): address for name, address in lines.items()}
        self.forget()
        for name, address in self.lines.items():
            target = Target.parse(name)
            names = ("openstack", target.topic or "", target.server or "")
            record = Record(Role.SERVER, *names, addresses=(f"tcp://{address}",))
            self._table.put(record, 0)

    def matchmaker(self, clock=None):
        return FixedMatchmaker(self, super().matchmaker(clock)._matchmaker, clock or self._clock)


class FixedMatchmaker(StoreMatchmaker):
    _store: FixedStore

    def register(self, record, expire):
        if record in self._store.records():
            return succeed(None)
        return fail(ConfigError(f"no line for {record}"))

    def withdraw(self, record):
        return succeed(None)

    def bind_address(self, target):
        return self._store.lines[f"{target.topic}.{target.server}"]


class FixedTableScenarios(Scenario):
    def table(self):
        self.world.store = FixedStore(self.world.clock)
        return self.world.store

    def line(self, host):
        """Choose an address for a line of the table."""
        return f"{host}:7000" if isinstance(self.world, MemoryWorld) else f"127.0.0.1:{free_port()}"

    async def at(self, host, target, worker, **options):
        """Start a node on a host that has its name for good."""
        node = self.world._make_node(host, options)
        self.world.nodes.append(node)
        node.server(Target.parse(target), [worker])
        node.startService()
        await node.when_ready()
        worker.node = node
        return worker

    async def test_served(self):
        """Each node binds its line, is ready, and is called; nothing is lost and restored."""
        lines = LogLines(self)
        one, two = self.line("a"), self.line("b")
        self.table().write(work_one=one, work_two=two)
        for host, name, address in (("a", "one", one), ("b", "two", two)):
            worker = await self.at(host, f"work.{name}", Worker(name))
            self.assertEqual(worker.node.address, f"tcp://{address}")
        client = self.world.client()
        for name in ("one", "two", "one"):
            self.assertEqual(await client.call(Target("work", server=name), "mark", timeout=5), name)
        both = {await client.call(WORK, "mark", timeout=5) for _ in range(2)}
        self.assertEqual(both, {"one", "two"})
        await self.world.sleep(3)
        self.assertEqual(lines.about("lost"), [])
        self.assertEqual(len(self.world.store.records()), 2)

    async def test_started_again(self):
        """Whoever comes after it at its address is called, though it is another instance."""
        self.table().write(work_one=self.line("a"))
        first = await self.at("a", "work.one", Worker("first"))
        client = self.world.client()
        self.assertEqual(await client.call(WORK, "mark", timeout=5), "first")
        await self.world.stop(first.node)
        second = await self.at("a", "work.one", Worker("second"))
        self.assertNotEqual(first.node.instance, second.node.instance)
        self.assertEqual(await client.call(WORK, "mark", timeout=9, wait_for_ready=True), "second")

    async def test_line_taken_out(self):
        """What runs is finished and answered, and nothing new comes, though the link to the member is up."""
        store = self.table()
        address = self.line("a")
        store.write(work_one=address)
        worker = await self.at("a", "work.one", Worker("one"))
        client = self.world.client()
        call = client.call(WORK, "hold", {"number": 1, "value": 7}, timeout=9)
        await self.world.eventually("the call runs", lambda: worker.held)
        store.write()
        await self.world.eventually("nobody is there", lambda: not client.node._discovery._table.topics()[0].servers())
        await self.fails(client.call(WORK, "mark", timeout=5), NoRoute)
        self.assertFalse(call.called)
        worker.held[1].callback(7)
        self.assertEqual(await call, 7)
        store.write(work_one=address)
        self.assertEqual(await client.call(WORK, "mark", timeout=9, wait_for_ready=True), "one")

    async def test_line_moved(self):
        """A member whose line names another address is called there."""
        store = self.table()
        here, there = self.line("a"), self.line("b")
        store.write(work_one=here)
        await self.at("a", "work.one", Worker("here"))
        client = self.world.client()
        self.assertEqual(await client.call(WORK, "mark", timeout=5), "here")
        store.write(work_one=there)
        await self.at("b", "work.one", Worker("there"))
        await self.world.eventually(
            "the new line is known",
            lambda: [r.addresses for r in client.node._discovery._table.topics()[0].servers()] == [(f"tcp://{there}",)],
        )
        self.assertEqual(await client.call(WORK, "mark", timeout=9, wait_for_ready=True), "there")

    async def test_two_topics(self):
        """One process that serves two topics listens at one address, and has one link; two addresses are refused."""
        store = self.table()
        address = self.line("a")
        store.write(work_one=address, more_one=address, other_one=self.line("b"))
        worker = await self.at("a", "work.one", Worker("one"))
        worker.node.server(Target("more", server="one"), [worker])
        client = self.world.client()
        for topic in ("work", "more"):
            self.assertEqual(await client.call(Target(topic), "mark", timeout=5), "one")
        self.assertEqual(len(client.node._links.all()), 1)
        error = self.assertRaises(ConfigError, worker.node.server, Target("other", server="one"), [Worker("one")])
        self.assertIn("openstack/work.one at", str(error))
        self.assertIn("openstack/other.one at", str(error))
        self.assertEqual(await client.call(WORK, "mark", timeout=5), "one")


class FixedTableInMemory(InMemory, FixedTableScenarios, TestCase):
    async def test_killed(self):
        """A call that its killed server had is not given to whoever comes after it at the address."""
        self.table().write(work_one=self.line("a"))
        first = await self.at("a", "work.one", Worker("first"))
        client = self.world.client()
        call = client.call(WORK, "hold", {"number": 1}, timeout=9)
        await self.world.eventually("the call runs", lambda: first.held)
        self.world.kill(first.node)
        second = await self.at("a", "work.one", Worker("second"))
        error = await self.fails(call, ServerLost)
        self.assertTrue(error.maybe_executed)
        self.assertEqual(second.ran, [])
        # From within the errback of the first, so to say: the link comes up at this moment.
        self.assertEqual(await client.call(WORK, "mark", timeout=9), "second")
        self.assertEqual(second.ran, [0])
        self.assertNotIn("wrong_instance", second.node.notices.counts)


class FixedTableOverSockets(OverSockets, FixedTableScenarios, TestCase):
    pass
