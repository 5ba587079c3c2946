"""What is sent and nobody waits for: who hears of it, and how much there may be."""

from __future__ import annotations

import threading
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from zmqrpc.errors import NoRoute, Overloaded, ServerLost
from zmqrpc.oslo import unawaited, waiting
from zmqrpc.oslo.logs import flush
from zmqrpc.oslo.unawaited import Unawaited
from zmqrpc.oslo.waiting import StillUnderWay
from zmqrpc.test.integration.support import eventually

reactor: Any = _reactor


class UnawaitedTests(TestCase):
    def setUp(self):
        self.unawaited = Unawaited(reactor, 3, 10)
        self.begun: list[Deferred[Any]] = []

    def hold(self):
        held: Deferred[Any] = Deferred()
        self.begun.append(held)
        return held

    async def send(self, start, whom="compute", waits=False):
        """Send something, and be told of its end, unless that is waited for in vain."""
        sent = deferToThread(self.unawaited.send, whom, start, 10)
        if not waits:
            await sent
            return
        with self.assertRaises(StillUnderWay):
            await sent

    def post(self, whom="events", seconds=10.0):
        return deferToThread(self.unawaited.post, whom, self.hold, seconds)

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
            for error in (Overloaded("full"), ServerLost("killed", maybe_executed=True)):
                await self.send(self.hold)
                await eventually("it is sent", lambda: self.begun)
                self.begun.pop().errback(error)
                flush(10)
                self.unawaited._trust("compute")
        self.assertEqual(
            [record.getMessage() for record in logs.records],
            [
                "what was sent to compute did not arrive: full",
                "what was sent to compute is not known to have been handled: killed",
            ],
        )
        self.unawaited._trusted.discard("compute")
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
            flush(10)

    async def test_what_raises_is_one_that_fails(self):
        await self.send(lambda: succeed(None))
        with self.assertLogs("zmqrpc.oslo.unawaited"):
            await self.send(lambda: 1 / 0)
            with self.assertRaises(ZeroDivisionError):
                await self.send(lambda: 1 / 0)
            flush(10)
        self.assertEqual(self.unawaited.ends(), [])

    async def test_nobody_waits_for_ever(self):
        """Who waits for the first goes on when that takes long, and what becomes of it is logged."""
        self.patch(unawaited, "ACKNOWLEDGED_SECONDS", 0.05)
        with self.assertRaises(StillUnderWay):
            await self.send(self.hold)
        self.assertEqual(len(self.unawaited.ends()), 1)
        # While that goes on the next does not wait.
        await self.send(self.hold)
        await self.send(self.hold, "another", waits=True)
        with self.assertLogs("zmqrpc.oslo.unawaited") as logs:
            self.begun[0].errback(Overloaded("full"))
            flush(10)
        self.assertEqual(len(logs.records), 1)
        await self.send(self.hold, waits=True)

    async def test_late_end(self):
        """An end that comes just when nobody waits for it any more is not waited for by those who come later."""
        self.patch(unawaited, "ACKNOWLEDGED_SECONDS", 0.01)
        wait_for = waiting.wait_for

        def ends_just_then(*arguments: Any) -> None:
            try:
                wait_for(*arguments)
            except StillUnderWay:
                ended = threading.Event()
                # In the reactor: only there is it sure to have begun.
                reactor.callFromThread(lambda: self.begun[-1].callback(None))
                reactor.callFromThread(ended.set)
                ended.wait(10)
                raise

        self.patch(unawaited, "wait_for", ends_just_then)
        await self.send(self.hold, waits=True)
        self.patch(unawaited, "wait_for", wait_for)
        await self.send(self.hold, waits=True)

    async def test_room_that_an_interrupted_one_leaves(self):
        """It is for who waits."""
        entered, goes_on = threading.Event(), threading.Event()
        do = self.unawaited._do

        def interrupt(*_: object) -> None:
            entered.set()
            goes_on.wait(10)
            raise KeyboardInterrupt

        for _ in range(2):
            await self.post()
        self.unawaited._do = interrupt
        interrupted = self.post()
        await deferToThread(entered.wait, 10)
        self.unawaited._do = do
        waits = self.post()
        await eventually("it waits", lambda: self.unawaited._waiting)
        goes_on.set()
        await waits
        with self.assertRaises(KeyboardInterrupt):
            await interrupted

    async def test_too_much(self):
        """Beyond a number each sender waits for the end of another, and is refused when none comes."""
        for _ in range(3):
            await self.post()
        with self.assertRaises(Overloaded) as raised:
            await self.post(seconds=0.05)
        self.assertIn("3 messages that nobody waits for are under way there, of at most 3,", str(raised.exception))
        waits = self.post()
        await eventually("they are sent", lambda: len(self.begun) == 3)
        self.assertFalse(waits.called)
        self.begun[1].callback(None)
        await waits
        await eventually("it is sent", lambda: len(self.begun) == 4)

    async def test_the_first_have_places_too(self):
        """So do those whose sender has waited long enough."""
        self.patch(unawaited, "ACKNOWLEDGED_SECONDS", 0.01)
        await self.send(self.hold, "events", waits=True)
        for _ in range(2):
            await self.post()
        with self.assertRaises(Overloaded):
            await self.post(seconds=0.01)
        # Who does not end is in the way of nobody else, as long as not too many of them do not.
        for each in range(7):
            await self.post(f"another{each}", seconds=0)
        with self.assertRaises(Overloaded) as raised:
            await self.post("one more", seconds=0.01)
        self.assertIn("10 in all, of at most 10 (max_queued_calls)", str(raised.exception))

    async def test_in_the_reactor(self):
        """The reactor's own thread is refused what it would have to wait for."""
        await self.send(lambda: succeed(None))
        self.patch(waiting, "is_this_thread", lambda: True)
        for _ in range(3):
            self.unawaited.post("events", self.hold, 10)
        self.assertRaisesRegex(RuntimeError, "wait for itself", self.unawaited.post, "events", self.hold, 10)
        await eventually("they are sent", lambda: len(self.begun) == 3)
        for held in self.begun:
            held.callback(None)
        for _ in range(4):
            self.assertRaisesRegex(RuntimeError, "wait for itself", self.unawaited.send, "other", self.hold, 10)
        # Nobody has its place for ever.
        for whom in ("events", "other"):
            for _ in range(3):
                self.unawaited.post(whom, lambda: succeed(None), 0)

    async def test_interrupted(self):
        """Who is interrupted before it is sent, as the main thread is by a signal handler, leaves no place taken."""
        await self.send(lambda: succeed(None))

        def interrupt(*_: object) -> None:
            raise KeyboardInterrupt

        do, self.unawaited._do = self.unawaited._do, interrupt
        for _ in range(4):
            self.assertRaises(KeyboardInterrupt, self.unawaited.post, "events", self.hold, 0)
        self.unawaited._do = do
        for _ in range(3):
            self.unawaited.post("events", self.hold, 0)
        await eventually("they are sent", lambda: len(self.begun) == 3)

    async def test_many_threads(self):
        """None is counted twice, and none for ever."""
        await self.send(lambda: succeed(None))
        done: list[None] = []

        def start():
            done.append(None)
            return succeed(None)

        threads = [
            threading.Thread(target=lambda: [self.unawaited.send("compute", start, 10) for _ in range(500)])
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        await eventually("all are sent", lambda: len(done) == 4000)
        for thread in threads:
            thread.join()
        for _ in range(3):
            await self.post("compute", seconds=0)
        self.assertEqual(len(self.begun), 3)
        with self.assertRaises(Overloaded):
            await self.post("compute", seconds=0)

    async def test_its_end(self):
        """Whoever leaves waits for what is under way, and for failures as well."""
        for _ in range(2):
            await self.post()
        await eventually("they are sent", lambda: len(self.begun) == 2)
        ends = self.unawaited.ends()
        self.begun[0].callback(None)
        with self.assertLogs("zmqrpc.oslo.unawaited"):
            self.begun[1].errback(Failure(Overloaded("full")))
            for end in ends:
                await end
            flush(10)
