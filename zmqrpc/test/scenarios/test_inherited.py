"""What a method asks of others has no more time than its caller, and is cancelled with it."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import (
    CancelledError,
    Deferred,
    FirstError,
    ensureDeferred,
    fail,
    gatherResults,
    inlineCallbacks,
)
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from zmqrpc import Target, detached, expose
from zmqrpc.errors import Cancelled, DeadlineExceeded, RemoteError
from zmqrpc.test.scenarios.worlds import InMemory, OverSockets, Scenario

BOSS, WORK = Target("boss"), Target("work")
ALL_IT_HAD = "which was all that the method that made it had left"
LONG = 50.0


class Boss:
    """
    Methods that ask others; each does it in another way.

    :ivar left: for each call that was made, by number, the seconds it had.
    :ivar errors: how those ended that failed and were waited for by nobody else.
    """

    def __init__(self, world: Any) -> None:
        self.world = world
        self.client: Any = None
        self.left: dict[Any, float] = {}
        self.errors: list[Any] = []
        self.gate: Deferred[None] = Deferred()

    def ask(self, number, method="hold", **options):
        call = self.client.call(WORK, method, {"number": number}, **{"timeout": LONG, **options})
        self.left[number] = call.deadline - self.client.node.clock.seconds()
        return call

    @expose
    def by_deferred(self, context, number=0):
        return self.ask(number)

    @expose
    def by_callback(self, context, number=0):
        """The callback runs in the context of who fires its Deferred, which is no method."""
        return self.client.call(WORK, "mark", {"number": -1}).addCallback(lambda _: self.ask(number))

    @expose
    async def by_coroutine(self, context, number=0):
        await self.world.sleep(0.01)
        return await self.ask(number)

    @expose
    async def by_inner_coroutine(self, context, number=0):
        return await self.by_coroutine(context, number)

    @expose
    @inlineCallbacks
    def by_generator(self, context, number=0):
        yield self.world.sleep(0.01)
        result = yield self.ask(number)
        return result

    @expose
    def several(self, context, number=0):
        return gatherResults([self.ask(number), self.ask(number + 1)], consumeErrors=True)

    @expose
    async def each(self, context):
        return [answer.result for answer in await self.client.call_each(WORK, "hold", timeout=LONG)]

    @expose
    def unheeded(self, context, number=0):
        """Ask, and be cancelled without it."""
        self.ask(number).addErrback(self._failed)
        return Deferred()

    @expose
    async def waits(self, context, kind):
        """Ask for what never comes, in one of the four ways."""
        asked = getattr(self.client, kind)(Target("nobody"), "mark", timeout=LONG, wait_for_ready=True)
        await asked.addErrback(self._failed)
        await Deferred()

    def _failed(self, failure):
        self.errors.append(failure.value)

    @expose
    async def too_late(self, context):
        """Ask when nobody waits any more."""
        try:
            await Deferred()
        except CancelledError:
            # It may be told so a moment before.
            await self.world.sleep(0.05)
            for kind in ("call", "cast", "fanout", "call_each"):
                asked = getattr(self.client, kind)(WORK, "mark", {"number": 9}, timeout=LONG)
                asked.addErrback(self._failed)
            self.client.members(WORK, timeout=LONG).addErrback(self._failed)
            with detached():
                await self.ask(10, "mark")
            raise

    @expose
    async def lets_go(self, context):
        """Begin something else, inherit nothing for a while, and inherit again."""
        with detached():
            ensureDeferred(self._job(1)).addErrback(self._failed)
            ensureDeferred(self._ask_detached(2)).addErrback(self._failed)
        return await self.ask(3)

    async def _ask_detached(self, number):
        await self.world.sleep(0.01)
        await self.ask(number)

    @expose
    def leaves_behind(self, context):
        """Begin something that goes on when the method has ended."""
        ensureDeferred(self._job(1)).addErrback(self._failed)
        return self.ask(0, "mark")

    @expose
    def now_and_then(self, context, number, at_once):
        """Return at once, or go on."""
        if at_once:
            self.ask(number, "mark")
            return "at once"
        return ensureDeferred(self._ask_later(number))

    async def _ask_later(self, number):
        self.ask(f"{number} at once", "mark")
        await self.world.sleep(0.01)
        return await self.ask(number, "mark")

    async def _job(self, number):
        await self.gate
        await self.ask(number, "mark")

    @expose
    def raises(self, context, number=0):
        self.ask(number, "mark")
        raise ValueError("broken")

    @expose
    def overdue(self, context, inherited):
        error = DeadlineExceeded("its time was up")
        error.inherited = inherited
        return fail(FirstError(Failure(error), 0)) if inherited else fail(error)

    @expose
    def answers(self, context, number=0):
        self.ask(number, "mark")
        return number


class Ear:
    def __init__(self, boss):
        self._boss = boss

    async def info(self, context, publisher_id, event_type, payload, metadata):
        await self._boss.world.sleep(0.001)
        await self._boss.ask(payload, "mark")


class Chain(Scenario):
    """A client calls the boss, who calls the worker."""

    async def begin(self, members=1):
        self.workers = [await self.member(f"worker-{number}") for number in range(members)]
        self.worker = self.workers[0]
        self.boss = Boss(self.world)
        self.boss.client = self.world.client()
        self.server = await self.world.serve("boss.one", self.boss)
        self.client = self.world.client()
        # Everybody is connected.
        await self.boss.client.call_each(WORK, "mark")
        await self.client.call(BOSS, "answers", {"number": -2})
        await self.world.eventually("it ran", lambda: any(-2 in worker.ran for worker in self.workers))
        for worker in self.workers:
            worker.ran.clear()

    async def are_held(self, *numbers):
        await self.world.eventually("they run", lambda: set(self.worker.held) == set(numbers))

    async def are_cancelled(self, *numbers):
        await self.world.eventually("they are cancelled", lambda: sorted(self.worker.cancelled) == sorted(numbers))


class DeadlineScenarios(Chain):
    async def test_every_way(self):
        """A call has no more time than is left to the method that makes it, whatever kind of method it is."""
        await self.begin()
        ways = ("by_deferred", "by_coroutine", "by_inner_coroutine", "by_generator")
        calls = [
            self.client.call(BOSS, way, {"number": number}, timeout=0.4 + number) for number, way in enumerate(ways)
        ]
        await self.are_held(*range(len(ways)))
        for number in range(len(ways)):
            self.assertGreater(self.boss.left[number], number)
            self.assertLess(self.boss.left[number], 0.4 + number + 0.1)
        self.worker.let_go()
        self.assertEqual(await gatherResults(calls), ["worker-0"] * len(ways))

    async def test_less_time_of_its_own(self):
        """What a call is given counts when it is less."""
        await self.begin()
        call = self.client.call(BOSS, "by_deferred", timeout=LONG * 2)
        await self.are_held(0)
        self.assertLessEqual(self.boss.left[0], LONG)
        self.assertGreater(self.boss.left[0], LONG - 1)
        self.worker.let_go()
        await call

    async def test_the_error_says_so(self):
        """Of a call that ends with its method's time its error says that this was it."""
        await self.begin()
        call = self.client.call(BOSS, "unheeded", timeout=0.3)
        await self.fails(call, DeadlineExceeded)
        await self.world.eventually("it has ended", lambda: self.boss.errors)
        (error,) = self.boss.errors
        self.assertIsInstance(error, DeadlineExceeded)
        self.assertRegex(str(error), rf"its time was up, 0\.[23]\d\d s, {ALL_IT_HAD}.*; it may have run\)")
        await self.are_cancelled(0)

    async def test_overdue_a_moment_before(self):
        """A method that could not wait any longer ends its call as its deadline does, and tells for what it waited."""
        await self.begin()
        error = await self.fails(self.client.call(BOSS, "overdue", {"inherited": True}), DeadlineExceeded)
        self.assertIn("the call failed: the time was up in overdue: its time was up (target boss", str(error))
        self.assertTrue(error.maybe_executed)
        # With a time of its own it is an error like others.
        error = await self.fails(self.client.call(BOSS, "overdue", {"inherited": False}), RemoteError)
        self.assertEqual(error.type_name, "DeadlineExceeded")
        self.assertEqual(len(self.flushLoggedErrors(DeadlineExceeded)), 1)

    async def test_every_kind(self):
        """So it is of calls, casts, fan-outs and calls to each."""
        await self.begin()
        for kind in ("call", "cast", "fanout", "call_each"):
            self.boss.errors.clear()
            calls = self.client.call(BOSS, "waits", {"kind": kind}, timeout=0.3)
            await self.fails(calls, DeadlineExceeded)
            await self.world.eventually(f"the {kind} has ended", lambda: self.boss.errors)
            (error,) = self.boss.errors
            if not isinstance(error, Cancelled):
                self.assertIsInstance(error, DeadlineExceeded)
                self.assertIn(ALL_IT_HAD, str(error))

    async def test_no_time_is_left(self):
        """What is made when the time is up ends at once, did not run, and says what to do; `detached` helps."""
        await self.begin()
        await self.fails(self.client.call(BOSS, "too_late", timeout=0.2), DeadlineExceeded)
        await self.world.eventually("it is cancelled", lambda: 10 in self.boss.left)
        self.assertEqual(len(self.boss.errors), 5)
        for error in self.boss.errors:
            self.assertIsInstance(error, DeadlineExceeded)
            self.assertFalse(error.maybe_executed)
            self.assertIn("the time of the method that made it was up; begin in zmqrpc.detached()", str(error))
        self.assertGreater(self.boss.left[10], LONG - 1)
        await self.world.eventually("it ran", lambda: self.worker.ran == [10])

    async def test_detached(self):
        """Within `detached` nothing is inherited, by what is begun there neither; after it everything is as before."""
        await self.begin()
        call = self.client.call(BOSS, "lets_go", timeout=0.5)
        await self.are_held(2, 3)
        self.assertGreater(self.boss.left[2], LONG - 1)
        self.assertLess(self.boss.left[3], 0.6)
        await self.fails(call, DeadlineExceeded)
        await self.are_cancelled(3)
        self.assertEqual(list(self.worker.held), [2])
        self.boss.gate.callback(None)
        await self.world.eventually("it ran", lambda: 1 in self.worker.ran)
        self.assertGreater(self.boss.left[1], LONG - 1)
        self.worker.let_go()

    async def test_what_it_leaves_behind(self):
        """What goes on when the method has ended inherits nothing any more."""
        await self.begin()
        self.assertEqual(await self.client.call(BOSS, "leaves_behind", timeout=0.5), "worker-0")
        self.boss.gate.callback(None)
        await self.world.eventually("it ran", lambda: 1 in self.worker.ran)
        self.assertGreater(self.boss.left[1], LONG - 1)
        self.assertEqual(self.boss.errors, [])

    async def test_now_and_then(self):
        """A method may return at once, and go on at other times; the first of these times is not expected."""
        await self.begin()
        for number, at_once in enumerate((True, False, True, False, False)):
            options = {"number": number, "at_once": at_once}
            await self.client.call(BOSS, "now_and_then", options, timeout=0.5)
        for made in ("1 at once", "3 at once", "4 at once", 0, 2, 3, 4):
            self.assertLess(self.boss.left[made], 0.6, made)
        self.assertGreater(self.boss.left[1], LONG - 1)

    async def test_callbacks(self):
        """The callback of a Deferred that is fired elsewhere inherits nothing."""
        await self.begin()
        call = self.client.call(BOSS, "by_callback", timeout=0.5)
        await self.are_held(0)
        self.assertGreater(self.boss.left[0], LONG - 1)
        self.worker.let_go()
        self.assertEqual(await call, "worker-0")

    async def test_each_its_own(self):
        """Of several calls in one pass each method has its own deadline; those without an answer have none."""
        await self.begin()
        ways = ("by_deferred", "by_coroutine", "by_generator", "raises", "answers")
        calls, casts = [], []
        for number in range(30):
            way = ways[number % len(ways)]
            if number % 3 == 1:
                casts.append(self.client.cast(BOSS, way, {"number": number}, timeout=5 + number))
            else:
                calls.append(self.client.call(BOSS, way, {"number": number}, timeout=5 + number))
        casts.append(self.client.fanout(BOSS, "answers", {"number": 30}, timeout=5))
        await gatherResults(casts)
        await self.world.eventually("all are made", lambda: set(self.boss.left) >= set(range(31)))
        for number, left in self.boss.left.items():
            if number % 3 == 1 or number == 30:
                self.assertGreater(left, LONG - 1, number)
            else:
                self.assertLess(left, 5 + number + 0.1, number)
                self.assertGreater(left, 4 + number, number)
        await self.world.eventually("all have come", lambda: len(self.worker.ran) == 31)
        self.worker.let_go()
        for number, call in enumerate(number for number in range(30) if number % 3 != 1):
            if ways[call % len(ways)] == "raises":
                await self.fails(calls[number], RemoteError)
            else:
                await calls[number]
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 6)

    async def test_nothing_stays(self):
        """After a pass nothing is left of it: what a timer does has its own time."""
        await self.begin()
        for way in ("answers", "raises"):
            call = self.client.call(BOSS, way, {"number": 0}, timeout=0.5)
            await call.addErrback(lambda failure: failure.trap(RemoteError))
            self.clock_calls = self.client.node.clock.callLater(0, self.boss.ask, way, "mark")
            await self.world.eventually("it is made", lambda way=way: way in self.boss.left)
            self.assertGreater(self.boss.left[way], LONG - 1)
        self.flushLoggedErrors(ValueError)

    async def test_notifications(self):
        """A notification has the time of its delivery, which is nobody's who listens."""
        await self.begin()
        await self.world.listen("events", Ear(self.boss))
        notifier = self.world.notifier("events")
        self.assertEqual(await notifier.info({}, "made", 5, timeout=2.0), 1)
        self.assertGreater(self.boss.left[5], LONG - 1)


