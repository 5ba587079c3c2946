"""`MemoryNode` is a Node in every respect, and needs as little as possible."""

from __future__ import annotations

import inspect
import subprocess
import sys

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

import zmqrpc
from zmqrpc import Node, Target
from zmqrpc.errors import ClientClosed, ConfigError
from zmqrpc.settings import Settings
from zmqrpc.test.processes import ENVIRONMENT
from zmqrpc.test.scenarios.endpoints import Versioned, Worker
from zmqrpc.testing import MemoryNode, Network, Store, Unfinished

WORK = Target("work")


def public_methods(kind):
    return {name for name, _ in inspect.getmembers(kind, inspect.isroutine) if not name.startswith("_")}


class SurfaceTests(SynchronousTestCase):
    def test_same_methods(self):
        """It has the methods of a Node, with their parameters, and one that no Node has."""
        self.assertEqual(public_methods(MemoryNode) - public_methods(Node), {"kill"})
        self.assertEqual(public_methods(Node) - public_methods(MemoryNode), set())
        for name in public_methods(Node):
            self.assertEqual(inspect.signature(getattr(MemoryNode, name)), inspect.signature(getattr(Node, name)), name)

    def test_same_client(self):
        """Its clients are those of a Node."""
        client = MemoryNode().client()
        self.assertIs(type(client), zmqrpc.RPCClient)

    def test_imports(self):
        """Importing it loads no ZeroMQ, no reactor, and nothing that talks to a store."""
        program = (
            "import sys, threading\n"
            "import zmqrpc.testing\n"
            "from zmqrpc import expose, Target\n"
            "class Calc:\n"
            "    @expose\n"
            "    def add(self, context, a, b): return a + b\n"
            "with zmqrpc.testing.Network() as network:\n"
            "    network.serve('calc', Calc())\n"
            "    print(network.result_of(network.client().call(Target('calc'), 'add', {'a': 1, 'b': 2})))\n"
            "    print(threading.active_count())\n"
            "names = 'zmq', 'twisted.internet.reactor', 'sqlite3', 'treq', 'txredisapi'\n"
            "print([name for name in names if name in sys.modules])\n"
        )
        command = [sys.executable, "-c", program]
        done = subprocess.run(command, check=False, env=ENVIRONMENT, capture_output=True, text=True, timeout=60)
        self.assertEqual((done.stdout, done.stderr), ("3\n1\n[]\n", ""))


class BeginningTests(SynchronousTestCase):
    def test_alone(self):
        """A node without arguments has a network of its own, and talks to itself there."""
        node = MemoryNode()
        node.server(WORK, [Worker("alone")])
        node.startService()
        self.assertEqual(node.network.result_of(node.client().call(WORK, "mark")), "alone")
        self.assertEqual((node.host, node.network.store.records()[0].member), ("host-1", "host-1"))
        node.network.close()

    def test_joined(self):
        """Others may join it; each has a host of its own unless it is told."""
        first = MemoryNode()
        second, third = MemoryNode(first.network), MemoryNode(first.network, host="host-1")
        self.assertEqual([node.host for node in (first, second, third)], ["host-1", "host-2", "host-1"])
        self.assertIs(second.store, first.store)
        apart = MemoryNode(first.network, Store(first.network.clock))
        self.assertIsNot(apart.store, first.store)

    def test_notifications(self):
        """Listeners and notifiers are those of a Node; what has not ended is named."""

        class Ear:
            def info(self, context, publisher_id, event_type, payload, metadata):
                return Deferred() if payload == "hang" else None

        network = Network()
        node = network.listen("events", Ear())
        network.listen(Target("events", exchange="other"), Ear(), pool="p", host="another")
        self.assertEqual((node.host, [r.pool for r in network.store.records()]), ("events", [None, "p"]))
        sender = MemoryNode(network)
        sender.startService()
        notifier = sender.notifier("test", ["events", Target("events", exchange="other")])
        self.assertEqual(network.result_of(notifier.info({}, "begun", {"id": 7})), 2)
        notifier.info({}, "ended", "hang")
        network.run(1)
        error = self.assertRaises(Unfinished, network.close)
        self.assertIn("the notification (info) of ended('hang') at openstack/events, other/events", str(error))

    def test_options(self):
        """Options are those of `Settings`, and are checked as there."""
        self.assertEqual(MemoryNode(drain_timeout=5.0).settings.drain_timeout, 5.0)
        self.assertRaises(ConfigError, MemoryNode, drain_timeout=-5.0)
        self.assertRaises(ConfigError, MemoryNode, drain_time=5.0)

    def test_production_settings(self):
        """Settings as they are in production do: what they say about the network is replaced."""
        settings = Settings.from_url(
            "zmq+redis://redis.example?matchmaker_timeout=5",
            rpc_zmq_host="server.example",
            rpc_zmq_bind_address="eth7",
            rpc_zmq_advertised_address="gateway.example:6000",
            rpc_zmq_min_port=6000,
            rpc_zmq_max_port=6001,
            zmq_tcp_keepalive=0,
        )
        network = Network()
        for host in ("one", "two"):
            node = MemoryNode(network, host=host, settings=settings)
            node.server(Target("work", server=host), [Worker(host)])
            node.startService()
        client = MemoryNode(network, settings=settings)
        client.startService()
        for host in ("one", "two"):
            call = client.client().call(Target("work", server=host), "mark")
            self.assertEqual(network.result_of(call), host)
        network.close()

    def test_serve(self):
        """A target may be spelled, and the host is called like the member unless it is told."""
        network = Network()
        nodes = [
            network.serve("work", Worker("a")),
            network.serve("work.one", Worker("b")),
            network.serve(Target("work", server="two"), Worker("c"), Versioned(), host="elsewhere"),
        ]
        self.assertEqual([node.host for node in nodes], ["work", "one", "elsewhere"])
        members = network.result_of(network.client().members(WORK))
        self.assertEqual([member for member, _ in members], ["one", "two", "work"])
        network.close()

    def test_serve_badly(self):
        """What a Node refuses is refused."""
        network = Network()
        self.assertRaises(ConfigError, network.serve, "work", object())
        self.assertRaises(ConfigError, network.serve, "", Worker())

    def test_serve_without_a_store(self):
        """A server whose store is down starts, and is found later."""
        network = Network()
        network.store.go_down()
        server = network.serve("work", Worker("late"))
        client = network.client()
        network.run(5)
        network.store.come_back()
        self.assertEqual(network.result_of(client.call(WORK, "mark", wait_for_ready=True)), "late")
        self.assertEqual(server.state, "running")
        network.close()

    def test_client(self):
        """A client of the network owns its node, as one of `connect` does."""
        network = Network()
        network.serve("work", Worker("one"))
        client = network.client([WORK], rpc_response_timeout=3.0)
        network.run(1)
        self.assertEqual(len(network.nodes[0]._callers._by_identity), 1)
        network.result_of(client.close())
        with self.assertRaises(ClientClosed):
            network.result_of(client.call(WORK, "mark"))
        self.assertEqual(network.nodes[1].state, "stopped")
        network.close()

    def test_states(self):
        node = MemoryNode()
        node.server(WORK, [Worker()])
        states = [node.state]
        node.startService()
        states.append(node.state)
        node.client().call(WORK, "hold", timeout=5).addErrback(lambda failure: None)
        node.network.run(1)
        stopped = node.stopService()
        states.append(node.state)
        node.network.result_of(stopped)
        states.append(node.state)
        node.kill()
        self.assertEqual([*states, node.state], ["not started", "running", "stopping", "stopped", "killed"])
