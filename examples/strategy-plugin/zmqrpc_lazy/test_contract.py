"""The contract of connection strategies, which zmqrpc brings along, and what only this one does."""

from twisted.trial.unittest import SynchronousTestCase

from zmqrpc import Target, expose
from zmqrpc.testing import Network
from zmqrpc.testing.strategy import StrategyContract
from zmqrpc_lazy import REST


class LazyTests(StrategyContract, SynchronousTestCase):
    topology = "lazy-direct"


class Calc:
    @expose
    def add(self, context, a, b):
        return a + b


class RestTests(SynchronousTestCase):
    def test_rest(self):
        """A connection is closed a minute after its last use, and made again."""
        with Network() as network:
            network.serve("calc.one", Calc())
            client = network.client([Target("calc")], zmq_topology="lazy-direct")

            def call():
                self.assertEqual(network.result_of(client.call(Target("calc"), "add", {"a": 1, "b": 2})), 3)

            def connected():
                return any(link.state.phase.value == "up" for link in network.nodes[-1]._links.all())

            network.run(1)
            self.assertFalse(connected())
            for _ in range(2):
                call()
                network.run(REST - 1)
                self.assertTrue(connected())
                call()
                network.run(REST - 1)
                self.assertTrue(connected())
                network.run(2)
                self.assertFalse(connected())
