"""The application keeps the contract, and its methods do what they say."""

from twisted.internet import reactor
from twisted.trial.unittest import SynchronousTestCase, TestCase

from wordcount import WordCount, WordCountApplication
from zmqrpc import Target
from zmqrpc.testing import MemoryNode, Network, Store
from zmqrpc.testing.application import ApplicationContract


class WordCountContract(ApplicationContract, TestCase):
    reactor = reactor

    def make_application(self):
        return WordCountApplication()


class WordCountTests(SynchronousTestCase):
    def test_count(self):
        network = Network()
        store = Store(network.clock)
        node, caller = MemoryNode(network, store, "server"), MemoryNode(network, store, "caller")
        words = WordCount()
        words.startService()
        node.server(Target("words"), [words])
        node.startService()
        caller.startService()
        network.result_of(node.when_ready())
        client = caller.client()
        for text, count in (("", 0), ("one", 1), ("one  two\nthree", 3)):
            self.assertEqual(network.result_of(client.call(Target("words"), "count", {"text": text})), count)
        self.assertEqual(network.result_of(client.call(Target("words"), "total")), 4)
