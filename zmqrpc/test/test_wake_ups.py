"""What is written outside of a pass costs no wake-up: real sockets of ZeroMQ."""

from __future__ import annotations

import time

import zmq
from twisted.trial.unittest import TestCase

from zmqrpc.core.keys import topic_key
from zmqrpc.reactor_zmq import ZmqTransport
from zmqrpc.test.integration.support import RawPeers, eventually, pause, reactor
from zmqrpc.testing.pubsub_contract import Published, Subscribed
from zmqrpc.testing.transport_case import Received

KEY = topic_key("x", "work")


class WakeUpTests(TestCase):
    """
    While our reactor stands still something arrives, and something is written.

    A write consumes the edge of the descriptor; who writes in a sweep, as PINGs to proxies are, does so in no pass.
    """

    def setUp(self):
        self.peers = RawPeers(self)
        self.passes = 0
        self.transport = ZmqTransport(reactor, 10_000)
        self.transport.open(self.passed)
        self.addCleanup(self.transport.close, 0)

    def passed(self):
        self.passes += 1

    async def quiet(self):
        """Wait until nothing is to be read or scheduled any more."""
        before = -1
        while before != self.passes:
            before = self.passes
            await pause(0.02)

    async def connected(self):
        """Connect to a raw ROUTER; return ours, its connection, what it hears, the raw one and our connection there."""
        raw, address = self.peers.router()
        heard = Received()
        router = self.transport.connecting_router(heard)
        self.addCleanup(router.close)
        identity = router.connect(address)
        router.send(identity, b"hello")
        self.assertTrue(raw.poll(5000))
        back = raw.recv_multipart()[0]
        await self.quiet()
        return router, identity, heard, raw, back

    async def test_of_a_router(self):
        router, identity, heard, raw, back = await self.connected()
        for write in (
            lambda: router.send(identity, b"PING"),
            lambda: router.send_keyed(identity, b"", b"PING"),
            lambda: router.disconnect(router.connect("tcp://127.0.0.1:1")),
        ):
            await self.quiet()
            heard.payloads.clear()
            raw.send_multipart([back, b"PONG"])
            time.sleep(0.05)
            write()
            await eventually("what had arrived", lambda: heard.payloads)
            self.assertEqual(heard.payloads, [(identity, b"PONG")])

    async def test_of_a_publisher(self):
        heard = Subscribed()
        publisher = self.transport.publisher(heard)
        self.addCleanup(publisher.close, 0)
        address = publisher.bind("127.0.0.1", range(49153, 65536))
        raw = self.peers.socket(zmq.SUB)
        raw.connect(address)
        raw.subscribe(b"T1")
        await eventually("the first", lambda: heard.told)
        await self.quiet()
        raw.subscribe(b"T2")
        time.sleep(0.05)
        publisher.publish(KEY, b"count")
        await eventually("the second", lambda: heard.told[1:] == [b"+T2"])

    async def test_of_a_subscriber(self):
        raw = self.peers.socket(zmq.XPUB)
        port = raw.bind_to_random_port("tcp://127.0.0.1")
        heard = Published()
        subscriber = self.transport.subscriber(heard, f"tcp://127.0.0.1:{port}")
        self.addCleanup(subscriber.close)
        subscriber.subscribe(KEY)
        self.assertTrue(raw.poll(5000))
        await eventually("the connection", lambda: heard.ups)
        await self.quiet()
        raw.send_multipart([KEY, b"count", b"payload"])
        time.sleep(0.05)
        subscriber.subscribe(b"T2")
        await eventually("what was published", lambda: heard.messages == [(KEY, b"count", b"payload")])
