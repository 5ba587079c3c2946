"""What is sent and nobody waits for: who hears of it, and how much there may be."""

from __future__ import annotations

from threading import Thread
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from zmqrpc.errors import NoRoute, Overloaded
from zmqrpc.oslo import unawaited
from zmqrpc.oslo.unawaited import Unawaited
from zmqrpc.oslo.waiting import StillUnderWay
from zmqrpc.test.integration.support import eventually

reactor: Any = _reactor


class UnawaitedTests(TestCase):
    def setUp(self):
        self.unawaited = Unawaited(reactor)
        self.begun: list[Deferred[Any]] = []

    def hold(self):
        held: Deferred[Any] = Deferred()
        self.begun.append(held)
        return held

    def send(self, start, whom="compute"):
        return deferToThread(self.unawaited.send, whom, start)

    async def test_the_first_is_waited_for(self):
        """Its sender hears what is wrong; one that was taken is trusted, and the next goes without waiting."""
        for _ in range(2):
            with self.assertRaises(Overloaded):
                await self.send(lambda: fail(Overloaded("full")))
        await self.send(lambda: succeed(None))
        await self.send(self.hold)
        await eventually("it is sent", lambda: self.begun)
        self.assertEqual(len(self.unawaited.ends()), 1)
        self.begun[0].callback(None)
        self.assertEqual(self.unawaited.ends(), [])

    async def test_trust_ends(self):
        """What fails unheard is logged, and the next sender waits again; another target is another matter."""
        await self.send(lambda: succeed(None))
        await self.send(lambda: succeed(None), "network")
        with self.assertLogs("zmqrpc.oslo.unawaited") as logs:
            await self.send(self.hold)
            await eventually("it is sent", lambda: self.begun)
            self.begun[0].errback(Overloaded("full"))
        self.assertEqual(
            [record.getMessage() for record in logs.records], ["what was sent to compute did not arrive: full"]
        )
        with self.assertRaises(Overloaded):
            await self.send(lambda: fail(Overloaded("full")))
        await self.send(self.hold, "network")

    async def test_nobody_is_no_news(self):
        """That nobody listens any more is not logged, and heard by the next."""
        await self.send(lambda: succeed(None))
        with self.assertNoLogs("zmqrpc.oslo.unawaited"):
            await self.send(lambda: fail(NoRoute("nobody")))
            with self.assertRaises(NoRoute):
                await self.send(lambda: fail(NoRoute("nobody")))

    async def test_what_raises_is_one_that_fails(self):
        await self.send(lambda: succeed(None))
        with self.assertLogs("zmqrpc.oslo.unawaited"):
            await self.send(lambda: 1 / 0)
            with self.assertRaises(ZeroDivisionError):
                await self.send(lambda: 1 / 0)
        self.assertEqual(self.unawaited.ends(), [])

    async def test_too_much(self):
        """Beyond a number each sender waits, up to a time, and it goes on after that."""
        self.patch(unawaited, "MOST_UNDER_WAY", 3)
        self.patch(unawaited, "ACKNOWLEDGED_SECONDS", 0.05)
        for _ in range(3):
            await deferToThread(self.unawaited.post, "events", self.hold)
        with self.assertRaises(StillUnderWay):
            await deferToThread(self.unawaited.post, "events", self.hold)
        with self.assertLogs("zmqrpc.oslo.unawaited"):
            self.begun[-1].errback(Overloaded("full"))
        for held in self.begun[:3]:
            held.callback(None)
        await deferToThread(self.unawaited.post, "events", self.hold)
        await eventually("it is sent", lambda: len(self.begun) == 5)

    async def test_many_threads(self):
        """None is counted twice, and none for ever."""
        self.unawaited._trusted.add("compute")
        threads = [
            Thread(target=lambda: [self.unawaited.send("compute", lambda: succeed(None)) for _ in range(500)])
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        await eventually("they have ended", lambda: not any(thread.is_alive() for thread in threads))
        await eventually("all are sent", lambda: not self.unawaited._tickets)

    async def test_its_end(self):
        """Whoever leaves waits for what is under way, and for failures as well."""
        for _ in range(2):
            await deferToThread(self.unawaited.post, "events", self.hold)
        await eventually("they are sent", lambda: len(self.begun) == 2)
        ends = self.unawaited.ends()
        self.begun[0].callback(None)
        with self.assertLogs("zmqrpc.oslo.unawaited"):
            self.begun[1].errback(Failure(Overloaded("full")))
        for end in ends:
            await end
