from greeter import Greeter
from twisted.trial.unittest import SynchronousTestCase

from zmqrpc import Target
from zmqrpc.testing import Network


class GreeterTests(SynchronousTestCase):
    def test_hello(self):
        with Network() as network:
            network.serve("greeter", Greeter())
            greeter = network.client().stub(Target("greeter"))
            self.assertEqual(network.result_of(greeter.hello(name="Ada")), "Hello, Ada!")
