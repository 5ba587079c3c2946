"""The thread beside the reactor."""

import threading
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from zmqrpc.errors import MatchmakerUnavailable
from zmqrpc.matchmaker._thread import WorkThread
from zmqrpc.test.logs import LogLines

reactor: Any = _reactor


class ThreadTests(TestCase):
    def make(self, idle=lambda: None, last=lambda: None, reactor=reactor, **limits):
        thread = WorkThread(reactor, "a thread of the test", idle, last, **limits)
        self.addCleanup(thread.close)
        return thread

    def hold(self, thread):
        """Let the thread hang until the event is set."""
        event = threading.Event()
        self.addCleanup(event.set)
        thread.send(event.wait)
        return event

    async def test_in_order(self):
        """Work runs in order, in one thread that is not ours, and its results come back."""
        done: list[Any] = []

        def work(number):
            done.append((number, threading.current_thread()))
            return number

        thread = self.make()
        results = await gatherResults([thread.run(work, number) for number in range(50)])
        self.assertEqual(results, list(range(50)))
        self.assertEqual([number for number, _ in done], results)
        (worker,) = {worker for _, worker in done}
        self.assertNotEqual(worker, threading.current_thread())

    async def test_raises(self):
        """What work raises is its failure, and the next work runs."""
        thread = self.make()
        await self.assertFailure(thread.run(int, "x"), ValueError)
        self.assertEqual(await thread.run(int, "1"), 1)

    async def test_limit(self):
        """Work that hangs fails in time, and so does what waits behind it, which is then not begun."""
        begun: list[int] = []
        thread = self.make(limit=0.05)
        event = threading.Event()
        self.addCleanup(event.set)
        hanging, waiting = thread.run(event.wait), thread.run(begun.append, 1)
        error = await self.assertFailure(hanging, MatchmakerUnavailable)
        self.assertIn("a thread of the test did not answer within 0.05 s", str(error))
        await self.assertFailure(waiting, MatchmakerUnavailable)
        event.set()
        self.assertEqual(await thread.run(lambda: list(begun)), [])

    async def test_bound(self):
        """What is more than may wait is refused at once."""
        thread = self.make(bound=3)
        event = self.hold(thread)
        waiting = [thread.run(int) for _ in range(3)]
        error = self.failureResultOf(thread.run(int), MatchmakerUnavailable).value
        self.assertIn("3 operations wait", str(error))
        event.set()
        await gatherResults(waiting)
        self.assertEqual(await thread.run(int), 0)

    async def test_bound_of_what_was_given_up(self):
        """However often it is asked while it hangs, no more waits for it than the bound; it goes on after that."""
        clock: Any = Clock()
        clock.callFromThread = reactor.callFromThread
        thread = self.make(bound=3, reactor=clock)
        event = self.hold(thread)
        for _ in range(3):
            waiting = thread.run(int)
            clock.advance(2)
            self.failureResultOf(waiting, MatchmakerUnavailable)
        error = self.failureResultOf(thread.run(int), MatchmakerUnavailable).value
        self.assertIn("3 operations wait", str(error))
        done: Deferred[None] = Deferred()
        thread.send(lambda: reactor.callFromThread(done.callback, None))
        event.set()
        await done
        self.assertEqual(await thread.run(int), 0)

    async def test_cancelled(self):
        """Cancelled work that waits is not begun."""
        begun: list[int] = []
        thread = self.make()
        event = self.hold(thread)
        waiting = thread.run(begun.append, 1)
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        after = thread.run(lambda: list(begun))
        event.set()
        self.assertEqual(await after, [])

    async def test_idle(self):
        """The idle work runs after work, again as often as it says, and then not until there is work again."""
        looks = iter([0.001, 0.001, None, None])
        looked: list[Deferred[None]] = [Deferred() for _ in range(4)]
        waiting = iter(looked)

        def idle():
            reactor.callFromThread(next(waiting).callback, None)
            return next(looks)

        thread = self.make(idle)
        await thread.run(int)
        for deferred in looked[:3]:
            await deferred
        await thread.run(int)
        await looked[3]

    async def test_idle_raises(self):
        """What the idle work raises is logged, and neither ends the thread nor repeats without a pause."""
        looked: list[Deferred[None]] = [Deferred(), Deferred()]
        waiting = iter(looked)

        def idle():
            reactor.callFromThread(next(waiting).callback, None)
            raise ZeroDivisionError

        thread = self.make(idle, limit=60)
        await thread.run(int)
        await looked[0]
        self.assertEqual(await thread.run(int), 0)
        await looked[1]
        await thread.close()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)

    async def test_close(self):
        """A close ends the thread after the work it has and its last work."""
        did: list[str] = []
        thread = self.make(last=lambda: did.append("last"))
        work = thread.run(did.append, "work")
        await thread.close()
        await work
        self.assertEqual(did, ["work", "last"])
        self.assertNotIn("a thread of the test", [alive.name for alive in threading.enumerate()])
        await thread.close()
        self.failureResultOf(thread.run(int), MatchmakerUnavailable)
        thread.send(lambda: did.append("never"))

    async def test_close_hanging(self):
        """A close does not wait for ever for a thread that hangs, and says that it leaves it behind."""
        lines = LogLines(self, "zmqrpc.matchmaker._thread.WorkThread")
        ended: Deferred[None] = Deferred()
        thread = self.make(last=lambda: reactor.callFromThread(ended.callback, None), limit=0.05)
        event = self.hold(thread)
        await thread.close()
        self.assertEqual(lines, ["a thread of the test hangs; its thread is left behind"])
        event.set()
        await ended

    async def test_no_thread(self):
        """That the machine has no room for a thread is an error of the work, and passes however often it was asked."""
        thread = self.make(bound=3)

        def cannot(*_):
            raise RuntimeError("can't start new thread")

        patch = self.patch(threading.Thread, "start", cannot)
        thread.send(lambda: None)
        for _ in range(5):
            error = self.failureResultOf(thread.run(int), MatchmakerUnavailable).value
            self.assertIn("can't start new thread", str(error))
        patch.restore()
        self.assertEqual(await thread.run(int), 0)
