from stock import Stock
from twisted.trial.unittest import SynchronousTestCase

from zmqrpc import Target
from zmqrpc.errors import InvalidArguments, RemoteError
from zmqrpc.testing import Network


class StockTests(SynchronousTestCase):
    def setUp(self):
        self.network = Network()
        self.addCleanup(self.network.close)
        self.network.serve("stock", Stock(tea=2))
        self.stock = self.network.client().stub(Target("stock"))

    def test_take(self):
        self.assertEqual(self.network.result_of(self.stock.take(article="tea")), 1)

    def test_sold_out(self):
        with self.assertRaises(RemoteError) as caught:
            self.network.result_of(self.stock.take(article="tea", count=3))
        self.assertEqual((caught.exception.type_name, caught.exception.message), ("SoldOut", "tea"))
        # The server has logged it, with its traceback; trial wants to know that the test knows.
        self.assertEqual(len(self.flushLoggedErrors()), 1)

    def test_wrong_arguments(self):
        with self.assertRaises(InvalidArguments):
            self.network.result_of(self.stock.take(artikel="tea"))
