"""What ``--debug`` logs: one line for each message that somebody sends, is sent or dispatches, in memory."""

from __future__ import annotations

import re

from twisted.trial.unittest import SynchronousTestCase

from zmqrpc import Target
from zmqrpc.core.batch import encode_batch
from zmqrpc.core.envelope import Call, Failure, Nack, Refusal, Reply, encode_message
from zmqrpc.errors import DeliveryError, RemoteError
from zmqrpc.tap._trace import MessageLog
from zmqrpc.tap._traced_node import TracedNode
from zmqrpc.tap._traced_proxy import TracedProxy
from zmqrpc.test.logs import LogLines
from zmqrpc.test.scenarios.endpoints import Worker
from zmqrpc.testing import Network

WORK = Target("work")


class TracedNetwork(Network):
    """A network of which everybody logs."""

    def transport(self, host, clock=None, max_message_size=2**26):
        transport = super().transport(host, clock, max_message_size)
        traced = TracedProxy if host.startswith(("proxy", "near")) else TracedNode
        return traced(transport, self.clock.seconds)


class TraceTests(SynchronousTestCase):
    def setUp(self):
        self.network = TracedNetwork(3)
        self.addCleanup(self.network.close)
        self.lines = LogLines(self, "zmqrpc.tap._trace")

    def serve(self, member="a", **options):
        self.worker = Worker(member)
        self.network.serve(Target("work", server=member), self.worker, **options)

    def told(self, *patterns):
        """Take that these lines are all that was logged, each once, in whatever order."""
        lines = sorted(self.lines)
        self.lines.clear()
        self.assertEqual(len(lines), len(patterns), lines)
        for pattern in patterns:
            [line] = [line for line in lines if re.fullmatch(pattern, line)] or [f"none of {lines} is {pattern}"]
            self.assertRegex(line, pattern)

    def test_idle(self):
        """What opens and keeps links is no message of anybody."""
        self.network.proxy()
        self.serve()
        client = self.network.client([WORK], zmq_topology="router-proxy")
        self.network.run(30)
        self.assertEqual(self.lines, [])
        self.network.result_of(client.call(WORK, "mark"))
        self.network.run(30)
        self.assertEqual(len(self.lines), 6)

    def test_direct(self):
        """Client and server have a line for each."""
        self.serve()
        client = self.network.client()
        self.network.result_of(client.call(WORK, "mark"))
        call, reply = r"CALL openstack/work mark, message (\w{12})/(\w{12})/1, ", r"REPLY of message \w{12}/\w{12}/1, "
        address = r"tcp://10\.0\.[\d.]+:\d+"
        self.told(
            rf"{call}to {address}",
            rf"{call}from connection \w+",
            rf"{reply}to connection \w+: a result after [\d.]+ ms",
            rf"{reply}from {address}: a result.*",
        )
        self.network.result_of(client.cast(Target("work", server="a"), "mark"))
        cast = r"CAST openstack/work\.a mark, message \w{12}/\w{12}/2, "
        self.told(rf"{cast}to {address}", rf"{cast}from connection \w+")
        with self.assertRaises(RemoteError):
            self.network.result_of(client.call(WORK, "nonsense"))
        call, reply = call.replace("mark", "nonsense").replace("/1,", "/3,"), reply.replace("/1,", "/3,")
        self.told(
            rf"{call}to {address}",
            rf"{call}from connection \w+",
            rf"{reply}to connection \w+: NoSuchMethod after [\d.]+ ms",
            rf"{reply}from {address}: NoSuchMethod.*",
        )

    def test_refused(self):
        self.serve(max_running_calls=1)
        client = self.network.client()
        held = client.call(WORK, "hold", timeout=60)
        self.network.run_until(lambda: self.worker.held)
        self.lines.clear()
        with self.assertRaises(DeliveryError):
            self.network.result_of(client.call(WORK, "mark"))
        self.assertEqual(len(self.lines), 4)
        nacks = [line for line in self.lines if line.startswith("NACK of message ")]
        self.assertEqual(len(nacks), 2)
        for line in nacks:
            self.assertRegex(line, r"/2, (from tcp|to connection).*: 1 calls running \(max_running_calls\)$")
        self.worker.held[0].callback(None)
        self.network.result_of(held)

    def test_through_a_proxy(self):
        proxy = self.network.proxy()
        self.serve()
        client = self.network.client(zmq_topology="router-proxy")
        self.network.result_of(client.call(WORK, "mark"))
        call, reply = r"CALL openstack/work mark, message \w{12}/\w{12}/1, ", r"REPLY of message \w{12}/\w{12}/1, "
        address = r"tcp://10\.0\.[\d.]+:\d+"
        self.told(
            rf"{call}to the proxy at {address}",
            rf"{call}from connection \w+ for instance \w+, to connection \w+",
            rf"{call}from the proxy at {address}",
            rf"{reply}to the proxy at {address}: a result.*",
            rf"{reply}from connection \w+ for instance \w+, to connection \w+: a result.*",
            rf"{reply}from the proxy at {address}: a result.*",
        )
        relay = proxy._proxy._relay  # type: ignore[attr-defined]
        for connection in list(relay._servers.values()):
            relay.forget(connection)
        self.network.result_of(client.call(WORK, "mark", wait_for_ready=True))
        [given_back] = self.lines.about("given back")
        again = call.replace("/1,", "/2,")
        why = Refusal.UNROUTABLE.words
        self.assertRegex(given_back, rf"^{again}from connection \w+ for instance \w+, given back: {why}$")

    def test_published(self):
        """A publisher, and a local one on the way, have a line for each fan-out, and none for counters and tokens."""
        self.network.proxy("proxy", use_pub_sub=True)
        self.network.proxy("near", use_pub_sub=True, proxy_local_publisher=True, proxy_publisher_port=60001)
        for member, options in (("a", {}), ("b", {"subscribe_on": ("near:60001",)})):
            self.serve(member, use_pub_sub=True, **options)
        client = self.network.client(use_pub_sub=True)
        self.network.run(20)
        self.assertEqual(self.lines, [])
        self.network.result_of(client.fanout(WORK, "mark"))
        self.network.run(20)
        fanout = r"FANOUT openstack/work mark, message \w{12}/published/1, "
        self.told(
            rf"{fanout}to the proxy at tcp://.*",
            rf"{fanout}from connection \w+ for openstack/work, published as number 1",
            rf"{fanout}for openstack/work, published as number 1",
            rf"{fanout}from the publisher at tcp://.*:60001",
            rf"{fanout}from the publisher at tcp://.*(?<!:60001)",
        )


