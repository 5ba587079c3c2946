"""Calls that may take long, as long as it is known that they run."""

from __future__ import annotations

import time

from zmqrpc.test.oslo.processes import OsloTestCase
from zmqrpc.test.processes import until


class CallMonitorTests(OsloTestCase):
    def assert_monitored(self, green: bool) -> None:
        server, client = self.child(green), self.child(green)
        server.do("serve", topic="long", server="one")
        client.do("call", topic="long", method="name")
        monitored = {"what": "call", "topic": "long", "call_monitor_timeout": 1}
        slow = {"method": "slow", "args": {"seconds": 3}}
        calls = [
            client.begin("seconds", **monitored, **slow, timeout=10),
            client.begin("seconds", **monitored, **slow, timeout=1.5),
            client.begin("seconds", **monitored, method="nothing", timeout=10),
        ]
        threads = server.do("threads")
        seconds, error = client.ended(calls[0])
        self.assertIsNone(error)
        self.assertGreaterEqual(seconds, 3)
        seconds, error = client.ended(calls[1])
        self.assertIn("MessagingTimeout", error["kinds"])
        self.assertLess(seconds, 2.5)
        seconds, error = client.ended(calls[2])
        self.assertIn("NoSuchMethod", error["text"])
        self.assertLess(seconds, 1)
        self.assertNotIn("_watchdog", "".join(threads))
        # A server that hangs says nothing.
        call = client.begin(
            "seconds",
            what="call",
            topic="long",
            method="wait",
            args={"gate": "never"},
            timeout=20,
            call_monitor_timeout=2,
        )
        until(lambda: [name for _, name in server.do("heard") if name == "never"], "it runs")
        server.stop_running()
        began = time.monotonic()
        _, error = client.ended(call)
        self.assertIn("MessagingTimeout", error["kinds"])
        self.assertLess(time.monotonic() - began, 3.5)
        server.run_again()
        # No thread is left of calls that have ended.
        server.do("open", gate="never")
        failing = [
            client.begin("seconds", **monitored, method=method, timeout=10) for method in ["nothing", "fail"] * 20
        ]
        for each in failing:
            self.assertIsNotNone(client.ended(each)[1])
        self.assertNotIn("_watchdog", "".join(server.do("threads")))

    def test_monitored(self):
        """A call runs on as long as its server is heard of, up to its timeout; it ends when that is silent."""
        self.assert_monitored(False)

    def test_monitored_green(self):
        """So it is with green threads."""
        self.assert_monitored(True)
