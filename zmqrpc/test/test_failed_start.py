"""Nodes that could not bind: they do not run and say so, whoever goes on all the same, and there is a way back."""

from __future__ import annotations

import os
import socket
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import CancelledError
from twisted.trial.unittest import SynchronousTestCase, TestCase

from zmqrpc import Node, Target
from zmqrpc.errors import ConfigError, PortRangeExhausted
from zmqrpc.proxy_node import ProxyNode
from zmqrpc.settings import Settings
from zmqrpc.test.paths import short_directory
from zmqrpc.test.ports import free_port
from zmqrpc.test.scenarios.endpoints import Worker
from zmqrpc.testing import MemoryNode, MemoryProxy, Network, Store


class FailedStarts:
    """What is the same for each kind of node; mixed into a test case."""

    def make(self, port: int) -> Any:
        """Make a node that can listen at one port alone."""
        raise NotImplementedError

    def setUp(self: Any) -> None:
        self.store = Store(reactor)
        self.port = free_port()
        self.taken = socket.socket()
        self.addCleanup(self.taken.close)
        self.taken.bind(("127.0.0.1", self.port))
        self.taken.listen()
        self.node = self.make(self.port)
        self.addCleanup(self.node.stopService)

    def refused(self: Any) -> None:
        for start in (self.node.privilegedStartService, self.node.startService):
            refused = self.assertRaises(PortRangeExhausted, start)
            self.assertIn("Address already in use", str(refused))

    def test_refused(self: Any) -> None:
        """What could not be bound is not started; it is tried again, and says why as often."""
        self.refused()
        self.refused()
        self.assertFalse(self.node.running)

    async def test_never_ready(self: Any) -> None:
        """It is not ready, and its stop says so to who waits."""
        waiting = self.node.when_ready()
        self.refused()
        later = self.node.when_ready()
        self.assertEqual((waiting.called, later.called), (False, False))
        await self.node.stopService()
        for each in (waiting, later, self.node.when_ready()):
            with self.assertRaises(CancelledError):
                await each

    async def test_tried_again(self: Any) -> None:
        """It starts when the port is free."""
        waiting = self.node.when_ready()
        self.refused()
        self.taken.close()
        self.node.startService()
        await waiting
        with socket.create_connection(("127.0.0.1", self.port)):
            pass
        self.assertEqual([record.member for record in self.records()], ["one"])
        await self.node.stopService()
        self.assertEqual(self.records(), [])
        with self.assertRaises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", self.port))

    async def test_stopped(self: Any) -> None:
        """Its stop gives everything back, and it is refused in words after that."""
        self.refused()
        transport = self.node._site.transport
        await self.node.stopService()
        self.assertEqual(transport._readers, [])
        self.assertIsNone(transport._context)
        self.taken.close()
        for start in (self.node.privilegedStartService, self.node.startService):
            self.assertIn("is started once; make a new one", str(self.assertRaises(ConfigError, start)))
        await self.node.stopService()

    async def test_stopped_twice(self: Any) -> None:
        """The second stop ends with the first, and does nothing of its own."""
        self.taken.close()
        self.node.startService()
        await self.node.when_ready()
        ended: list[int] = []
        stops = [self.node.stopService().addCallback(lambda _, n=number: ended.append(n)) for number in range(3)]
        self.assertEqual(ended, [])
        # Who does not want to wait any more ends no stop.
        stops[1].addErrback(lambda failure: failure.trap(CancelledError)).cancel()
        for stop in stops:
            await stop
        self.assertEqual(sorted(ended), [0, 2])
        events = [event.name for event in self.node.notices.recorder.newest(99) if event.name == "stopping"]
        self.assertEqual(len(events), 1)
        await self.node.stopService()

    def records(self: Any) -> list[Any]:
        """List what is registered."""
        sightings = self.successResultOf(self.store.matchmaker().records())
        return [sighting.record for sighting in sightings]


