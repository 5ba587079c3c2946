"""What is published: by which proxy, and how it ends for its caller."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from zmqrpc import Target
from zmqrpc.core.batch import decode_batch
from zmqrpc.core.envelope import Fanout, Kind, Refusal, encode_message
from zmqrpc.core.keys import topic_key
from zmqrpc.core.routing import RoutingTable
from zmqrpc.errors import Cancelled, ClientClosed, DeadlineExceeded, MessageTooLarge, NoRoute, Overloaded
from zmqrpc.interfaces import FULL, GONE, SENT
from zmqrpc.notices import Notices
from zmqrpc.outcomes import Outcomes
from zmqrpc.publishers import SETTLE_SECONDS, Publishers
from zmqrpc.publishing import TO_EACH, Publishing
from zmqrpc.record import PROXIES, Record, Role, Sighting
from zmqrpc.settings import Settings
from zmqrpc.test.logs import LogLines
from zmqrpc.waiter import Waiter

OURS = b"o" * 16
KEY = topic_key("x", "work")


class Proxy:
    """A proxy that remembers what it was given."""

    def __init__(self, name, connection=b"1"):
        self.key = self.member = name
        self.address = f"tcp://{name}:1"
        self.connection = connection
        self.largest = 64 * 2**20
        self.fate = SENT
        self.payloads: list[bytes] = []

    def publish(self, key, payload):
        if self.fate == SENT:
            self.payloads.append(payload)
        return self.fate


class PublishingTests(SynchronousTestCase):
    def setUp(self):
        clock = self.clock = Clock()
        settings = Settings(max_queued_calls=10)
        self.notices = Notices(clock.seconds)
        outcomes = Outcomes(OURS, settings, RoutingTable(), clock.seconds, self.notices.record)
        self.came_up: list[bool] = []
        self.publishers = Publishers(lambda addresses: None)
        self.publishing = Publishing(
            OURS,
            settings,
            outcomes,
            self.notices,
            self.publishers,
            clock.seconds,
            lambda: None,
            lambda when: None,
            lambda: self.came_up.append(self.publishing.up),
        )

    def fanout(self, number=0, timeout=5.0):
        call = Waiter(self.publishing.cancel)
        request = Fanout(0, 1, 0, 0, "x", "work", None, None, None, "mark", {"number": number})
        call.begin(int(Kind.FANOUT), Target("work"), encode_message(request), self.clock.seconds() + timeout)
        self.publishing.publish(call, "x", "work")
        return call

    def up(self, name="a", connection=b"1"):
        proxy = Proxy(name, connection)
        self.publishing.publisher_up(proxy)
        return proxy

    def pass_(self, seconds=0.0):
        """Let time pass, and a pass end."""
        self.clock.advance(seconds)
        if self.publishing.wake_at <= self.clock.seconds():
            self.publishing.sweep(self.clock.seconds())
        self.publishing.end_pass()

    def read(self, proxy):
        messages: list[Any] = [message for payload in proxy.payloads for message in decode_batch(payload).messages]
        return [(message.sequence, message.arguments["number"]) for message in messages]

    def failed(self, call, error):
        return str(self.failureResultOf(call, error).value)

    def test_published(self):
        """What one pass gathers is one payload, and its answer ends it."""
        proxy = self.up()
        self.assertEqual(self.came_up, [True])
        calls = [self.fanout(number) for number in range(3)]
        self.assertEqual(proxy.payloads, [])
        self.pass_()
        self.assertEqual(len(proxy.payloads), 1)
        self.assertEqual(self.read(proxy), [(1, 0), (2, 1), (3, 2)])
        self.assertNoResult(calls[0])
        self.publishing.published(proxy, proxy.connection, KEY, b"counter")
        self.assertEqual([self.successResultOf(call) for call in calls], [None] * 3)
        self.publishing.published(proxy, proxy.connection, KEY, b"counter")

    def test_waits_for_a_publisher(self):
        call = self.fanout()
        self.pass_(1.0)
        proxy = self.up()
        self.pass_()
        self.publishing.published(proxy, proxy.connection, KEY, b"")
        self.successResultOf(call)

    def test_too_large_for_every_publisher(self):
        a, b = self.up("a"), self.up("b")
        self.publishing.publisher_lost(a)
        self.publishing.publisher_lost(b)
        a.largest, b.largest = 1000, 2000
        self.publishing.publisher_up(a)
        self.publishing.publisher_up(b)
        large, small = self.fanout("x" * 2000), self.fanout()
        self.pass_()
        error = self.failed(large, MessageTooLarge)
        self.assertIn("no publisher that is up takes so much (2000 bytes, max_message_size there)", error)
        self.assertIn("it did not run", error)
        self.assertEqual(self.read(b) + self.read(a), [(1, 0)])
        self.assertNoResult(small)
        self.publishing.close()
        self.failureResultOf(small, ClientClosed)

    def test_no_publisher(self):
        """The error says which are recorded."""
        record = Record(Role.PUBLISHER, *PROXIES, "host-1", "a" * 32, ("tcp://host-1:1", "tcp://host-1:2"))
        for found, text in (
            (None, "the matchmaker has not said yet which there are"),
            ([], "none is recorded in the matchmaker, start one"),
            ([Sighting(record)] * 2, "look after those that are recorded: host-1 at tcp://host-1:1 ("),
        ):
            if found is not None:
                self.publishers.found(found, 1.0)
            call = self.fanout(timeout=1.0)
            self.pass_(0.5)
            self.assertNoResult(call)
            self.pass_(0.5)
            error = self.failed(call, NoRoute)
            self.assertIn(f"the fan-out failed: no publisher is up: {text}", error)
            self.assertIn("it did not run", error)

    def router(self, name="host-1"):
        return Sighting(Record(Role.ROUTER, *PROXIES, name, "a" * 32, ("tcp://host-1:1", "tcp://host-1:2")))

    def test_none_publishes_after_all(self):
        """What was never given to a publisher is to be sent to each, as soon as that is known."""
        self.publishers.found([], 1.0)
        call = self.fanout()
        self.pass_(0.5)
        self.publishers.found([self.router()], 1.0)
        self.assertIs(self.successResultOf(call), TO_EACH)
        self.assertEqual(self.publishing.describe().open, 0)
        # Who has a link to one that publishes waits for that.
        proxy = self.up()
        self.publishers.found([self.router("host-2")], 1.0)
        self.assertNoResult(self.fanout())
        self.publishing.publisher_lost(proxy)
        self.pass_()

    def test_none_publishes_any_more(self):
        """What a publisher may have published is sent to nobody by itself."""
        proxy = self.up()
        self.publishers.found([self.router()], 1.0)
        given = self.fanout(1, timeout=2)
        self.pass_()
        waiting = self.fanout(2)
        self.publishing.publisher_lost(proxy)
        self.assertIs(self.successResultOf(waiting), TO_EACH)
        self.assertNoResult(given)
        self.pass_(2.0)
        self.assertIn("it may have run", self.failed(given, NoRoute))

    def test_none_publishes_any_more_what_was_not_taken(self):
        """It may be sent to each by itself, since a publisher that was full was given nothing."""
        proxy = self.up()
        self.publishers.found([self.router()], 1.0)
        proxy.fate = FULL
        call = self.fanout()
        self.pass_()
        self.publishing.publisher_lost(proxy)
        self.assertIs(self.successResultOf(call), TO_EACH)

    def test_nobody_subscribes(self):
        proxy = self.up()
        call = self.fanout(timeout=0.35)
        for _ in range(7):
            self.pass_(0.05)
            if proxy.payloads:
                self.publishing.returned(proxy, proxy.connection, proxy.payloads.pop(), Refusal.UNROUTABLE)
        error = self.failed(call, NoRoute)
        self.assertIn("nobody is subscribed at any publisher", error)
        self.assertIn("it did not run", error)

    def test_not_answered(self):
        self.up()
        call = self.fanout(timeout=1.0)
        self.pass_()
        self.pass_(1.0)
        error = self.failed(call, DeadlineExceeded)
        self.assertIn("the publisher has not said that it published it", error)
        self.assertIn("it may have run", error)

    def test_full(self):
        proxy = self.up()
        proxy.fate = FULL
        call = self.fanout(timeout=1.0)
        self.pass_()
        self.pass_(0.1)
        proxy.fate = SENT
        self.pass_(0.1)
        self.assertEqual(self.read(proxy), [(1, 0)])
        self.publishing.published(proxy, proxy.connection, KEY, b"")
        self.successResultOf(call)
        proxy.fate = FULL
        call = self.fanout(timeout=1.0)
        self.pass_()
        self.pass_(1.0)
        self.assertIn("the publisher takes no more", self.failed(call, DeadlineExceeded))

    def test_gone(self):
        """Its loss is told later; another takes it at once."""
        a, b = self.up("a"), self.up("b")
        a.fate = b.fate = GONE
        call = self.fanout()
        self.pass_()
        c = self.up("c")
        self.pass_()
        self.assertEqual(self.read(c), [(1, 0)])
        self.publishing.publisher_lost(a)
        self.publishing.publisher_lost(b)
        self.publishing.published(c, c.connection, KEY, b"")
        self.successResultOf(call)

    def test_lost(self):
        """What was not answered, and what was just before, goes by another; callers hear of it once."""
        a = self.up("a")
        first = self.fanout(1)
        self.pass_()
        self.publishing.published(a, a.connection, KEY, b"")
        second = self.fanout(2)
        self.pass_()
        b = self.up("b")
        self.publishing.publisher_lost(a)
        self.publishing.publisher_lost(a)
        self.pass_()
        self.assertEqual(self.read(b), [(1, 1), (2, 2)])
        self.publishing.published(b, b.connection, KEY, b"")
        self.successResultOf(first)
        self.successResultOf(second)

    def test_connected_anew(self):
        """What comes by another connection answers nothing of the one before."""
        a = self.up("a")
        call = self.fanout(1)
        self.pass_()
        self.publishing.publisher_lost(a)
        a = self.up("a", b"2")
        self.publishing.published(a, b"2", KEY, b"")
        self.assertNoResult(call)
        self.pass_()
        self.publishing.published(a, b"2", KEY, b"")
        self.successResultOf(call)

    def test_answered_by_the_connection_before(self):
        a = self.up("a")
        call = self.fanout(1)
        self.pass_()
        self.publishing.publisher_lost(a)
        a = self.up("a", b"2")
        self.publishing.published(a, b"1", KEY, b"")
        self.successResultOf(call)

    def test_not_repeated_in_time(self):
        """Its caller was told that it is published, so it is counted."""
        lines = LogLines(self)
        a = self.up("a")
        calls = [self.fanout(number, timeout=1.0) for number in range(3)]
        self.pass_()
        self.publishing.published(a, a.connection, KEY, b"")
        self.publishing.publisher_lost(a)
        self.pass_(2.0)
        self.up("b")
        self.pass_()
        self.publishing.sweep(self.clock.seconds())
        self.assertEqual(self.notices.counts["fanout_unrepeated"], 3)
        self.assertEqual(len(lines.about("3 fan-outs that a publisher had published just before it was lost")), 1)
        for call in calls:
            self.successResultOf(call)

    def test_cancelled(self):
        early, late = self.fanout(1), self.fanout(2)
        early.cancel()
        self.assertIn("it did not run", self.failed(early, Cancelled))
        proxy = self.up()
        self.pass_()
        self.assertEqual(self.read(proxy), [(1, 2)])
        late.cancel()
        self.assertIn("it may have run", self.failed(late, Cancelled))
        self.publishing.published(proxy, proxy.connection, KEY, b"")

    def test_too_many(self):
        calls = [self.fanout(number) for number in range(11)]
        self.assertIn("10 fan-outs wait to be published already", self.failed(calls.pop(), Overloaded))
        self.publishing.close()
        for call in calls:
            self.failureResultOf(call, ClientClosed)


class PublishersTests(SynchronousTestCase):
    """What the matchmaker knows of publishers."""

    def setUp(self):
        self.lines = LogLines(self, "zmqrpc.publishers")
        self.now = 10.0
        self.told: list[list[str]] = []
        self.publishers = Publishers(self.told.append)

    def found(self, *roles):
        records = [
            Record(role, *PROXIES, f"host-{number}", f"{number:032x}", (f"tcp://h:{number}", f"tcp://h:{number + 100}"))
            for number, role in enumerate(roles)
        ]
        self.publishers.found([Sighting(record) for record in records], self.now)

    def pass_(self, seconds=SETTLE_SECONDS):
        self.now += seconds
        self.publishers.sweep(self.now)

    def test_where_they_publish(self):
        self.found(Role.ROUTER, Role.PUBLISHER, Role.PUBLISHER)
        self.found()
        self.assertEqual(self.told, [["tcp://h:101", "tcp://h:102"], []])

    def test_nobody_publishes(self):
        """It is said once."""
        self.found()
        self.found()
        self.assertEqual(len(self.lines), 1)
        self.assertIn("no proxy that publishes is recorded; start one", self.lines[0])

    def test_proxies_that_are_set_otherwise(self):
        """Each is named once, when it is known for certain."""
        for _ in range(2):
            self.found(Role.ROUTER, Role.ROUTER)
            self.pass_()
        (line,) = self.lines
        self.assertIn("do not publish: host-0 at tcp://h:0; host-1 at tcp://h:1; they go to each member", line)
        self.assertEqual(self.publishers.wake_at, float("inf"))

    def test_some_proxies_are_set_otherwise(self):
        for _ in range(2):
            self.found(Role.PUBLISHER, Role.ROUTER, Role.PUBLISHER)
            self.pass_()
        (line,) = self.lines
        self.assertIn("use_pub_sub is true here, but some of the proxies that are recorded do not publish: ", line)
        self.assertIn(": host-1 at tcp://h:1; fan-outs go by the others; write the same", line)
        self.found(Role.PUBLISHER, Role.ROUTER, Role.ROUTER)
        self.pass_()
        self.assertIn("do not publish: host-2 at tcp://h:2; fan-outs go by the others", self.lines[1])

    def test_one_whose_records_come_one_by_one(self):
        """It publishes and routes, and is not taken for one that only routes."""
        self.found(Role.PUBLISHER, Role.ROUTER)
        self.pass_(SETTLE_SECONDS - 0.1)
        self.found(Role.PUBLISHER, Role.PUBLISHER)
        self.pass_()
        self.assertEqual(self.lines, [])

    def test_only_proxies_publish(self):
        """A server that does not subscribe says so once."""
        self.publishers = Publishers(None)
        self.found(Role.ROUTER)
        self.found()
        self.pass_()
        self.assertEqual(len(self.lines), 0)
        for _ in range(2):
            self.found(Role.ROUTER, Role.PUBLISHER, Role.PUBLISHER)
            self.pass_()
        (line,) = self.lines
        self.assertIn(
            "use_pub_sub is false here, but proxies that are recorded publish: host-1 at tcp://h:1; "
            "host-2 at tcp://h:2; write the same for all services and proxies",
            line,
        )

    def test_of_a_fixed_table(self):
        """Nobody goes through what it names, so it is not set otherwise."""
        self.publishers = Publishers(None)
        self.publishers.found([Sighting(Record(Role.PUBLISHER, *PROXIES, "host", "", ("tcp://h:1",) * 2))], self.now)
        self.pass_()
        self.assertEqual(self.lines, [])

    def test_many_are_not_all_named(self):
        self.found(*[Role.ROUTER] * 8)
        self.pass_()
        self.assertIn("host-4 at tcp://h:4; and 3 more;", self.lines[0])
