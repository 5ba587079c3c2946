"""The connections of a deployment, counted one by one."""

from __future__ import annotations

import re

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from zmqrpc.core.capacity import Connections, Deployment, connections
from zmqrpc.core.plan import plan_named
from zmqrpc.test.processes import CHECKOUT


class CapacityTests(SynchronousTestCase):
    def test_counted(self):
        """Two hosts with two services each, and two proxies."""
        # Each service: three others that it connects to, and three that connect to it; a frontend, a backend and a
        # publisher of each proxy.
        expected = {
            "static-direct": (6, 12, 0),
            "dynamic-direct": (4, 8, 0),
            "router-proxy": (4, 8, 8),
            "static-direct+pub-sub": (12, 24, 12),
            "dynamic-direct+pub-sub": (10, 20, 12),
            "router-proxy+pub-sub": (6, 12, 12),
            # One of two services to the local publisher, which connects to two proxies.
            "router-proxy+pub-sub with local publishers": (5, 2 * 5 + 2 + 2, 8 + 2),
        }
        rows = connections(Deployment(hosts=2, services=2, proxies=2, calls=1, failover=1))
        self.assertEqual({row.topology: (row.service, row.host, row.proxy) for row in rows}, expected)

    def test_descriptors(self):
        """Of the busiest process: one for each end, three more for each subscription, and 64 that it has anyway."""
        many = {row.topology: row.descriptors for row in connections(Deployment(hosts=2, services=1, proxies=30))}
        self.assertEqual(many["static-direct"], 2 + 64)
        self.assertEqual(many["router-proxy"], 60 + 64)
        self.assertEqual(many["router-proxy+pub-sub"], 90 + 3 * 30 + 64)
        # The local publisher subscribes to each of the proxies, and has one service.
        self.assertEqual(many["router-proxy+pub-sub with local publishers"], 31 + 3 * 30 + 64)
        # Where a proxy is the busiest.
        few = {row.topology: row.descriptors for row in connections(Deployment(hosts=100, services=10, proxies=3))}
        self.assertEqual(few["router-proxy+pub-sub"], 3000 + 64)

    def test_names(self):
        """Every topology has its row, under its name."""
        rows = connections(Deployment(hosts=1, services=1))
        self.assertEqual(len({row.topology for row in rows}), 7)
        for row in rows:
            plan_named(row.topology.partition(" ")[0])

    def test_page(self):
        """The page about it has the same formulas."""
        page = CHECKOUT / "docs" / "howto" / "capacity.rst"
        if not page.exists():
            raise SkipTest("the documentation is not here")
        cells = {cell.replace(" ", "") for cell in re.findall(r"^     - (.+)$", page.read_text(), re.MULTILINE)}
        for row in connections(Deployment(1, 1)):
            self.assertIn(row.formula.replace(" ", ""), cells)

    def test_dynamic_is_never_more(self):
        """Dynamic connections are bounded by the services there are, however many calls are in flight."""
        few, many = (connections(Deployment(3, 3, calls=calls))[1] for calls in (1, 1000))
        self.assertEqual((few.service, many.service), (6, 16))
        self.assertIsInstance(few, Connections)

    def test_alone(self):
        self.assertEqual([row.service for row in connections(Deployment(1, 1))][:2], [0, 0])
