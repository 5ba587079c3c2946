from greeter import Greeter
from twisted.trial.unittest import SynchronousTestCase

from zmqrpc import Target
from zmqrpc.testing import MemoryNode, Network, Store


class GreeterTests(SynchronousTestCase):
    def test_hello(self):
        network = Network(seed=1)
        node = MemoryNode(network, Store(network.clock), "one")
        node.server(Target("greeter"), [Greeter()])
        node.startService()
        call = node.client().call(Target("greeter"), "hello", {"name": "Ada"})
        self.assertEqual(network.result_of(call), "Hello, Ada!")
