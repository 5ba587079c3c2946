"""How a connection strategy is found by its name, and what becomes of what a plugin does wrong."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from zmqrpc import Node, Settings, Target, expose, families
from zmqrpc.connections import OURS, find_factory
from zmqrpc.connections.dynamic_direct import DynamicDirect
from zmqrpc.connections.static_direct import StaticDirect
from zmqrpc.core.agenda import NEVER
from zmqrpc.core.plan import DYNAMIC, STATIC, TOPOLOGIES
from zmqrpc.errors import ConfigError, DeadlineExceeded
from zmqrpc.interfaces import IConnectionStrategy, IConnectionStrategyFactory
from zmqrpc.test.logs import LogLines
from zmqrpc.testing import Network


@implementer(IConnectionStrategyFactory)
class Factory:
    """A plugin that makes what it is told."""

    def __init__(self, name: Any = "star", make: Any = StaticDirect) -> None:
        self.name = name
        self._make = make

    def make(self, links, settings, seconds, wake_by):
        return self._make(links)


@implementer(IConnectionStrategy)
class Broken(StaticDirect):
    """Raises at all that it may do without."""

    transient: Any = True
    wake_at: Any = "soon"

    def needed(self, key, others):
        raise ZeroDivisionError("a fault of the plugin")

    def opened(self, key):
        raise ZeroDivisionError("a fault of the plugin")

    idle = closed = opened


class Calc:
    @expose
    def add(self, context, a, b):
        return a + b


class SelectionTests(SynchronousTestCase):
    def plugins(self, *factories):
        self.patch(families, "getPlugins", lambda interface, package=None: iter(factories))
        self.patch(families, "_logged", set())

    def refused(self, name, **options):
        error = self.assertRaises(ConfigError, Node, Clock(), Settings(zmq_topology=name, **options))
        self.assertEqual(error.options[0], "zmq_topology")
        return str(error)

    def test_ours(self):
        """They are found without a look at plugins."""

        def look(*_):
            raise AssertionError("nobody has asked for a plugin")

        self.patch(families, "getPlugins", look)
        for name, kind in ((STATIC, StaticDirect), (DYNAMIC, DynamicDirect)):
            self.assertEqual(find_factory(name).name, name)
            self.assertIsInstance(Node(Clock(), Settings(zmq_topology=name))._links.strategy, kind)
        self.assertLessEqual(set(OURS), {plan.calls for plan in TOPOLOGIES.values()})

    def test_theirs(self):
        """It serves all that is sent to servers."""
        made = []

        class Counting(StaticDirect):
            def appeared(self, key, record):
                made.append(record.member)
                super().appeared(key, record)

        self.plugins(Factory(make=Counting))
        with Network() as network:
            network.serve("calc.one", Calc())
            client = network.client(zmq_topology="star")
            plan = network.nodes[-1].plan
            self.assertEqual((plan.name, plan.calls, plan.fanouts, plan.subscribes), ("star", "star", "star", False))
            self.assertEqual(network.result_of(client.call(Target("calc"), "add", {"a": 1, "b": 2})), 3)
            reached = network.result_of(client.fanout(Target("calc"), "add", {"a": 1, "b": 2}))
            self.assertEqual([member for member, _ in reached.members], ["one"])
        self.assertEqual(made, ["one"])

    def test_unknown(self):
        self.plugins(Factory("ring"), Factory(None))
        said = self.refused("star")
        names = ", ".join(sorted([*TOPOLOGIES, "ring"]))
        self.assertTrue(said.startswith(f"there is no topology 'star'; valid are {names}; the plugin "), said)
        self.assertIn("has the name None", said)
        self.assertNotIn("\n", said)

    def test_two(self):
        self.plugins(Factory(), Factory())
        self.assertIn("several plugins have the name 'star'", self.refused("star"))

    def test_name_of_ours(self):
        self.plugins(Factory("router-proxy"))
        self.assertIn("'router-proxy' is one of zmqrpc's own", self.refused("star"))

    def test_beside_booleans(self):
        self.plugins(Factory())
        self.assertIn("zmq_topology is star, but use_dynamic", self.refused("star", use_dynamic_connections=True))

    def test_make_raises(self):
        """What it raises is a refusal that names it; a refusal of its own stays what it is."""
        self.plugins(Factory(make=lambda links: 1 / 0))
        self.assertIn("test_selection.Factory raised ZeroDivisionError: division by zero, ", self.refused("star"))
        self.plugins(Factory(make=lambda links: object()))
        self.assertIn("test_selection.Factory raised AttributeError: ", self.refused("star"))

        def refuse(links):
            raise ConfigError("a star needs a middle")

        self.plugins(Factory(make=refuse))
        self.assertEqual(self.refused("star"), "a star needs a middle")

    def test_strategy_raises(self):
        """What it raises is logged, and disturbs no call."""
        lines = LogLines(self, "zmqrpc.connections._guarded")
        self.plugins(Factory(make=Broken))
        with Network() as network:
            network.serve("calc.one", Calc())
            client = network.client(zmq_topology="star")
            for _ in range(3):
                self.assertEqual(network.result_of(client.call(Target("calc"), "add", {"a": 1, "b": 2})), 3)
            network.run(1)
            self.assertEqual(network.nodes[-1]._links.strategy.wake_at, NEVER)
        self.assertTrue(lines.about("the connection strategy star failed"))
        self.assertGreater(len(self.flushLoggedErrors(ZeroDivisionError)), 3)
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)

    def test_no_time(self):
        """One that cannot tell when it wants to be swept keeps no deadline from being kept, and says so once."""

        class Raising(StaticDirect):
            @property
            def wake_at(self):  # type: ignore[override]
                raise ZeroDivisionError("a fault of the plugin")

        class Nowhere(StaticDirect):
            wake_at = float("nan")

        class Held:
            @expose
            def hold(self, context):
                return Deferred()

        for strategy, error in ((Raising, ZeroDivisionError), (Nowhere, ValueError)):
            self.plugins(Factory(make=strategy))
            with Network() as network:
                network.serve("calc.one", Held())
                client = network.client(zmq_topology="star")
                call = client.call(Target("calc"), "hold", timeout=1)
                network.run(2)
                self.failureResultOf(call, DeadlineExceeded)
            self.assertEqual(len(self.flushLoggedErrors(error)), 1)