class MessageLogTests(SynchronousTestCase):
    def setUp(self):
        self.lines = LogLines(self, "zmqrpc.tap._trace")
        self.log = MessageLog(lambda: 0.0)

    def tell(self, *messages):
        encoded = [encode_message(message) for message in messages]
        self.log.tell(encode_batch(b"1" * 16, b"2" * 16, 0, (), encoded), "here")

    def test_hostile(self):
        """Nobody writes lines of the log, or long ones, and what cannot be read has none."""
        odd = "x\n2026-01-01 all is well" + "y" * 5000
        self.tell(Call(1, 1, 0, 1, odd, odd, odd, None, None, odd, {}))
        self.tell(Reply(1, None, Failure(0, odd, odd)))
        self.tell(Nack(Refusal.EXPIRED, [1, 1], odd))
        self.log.tell(b"nonsense", "here")
        self.assertEqual(len(self.lines), 3)
        for line in self.lines:
            self.assertLess(len(line), 600)
            self.assertNotIn("\n", line)

    def test_repeated(self):
        self.tell(Call(5, 2, 0, 1, "x", "work", "b", None, None, "mark", {}))
        self.assertEqual(self.lines, ["CALL x/work.b mark, message 313131313131/323232323232/5 for time 2, here"])

    def test_bounded(self):
        """Of calls that never end it forgets when it saw them."""
        for number in range(1, 10_101):
            self.tell(Call(number, 1, 0, 1, "x", "work", None, None, None, "mark", {}))
        self.assertEqual(len(self.log._seen), 10_000)
