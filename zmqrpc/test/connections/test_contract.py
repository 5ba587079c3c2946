"""The contract of connection strategies, over ours."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase
from zope.interface import directlyProvides, implementer

from zmqrpc import families
from zmqrpc.connections._kept import KeptLinks
from zmqrpc.interfaces import IConnectionStrategy, IConnectionStrategyFactory
from zmqrpc.test.little_proxy import LittleProxy
from zmqrpc.testing import Network
from zmqrpc.testing.strategy import StrategyContract


@implementer(IConnectionStrategyFactory)
class Proxied:
    """A strategy of somebody else whose links go through proxies."""

    name = "star"

    def make(self, links, settings, seconds, wake_by):
        class Star(KeptLinks):
            name = "star"

            def appeared(self, key, record):
                self._links.open(key, record, proxied=True)
                self._links.connect_now(key)

        directlyProvides(star := Star(links), IConnectionStrategy)
        return star


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
    proxied = True

    def make_network(self, seed):
        network = Network(seed)
        for host in ("proxy-1", "proxy-2"):
            LittleProxy(network, host)
        return network


class ProxiedPluginTests(StrategyContract, SynchronousTestCase):
    """The node learns with the first link that it needs proxies."""

    topology = "star"
    proxied = True
    seeds = range(1)

    def setUp(self):
        self.patch(families, "getPlugins", lambda interface, package=None: iter([Proxied()]))
        self.patch(families, "_logged", set())
