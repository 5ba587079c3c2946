"""What libzmq holds for who reads slowly, in bytes: raw sockets of ZeroMQ that do not read."""

from __future__ import annotations

from typing import Any

import zmq

from zmqrpc._reactor_backlog import HIGH_WATER, Backlog
from zmqrpc.interfaces import FULL, GONE, SENT
from zmqrpc.settings import Settings
from zmqrpc.site import sockets
from zmqrpc.test.integration.support import eventually, reactor
from zmqrpc.test.test_reactor_zmq import TransportCase

MIB = 2**20
MOST_IN_THE_SYSTEM = 32
"""MiB that the buffers of TCP may take of a connection."""


class BacklogTests(TransportCase):
    def dealer(self, address):
        """Connect one who does not read."""
        context: Any = zmq.Context()
        self.addCleanup(context.term)
        raw = context.socket(zmq.DEALER)
        self.addCleanup(raw.close, 0)
        raw.set(zmq.RCVHWM, 1)
        raw.set(zmq.RECONNECT_IVL, -1)
        raw.connect(address)
        raw.send(b"hello")
        return raw

    def slow(self, limit=MIB):
        """Bind a ROUTER, and connect one who does not read; return both, and the `Ear` of the first."""
        ear, router, address = self.bound(self.transport(64 * MIB, max_queued_bytes=limit))
        return self.dealer(address), router, ear

    async def identity(self, ear):
        await eventually("its HELLO", lambda: ear.payloads)
        return ear.payloads[0][0]

    async def fills(self, send, raw, expected):
        """Write until it is full; have it read then, and there is room again."""
        fates = [SENT]
        while fates[-1] == SENT and len(fates) < HIGH_WATER:
            fates.append(send())
        self.assertEqual(fates.pop(), FULL)
        self.assertLess(len(fates), expected)
        await eventually("what was written", lambda: self.read(raw) or send() == SENT)

    def read(self, raw):
        while raw.poll(0):
            raw.recv_multipart()

    async def test_full_in_bytes(self):
        """By messages alone it was full after 1,000 of them: 4 GB."""
        raw, router, ear = self.slow()
        identity, payload = await self.identity(ear), bytes(4 * MIB)
        await self.fills(lambda: router.send(identity, payload), raw, 1 + MOST_IN_THE_SYSTEM // 4)

    async def test_full_in_what_is_forwarded(self):
        """What came as a frame of ZeroMQ's is counted as well, and not copied."""
        raw, router, ear = self.slow()
        identity = await self.identity(ear)
        frame = zmq.Frame(bytes(4 * MIB))
        await self.fills(lambda: router.send_keyed(identity, b"key", frame), raw, 1 + MOST_IN_THE_SYSTEM // 4)

    async def test_others_are_not_full(self):
        """Small messages pass yet, and those of any other connection; one larger than the limit goes alone."""
        raw, router, ear = self.slow(limit=1024)
        identity = await self.identity(ear)
        self.dealer(raw.get(zmq.LAST_ENDPOINT).rstrip(b"\0").decode())
        await eventually("the other", lambda: len(ear.payloads) == 2)
        while router.send(identity, bytes(MIB)) == SENT:
            pass
        self.assertEqual(router.send(identity, bytes(4000)), SENT)
        self.assertEqual(router.send(ear.payloads[1][0], bytes(MIB)), SENT)
        self.assertEqual(router.send(b"nobody", bytes(MIB)), GONE)

    async def test_gone_leaves_nothing(self):
        """What was held for a connection that has ended is let go, and forgotten when others come."""
        raw, router, ear = self.slow()
        identity = await self.identity(ear)
        while router.send(identity, bytes(4 * MIB)) == SENT:
            pass
        raw.close(0)
        await eventually("the end", lambda: router.send(identity, bytes(4 * MIB)) == GONE)
        self.assertEqual(len(router._backlog), 1)
        router._backlog.add(b"another", router._backlog.frame(bytes(100)), 100)
        self.assertEqual(len(router._backlog), 1)

    def test_from_the_settings(self):
        transport: Any = sockets(reactor, Settings(max_queued_bytes=5000))
        self.assertEqual(transport.max_queued_bytes, 5000)

    def test_what_is_large(self):
        """As many small ones as libzmq holds are not more than the limit, within reason."""
        for limit, large in ((1024, 4096), (64 * MIB, 67108), (2**30, 131072)):
            self.assertEqual(Backlog(limit).large, large)
