"""What a server refuses that has too much to do is sent again as ``retry`` says."""

from __future__ import annotations

from typing import Any

from zmqrpc.test.oslo.processes import OsloTestCase

MOST = 2
"""What the server runs at a time."""

TIMEOUT = 1
LATE = 5
"""Seconds by which something may be late, on a machine that is busy."""


class RetryTests(OsloTestCase):
    def assert_refused(self, green: bool) -> None:
        url = f"{self.url}?max_running_calls={MOST}"
        server, client = self.child(green, url), self.child(green, url)
        topic = f"full-{green}"
        server.do("serve", topic=topic, server="one")
        held = [
            client.begin("call", topic=topic, method="wait", args={"gate": "room"}, timeout=25) for _ in range(MOST)
        ]
        server.hears(MOST)

        def begin(what: str, retry: int | None, timeout: int = TIMEOUT, **more: Any) -> int:
            method = "note" if what == "cast" else "name"
            return client.begin("seconds", what=what, topic=topic, method=method, timeout=timeout, retry=retry, **more)

        until_there_is_room = [begin("call", retry, 25) for retry in (None, -1)]
        # As often as is asked for, after pauses of 50 and 100 ms.
        for retry, least in ((0, 0.0), (2, 0.15)):
            for number in [
                begin("call", retry, 25),
                begin("call", retry, 25, at_least_once=True),
                begin("cast", retry, 25),
                begin("cast", retry, 25, fanout=True),
            ]:
                seconds, error = client.ended(number)
                self.assertIn("MessageDeliveryFailure", error["kinds"])
                self.assertRegex(error["text"], "the member is overloaded.*max_running_calls.*; it did not run")
                self.assertTrue(least <= seconds < least + LATE, seconds)
        for number in [begin("call", retry) for retry in (-1, None)]:
            seconds, error = client.ended(number)
            # A busy machine may have no time to refuse the last one.
            self.assertTrue({"MessageDeliveryFailure", "MessagingTimeout"} & set(error["kinds"]))
            self.assertRegex(error["text"], "(the member is overloaded.*did not|time was up.*may have) run")
            self.assertTrue(TIMEOUT - 0.3 <= seconds < TIMEOUT + LATE, seconds)
        # Who casts without a number is told nothing; it is sent again, and runs when there is room.
        told = begin("cast", None, 25)
        self.assertIsNone(client.ended(told)[1])
        self.assertEqual(len(server.do("heard")), MOST)
        server.do("open", gate="room")
        self.assertEqual([client.ended(number) for number in held], ["one"] * MOST)
        self.assertEqual([client.ended(number)[1] for number in until_there_is_room], [None, None])
        self.assertEqual(server.hears(MOST + 1)[MOST:], [["one", {}]])
        self.assertEqual((client.leave(), server.leave()), (0, 0))

    def test_refused(self):
        """A number of 0 or more is how often; none, or less, is until its time is up."""
        self.assert_refused(False)

    def test_refused_green(self):
        """So it is with green threads."""
        self.assert_refused(True)

    def assert_notified(self, green: bool) -> None:
        url = f"{self.url}?max_running_calls=5"
        server, client = self.child(green, url), self.child(green, url)
        topic = f"notified-{green}"
        server.do("listen", topic=topic, name="heard")
        client.do("notify_often", topic=topic, count=300)
        self.assertEqual(sorted(told[4] for told in server.hears(300, "heard")), list(range(300)))

    def test_notified(self):
        """A notification that a listener has no room for is sent again until it has."""
        self.assert_notified(False)

    def test_notified_green(self):
        """So it is with green threads."""
        self.assert_notified(True)
