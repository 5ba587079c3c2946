"""Servers that are gone: killed with SIGKILL as processes, and records that have led nowhere for long."""

import os
import socket
import time

from twisted.internet.defer import gatherResults
from twisted.trial.unittest import TestCase

from zmqrpc import Node, Target
from zmqrpc.settings import Settings
from zmqrpc.test.integration.nodes import NodeCase
from zmqrpc.test.integration.support import eventually, pause, reactor
from zmqrpc.test.ports import free_port
from zmqrpc.test.processes import ProcessTestCase
from zmqrpc.test.servers import RedisServer

TOPOLOGIES = ("static-direct", "dynamic-direct")
DEAD = 50


class DeadAddressTests(NodeCase):
    """Closed ports, and listeners that are full and answer no SYN."""

    def swallowing(self):
        """Return the port of a listener whose queue is full, so that the kernel drops what comes for it."""
        listener = socket.socket()
        self.addCleanup(listener.close)
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(3):
            knocking = socket.socket()
            self.addCleanup(knocking.close)
            knocking.setblocking(False)
            knocking.connect_ex(listener.getsockname())
        return listener.getsockname()[1]

    async def test_one_of_many_lives(self):
        await self.serve(member="live")
        ports = [free_port() for _ in range(DEAD)] + [self.swallowing() for _ in range(DEAD)]
        for number, port in enumerate(ports):
            await self.record(f"tcp://127.0.0.1:{port}", os.urandom(16), f"dead-{number}")
        bare = Target(self.topic)
        for topology in TOPOLOGIES:
            _, client = self.calling(zmq_topology=topology)
            begin = time.monotonic()
            self.assertEqual(await client.call(bare, "echo", {"value": 1}, timeout=20), 1)
            self.assertLess(time.monotonic() - begin, 5)  # 0.1 s on an idle machine; it was 2 s for each that is dead
            calls = []
            for number in range(200):
                calls.append(client.call(bare, "echo", {"value": number}, timeout=20))
                await pause(0.002)
            self.assertEqual(await gatherResults(calls), list(range(200)))
            reached = await client.fanout(bare, "echo", {"value": 2}, timeout=10)
            self.assertEqual((len(reached.members), len(reached.missing)), (1, 2 * DEAD))


class KilledTests(ProcessTestCase, TestCase):
    """A server is killed; a client that calls knows, and one that does not hears of it."""

    timeout = 120

    def watching(self, topology):
        node = Node(reactor, Settings(url=self.url, zmq_topology=topology, drain_timeout=0.05))
        self.addCleanup(node.stopService)
        node.startService()
        return node.client(), node

    async def check(self, url):
        self.url = url
        calc = Target("calc")
        options = ("--app", "examples.demo.calc:Calc", "--topic", "calc", "--server")
        self.serve(*options, "stays")
        nodes = {topology: [self.watching(topology) for _ in range(2)] for topology in TOPOLOGIES}
        for topology, ((talking, _), (idle, _)) in nodes.items():
            killed = self.serve(*options, topology)

            def routed(client, member=topology):
                route = client._delivery.table.route(calc, "openstack")
                return member in {route.recorded[key].member for key in route.choices}

            for client in (talking, idle):
                await client.members(calc)
                await eventually("both are known", lambda client=client: routed(client))
            killed.kill()
            begin = time.monotonic()
            while routed(talking):
                self.assertLess(time.monotonic() - begin, 5)  # 50 ms on an idle machine
                await talking.call(calc, "add", {"a": 1, "b": 2}, timeout=10, idempotent=True)
            await eventually("the other has heard of it", lambda idle=idle, routed=routed: not routed(idle))
            for _ in range(4):
                await idle.call(calc, "add", {"a": 1, "b": 2}, timeout=10)

    async def test_redis(self):
        await self.check(f"{RedisServer(self).url}?rpc_zmq_bind_address=127.0.0.1")

    async def test_sqlite(self):
        await self.check(self.url)
