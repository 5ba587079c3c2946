from shop import Shop
from stock import SoldOut, Stock
from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.testing import Network


class ShopTests(SynchronousTestCase):
    def setUp(self):
        self.network = Network()
        self.addCleanup(self.network.close)
        self.shop = Shop(self.network.client())

    def order(self, article):
        return self.network.result_of(self.shop.order(article))

    def test_ordered(self):
        self.network.fake("stock", Stock).expect("take", article="tea").returns(7)
        self.assertEqual(self.order("tea"), "ordered, 7 left")

    def test_sold_out(self):
        self.network.fake("stock", Stock).expect("take", article="tea").raises(SoldOut("tea"))
        self.assertEqual(self.order("tea"), "sold out")

    def test_too_slow(self):
        self.network.fake("stock", Stock).expect("take", article="tea").after(10).returns(7)
        self.assertEqual(self.order("tea"), "perhaps ordered")

    def test_closed(self):
        self.assertEqual(self.order("tea"), "not ordered, try again")

    def test_stock_dies(self):
        stock = self.network.fake("stock", Stock)
        stock.expect("take", article="tea").never_answers()
        self.network.clock.callLater(1, stock.node.kill)
        self.assertEqual(self.order("tea"), "perhaps ordered")

    def test_both_together(self):
        self.network.serve("stock", Stock(tea=1))
        self.assertEqual(self.order("tea"), "ordered, 0 left")