class NodeTests(FailedStarts, TestCase):
    def make(self, port):
        settings = Settings(rpc_zmq_bind_address="127.0.0.1", rpc_zmq_min_port=port, rpc_zmq_max_port=port + 1)
        node = Node(reactor, settings, matchmaker=self.store.matchmaker())
        node.server(Target("work", server="one"), [Worker("one")])
        return node

    async def test_client(self):
        """A node that only calls is started once as well."""
        node = Node(reactor, Settings(), matchmaker=self.store.matchmaker())
        node.startService()
        await node.stopService()
        self.assertIn("a Node is started once", str(self.assertRaises(ConfigError, node.startService)))

    async def test_start_while_it_stops(self):
        self.taken.close()
        self.node.startService()
        await self.node.when_ready()
        stopped = self.node.stopService()
        self.assertIn("a Node is started once", str(self.assertRaises(ConfigError, self.node.startService)))
        await stopped
        self.assertFalse(self.node.running)


class ProxyNodeTests(FailedStarts, TestCase):
    def make(self, port, **options):
        settings = Settings(rpc_zmq_host="one", rpc_zmq_bind_address="127.0.0.1", proxy_frontend_port=port, **options)
        return ProxyNode(reactor, settings, matchmaker=self.store.matchmaker())

    async def test_stages(self):
        """It says how far it is; what it is open for is set last."""
        self.assertEqual(self.node.stage, "not started")
        self.refused()
        self.assertEqual((self.node.stage, self.node.records), ("failed", ()))
        self.taken.close()
        self.node.privilegedStartService()
        self.assertEqual((self.node.stage, len(self.node.records)), ("open", 1))
        self.node.startService()
        stopped = self.node.stopService()
        self.assertEqual(self.node.stage, "stopping")
        await stopped
        self.assertEqual(self.node.stage, "stopped")

    async def test_what_was_open_already(self):
        """Of several sockets one cannot be bound: those before it are closed, and its IPC socket goes."""
        directory = short_directory(self)
        settings = Settings(
            rpc_zmq_bind_address="127.0.0.1",
            proxy_frontend_port=0,
            proxy_ipc=True,
            rpc_zmq_ipc_dir=directory,
            use_pub_sub=True,
            proxy_publisher_port=self.port,
        )
        node = ProxyNode(reactor, settings, matchmaker=self.store.matchmaker())
        self.addCleanup(node.stopService)
        for _ in range(2):
            self.assertRaises(PortRangeExhausted, node.startService)
            transport: Any = node._site.transport
            self.assertEqual((transport._readers, os.listdir(directory)), ([], []))
        self.taken.close()
        node.startService()
        self.assertEqual(len(node.records), 2)


class LocalPublisherTests(SynchronousTestCase):
    def test_one_advertised_port(self):
        """What was tried in vain is no second socket."""
        network = Network()
        self.addCleanup(network.close)
        options: dict[str, Any] = {
            "rpc_zmq_advertised_address": "public:7",
            "proxy_local_publisher": True,
            "proxy_publisher_port": 7,
        }
        first, second = (MemoryProxy(network, host="north", **options) for _ in "12")
        first.startService()
        for _ in "12":
            self.assertIn("cannot bind", str(self.assertRaises(PortRangeExhausted, second.startService)))
        network.result_of(first.stopService())
        second.startService()


class MemoryTests(SynchronousTestCase):
    def test_state(self):
        """The double of a node says what has become of it."""
        network = Network()
        self.addCleanup(network.close)
        nodes = [MemoryNode(network, host="north", rpc_zmq_min_port=7000, rpc_zmq_max_port=7001) for _ in "12"]
        for number, node in enumerate(nodes):
            node.server(Target("work", server=f"{number}"), [Worker()])
        nodes[0].startService()
        self.assertRaises(PortRangeExhausted, nodes[1].startService)
        self.assertEqual([node.state for node in nodes], ["running", "not started"])
        network.result_of(nodes[1].stopService())
        self.assertEqual([node.state for node in nodes], ["running", "stopped"])
