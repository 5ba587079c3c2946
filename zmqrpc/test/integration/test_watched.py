"""Servers that are stopped or blocked, as processes: their callers hear of it, and nothing runs too late."""

import signal
import time
from pathlib import Path
from typing import Any

from twisted.internet.defer import DeferredList
from twisted.trial.unittest import TestCase

from zmqrpc import Node, Settings, Target
from zmqrpc.errors import DeadlineExceeded, ServerLost
from zmqrpc.test.integration.support import eventually, pause, reactor
from zmqrpc.test.processes import ProcessTestCase, Running

SLOW = 2.0
"""Seconds that a busy machine may add to a bound."""

SOURCE = """
    import time
    from twisted.internet import reactor
    from twisted.internet.defer import Deferred
    from twisted.internet.task import deferLater
    from zmqrpc import expose

    class Work:
        @expose
        def mark(self, context, number):
            with open({log!r}, "a") as log:
                log.write(f"{{number}}\\n")
            return number

        @expose
        def wait(self, context, seconds):
            return deferLater(reactor, seconds, lambda: "waited")

        @expose(thread=True)
        def sleep(self, context, seconds):
            time.sleep(seconds)
            return "slept"

        @expose
        def block(self, context, seconds):
            time.sleep(seconds)
            return "blocked"
"""


class WatchedTests(ProcessTestCase, TestCase):
    timeout = 120

    def begin(self, *members: str) -> list[Running]:
        self.log = self.directory / "ran"
        self.log.touch()
        self.module("work", SOURCE.format(log=str(self.log)))
        return [self.serve("--app", "work:Work", "--topic", "work", "--server", member) for member in members]

    def client(self, **options: Any) -> Any:
        node = Node(reactor, Settings(url=self.url, drain_timeout=0.05, **options))
        self.addCleanup(node.stopService)
        node.startService()
        return node.client()

    def ran(self) -> list[int]:
        return [int(line) for line in Path(self.log).read_text().split()]

    async def lost(self, call: Any) -> float:
        """Wait until a call is lost; return when that was."""
        with self.assertRaises(ServerLost) as caught:
            await call
        self.assertTrue(caught.exception.maybe_executed)
        self.assertIn("(call_monitor_timeout): stopped, blocked or cut off", str(caught.exception))
        return time.monotonic()

    async def test_stopped(self) -> None:
        """What runs there is lost, new calls go to others, and what waited there is not run five seconds later."""
        one, _ = self.begin("one", "two")
        work, there = Target("work"), Target("work", server="one")
        client, patient = self.client(call_monitor_timeout=3.0), self.client(call_monitor_timeout=0)
        for number, each in enumerate((client, patient)):
            self.assertEqual(await each.call(there, "mark", {"number": number}, timeout=10), number)
        running = client.call(there, "wait", {"seconds": 60.0}, timeout=60)
        asked = patient.call(there, "wait", {"seconds": 6.0}, timeout=60)
        await eventually("both run", lambda: running.stage.name == asked.stage.name == "RUNNING")
        one.signal(signal.SIGSTOP)
        stopped = time.monotonic()
        queued = [
            each.call(there, "mark", {"number": number}, timeout=2.0)
            for each in (client, patient)
            for number in range(100, 150)
        ]
        outcomes: Any = await DeferredList(queued, consumeErrors=True)
        self.assertLess(time.monotonic() - stopped, 3.0 + SLOW)
        for good, outcome in outcomes:
            self.assertFalse(good)
            self.assertIsInstance(outcome.value, DeadlineExceeded)
        for number in range(200, 210):
            began = time.monotonic()
            self.assertEqual(await client.call(work, "mark", {"number": number}, timeout=5), number)
            self.assertLess(time.monotonic() - began, SLOW)
        self.assertLess(await self.lost(running) - stopped, 4.0 + SLOW)
        await pause(stopped + 5.0 - time.monotonic())
        one.signal(signal.SIGCONT)
        self.assertEqual(await patient.call(there, "mark", {"number": 2}, timeout=10), 2)
        self.assertEqual(await client.call(there, "mark", {"number": 3}, timeout=20, wait_for_ready=True), 3)
        self.assertEqual(await asked, "waited")
        self.assertEqual(sorted(self.ran()), [0, 1, 2, 3, *range(200, 210)])

    async def test_takes_long(self) -> None:
        """A method that waits is no dead one, in the reactor or in a thread."""
        self.begin("one")
        work, client = Target("work"), self.client(call_monitor_timeout=0.8)
        calls = [client.call(work, method, {"seconds": 3.0}, timeout=60) for method in ("wait", "sleep")]
        calls.append(client.call(work, "sleep", {"seconds": 3.0}, timeout=60, call_monitor_timeout=0.7))
        self.assertEqual([await call for call in calls], ["waited", "slept", "slept"])

    async def test_blocked(self) -> None:
        """A method that blocks its reactor loses its call, and the log of the server has its stack."""
        (one,) = self.begin("one")
        client = self.client(call_monitor_timeout=2.0)
        work = Target("work")
        self.assertEqual(await client.call(work, "mark", {"number": 0}, timeout=10), 0)
        began = time.monotonic()
        alone = client.call(work, "block", {"seconds": 4.0}, timeout=60, call_monitor_timeout=1.0)
        await pause(0.1)
        beside = client.call(work, "mark", {"number": 1}, timeout=60)
        self.assertLess(await self.lost(alone) - began, 2.0 + SLOW)
        self.assertFalse(beside.called)
        self.assertLess(await self.lost(beside) - began, 3.5 + SLOW)
        one.says("the reactor has been blocked")
        one.says("time.sleep(seconds)")
        self.assertEqual(await client.call(work, "mark", {"number": 2}, timeout=20, wait_for_ready=True), 2)
