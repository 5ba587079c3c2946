"""Notifications: who hears them, in which batches, and what becomes of those that are given back."""

from __future__ import annotations

from itertools import chain

from zmqrpc.test.oslo.processes import OsloTestCase
from zmqrpc.test.processes import until


class NotificationTests(OsloTestCase):
    def assert_heard(self, green: bool) -> None:
        sender = self.child(green)
        ones = [self.child(green), self.child(green)]
        for one in ones:
            one.do("listen", topic="notes", name="shared")
            one.do("listen", topic="notes", name="pool", pool="pool")
        ones[0].do("listen", topic="notes", name="alone", pool="alone")
        ones[0].do("listen", topic="notes", name="elsewhere", exchange="elsewhere")

        def both_hear() -> bool:
            sender.do("notify", topic="notes")
            return all(one.do("heard", name=name) for one in ones for name in ("shared", "pool"))

        until(both_hear, "its sender knows both")
        ones[0].hears(1, "alone")
        sender.do("notify_often", topic="notes", count=40)

        def heard(name: str) -> list[list[int]]:
            """Wait until all is heard under a name; return what was, by listener."""

            def heard_by_each() -> list[list[int]]:
                return [[told[4] for told in one.do("heard", name=name) if told[4] is not None] for one in ones]

            until(lambda: sum(map(len, heard_by_each())) >= 40, heard_by_each)
            return heard_by_each()

        for name in ("shared", "pool"):
            # Each of them hears some, and both together hear each once.
            parts = heard(name)
            self.assertEqual(sorted(chain(*parts)), list(range(40)), name)
            self.assertGreater(min(map(len, parts)), 10, name)
        self.assertEqual(sorted(heard("alone")[0]), list(range(40)))
        self.assertEqual(ones[0].do("heard", name="elsewhere"), [])
        # Each priority is a topic of its own, and arrives with everything that was said.
        for priority in ("audit", "debug", "info", "warn", "error", "critical", "sample"):
            before = len(ones[0].do("heard", name="alone"))
            sender.do(
                "notify",
                topic="notes",
                priority=priority,
                event=f"event.{priority}",
                payload={"text": "grüße", "number": 2**70},
                context={"user": "ada"},
            )
            told, context, publisher, event, payload, metadata = ones[0].hears(before + 1, "alone")[before]
            self.assertEqual((told, publisher, event), (priority, "publisher", f"event.{priority}"))
            self.assertEqual(payload, {"text": "grüße", "number": 2**70})
            # A dict is what a notifier makes empty; an object may say what it holds.
            self.assertEqual(context, {})
            self.assertEqual(set(metadata), {"message_id", "timestamp"})
        before = len(ones[0].do("heard", name="alone"))
        sender.do("notify", topic="notes", context=["object", {"user": "ada"}])
        self.assertEqual(ones[0].hears(before + 1, "alone")[before][1], {"user": "ada"})
        for child in (sender, *ones):
            self.assertEqual((child.leave(), child.err), (0, ""))

    def test_heard(self):
        """The listeners of one pool share notifications, and each pool has a copy; others hear nothing."""
        self.assert_heard(False)

    def test_heard_green(self):
        """So it is with green threads."""
        self.assert_heard(True)

    def assert_batches(self, green: bool) -> None:
        listener, sender = self.child(green), self.child(green)
        listener.do("listen", topic="batches", name="batches", batch_size=100, batch_timeout=1.5)
        sender.do("notify_often", topic="batches", count=205)
        # They run in threads, one of which may overtake another.
        batches = sorted(listener.hears(3, "batches"), key=lambda batch: batch[1][0])
        self.assertEqual([size for size, _ in batches], [100, 100, 5])
        self.assertEqual([*chain(*(payloads for _, payloads in batches))], list(range(205)))
        # One without a size holds all that comes within its time; without either there is nothing to wait for.
        listener.do("listen", topic="sizeless", name="sizeless", batch_timeout=1, batches=True)
        sender.do("notify_often", topic="sizeless", count=150)
        (batch,) = listener.hears(1, "sizeless")
        self.assertEqual(batch, [150, list(range(150))])
        listener.do("listen", topic="timeless", name="timeless", batches=True)
        sender.do("notify_often", topic="timeless", count=3)
        self.assertCountEqual(listener.hears(3, "timeless"), [[1, [0]], [1, [1]], [1, [2]]])
        # One that a single sender cannot fill is handed on when it holds what that may have under way.
        for size, name in ((2000, "large"), (None, "endless")):
            listener.do("listen", topic=name, name=name, batch_size=size, batch_timeout=60, batches=True)
            sender.do("notify_often", topic=name, count=1005)
            (batch,) = listener.hears(1, name)
            self.assertEqual(batch, [1000, list(range(1000))])
            # What waits for more is handed on by the end of its listener.
            until(lambda name=name: listener.do("waiting", name=name) == 5, "five wait")
            listener.do("end", server=name)
            self.assertEqual([size for size, _ in listener.do("heard", name=name)], [1000, 5])

    def test_batches(self):
        """Batches are full, but for the last, which waits for as long as it may; all come in their order."""
        self.assert_batches(False)

    def test_batches_green(self):
        """So it is with green threads."""
        self.assert_batches(True)

    def test_given_back(self):
        """What an endpoint gives back, or fails with, comes again, here or at another of its pool; once it is taken."""
        listener, sender = self.child(), self.child()
        for raises in (False, True):
            topic = f"again-{raises}"
            listener.do("listen", topic=topic, name=topic, refuses=3, raises=raises)
            sender.do("notify_often", topic=topic, count=5)
            self.assertEqual(sorted(told[4] for told in listener.hears(5, topic)), list(range(5)))
        # Of two listeners one gives everything back: the other takes it.
        listener.do("listen", topic="shared", name="refuses", refuses=1_000_000)
        other = self.child()
        other.do("listen", topic="shared", name="takes")
        sender.do("notify_often", topic="shared", count=10)
        self.assertEqual(sorted(told[4] for told in other.hears(10, "takes")), list(range(10)))
        self.assertEqual(listener.do("heard", name="refuses"), [])
        # A batch is given back as one.
        listener.do("listen", topic="batch", name="batch", batch_size=5, batch_timeout=0.5, refuses=1)
        sender.do("notify_often", topic="batch", count=5)
        until(lambda: sum(size for size, _ in listener.do("heard", name="batch")) == 5, "the batch again")

    def test_killed(self):
        """What a listener had when it was killed comes to another; and all is heard that is sent meanwhile."""
        ones = [self.child(), self.child()]
        for one in ones:
            one.do("listen", topic="notes", name="heard")
        sender = self.child()
        sender.do("notify_often", topic="notes", count=10)
        ones[0].hears(1, "heard")
        until(lambda: sum(len(one.do("heard", name="heard")) for one in ones) >= 10, "both hear")
        before = ones[1].do("heard", name="heard")
        ones[0].process.kill()
        sender.do("notify_often", topic="notes", count=20)
        after = [told[4] for told in ones[1].hears(len(before) + 20, "heard")[len(before) :]]
        self.assertEqual(sorted(after), list(range(20)))

    def test_odd(self):
        """Messages that are no notifications of oslo.messaging's notifier arrive as they are."""
        listener, sender = self.child(), self.child()
        listener.do("hear_raw", topic="odd", priority="info", name="odd")
        odd = [
            {"free": "form"},
            {},
            [1, 2],
            "text",
            None,
            {"publisher_id": 5, "event_type": None, "payload": "x", "message_id": 1, "timestamp": 2, "priority": "A"},
            {"publisher_id": "a", "event_type": "b", "payload": {}, "priority": "INFO", "more": [2**80]},
        ]
        for message in odd:
            sender.do("send_raw", topic="odd.info", message=message, context={"user": "ada"}, version=2.0)
        self.assertEqual(listener.hears(len(odd), "odd"), [[{"user": "ada"}, message] for message in odd])

    def assert_given_on(self, green: bool) -> None:
        """Kill one of two listeners that has handled nothing of what it has: the other gets all of that."""
        topic = f"killed-{green}"
        listeners, client = [self.child(green), self.child(green)], self.child(green)
        for each in listeners:
            each.do("listen", topic=topic, name="heard")
        client.do("listen", topic=topic, name="other", pool="other")
        until(
            lambda: (
                client.do("notify", topic=topic, payload=-1)
                or all(each.do("heard", name="heard") for each in listeners)
            ),
            "both hear",
        )
        dies, lives = listeners
        dies.stop_running()
        client.do("notify_often", topic=topic, count=60)
        dies.kill()
        until(
            lambda: {told[4] for told in lives.do("heard", name="heard")} >= set(range(60)),
            lambda: len(lives.do("heard", name="heard")),
        )

        def others() -> list[int]:
            return [told[4] for told in client.do("heard", name="other") if told[4] >= 0]

        # Another pool has all of it, and no part of it again.
        until(lambda: len(others()) >= 60, others)
        self.assertCountEqual(others(), range(60))

    def test_given_on(self) -> None:
        """What a listener had when it died goes to another, however much that is."""
        self.assert_given_on(False)

    def test_given_on_green(self) -> None:
        """So it is with green threads."""
        self.assert_given_on(True)
