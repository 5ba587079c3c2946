"""The router proxy: held by the contract of proxies in memory, and over sockets with peers that are plain ZeroMQ."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.testing.proxy_contract import RouterContract


class ContractTests(RouterContract, SynchronousTestCase):
    kind = "router-proxy"


class OneSocketTests(RouterContract, SynchronousTestCase):
    kind = "router-proxy"
    options = {"proxy_frontend_port": 0}

    def test_one_address(self):
        (record,) = self.start().records
        self.assertEqual(len(record.addresses), 1)
