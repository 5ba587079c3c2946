"""The contract of connection strategies, over ours."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.test.little_proxy import LittleProxy
from zmqrpc.testing import Network
from zmqrpc.testing.strategy import StrategyContract


class StaticDirectTests(StrategyContract, SynchronousTestCase):
    topology = "static-direct"


class DynamicDirectTests(StrategyContract, SynchronousTestCase):
    topology = "dynamic-direct"


class DynamicDirectAloneTests(StrategyContract, SynchronousTestCase):
    """Without others to fail over to."""

    topology = "dynamic-direct"
    options = {"zmq_failover_connections": 0}


class RoutedTests(StrategyContract, SynchronousTestCase):
    topology = "router-proxy"

    def make_network(self, seed):
        network = Network(seed)
        for host in ("proxy-1", "proxy-2"):
            LittleProxy(network, host)
        return network