class CancelScenarios(Chain):
    async def test_every_way(self):
        """A call that is cancelled is cancelled where it ends, over the one that it was made for."""
        await self.begin()
        ways = ("by_deferred", "by_callback", "by_coroutine", "by_inner_coroutine", "by_generator")
        for number, way in enumerate(ways):
            call = self.client.call(BOSS, way, {"number": number}, timeout=LONG)
            await self.are_held(number)
            call.cancel()
            await self.fails(call, Cancelled)
            await self.are_cancelled(*range(number + 1))
            self.assertFalse(self.server._callers.requests.busy)

    async def test_several(self):
        """All that a method waits for is cancelled."""
        await self.begin(members=2)
        call = self.client.call(BOSS, "several", timeout=LONG)
        held = lambda: sum(len(worker.held) for worker in self.workers)  # noqa: E731
        await self.world.eventually("both run", lambda: held() == 2)
        call.cancel()
        await self.fails(call, Cancelled)
        await self.world.eventually("both are cancelled", lambda: not held())
        call = self.client.call(BOSS, "each", timeout=LONG)
        await self.world.eventually("each runs", lambda: held() == 2)
        call.cancel()
        await self.fails(call, Cancelled)
        await self.world.eventually("each is cancelled", lambda: not held())
        self.assertEqual(sum(len(worker.cancelled) for worker in self.workers), 4)

    async def test_deadline(self):
        """When the time of the first is up, the last is cancelled."""
        await self.begin()
        ways = ("by_deferred", "by_callback", "by_coroutine", "by_generator")
        for number, way in enumerate(ways):
            call = self.client.call(BOSS, way, {"number": number}, timeout=0.2)
            await self.fails(call, DeadlineExceeded)
            await self.are_cancelled(*range(number + 1))
            await self.world.eventually("nothing runs", lambda: not self.server._callers.requests.busy)

    async def test_only_that(self):
        """What others have asked for goes on."""
        await self.begin()
        calls = [self.client.call(BOSS, "by_coroutine", {"number": number}, timeout=LONG) for number in range(3)]
        await self.are_held(0, 1, 2)
        calls[1].cancel()
        await self.fails(calls[1], Cancelled)
        await self.are_cancelled(1)
        self.worker.let_go()
        self.assertEqual([await calls[0], await calls[2]], ["worker-0"] * 2)


class DeadlinesInMemory(InMemory, DeadlineScenarios, TestCase):
    pass


class DeadlinesOverSockets(OverSockets, DeadlineScenarios, TestCase):
    pass


class CancelsInMemory(InMemory, CancelScenarios, TestCase):
    pass


class CancelsOverSockets(OverSockets, CancelScenarios, TestCase):
    pass
