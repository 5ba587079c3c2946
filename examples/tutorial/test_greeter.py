from greeter import Greeter
from twisted.trial.unittest import SynchronousTestCase


class GreeterTests(SynchronousTestCase):
    def test_hello(self):
        greeter = Greeter()
        self.assertEqual(greeter.hello({}, name="Ada"), "Hello, Ada!")
        self.assertEqual(greeter.list_greeted({}), ["Ada"])
