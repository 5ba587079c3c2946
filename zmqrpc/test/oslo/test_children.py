"""Programs that have other processes call: pools of them, and forks that leave in every way."""

from __future__ import annotations

import json
import signal

from zmqrpc.test.oslo.leaving import STATUS, WAYS
from zmqrpc.test.oslo.leaving import TOPIC as LEAVING
from zmqrpc.test.oslo.processes import OsloTestCase
from zmqrpc.test.oslo.tasks import COUNT
from zmqrpc.test.oslo.tasks import TOPIC as TASKS

PROMPTLY = 2.0
"""Seconds within which a process ends."""


class PoolTests(OsloTestCase):
    def assert_call(self, how: str) -> None:
        self.child().do("serve", topic=TASKS, server="one")
        parent = self.program("zmqrpc.test.oslo.tasks", self.url, how)
        self.assertEqual((parent.ends(), parent.err), (0, ""))
        tasks = [f"task {number}" for number in range(COUNT)]
        self.assertEqual(json.loads(parent.out), ["task 0", *tasks, *tasks, "task 1"])

    def test_fork(self):
        """Tasks of pools of forks of a process that has called call, and the pools end."""
        self.assert_call("fork")

    def test_spawn(self):
        """So do those of processes that are begun anew."""
        self.assert_call("spawn")

    def test_forkserver(self):
        """So do those of forks of a process that has not called."""
        self.assert_call("forkserver")


class LeavingTests(OsloTestCase):
    def assert_leave(self, *words: str) -> None:
        self.child().do("serve", topic=LEAVING, server="one")
        parent = self.program("zmqrpc.test.oslo.leaving", self.url, *words)
        self.assertEqual(parent.ends(), 0, parent.err)
        statuses = {"sys.exit": STATUS, "os._exit": STATUS, "exception": 1, "signal": -signal.SIGTERM}
        left = json.loads(parent.out)
        self.assertEqual({way: status for _, way, _, status in left}, statuses)
        for deed, way, seconds, status in left:
            self.assertEqual(status, statuses[way], (deed, way))
            self.assertLess(seconds, PROMPTLY, (deed, way))
        self.assertGreaterEqual(parent.err.count("ValueError: it leaves so"), len(left) / len(WAYS))
        self.assertNotIn("Exception ignored", parent.err)

    def test_forks(self):
        """A fork of a process that calls and serves ends at once, whatever it did and however it leaves."""
        self.assert_leave()

    def test_green_forks(self):
        """So it does with green threads."""
        self.assert_leave("eventlet")

    def test_spawned_green_forks(self):
        """So it does where another green thread than the first one forks."""
        self.assert_leave("eventlet", "spawn")
