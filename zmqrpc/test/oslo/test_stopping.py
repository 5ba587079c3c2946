"""Servers that stop: what they run is answered, and nobody looks for them any more."""

from __future__ import annotations

import time

from zmqrpc.test.oslo.processes import OsloTestCase
from zmqrpc.test.processes import until


class StoppingTests(OsloTestCase):
    def assert_answers(self, green: bool) -> None:
        topic = f"stops-{green}"
        server, client = self.child(green), self.child(green)
        server.do("serve", topic=topic, server="one")
        server.do("serve", topic=topic, server="two")
        # Services do so.
        server.do("start_again", server="one")
        until(lambda: len(client.do("calls", topic=topic, count=2, method="name")) == 2, "both answer")
        self.assertEqual(client.do("calls", topic=topic, count=10, method="name"), {"one": 5, "two": 5})
        slow = [
            client.begin("call", topic=topic, server="one", method="wait", args={"gate": "stopped"}, timeout=20)
            for _ in range(3)
        ]
        server.hears(3)
        under_way = client.begin("calls_until", topic=topic, threads=4, gate="enough", method="name", timeout=5)
        until(lambda: client.do("called") > 20, "calls")
        # Another thread than that which has started it, and another that waits.
        server.do("stop", server="one")
        waits = server.begin("wait", server="one")
        # It is gone at once, also for who has known it.
        for who in (client, self.child()):
            failure = self.fails(who, "call", topic=topic, server="one", method="name", timeout=5, at_least_once=True)
            self.assertIn("MessageUndeliverable", failure.kinds)
            who.do("cast", topic=topic, server="one", method="note")
        self.assertEqual(client.do("calls", topic=topic, count=10, method="name"), {"two": 10})
        began = time.monotonic()
        client.do("cast", topic=topic, fanout=True, method="note")
        self.assertLess(time.monotonic() - began, 1)
        server.do("open", gate="stopped")
        self.assertEqual([client.ended(each) for each in slow], ["one"] * 3)
        server.ended(waits)
        until(lambda: client.do("called") > 60, "calls")
        client.do("open", gate="enough")
        self.assertEqual(set(client.ended(under_way)), {"one", "two"})
        self.assertEqual(server.hears(4)[3:], [["two", {}]])
        # What has ended can begin again.
        server.do("start_again", server="one")
        self.assertEqual(client.do("call", topic=topic, server="one", method="name", timeout=5), "one")
        for each in ("one", "two"):
            server.do("end", server=each)
        server.do("cleanup")
        server.do("cleanup")
        client.do("cleanup")
        for child in (server, client):
            self.assertEqual((child.leave(), child.err), (0, ""))

    def test_answers(self):
        """A server that stops answers what it runs, is gone at once, and no call to its fellow fails."""
        self.assert_answers(False)

    def test_answers_green(self):
        """So it is with green threads."""
        self.assert_answers(True)

    def assert_starts_again(self, green: bool) -> None:
        topic = f"again-{green}"
        server, client = self.child(green), self.child(green)
        server.do("serve", topic=topic, server="one")
        calls = client.begin("calls_until", topic=topic, threads=20, gate="enough", method="nap", timeout=20)

        def more() -> None:
            called = client.do("called")
            until(lambda: client.do("called") > called + 20, "calls")

        for _ in range(2):
            more()
            server.do("reset", server="one")
            server.do("stop", server="one")
            server.do("wait", server="one")
            server.do("start_again", server="one")
        more()
        client.do("open", gate="enough")
        self.assertEqual(set(client.ended(calls)), {"one"})
        # Those whose server ends for good hear of that.
        last = client.begin("calls_until", topic=topic, threads=20, gate="last", method="name", timeout=1)
        more()
        server.do("end", server="one")
        more()
        client.do("open", gate="last")
        for outcome in set(client.ended(last)) - {"one"}:
            self.assertRegex(outcome, "^MessagingTimeout: .*(nobody listens there|that are stopping).* it did not run")
        for child in (server, client):
            self.assertEqual((child.leave(), child.err), (0, ""))

    def test_starts_again(self):
        """The only server of 20 threads stops and starts again: no call fails, and each runs before it or after it."""
        self.assert_starts_again(False)

    def test_starts_again_green(self):
        """So it is with green threads."""
        self.assert_starts_again(True)
