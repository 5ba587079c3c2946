"""Services whose workers are forked by oslo.service and by cotyledon: killed, reloaded, ended, and called meanwhile."""

from __future__ import annotations

import os
import signal

from zmqrpc.test.oslo.processes import OsloTestCase
from zmqrpc.test.oslo.service import OTHER, TOPIC, WORKERS
from zmqrpc.test.processes import until

PATIENCE = 5
"""Seconds that a call takes at most."""

CALLERS = 4


class ServiceTests(OsloTestCase):
    def assert_goes_on(self, how: str) -> None:
        """Call workers while one is killed, all are replaced, and all end."""
        self.child().do("serve", topic=OTHER, server="other")
        log = self.directory / "log"
        service = self.program("zmqrpc.test.oslo.service", how, self.url, str(log))
        client, watch = self.child(), self.child()

        def new_workers(old: set[str]) -> set[str] | None:
            """Return who serves, when those are all there have to be, and none of the old."""
            if service.process.poll() is not None:
                raise AssertionError(f"it has ended: {service.out}\n{service.err}")
            answers = set(watch.do("calls", topic=TOPIC, count=2 * WORKERS, method="name", timeout=2))
            are_all = len(answers) == WORKERS and all(answer.isdigit() for answer in answers)
            return answers if are_all and not old & answers else None

        first = until(lambda: new_workers(set()), lambda: f"workers\n{service.out}\n{service.err}")
        calls = client.begin(
            "calls_until", topic=TOPIC, threads=CALLERS, gate="enough", method="name", timeout=PATIENCE
        )
        until(lambda: client.do("called") > 20, "calls")
        killed = min(first)
        os.kill(int(killed), signal.SIGKILL)
        second = until(lambda: new_workers({killed}), "another in its stead")
        self.assertEqual(len(first & second), WORKERS - 1)
        service.signal(signal.SIGHUP)
        third = until(lambda: new_workers(second), "all of them new")
        called = client.do("called")
        until(lambda: client.do("called") > called + 20, "calls go on")
        client.do("open", gate="enough")
        outcomes = client.ended(calls)
        self.assertTrue(third & set(outcomes))
        failed = [outcome for outcome in outcomes if not outcome.isdigit()]
        # Each thread had a call at the one that was killed, at most; those that were replaced have answered all.
        self.assertLessEqual(len(failed), CALLERS, failed)
        for outcome in failed:
            self.assertRegex(
                outcome, "^MessagingTimeout: the call failed: the instance that had it is gone: .*may have run"
            )

        slow = {"topic": TOPIC, "method": "number", "timeout": 20}
        under_way = [client.begin("call", **slow, args={"value": each, "seconds": 1}) for each in range(WORKERS)]
        until(lambda: log.exists() and len(log.read_text().splitlines()) == WORKERS, "all are at work")
        service.signal(signal.SIGTERM)
        self.assertEqual({client.ended(each) for each in under_way}, third)
        self.assertEqual((service.ends(), service.out), (0, ""))
        # A worker that has the port of one before it may say that it was taken for that.
        self.assertNotIn("Traceback", service.err)
        _, error = watch.do("seconds", what="call", topic=TOPIC, method="name", timeout=PATIENCE, at_least_once=True)
        self.assertIn("MessageUndeliverable", error["kinds"])

    def test_eventlet(self):
        """With the backend of oslo.service that has green threads."""
        self.assert_goes_on("eventlet")

    def test_threading(self):
        """With the backend that has threads, whose workers cotyledon forks."""
        self.assert_goes_on("threading")

    def test_cotyledon(self):
        """With cotyledon itself."""
        self.assert_goes_on("cotyledon")
