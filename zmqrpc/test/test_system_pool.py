"""The threads of the operating system for what blocks in C."""

from __future__ import annotations

import threading
from typing import Any

from twisted.internet.base import ReactorBase
from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.test.processes import LIMIT, until
from zmqrpc.threads import _MOST_AT_ONCE, SystemPool, keep_green_threads_going


class SystemPoolTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.pool = SystemPool()
        self.outcomes: list[Any] = []

    def run_in_pool(self, work: Any, *arguments: Any, **keywords: Any) -> None:
        self.pool.callInThreadWithCallback(lambda *outcome: self.outcomes.append(outcome), work, *arguments, **keywords)

    def ended(self, count: int) -> list[Any]:
        """Wait for the end of that many, and of all threads; return what they brought."""
        until(lambda: len(self.outcomes) == count and not self.pool._threads, lambda: self.outcomes)
        return self.outcomes

    def test_brings(self):
        """What is done brings what it returns or raises, and its thread is another."""
        self.run_in_pool(max, 1, 3, key=lambda each: -each)
        self.assertEqual(self.ended(1), [(True, 1)])
        self.run_in_pool(int, "no number")
        success, failure = self.ended(2)[1]
        self.assertFalse(success)
        self.assertIsInstance(failure.value, ValueError)
        self.run_in_pool(threading.get_ident)
        self.assertNotEqual(self.ended(3)[2], (True, threading.get_ident()))

    def test_most_at_once(self):
        """Ten are done at once; others wait for these, and for no other thread than theirs."""
        gate = threading.Event()
        running = threading.Semaphore(0)

        def block() -> bool:
            running.release()
            return gate.wait(LIMIT)

        for _ in range(3 * _MOST_AT_ONCE):
            self.run_in_pool(block)
        for _ in range(_MOST_AT_ONCE):
            self.assertTrue(running.acquire(timeout=LIMIT))
        self.assertEqual(self.pool._threads, _MOST_AT_ONCE)
        self.assertFalse(running.acquire(blocking=False))
        gate.set()
        self.assertEqual(self.ended(3 * _MOST_AT_ONCE), [(True, True)] * 3 * _MOST_AT_ONCE)

    def test_not_without_eventlet(self):
        """Who has threads of the system anyway keeps the pool of the reactor."""
        reactor = ReactorBase.__new__(ReactorBase)
        keep_green_threads_going(reactor)
        self.assertIsNone(reactor.threadpool)
