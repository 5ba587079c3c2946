"""A Waiter is a Deferred: whatever is done to both, the same happens."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred, fail, setDebugging, succeed
from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.waiter import Waiter


class Told:
    """One of the two, and what became of it."""

    def __init__(self, subject: Deferred[Any], fire: Callable[[Any], None]) -> None:
        self.subject = subject
        self.fire = fire
        self.log: list[Any] = []
        self.inner: list[Deferred[Any]] = []

    def step(self, name: str, *args: Any, **keywords: Any) -> None:
        """Do one of `STEPS` to it."""
        subject = self.subject
        if name == "pause":
            subject.pause()
        elif name == "unpause" and subject.paused and subject._chainedTo is None:
            subject.unpause()
        elif name == "fire" and not subject.called:
            self.fire("result")
        elif name == "inner" and self.inner:
            self.inner.pop().callback("inner")
        elif name in ("returns", "raises", "fired", "failed", "waits", "nothing"):
            subject.addCallbacks(self.callback, self.errback, (name, *args), keywords, (name,))
        elif name == "chained":
            succeed(None).addCallback(lambda _: subject).addBoth(self.note, "outer")

    def note(self, *what: Any) -> None:
        self.log.append(repr(what))

    def callback(self, result: Any, name: str, *args: Any, **keywords: Any) -> Any:
        self.log.append((repr(result), name, args, keywords, self.subject.called))
        return self.outcome(name)

    def errback(self, failure: Any, name: str) -> Any:
        self.log.append((repr(failure.value), name, self.subject.called))
        return self.outcome(name)

    def outcome(self, name: str) -> Any:
        if name == "raises":
            raise ValueError(name)
        if name == "fired":
            return succeed("fired")
        if name == "failed":
            return fail(KeyError("failed"))
        if name == "waits":
            self.inner.append(Deferred())
            return self.inner[-1]
        return None if name == "nothing" else name

    def end(self) -> list[Any]:
        """Let everything come to its end, and tell what happened."""
        while self.subject.paused and self.subject._chainedTo is None:
            self.subject.unpause()
        if not self.subject.called:
            self.fire("result")
        while self.inner:
            self.inner.pop().callback("inner")
        self.subject.addBoth(self.note, "end")
        return self.log


def waiter() -> Told:
    made = Waiter()
    return Told(made, made.succeed)


def deferred() -> Told:
    made: Deferred[Any] = Deferred()
    return Told(made, made.callback)


STEPS: st.SearchStrategy[Any] = st.one_of(
    st.sampled_from(("pause", "unpause", "fire", "inner", "chained")).map(lambda name: (name, (), {})),
    st.tuples(
        st.sampled_from(("returns", "raises", "fired", "failed", "waits", "nothing")),
        st.sampled_from(((), (1,), (1, 2))),
        st.sampled_from(({}, {"a": 1})),
    ),
)


class WaiterTests(SynchronousTestCase):
    @given(st.lists(STEPS, max_size=8))
    def test_does_what_a_deferred_does(self, steps):
        first, second = waiter(), deferred()
        for name, args, keywords in steps:
            first.step(name, *args, **keywords)
            second.step(name, *args, **keywords)
            self.assertEqual(first.log, second.log)
        self.assertEqual(first.end(), second.end())

    def test_fires_once(self):
        made = Waiter()
        results: list[Any] = []
        made.addCallback(results.append)
        for result in (1, 2):
            made.succeed(result)
        self.assertEqual(results, [1])

    def test_not_after_it_was_cancelled(self):
        cancelled: list[Any] = []
        made = Waiter(cancelled.append)
        made.cancel()
        made.succeed(1)
        self.failureResultOf(made, CancelledError)
        self.assertEqual(cancelled, [made])

    def test_awaited(self):
        async def wait() -> Any:
            return await made, await made

        made = Waiter()
        waiting = Deferred.fromCoroutine(wait())
        made.succeed(5)
        self.assertEqual(self.successResultOf(waiting), (5, 5))

    def test_a_failure_that_nobody_takes_is_logged(self):
        made = Waiter()
        made.addCallback(lambda _: 1 / 0)
        made.succeed(None)
        del made
        gc.collect()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_in_debug_mode(self):
        setDebugging(True)
        self.addCleanup(setDebugging, False)
        made = Waiter()
        made.addCallback(lambda result: result + 1)
        made.succeed(1)
        self.assertEqual(self.successResultOf(made), 2)
