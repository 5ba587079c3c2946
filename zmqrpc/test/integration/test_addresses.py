"""Servers that are reached by another address than the one they have bound, and names that lead nowhere."""

from __future__ import annotations

import socket

from twisted.protocols.portforward import ProxyFactory

from zmqrpc.errors import NoRoute
from zmqrpc.test.integration.nodes import NodeCase
from zmqrpc.test.integration.support import reactor
from zmqrpc.test.ports import free_port


class AddressTests(NodeCase):
    async def test_translated(self):
        """Behind something that translates addresses and ports, others are told the outer ones."""
        inner, outer = free_port(), free_port()
        relay = reactor.listenTCP(outer, ProxyFactory("127.0.0.1", inner), interface="127.0.0.1")
        self.addCleanup(relay.stopListening)
        served = await self.serve(
            rpc_zmq_bind_address="127.0.0.1",
            rpc_zmq_min_port=inner,
            rpc_zmq_max_port=inner + 1,
            rpc_zmq_advertised_address=f"127.0.0.1:{outer}",
        )
        self.assertEqual(served.address, f"tcp://127.0.0.1:{outer}")
        (sighting,) = await self._matchmaker.lookup("openstack", self.topic)
        self.assertEqual(sighting.record.addresses, (served.address,))
        _, client = self.calling()
        self.assertEqual(await client.call(self.target, "echo", {"value": 1}, timeout=10), 1)

    async def test_name_of_two_families(self):
        """Where a name has several addresses, and nobody listens at the first, the next one is tried."""
        found = [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", 0, 0, 0)),
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0)),
        ]
        self.patch(socket, "getaddrinfo", lambda *arguments, **options: list(found))
        served = await self.serve(rpc_zmq_bind_address="::1", rpc_zmq_advertised_address="two.example")
        self.assertTrue(served.address.startswith("tcp://two.example:"))
        _, client = self.calling()
        self.assertEqual(await client.call(self.target, "echo", {"value": 1}, timeout=10, wait_for_ready=True), 1)

    async def test_name_that_leads_nowhere(self):
        """A call ends, and says which name cannot be resolved."""
        await self.serve(rpc_zmq_advertised_address="no-such-host.invalid:5001")
        _, client = self.calling()
        call = client.call(self.target, "echo", {"value": 1}, timeout=10)
        await self.assertEnds(NoRoute, call, "the host name no-such-host.invalid cannot be resolved")
