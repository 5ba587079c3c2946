"""The store hangs, is killed and comes back empty, or has another master, while services call."""

from __future__ import annotations

from collections.abc import Callable

from zmqrpc.test.oslo.processes import OsloTestCase
from zmqrpc.test.processes import until
from zmqrpc.test.sentinels import SentinelSet
from zmqrpc.test.servers import RedisServer

AFTERWARDS = 10
"""Seconds within which all works once the store does."""


# One whose server comes in its last millisecond arrives there too late.
_UNKNOWN = (
    "^MessagingTimeout: .*(the matchmaker cannot tell|nobody listens|no WELCOME of the member has come yet|"
    "its time was up when it arrived).* did not run"
)


class OutageTests(OsloTestCase):
    def assert_survived(self, store: str, outage: Callable[[], object], green: bool = False) -> None:
        """
        Have services call all the time, some of them where nobody listens yet.

        :param outage: takes the store away, and brings it back.
        """
        url = f"{store}?rpc_zmq_bind_address=127.0.0.1"
        server, client, other = (self.child(green, url) for _ in range(3))
        server.do("serve", topic="known", server="one")
        server.do("listen", topic="notes", name="heard")
        client.do("call", topic="known", server="one", method="name")
        client.do("notify", topic="notes")
        server.hears(1, "heard")
        known = client.begin("calls_until", topic="known", threads=2, gate="over", method="name", timeout=3)
        unknown = other.begin("calls_until", topic="unknown", threads=2, gate="over", method="name", timeout=1)
        until(lambda: client.do("called") > 20 and other.do("called"), "calls")
        outage()
        # Those who were there, and those who come now, find each other.
        late, fresh = self.child(green, url), self.child(green, url)
        late.do("serve", topic="late", server="two")
        for topic, name in (("known", "one"), ("late", "two")):
            for who in (client, fresh):
                self.assertEqual(who.do("call", topic=topic, method="name", timeout=AFTERWARDS), name)
        until(lambda: len(server.do("heard", name="heard")) > 1 or fresh.do("notify", topic="notes"), "heard again")
        late.do("serve", topic="unknown", server="three")
        self.assertEqual(other.do("call", topic="unknown", method="name", timeout=AFTERWARDS), "three")
        # A call needs no store where its server is known; elsewhere it says what is wrong with the store.
        for who, begun, answer in ((client, known, "one"), (other, unknown, "three")):
            who.do("open", gate="over")
            failed = set(who.ended(begun)) - {answer}
            self.assertEqual(bool(failed), who is other)
            for outcome in failed:
                self.assertRegex(outcome, _UNKNOWN)
        for child in (late, server, client, other, fresh):
            self.assertEqual(child.leave(), 0)
            self.assertNotIn("Traceback", child.err)

    def test_hangs(self):
        """A Redis answers nothing for some time, longer than it is waited for."""
        redis = RedisServer(self)

        def outage() -> None:
            redis.stop_answering()
            self.pause(2)
            redis.answer_again()

        self.assert_survived(redis.url, outage)

    def test_empty(self):
        """A Redis is killed, and has nothing when it comes back; with green threads."""
        redis = RedisServer(self)

        def outage() -> None:
            redis.kill()
            self.pause(1)
            redis.restart(empty=True)

        self.assert_survived(redis.url, outage, green=True)

    def test_failover(self):
        """A master hangs, and Sentinels choose another; later it goes on, as a replica."""
        sentinels = SentinelSet(self)

        def outage() -> None:
            master = sentinels.master()
            master.stop_answering()
            sentinels.wait("another master", lambda: sentinels.has_left(master))
            master.answer_again()

        self.assert_survived(sentinels.url, outage)
