"""The XPUB socket of a publisher and who connects to it, raw sockets of ZeroMQ."""

from __future__ import annotations

import socket

import zmq
from twisted.trial.unittest import SynchronousTestCase, TestCase

from zmqrpc._reactor_zmq import hang_up
from zmqrpc.core.keys import token_key, topic_key
from zmqrpc.core.publications import Publications
from zmqrpc.reactor_zmq import ZmqTransport
from zmqrpc.test.integration.support import eventually, reactor
from zmqrpc.testing.pubsub_contract import Subscribed

LOOPBACK = "127.0.0.1"
MOST = 100
KEY, TOKEN = topic_key("x", "work"), token_key(b"7" * 16)


class Refusing(Subscribed):
    """Refuses what a publisher refuses."""

    malformed = 0

    def __init__(self):
        super().__init__()
        self._publications = Publications(b"1" * 16, lambda: b"2" * 16, lambda: 1.0, MOST)

    def subscribed(self, filter, connection):
        super().subscribed(filter, connection)
        fault = self._publications.subscribed(filter, connection, 0.0)
        return fault.text if fault is not None and fault.ends else ""

    def unsubscribed(self, filter):
        super().unsubscribed(filter)
        self._publications.unsubscribed(filter, 0.0)

    def malformed_received(self, size):
        self.malformed += 1


class RawSubscriberTests(TestCase):
    def setUp(self):
        transport = ZmqTransport(reactor, 10_000)
        transport.open(lambda: None)
        self.addCleanup(transport.close, 0)
        self.heard = Refusing()
        self.publisher = transport.publisher(self.heard)
        self.addCleanup(self.publisher.close, 0)
        self.context = zmq.Context()
        self.addCleanup(self.context.term)

    def bind(self, host=LOOPBACK):
        self.address = self.publisher.bind(host, range(49153, 65536))

    def raw(self, kind=zmq.SUB, again=-1):
        """Connect a socket that connects anew after so many milliseconds; for -1 it does not."""
        raw = self.context.socket(kind)
        self.addCleanup(raw.close, 0)
        raw.set(zmq.RECONNECT_IVL, again)
        raw.set(zmq.IPV6, 1)
        raw.connect(self.address)
        return raw

    async def refused(self, filter):
        """Subscribe to what is refused; return who is told to have done so."""
        raw = self.raw()
        told = len(self.heard.told)
        raw.subscribe(KEY)
        raw.subscribe(filter)
        await eventually("that it is refused", lambda: self.heard.refusals)
        await eventually("its end", lambda: b"-" + filter in self.heard.told[told:])
        self.publisher.publish(KEY, b"count", b"payload")
        self.assertFalse(raw.poll(20))
        ((peer, size),) = self.heard.refusals
        self.heard.refusals.clear()
        self.assertEqual(size, len(filter))
        return peer

    async def test_refused(self):
        """
        Everything, a part of a filter and what is too long for one: each is told with the address it came from.

        ZeroMQ by itself ended a connection at 1,014 bytes and more, without a word, and gave all to the shorter ones.
        """
        self.bind()
        for filter in (b"", b"T", KEY[:-1], KEY + b"\0", bytes(1014), bytes(1015), bytes(1024), bytes(60_000)):
            self.assertEqual(await self.refused(filter), LOOPBACK)

    async def test_refused_by_ipv6(self):
        self.bind("::1")
        self.assertEqual(await self.refused(b""), "::1")

    async def test_connects_again(self):
        """Who connects anew by itself is refused each time."""
        self.bind()
        raw = self.raw(again=10)
        raw.subscribe(b"")
        # It subscribes anew only when it is used.
        await eventually("three refusals", lambda: not raw.poll(0) and len(self.heard.refusals) >= 3)
        raw.close(0)

    async def test_stray_messages(self):
        """
        What is no subscription costs nobody else his own.

        With XPUB_MANUAL it would: of libzmq 4.3.5 each such message moves those after it to another connection.
        """
        self.bind()
        strange = self.raw(zmq.XSUB)
        strange.send(b"\1" + KEY)
        await eventually("the stranger", lambda: self.heard.told)
        mine = []
        for number in range(20):
            strange.send(b"nonsense")
            mine.append(self.raw())
            mine[-1].subscribe(topic_key("x", str(number)))
            mine[-1].subscribe(TOKEN)
        await eventually("all", lambda: len(self.heard.told) == 1 + 2 * len(mine) and self.heard.malformed == len(mine))
        for number, raw in enumerate(mine):
            self.publisher.publish(topic_key("x", str(number)), b"count", b"payload")
            self.assertTrue(raw.poll(5000))
            self.assertEqual(raw.recv_multipart()[0], topic_key("x", str(number)))

    async def ends(self, filters, fault):
        """Subscribe to too many, from a connection that does not heed the end; return how many were told."""
        self.bind()
        mine = self.raw()
        mine.subscribe(KEY)
        await eventually("mine", lambda: self.heard.told)
        stranger = self.raw()
        for filter in filters:
            stranger.subscribe(filter)
        await eventually("that one is refused", lambda: self.heard.refusals)
        began = len(self.heard.told)
        await eventually("the end", lambda: b"-" + filters[0] in self.heard.told)
        ((text),) = self.heard.faults
        self.assertIn(fault, text)
        self.assertEqual({peer for peer, _ in self.heard.refusals} - {""}, {LOOPBACK})
        self.assertLess(began, len(filters))
        # Nothing of it is left, and nobody else has lost anything.
        publications = self.heard._publications
        await eventually("the rest", lambda: not len(publications._open) and not len(publications._surplus))
        self.publisher.publish(KEY, b"count", b"payload")
        self.assertTrue(mine.poll(5000))
        return len([each for each in self.heard.told if each[:1] == b"+"])

    async def test_too_many_tokens(self):
        """
        Tokens that are not taken back end their connection, before they are many.

        ZeroMQ kept each: 400,000 took 400 MB, without a word.
        """
        told = await self.ends([token_key(b"%016d" % number) for number in range(100_000)], "one token too many")
        self.assertLess(told, 30_000)

    async def test_too_many_filters(self):
        """As with tokens: 400,000 filters of 200 bytes took 1.2 GB."""
        told = await self.ends(
            [topic_key("x", f"{number}".ljust(100)) for number in range(50_000)], "one too many, 100"
        )
        self.assertLess(told, 10_000)


class HangUpTests(SynchronousTestCase):
    def test_other_descriptors(self):
        """A number that something else has by now is left alone: another port or peer, no connection, nothing."""
        with socket.create_server((LOOPBACK, 0)) as server:
            port = server.getsockname()[1]
            with socket.create_connection((LOOPBACK, port)) as far, server.accept()[0] as near:
                near.settimeout(5)
                far.settimeout(5)
                for descriptor, where, peer in (
                    (near.fileno(), port + 1, LOOPBACK),
                    (near.fileno(), port, "127.0.0.2"),
                    (near.fileno(), port, ""),
                    (server.fileno(), port, LOOPBACK),
                    (0, port, LOOPBACK),
                    (-1, port, LOOPBACK),
                    (2**20, port, LOOPBACK),
                ):
                    hang_up(descriptor, where, peer)
                far.sendall(b"still here")
                self.assertEqual(near.recv(100), b"still here")
                hang_up(near.fileno(), port, LOOPBACK)
                self.assertEqual(far.recv(100), b"")
        first, second = socket.socketpair()
        with first, second:
            hang_up(first.fileno(), port, LOOPBACK)
            second.sendall(b"still here")
            self.assertEqual(first.recv(100), b"still here")
