"""The reactor whose work is done by who has work for it: it is one thread's at a time, and misses nothing."""

from __future__ import annotations

import os
import sys
import threading
import time
import weakref
from contextvars import ContextVar
from typing import Any

from twisted.internet.interfaces import IReadDescriptor
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from zmqrpc.oslo.handed_over import hand_over
from zmqrpc.oslo.lent import RESERVE, LentReactor
from zmqrpc.site import use_monotonic_clock

LIMIT = 30.0

OURS: ContextVar[str] = ContextVar("ours", default="nobody's")


@implementer(IReadDescriptor)
class Pipe:
    """Counts the bytes that come, and adds them to what its reactor does."""

    def __init__(self, work: Any) -> None:
        self.read, self.write = os.pipe()
        self.got = 0
        self._work = work

    def fileno(self) -> int:
        return self.read

    def doRead(self) -> None:
        self.got += len(os.read(self.read, 1))
        self._work()

    def connectionLost(self, reason: Failure) -> None:
        os.close(self.read)
        os.close(self.write)

    def logPrefix(self) -> str:
        return "pipe"


class Contended(list[Any]):
    """A queue to which another thread adds, where that is asked for, as soon as one has."""

    def __init__(self) -> None:
        super().__init__()
        self.other: Any = None

    def append(self, item: Any) -> None:
        super().append(item)
        other, self.other = self.other, None
        if other is not None:
            other()


class Sleeper:
    """A reactor that waits."""

    def __init__(self) -> None:
        self.threadCallQueue = Contended()
        self.woken = 0
        self.raises: BaseException | None = None

    def wakeUp(self) -> None:
        raises, self.raises = self.raises, None
        if raises is not None:
            raise raises
        self.woken += 1


class HandOverTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = Sleeper()

    def hand(self) -> None:
        hand_over(self.reactor, self.fail)

    def test_once(self) -> None:
        """It is woken for the first, whatever comes after that, and for the first again when that is done."""
        for _ in range(3):
            self.hand()
        self.assertEqual(self.reactor.woken, 1)
        del self.reactor.threadCallQueue[:2]
        # So does `ReactorBase.runUntilCurrent`, which finds one left.
        self.reactor.wakeUp()
        del self.reactor.threadCallQueue[:]
        self.hand()
        self.assertEqual(self.reactor.woken, 3)

    def test_two_at_a_time(self) -> None:
        """It is woken where two have added something before either looks."""
        self.reactor.threadCallQueue.other = self.hand
        self.hand()
        self.assertEqual(self.reactor.woken, 1)

    def test_done_before(self) -> None:
        """It is not woken for what it has done."""
        self.reactor.threadCallQueue.other = self.reactor.threadCallQueue.clear
        self.hand()
        self.assertEqual(self.reactor.woken, 0)

    def test_interrupted(self) -> None:
        """Who comes later wakes it where a signal handler has kept the first from that."""
        self.reactor.raises = KeyboardInterrupt()
        self.assertRaises(KeyboardInterrupt, self.hand)
        self.hand()
        self.assertEqual(self.reactor.woken, 1)

    def test_holds_nothing(self) -> None:
        """What is done is held by nobody."""
        act = Sleeper()
        held = weakref.ref(act)
        hand_over(self.reactor, act.wakeUp)
        del self.reactor.threadCallQueue[:], act
        self.assertIsNone(held())


class Descends:
    """Does something that many of itself deep, each of which takes a frame, and a level that is none."""

    def __init__(self, left: int, act: Any) -> None:
        if left:
            Descends(left - 1, act)
        else:
            act()


def descend(left: int, act: Any) -> None:
    """Do something that many frames deep."""
    if left:
        descend(left - 1, act)
    else:
        act()


class Slow:
    """A lock that is free, and that who waits for it gets only when he may."""

    def __init__(self, lock: Any) -> None:
        self._lock = lock
        self.waits, self.may = threading.Event(), threading.Event()
        self.release = lock.release
        self.locked = lock.locked

    def acquire(self, blocking: bool = True) -> bool:
        if blocking:
            self.waits.set()
            self.may.wait(LIMIT)
        return bool(self._lock.acquire(blocking))


class LentReactorTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = LentReactor()
        self.reactor._registerAsIOThread = False
        use_monotonic_clock(self.reactor)
        self.thread = threading.Thread(target=self.reactor.run, args=(False,))
        running = threading.Event()
        self.reactor.callWhenRunning(running.set)
        self.thread.start()
        self.assertTrue(running.wait(LIMIT))
        self.addCleanup(self.stop)
        self.at_work, self.most_at_work, self.done = 0, 0, 0

    def stop(self) -> None:
        self.reactor.callFromThread(self.reactor.stop)
        self.thread.join(LIMIT)
        self.assertFalse(self.thread.is_alive())

    def work(self) -> None:
        """Do something that another thread would disturb."""
        self.at_work += 1
        self.most_at_work = max(self.most_at_work, self.at_work)
        time.sleep(0)
        self.done += 1
        self.at_work -= 1

    def in_thread(self, act: Any) -> Any:
        """Do something in a thread of its own; return what that returned."""
        results: list[Any] = []
        thread = threading.Thread(target=lambda: results.append(act()))
        thread.start()
        thread.join(LIMIT)
        return results[0]

    def until(self, condition: Any) -> None:
        limit = time.monotonic() + LIMIT
        while not condition():
            self.assertLess(time.monotonic(), limit)
            time.sleep(0.001)

    def idents(self) -> tuple[Any, Any, int]:
        """Do something from this thread; return where it was done, who had the turn then, and this thread."""
        told: list[Any] = []
        done = threading.Event()

        def act() -> None:
            told.extend((threading.get_ident(), self.reactor.worker))
            done.set()

        self.reactor.in_turn(act)
        self.assertTrue(done.wait(LIMIT))
        return told[0], told[1], threading.get_ident()

    def test_done_here(self) -> None:
        """A thread does its work itself, the main thread does not."""
        self.until(lambda: not self.reactor._turn.locked())
        where, worker, here = self.in_thread(self.idents)
        self.assertEqual((where, worker), (here, here))
        where, worker, here = self.idents()
        self.assertEqual((where, worker), (self.thread.ident, self.thread.ident))
        self.assertEqual(self.reactor.worker, self.thread.ident)

    def test_while_it_works(self) -> None:
        """What comes while the reactor is at work is done by it, after that, and in order."""
        goes_on, at_work, order = threading.Event(), threading.Event(), list[int]()

        def hold() -> None:
            at_work.set()
            goes_on.wait(LIMIT)

        self.reactor.callFromThread(hold)
        self.assertTrue(at_work.wait(LIMIT))
        for number in range(5):
            self.in_thread(lambda number=number: self.reactor.in_turn(order.append, number))
        self.assertEqual(order, [])
        goes_on.set()
        self.until(lambda: order == list(range(5)))

    def test_timers(self) -> None:
        """One that is sooner than what the reactor waits for is in time; what is due is done at once."""
        self.reactor.callFromThread(self.reactor.callLater, 60, lambda: None)
        told: list[Any] = []

        def act() -> None:
            began = time.monotonic()
            self.reactor.callLater(0, lambda: told.append(threading.get_ident()))
            self.reactor.callLater(0.05, lambda: told.append(time.monotonic() - began))

        self.until(lambda: not self.reactor._turn.locked())
        here = self.in_thread(lambda: (self.reactor.in_turn(act), threading.get_ident())[1])
        self.until(lambda: len(told) == 2)
        self.assertEqual(told[0], here)
        self.assertLess(told[1], 5)

    def test_what_raises(self) -> None:
        """It is logged, and the reactor goes on, whoever has done it."""
        self.in_thread(lambda: self.reactor.in_turn(lambda: 1 / 0))
        self.until(lambda: self.flushLoggedErrors(ZeroDivisionError))
        where, _, here = self.in_thread(self.idents)
        self.assertIn(where, (here, self.thread.ident))

    def test_its_thread_goes_first(self) -> None:
        """Who has something to be done leaves the turn to the reactor's thread where that waits for it, with events."""
        self.until(lambda: not self.reactor._turn.locked())
        slow = Slow(self.reactor._turn)
        self.patch(self.reactor, "_turn", slow)
        self.addCleanup(slow.may.set)
        self.reactor.wakeUp()
        self.assertTrue(slow.waits.wait(LIMIT))
        where = list[int]()
        self.in_thread(lambda: self.reactor.in_turn(lambda: where.append(threading.get_ident())))
        self.assertEqual(where, [])
        slow.may.set()
        self.until(lambda: where)
        self.assertEqual(where, [self.thread.ident])

    def test_thread_is_interrupted(self) -> None:
        """What a thread cannot do, since something is raised in it from outside, the reactor does."""
        run, done = self.reactor.runUntilCurrent, threading.Event()

        def interrupted() -> None:
            if threading.current_thread() is not self.thread:
                raise KeyboardInterrupt
            run()

        self.until(lambda: not self.reactor._turn.locked())
        self.patch(self.reactor, "runUntilCurrent", interrupted)
        self.in_thread(lambda: self.assertRaises(KeyboardInterrupt, self.reactor.in_turn, done.set))
        self.assertTrue(done.wait(LIMIT))
        self.assertEqual(self.reactor.worker, self.thread.ident)

    def test_deep_stack(self) -> None:
        """
        Whoever is near the end of its stack leaves the work to the reactor, which needs some itself.

        It may be refused what it wants itself, and what others want is not done by halves.
        """
        raised, where = list[BaseException](), list[int]()

        def work() -> None:
            try:
                descend(RESERVE // 3, lambda: where.append(threading.get_ident()))
            except RecursionError as error:
                raised.append(error)

        def ask(way: Any, depth: int) -> bool:
            """Tell whether it was heard."""
            try:
                way(depth, lambda: self.reactor.in_turn(work))
            except RecursionError:
                return False
            return True

        for way in (descend, Descends):
            for depth in range(0, sys.getrecursionlimit(), 3):
                self.until(lambda: not self.reactor._turn.locked())
                before = len(where)
                if not self.in_thread(lambda way=way, depth=depth: ask(way, depth)):
                    break
                self.until(lambda before=before: raised or len(where) > before)
                self.assertEqual((raised, self.flushLoggedErrors()), ([], []), depth)
            else:
                self.fail("it never came to the end of its stack")
        self.assertIn(self.thread.ident, where)
        self.assertGreater(len(set(where)), 1)
        self.assertEqual(self.reactor.worker, self.thread.ident)

    def test_handed_over_to_a_thread(self) -> None:
        """What comes while a thread does something is done by that or left to the reactor, which is woken for it."""
        woken, done = list[int](), threading.Event()
        wake = self.reactor.wakeUp

        def wake_up() -> None:
            woken.append(threading.get_ident())
            wake()

        def act() -> None:
            self.reactor.in_turn(done.set)
            self.assertEqual(woken, [])

        self.until(lambda: not self.reactor._turn.locked())
        self.patch(self.reactor, "wakeUp", wake_up)
        here = self.in_thread(lambda: (self.reactor.in_turn(act), threading.get_ident())[1])
        self.assertTrue(done.wait(LIMIT))
        self.assertIn(woken, ([], [here]))
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_context(self) -> None:
        """What is done here has nothing of the context of this thread, and leaves nothing there."""
        told = list[str]()

        def act() -> None:
            told.append(OURS.get())
            OURS.set("theirs")

        def run() -> str:
            OURS.set("mine")
            self.reactor.in_turn(act)
            return OURS.get()

        self.until(lambda: not self.reactor._turn.locked())
        self.assertEqual(self.in_thread(run), "mine")
        self.until(lambda: told)
        self.assertEqual(told, ["nobody's"])

    def test_threads_of_its_pool(self) -> None:
        """They keep no process from exiting, whoever has begun them."""
        told = list[bool]()

        def act() -> None:
            self.reactor.callInThread(lambda: told.append(threading.current_thread().daemon))

        self.in_thread(lambda: self.reactor.in_turn(act))
        self.until(lambda: told)
        self.assertEqual(told, [True])

    def test_one_at_a_time(self) -> None:
        """Of many threads, timers and descriptors one is at work at any time, and all is done."""
        pipes = [Pipe(self.work) for _ in range(3)]
        for pipe in pipes:
            self.reactor.callFromThread(self.reactor.addReader, pipe)

        def again(left: int) -> None:
            self.work()
            if left:
                self.reactor.callLater(0, again, left - 1)

        self.reactor.callFromThread(again, 499)

        def ask() -> None:
            for number in range(500):
                self.reactor.in_turn(self.work)
                os.write(pipes[number % 3].write, b"x")

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LIMIT)
        self.until(lambda: self.done == 8 * 1000 + 500)
        self.assertEqual((self.most_at_work, sum(pipe.got for pipe in pipes)), (1, 4000))
        for pipe in pipes:
            self.reactor.callFromThread(self.reactor.removeReader, pipe)
            self.reactor.callFromThread(pipe.connectionLost, Failure(Exception()))
