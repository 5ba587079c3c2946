"""The clocks of others: hosts that are suspended, and stamps that no clock has ever shown."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from zmqrpc import Target
from zmqrpc.core.batch import encode_batch
from zmqrpc.core.envelope import Fanout, Hello, Message, Ping, encode_message
from zmqrpc.core.keys import instance_key, topic_key
from zmqrpc.errors import DeadlineExceeded
from zmqrpc.test.logs import LogLines
from zmqrpc.test.scenarios.endpoints import Worker
from zmqrpc.testing import Network
from zmqrpc.testing.proxy_peer import ProxyPeer

WORK = Target("work")
HELLO = Hello(1, 1, "client", [], {"message": 2**20}, [])
FAR = 2**62


class ClockCase(SynchronousTestCase):
    """A server, a client, and a stranger who knows the client's instance."""

    topology = ""

    def setUp(self):
        self.network = Network(5)
        self.proxy: Any = None
        if self.topology != "static-direct":
            self.proxy = self.network.proxy(use_pub_sub="pub-sub" in self.topology)
        self.lines = LogLines(self)
        self.worker = Worker("a")
        self.server: Any = self.network.serve("work.a", self.worker, zmq_topology=self.topology)
        self.client = self.network.client(zmq_topology=self.topology)
        self.node: Any = self.network.nodes[-1]

    def tearDown(self):
        self.network.close()
        self.assertEqual(self.flushLoggedErrors(), [])

    def batch(self, *messages: Message, sent: int, destination: bytes | None = None) -> bytes:
        """Write what the client did not."""
        return encode_batch(self.node.instance, destination, sent, (), [encode_message(each) for each in messages])

    def stranger(self, address: str) -> ProxyPeer:
        return ProxyPeer(self.network, address, "stranger")

    def stranger_at_the_proxy(self) -> ProxyPeer:
        peer = self.stranger(self.proxy.records[0].addresses[0])
        peer.hello("client")
        self.network.run(0.2)
        return peer


class DirectTests(ClockCase):
    topology = "static-direct"

    def call(self, timeout=5.0):
        return self.network.result_of(self.client.call(WORK, "mark", timeout=timeout))

    def test_the_host_of_a_client_is_suspended(self):
        """What it calls seems late until two PINGs have come, which is no minute."""
        self.call()
        self.node.clock.suspend(1.0)
        self.network.run(1.5)
        self.node.clock.suspend(9.0)
        self.network.run(9.5)
        with self.assertRaises(DeadlineExceeded):
            self.call()
        self.network.run(1.5)
        for _ in range(10):
            self.call(timeout=0.5)

    def test_the_host_of_a_busy_client_is_suspended(self):
        """A link that is used all the time is PINGed seldom; what is refused as too late too soon is a reason to."""
        self.call()
        self.node.clock.suspend(3.0)
        self.network.run(3.0)
        late = 0
        for _ in range(20):
            try:
                self.call(timeout=1.0)
            except DeadlineExceeded:
                late += 1
            self.network.run(0.1)
        self.assertLessEqual(late, 7)

    def test_a_hello_of_the_far_future(self):
        """A stranger who says HELLO in the name of a client does not keep it out."""
        for ahead in (8000, FAR):
            self.call()
            peer = self.stranger(self.server.address)
            stamp = int(self.network.clock.seconds() * 1000) + ahead
            peer.send_bare(self.batch(HELLO, sent=stamp, destination=self.server.instance))
            self.network.run(0.5)
            self.network.break_connections("client", "a")
            self.network.run(0.1)
            self.call()
            self.network.run(1)
            self.call(timeout=0.5)
            peer.close()


class RoutedTests(ClockCase):
    topology = "router-proxy"

    def test_stamps_of_the_far_future(self):
        """Neither a HELLO nor anything else that a stranger says through a proxy makes calls look late for long."""
        for messages in ([HELLO], [Ping(1)], [Ping(1, 1)]):
            self.network.result_of(self.client.call(WORK, "mark", timeout=5))
            peer = self.stranger_at_the_proxy()
            for _ in range(2):
                payload = self.batch(*messages, sent=FAR, destination=self.server.instance)
                peer.send(instance_key(self.server.instance), payload)
                self.network.run(0.01)
            self.network.run(2)
            peer.close()
            for _ in range(10):
                self.network.result_of(self.client.call(WORK, "mark", timeout=0.5))
                self.network.run(0.3)


class PublishedTests(ClockCase):
    topology = "static-direct+pub-sub"

    def fanouts(self, number, every=10.0, timeout=5.0):
        """Publish some; return how many of them run, and how many are refused."""
        ran, refused = len(self.worker.ran), self.server.notices.counts["fanout_refused"]
        for _ in range(number):
            reached = self.network.result_of(self.client.fanout(WORK, "mark", timeout=timeout))
            self.assertEqual([member for member, _ in reached.published], ["a"])
            self.network.run(every)
        return len(self.worker.ran) - ran, self.server.notices.counts["fanout_refused"] - refused

    def forge(self, *messages, stamps):
        peer = self.stranger_at_the_proxy()
        for stamp in stamps:
            peer.send(topic_key("openstack", "work"), self.batch(*messages, sent=stamp))
        self.network.run(0.5)
        peer.close()

    def fanout_message(self, number):
        return Fanout(number, 2, 0, 60_000, "openstack", "work", None, None, None, "mark", {}, None)

    def test_the_host_of_a_client_is_suspended(self):
        """What it publishes seems late for a minute, which is counted; then it runs again."""
        self.assertEqual(self.fanouts(3), (3, 0))
        self.node.clock.suspend(10.0)
        self.network.run(10.0)
        self.assertEqual(self.fanouts(20), (14, 6))
        self.assertEqual(self.fanouts(20, timeout=0.2), (20, 0))

    def test_the_host_of_a_server_is_suspended(self):
        """What is published then seems to come from the future; how long something waits is known after two."""
        self.assertEqual(self.fanouts(3), (3, 0))
        self.server.clock.suspend(20.0)
        self.network.run(40.0)
        self.assertEqual(self.fanouts(3), (3, 0))
        self.proxy.clock.pause(1.4)
        self.assertEqual(self.fanouts(1, timeout=1.5), (1, 0))

    def test_a_forged_repetition(self):
        """One that brings nothing new says nothing about time either."""
        self.assertEqual(self.fanouts(3), (3, 0))
        self.forge(self.fanout_message(1), stamps=[FAR, FAR, FAR])
        self.assertEqual(self.fanouts(10), (10, 0))

    def test_a_forged_number(self):
        """One that brings something new has no say alone; two make what the client sends look old for a minute."""
        self.assertEqual(self.fanouts(3), (3, 0))
        self.forge(self.fanout_message(4), stamps=[FAR])
        # The number of the first is taken.
        self.assertEqual(self.fanouts(10), (9, 0))
        self.forge(self.fanout_message(14), self.fanout_message(15), stamps=[FAR])
        self.assertEqual(self.fanouts(10), (8, 0))

    def test_two_forged_numbers(self):
        self.assertEqual(self.fanouts(3), (3, 0))
        peer = self.stranger_at_the_proxy()
        for number in (4, 5):
            payload = self.batch(self.fanout_message(number), sent=FAR)
            peer.send(topic_key("openstack", "work"), payload)
        self.network.run(0.5)
        peer.close()
        self.assertEqual(self.fanouts(2), (0, 0))
        self.assertEqual(self.fanouts(20), (14, 6))
