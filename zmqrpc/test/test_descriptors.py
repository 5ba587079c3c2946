"""A process that runs out of file descriptors, which is told before and then."""

from __future__ import annotations

import os
import resource
import sys
from contextlib import contextmanager

from twisted.internet import reactor
from twisted.trial.unittest import SynchronousTestCase, TestCase

from zmqrpc import connect
from zmqrpc.descriptors import LOOK_SECONDS, DescriptorWatch, descriptors
from zmqrpc.errors import ConfigError
from zmqrpc.node import Node
from zmqrpc.notices import Notices
from zmqrpc.test.integration.support import run_child
from zmqrpc.test.logs import LogLines

URL = "zmq+dummy://?rpc_zmq_host=127.0.0.1"


@contextmanager
def none_left():
    """Have no descriptor that is free."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = [os.dup(0)]
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))) + 1, hard))
        while True:
            try:
                taken.append(os.dup(0))
            except OSError:
                break
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for each in taken:
            os.close(each)


class DescriptorWatchTests(SynchronousTestCase):
    def setUp(self):
        self.now = 100.0
        self.notices = Notices(lambda: self.now)
        self.lines = LogLines(self, "zmqrpc.notices.Notices")

    def look(self, told, times=1):
        watch = DescriptorWatch(self.notices, lambda: told)
        for _ in range(times):
            self.assertLessEqual(watch.wake_at, self.now)
            watch.sweep(self.now)
            self.now += LOOK_SECONDS
        return self.notices.counts["descriptors"]

    def test_told_from_95_percent_on(self):
        self.assertEqual([self.look(told) for told in (None, (94, 100), (949, 1000))], [0, 0, 0])
        self.assertEqual(self.lines, [])
        self.assertEqual(self.look((950, 1000), times=3), 3)
        said = "descriptors: 950 of 1000 file descriptors are in use: without one nobody can connect; raise LimitNOFILE"
        self.assertEqual(list(self.lines), [said] * 3)

    def test_what_is_open_is_counted(self):
        used, most = descriptors() or (0, 0)
        taken = [os.dup(0) for _ in range(10)]
        self.addCleanup(lambda: [os.close(each) for each in taken])
        self.assertEqual(descriptors(), (used + 10, most))

    def test_all_of_them(self):
        with none_left():
            used, most = descriptors() or (0, 1)
        self.assertEqual(used, most)


class NoneLeftTests(TestCase):
    async def test_connect(self):
        """It says what is wrong, and can be tried again."""
        await (await connect(reactor, URL)).close()
        with none_left(), self.assertRaises(ConfigError) as caught:
            await connect(reactor, URL)
        self.assertIn("Too many open files", str(caught.exception))
        self.assertIn("LimitNOFILE", str(caught.exception))

    async def test_start(self):
        node = Node(reactor, URL)
        self.addCleanup(node.stopService)
        with none_left():
            self.assertRaises(ConfigError, node.startService)
        self.assertFalse(node.running)
        node.startService()
        self.assertTrue(node.running)

    async def test_few_left(self):
        """Too few are as none: libzmq, which would end the process where it finds no other, is not asked for more."""
        for does in ("calls", "serves"):
            out, err, code = await run_child(sys.executable, "zmqrpc.test.integration.few_descriptors", does)
            self.assertEqual((err, code), ("", 0))
            lines = out.splitlines()
            # Either way as many, so that none finds out later.
            self.assertEqual((lines[8], lines[24], len(lines)), ("refused, 0 left", "started", 32))
            self.assertEqual(set(lines), {"refused, 0 left", "started"})
            self.assertEqual(lines, sorted(lines))

    async def test_a_node_looks(self):
        """So does one that only calls, and does nothing."""
        node = Node(reactor, URL)
        self.addCleanup(node.stopService)
        node.startService()
        with none_left():
            node._sweep.run()
        self.assertEqual(node.notices.counts["descriptors"], 1)
