"""What counts as having been kept from running."""

from __future__ import annotations

import os
import time
from threading import Event, Thread

from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.test.scheduling import KeptWaiting


class KeptWaitingTests(SynchronousTestCase):
    def test_two_on_one_processor(self):
        """What is waited for another process on the same processor is counted."""
        until = time.monotonic() + 20
        child = os.fork()
        if not child:
            while time.monotonic() < until:
                pass
            os._exit(0)
        self.addCleanup(os.waitpid, child, 0)
        self.addCleanup(os.kill, child, 9)
        allowed = os.sched_getaffinity(0)
        self.addCleanup(os.sched_setaffinity, 0, allowed)
        for process in (0, child):
            os.sched_setaffinity(process, {min(allowed)})
        kept = KeptWaiting()
        self.assertEqual(kept.seconds(), 0)
        while kept.seconds() < 0.05:
            self.assertLess(time.monotonic(), until)

    def test_sleep_counts_as_ours(self):
        kept = KeptWaiting()
        kept.seconds()
        began = time.monotonic()
        time.sleep(0.1)
        waited = kept.seconds()
        self.assertGreaterEqual(time.monotonic() - began - waited, 0.09)

    def test_threads_that_end(self):
        """What has been counted stays."""
        kept = KeptWaiting()
        kept.seconds()
        go_on = Event()
        threads = [Thread(target=go_on.wait) for _ in range(5)]
        for thread in threads:
            thread.start()
        before = kept.seconds()
        go_on.set()
        for thread in threads:
            thread.join()
        self.assertGreaterEqual(kept.seconds(), before)
