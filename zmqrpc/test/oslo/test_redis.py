"""The Redis of running services is away, empty, and back."""

from __future__ import annotations

from zmqrpc.test.oslo.processes import OsloTestCase
from zmqrpc.test.processes import until
from zmqrpc.test.servers import RedisServer


class RedisTests(OsloTestCase):
    def assert_goes_on(self, green: bool) -> None:
        redis = RedisServer(self)
        server, client = (self.child(green, redis.url) for _ in range(2))
        server.do("serve", topic="known", server="one")
        server.do("listen", topic="notes", name="heard")
        client.do("call", topic="known", server="one", method="name")
        client.do("cast", topic="known", fanout=True, method="note")
        client.do("notify", topic="notes")
        server.hears(1)
        server.hears(1, "heard")
        redis.kill()
        # What is known from before goes on, and at once.
        began = [client.begin("seconds", what="call", topic="known", method="name") for _ in range(20)]
        self.assertEqual([error for _, error in map(client.ended, began)], [None] * 20)
        self.assertEqual(client.do("call", topic="known", server="one", method="name"), "one")
        client.do("cast", topic="known", fanout=True, method="note")
        client.do("notify", topic="notes")
        server.hears(2)
        server.hears(2, "heard")
        # Of what is not known nobody can tell whether it is there.
        seconds, error = client.do("seconds", what="call", topic="unknown", method="name", timeout=1)
        self.assertLess(seconds, 2)
        self.assertTrue({"MessagingTimeout", "MessageDeliveryFailure"} & set(error["kinds"]), error)
        self.assertIn("unknown", error["text"])
        seconds, error = client.do("seconds", what="cast", topic="unknown", method="note", timeout=1, retry=0)
        self.assertLess(seconds, 2)
        self.assertIn("MessageDeliveryFailure", error["kinds"])
        # A server that starts meanwhile serves what it can, and is found once there is a Redis: it is empty.
        late = self.child(green, redis.url)
        starts = late.begin("serve", topic="late", server="two")
        waits = client.begin("call", topic="late", method="name", timeout=25)
        redis.restart(empty=True)
        self.assertEqual(client.ended(waits), "two")
        late.ended(starts)
        fresh = self.child(green, redis.url)
        for topic, name in (("known", "one"), ("late", "two")):
            self.assertEqual(fresh.do("call", topic=topic, method="name", timeout=20), name)
        fresh.do("notify", topic="notes")
        until(lambda: len(server.do("heard", name="heard")) > 2 or fresh.do("notify", topic="notes"), "heard again")
        for child in (late, server, client, fresh):
            self.assertEqual(child.leave(), 0)

    def test_goes_on(self):
        """What services know of each other stays while Redis is away, and is known to others when it is back."""
        self.assert_goes_on(False)

    def test_green(self):
        """So it is with green threads."""
        self.assert_goes_on(True)
