"""What comes published: readiness, what runs of it, and what is refused."""

from __future__ import annotations

from itertools import count
from typing import Any, cast

from twisted.internet.defer import CancelledError, succeed
from twisted.trial.unittest import SynchronousTestCase

from zmqrpc import Target
from zmqrpc.callers import Callers
from zmqrpc.core.batch import encode_batch
from zmqrpc.core.envelope import Call, Fanout, encode_message
from zmqrpc.core.keys import Counter, encode_counter, topic_key
from zmqrpc.core.outage import AGAIN_SECONDS
from zmqrpc.core.series import GRACE
from zmqrpc.notices import Notices
from zmqrpc.server import RPCServer
from zmqrpc.settings import Settings
from zmqrpc.subscriptions import ALONE_SECONDS, READY_SECONDS, Subscriptions
from zmqrpc.test.logs import LogLines
from zmqrpc.test.scenarios.endpoints import Worker
from zmqrpc.threads import Threads

KEY, OTHER = topic_key("x", "work"), topic_key("x", "other")
OURS, CLIENT, PUBLISHER = bytes(16), b"c" * 16, b"p" * 16
A, B = "tcp://127.0.0.1:1", "tcp://127.0.0.1:2"


class Socket:
    """A SUB socket that remembers what it was told."""

    def __init__(self, receiver, address):
        self.receiver = receiver
        self.address = address
        self.filters: list[bytes] = []
        self.closed = False

    def subscribe(self, filter):
        self.filters.append(filter)

    def unsubscribe(self, filter):
        self.filters.remove(filter)

    def close(self):
        self.closed = True


class Transport:
    """Makes them."""

    def __init__(self):
        self.sockets: list[Socket] = []

    def subscriber(self, receiver, address):
        self.sockets.append(Socket(receiver, address))
        return self.sockets[-1]

    def resolve(self, host, turn=0):
        return succeed(host)

    def kick(self):
        pass


class Case(SynchronousTestCase):
    """One node that serves ``work.a``, without sockets."""

    options: dict[str, Any] = {}

    def setUp(self):
        self.now = 10.0

        def seconds():
            return self.now

        self.transport = Transport()
        self.settings = Settings(use_pub_sub=True, **self.options)
        self.notices = Notices(seconds)
        self.callers = Callers(OURS, self.settings, self.notices, seconds, lambda: None, lambda when: None)
        tokens = count()
        self.subscriptions = Subscriptions(
            self.settings,
            cast(Any, self.transport),
            self.callers.requests,
            self.notices,
            lambda: next(tokens).to_bytes(16, "big"),
            lambda: 1.0,
            seconds,
            lambda when: None,
        )
        self.counts = count(1)
        self.worker = self.serve("a")

    def serve(self, member, topic="work"):
        worker = Worker(member)
        target = Target(topic, server=member, exchange="x")
        self.callers.add(RPCServer(target, [worker], Threads(None, 1)))
        self.subscriptions.serve(target)
        return worker

    def sockets(self):
        return {socket.address: socket for socket in self.transport.sockets if not socket.closed}

    def connect(self, address=A):
        self.sockets()[address].receiver.connected()

    def confirm(self, address=A):
        """Answer the token that was subscribed last."""
        socket = self.sockets()[address]
        (token,) = [filter for filter in socket.filters if filter[:1] == b"K"]
        socket.receiver.published_received(token, encode_counter(Counter(PUBLISHER, 0)), None)

    def begin(self):
        self.subscriptions.start()
        self.subscriptions.found([A])
        self.connect()
        self.confirm()

    def sweep(self, seconds=0.0):
        self.now += seconds
        self.subscriptions.sweep(self.now)

    def fanout(self, number, method="mark", attempt=1, kind=Fanout, topic="work", remaining=5000):
        return kind(number, attempt, 0, remaining, "x", topic, None, None, None, method, {"number": number})

    def payload(self, *messages, source=CLIENT, sent=None, destination=None):
        sent = int(self.now * 1000) if sent is None else sent
        return encode_batch(source, destination, sent, (), [encode_message(message) for message in messages])

    def publish(self, *messages, counted=None, key=KEY, address=A, **options):
        """Have messages come; return what they count as."""
        counter = encode_counter(Counter(PUBLISHER, counted or next(self.counts)))
        payload = self.payload(*messages, **options)
        held = self.sockets()[address].receiver.published_received(key, counter, memoryview(payload))
        self.callers.end_pass()
        return held


class ReadinessTests(Case):
    def test_tried(self):
        """It is known after two seconds at the latest, whatever the matchmaker says, and who confirms."""
        waiter = self.subscriptions.when_tried()
        self.subscriptions.start()
        self.sweep(1.0)
        self.subscriptions.found([A])
        self.connect()
        later = self.subscriptions.when_tried()
        self.sweep(0.9)
        self.assertNoResult(waiter)
        self.sweep(0.1)
        self.successResultOf(waiter)
        self.assertNoResult(later)
        self.assertFalse(self.is_ready())
        self.confirm()
        self.successResultOf(later)
        self.successResultOf(self.subscriptions.when_tried())
        self.sweep(1.0)

    def test_tried_and_closed(self):
        waiter = self.subscriptions.when_tried()
        self.subscriptions.close()
        self.failureResultOf(waiter, CancelledError)
        self.sweep(READY_SECONDS)

    def is_ready(self):
        if not hasattr(self, "waiter"):
            self.waiter = self.subscriptions.when_ready()
        return bool(self.waiter.called)

    def test_every_publisher_confirms(self):
        self.subscriptions.start()
        self.assertFalse(self.is_ready())
        self.subscriptions.found([A, B])
        self.assertEqual(set(self.sockets()), {A, B})
        for address in (A, B):
            self.connect(address)
            self.assertIn(KEY, self.sockets()[address].filters)
            self.assertFalse(self.is_ready())
            self.confirm(address)
        self.assertTrue(self.is_ready())

    def test_one_that_is_not_connected_in_time_is_left_out(self):
        lines = LogLines(self)
        self.subscriptions.start()
        self.subscriptions.found([A, B])
        self.connect()
        self.confirm()
        self.assertEqual(self.subscriptions.wake_at, self.now + READY_SECONDS)
        self.sweep(READY_SECONDS - 0.1)
        self.assertFalse(self.is_ready())
        self.sweep(0.1)
        self.assertTrue(self.is_ready())
        self.assertEqual(len(lines.about(f"not subscribed yet at the publisher {B}")), 1)
        self.sweep(2.0)
        self.connect(B)
        self.confirm(B)
        self.assertEqual(len(lines.about(f"subscribed at the publisher {B}")), 1)

    def test_one_that_confirms_nothing_is_left_out(self):
        """A local publisher without publishers is connected, and has nothing to confirm."""
        lines = LogLines(self)
        self.subscriptions.start()
        self.subscriptions.found([A])
        self.connect()
        self.sweep(READY_SECONDS)
        self.sweep(1.0)
        self.assertEqual((self.is_ready(), lines.about("not subscribed yet")), (False, []))
        self.sweep(0.1)
        self.assertTrue(self.is_ready())
        (line,) = lines.about(f"not subscribed yet at the publisher {A}")
        self.assertIn("heard nothing of its subscriptions for 3 s", line)

    def refuse(self, address=B):
        self.sockets()[address].receiver.connection_lost("it was refused")

    def test_one_that_refuses_is_not_waited_for(self):
        """Twice, and where another has confirmed; it is subscribed to when it comes."""
        lines = LogLines(self)
        self.subscriptions.start()
        self.subscriptions.found([A, B])
        tried = self.subscriptions.when_tried()
        self.connect()
        self.refuse()
        self.confirm()
        self.assertFalse(self.is_ready())
        self.sweep(0.1)
        self.assertFalse(self.is_ready())
        self.refuse()
        self.assertTrue(self.is_ready())
        self.successResultOf(tried)
        (line,) = lines.about(f"not subscribed yet at the publisher {B}")
        self.assertIn("it was refused", line)
        self.sweep(0.3)
        self.connect(B)
        self.confirm(B)
        self.assertEqual(len(lines.about(f"subscribed at the publisher {B}")), 1)
        self.sweep(READY_SECONDS)
        self.assertEqual(len(lines.about("not subscribed yet")), 1)

    def test_one_that_starts_again_is_waited_for(self):
        """Where no other has confirmed, for the whole time: clients would publish by it at once."""
        for comes_back in (True, False):
            self.setUp()
            self.subscriptions.start()
            self.subscriptions.found([B])
            waiter = self.subscriptions.when_ready()
            for seconds in (0.1, 0.2, 0.4):
                self.refuse()
                self.assertFalse(waiter.called)
                self.sweep(seconds)
            if comes_back:
                self.connect(B)
                self.assertFalse(waiter.called)
                self.confirm(B)
            else:
                self.sweep(READY_SECONDS - 0.7)
            self.assertTrue(waiter.called)

    def test_one_that_refused_and_is_connected_is_waited_for(self):
        self.subscriptions.start()
        self.subscriptions.found([A, B])
        for seconds in (0.1, 0.2):
            self.refuse()
            self.sweep(seconds)
        self.connect(B)
        self.connect()
        self.confirm()
        self.assertFalse(self.is_ready())
        self.confirm(B)
        self.assertTrue(self.is_ready())

    def test_one_that_is_connected_is_waited_for(self):
        """Until it confirms, or is lost."""
        for end in (self.confirm, lambda: self.sockets()[A].receiver.connection_lost("it ended")):
            self.setUp()
            self.subscriptions.start()
            self.subscriptions.found([A])
            self.connect()
            self.sweep(READY_SECONDS)
            waiter = self.subscriptions.when_ready()
            self.assertFalse(waiter.called)
            end()
            self.assertTrue(waiter.called)

    def test_no_publisher(self):
        self.subscriptions.start()
        self.subscriptions.found([])
        self.assertTrue(self.is_ready())

    def test_known_before_the_start(self):
        self.subscriptions.found([A])
        self.assertEqual(self.sockets(), {})
        self.assertFalse(self.is_ready())
        self.begin()
        self.assertTrue(self.is_ready())

    def test_another_topic(self):
        """It is waited for anew; another member of the same topic is subscribed to already."""
        self.begin()
        self.serve("b")
        self.assertTrue(self.is_ready())
        self.serve("a", "other")
        self.assertEqual(self.sockets()[A].filters[:2], [KEY, OTHER])
        waiter = self.subscriptions.when_ready()
        self.assertFalse(waiter.called)
        self.confirm()
        self.assertTrue(waiter.called)

    def test_stopped(self):
        self.subscriptions.start()
        waiter = self.subscriptions.when_ready()
        self.subscriptions.found([A])
        self.subscriptions.close()
        self.failureResultOf(waiter, CancelledError)
        self.assertEqual(self.sockets(), {})
        self.subscriptions.found([A, B])
        self.assertEqual(self.sockets(), {})


class SubscribeOnTests(Case):
    options = {"subscribe_on": ("127.0.0.1:2",)}

    def test_it_outranks_the_matchmaker(self):
        self.subscriptions.found([A])
        self.subscriptions.start()
        self.subscriptions.found([A])
        self.assertEqual(set(self.sockets()), {B})
        waiter = self.subscriptions.when_ready()
        self.connect(B)
        self.confirm(B)
        self.assertTrue(waiter.called)


class AloneTests(Case):
    """A server that no publisher has confirmed anything says so, again and again."""

    def setUp(self):
        super().setUp()
        self.lines = LogLines(self, "zmqrpc.subscriptions")

    def told(self, seconds):
        """Let time pass; list what was told of it."""
        del self.lines[:]
        until = self.now + seconds
        while self.now < until:
            self.sweep(min(1.0, until - self.now))
            for address in self.sockets():
                self.sockets()[address].receiver.connection_lost("it was refused")
        return self.lines.about("no publisher has confirmed what the servers here subscribe to")

    def test_none_is_recorded(self):
        self.subscriptions.start()
        self.assertEqual(self.told(ALONE_SECONDS - 1), [])
        (line,) = self.told(2)
        self.assertIn("the matchmaker has not said yet which publishers there are", line)
        self.subscriptions.found([])
        self.assertEqual(self.told(AGAIN_SECONDS - 2), [])
        (line,) = self.told(2)
        self.assertIn("they miss every fan-out that is published: none is recorded in the matchmaker", line)
        self.assertEqual(len(self.told(3 * AGAIN_SECONDS)), 3)
        self.subscriptions.close()
        self.assertEqual(self.told(2 * AGAIN_SECONDS), [])

    def test_those_that_are_recorded_are_lost(self):
        self.begin()
        self.assertEqual(self.subscriptions.wake_at, self.now + READY_SECONDS)
        (line,) = self.told(ALONE_SECONDS + 2)
        self.assertIn(f"look after those that the matchmaker names: {A}, it was refused", line)
        self.sweep(5)
        self.connect()
        self.confirm()
        (line,) = self.lines.about("what is published arrives again")
        self.assertIn("without a publisher", line)

    def test_back_in_a_moment(self):
        self.begin()
        self.assertEqual(self.told(ALONE_SECONDS - 2), [])
        self.sweep(2)
        self.connect()
        self.confirm()
        self.sweep(2.5)
        self.assertEqual(self.lines.about("arrives again"), [])

    def test_another_topic(self):
        """It has the publisher all the same while that has not confirmed it yet."""
        self.begin()
        self.serve("a", "other")
        self.assertEqual(self.subscriptions._outage.wake_at, float("inf"))


class NowhereTests(Case):
    options = {"subscribe_on": ("127.0.0.1:2",)}

    def test_subscribe_on_points_nowhere(self):
        lines = LogLines(self, "zmqrpc.subscriptions")
        self.subscriptions.start()
        self.sweep(READY_SECONDS)
        self.sweep(ALONE_SECONDS)
        (line,) = lines.about("no publisher has confirmed")
        self.assertIn(f"look after those that subscribe_on names: {B}, not connected", line)


class WhichTests(Case):
    def test_one_that_appears(self):
        self.begin()
        self.subscriptions.found([A, B])
        self.assertEqual(set(self.sockets()), {A, B})

    def test_one_whose_record_is_gone(self):
        """As long as it is up it is heard; its record may only be lost."""
        self.begin()
        self.subscriptions.found([B])
        self.connect(B)
        self.publish(self.fanout(1))
        self.assertEqual(self.worker.ran, [1])
        self.sockets()[A].receiver.connection_lost("it ended")
        self.sweep(2.0)
        self.assertEqual(set(self.sockets()), {B})

    def test_one_that_is_lost_is_connected_to_anew(self):
        lines = LogLines(self)
        self.begin()
        self.sockets()[A].receiver.connection_lost("it ended")
        self.assertEqual(self.sockets(), {})
        self.sweep(1.0)
        self.assertEqual(set(self.sockets()), {A})
        self.assertEqual(len(lines.about("is lost: it ended")), 1)


class FanoutTests(Case):
    def setUp(self):
        super().setUp()
        self.begin()

    def test_it_runs_once(self):
        """However often it comes, and by whom."""
        self.subscriptions.found([A, B])
        self.connect(B)
        self.assertEqual(self.publish(self.fanout(1), self.fanout(2)), 2)
        self.publish(self.fanout(2, attempt=2), self.fanout(3), address=B)
        self.assertEqual(self.worker.ran, [1, 2, 3])
        self.assertEqual(self.notices.counts["repeated"], 1)

    def test_every_member(self):
        """A node may serve several members of a topic; each runs it."""
        other = self.serve("b")
        elsewhere = self.serve("a", "other")
        self.publish(self.fanout(1), self.fanout(2))
        self.publish(self.fanout(1, topic="other"), key=OTHER)
        self.assertEqual((self.worker.ran, other.ran, elsewhere.ran), ([1, 2], [1, 2], [1]))

    def test_what_is_missed_is_counted_and_told(self):
        lines = LogLines(self)
        self.publish(self.fanout(1))
        self.publish(self.fanout(4), counted=4)
        self.sweep(GRACE)
        self.assertEqual(self.notices.counts["fanout_missed"], 2)
        (line,) = lines.about("fanout_missed")
        self.assertIn("2 published fan-outs to x/work never came", line)
        self.assertTrue(CLIENT.hex() in line or PUBLISHER.hex() in line, line)

    def test_what_each_client_shows_is_told(self):
        """A line about one keeps back none about another."""
        lines = LogLines(self)
        clients = (CLIENT, b"d" * 16)
        for number in (1, 3):
            for source in clients:
                self.publish(self.fanout(number), source=source)
        self.sweep(GRACE)
        self.assertEqual(self.notices.counts["fanout_missed"], 2)
        told = lines.about("fanout_missed")
        self.assertEqual(sum(source.hex() in line for source in clients for line in told), 2, told)

    def test_the_last_one_is_missed(self):
        lines = LogLines(self)
        self.publish(self.fanout(1))
        idle = encode_counter(Counter(PUBLISHER, 3))
        self.assertEqual(self.sockets()[A].receiver.published_received(KEY, idle, None), 1)
        self.sweep(GRACE)
        self.assertEqual(self.notices.counts["fanout_missed"], 2)
        self.assertIn(f"publisher {PUBLISHER.hex()}", lines.about("fanout_missed")[0])

    def test_expired(self):
        """The time it was under way counts, and what it is refused for is logged."""
        lines = LogLines(self)
        self.publish(self.fanout(1))
        sent = int(self.now * 1000)
        self.now += 6.0
        self.publish(self.fanout(2), sent=sent)
        self.publish(self.fanout(3))
        self.assertEqual(self.worker.ran, [1, 3])
        self.assertEqual(self.notices.counts["expired"], 1)
        self.assertEqual(self.notices.counts["fanout_refused"], 1)
        (line,) = lines.about("fanout_refused")
        self.assertIn(f"a published fan-out to x/work of client {CLIENT.hex()} did not run: expired", line)

    def test_a_method_that_holds(self):
        """Nobody is told, and it can be cancelled."""
        self.publish(self.fanout(1, "hold"), self.fanout(2, "hold"))
        self.assertTrue(self.callers.requests.busy)
        self.worker.held[1].callback(None)
        self.subscriptions.close()
        self.callers.requests.cancel_running()
        self.assertEqual(self.worker.cancelled, [2])
        self.assertFalse(self.callers.requests.busy)

    def test_what_raises(self):
        self.publish(self.fanout(1, "fail"), self.fanout(2, "no_such"))
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 0)
        self.publish(self.fanout(3))
        self.assertEqual(self.worker.ran, [3])

    def test_what_does_not_belong(self):
        """It is counted, and its neighbours run."""
        self.publish(self.fanout(1, topic="other"), self.fanout(2, kind=Call), self.fanout(3))
        self.assertEqual(self.worker.ran, [3])
        self.assertEqual(self.notices.counts["malformed"], 2)
        self.publish(self.fanout(4), destination=OURS)
        self.publish(self.fanout(5), key=OTHER)
        self.assertEqual(self.worker.ran, [3])
        self.assertEqual((self.notices.counts["malformed"], self.notices.counts["stray"]), (3, 1))

    def test_garbage(self):
        receiver = self.sockets()[A].receiver
        counter = encode_counter(Counter(PUBLISHER, 1))
        payload = self.payload(self.fanout(1))
        later = payload[:1] + b"\x02" + payload[2:]
        for frames in (
            (KEY, b"", payload),
            (KEY, b"\xc1", None),
            (KEY, counter, b""),
            (KEY, counter, b"\x93"),
            (KEY, counter, later),
            (b"", counter, payload),
            (b"K" * 17, counter, payload),
        ):
            self.assertEqual(receiver.published_received(*frames), 1)
        receiver.malformed_received("4 frames")
        self.assertEqual((self.notices.counts["malformed"], self.notices.counts["bad_version"]), (7, 1))
        self.callers.end_pass()
        self.assertEqual(self.worker.ran, [])

    def test_forgotten(self):
        """Nothing is left of a client that was silent for long."""
        self.publish(self.fanout(1))
        self.sweep(self.settings.rpc_message_ttl + 1)
        self.assertEqual(self.subscriptions._published._callers, {})
        self.sweep(self.settings.rpc_message_ttl)
        self.assertEqual(self.subscriptions._published.wake_at, float("inf"))


class BoundedTests(Case):
    options = {"max_clients": 2}

    def test_clients(self):
        self.begin()
        for name in (b"1", b"2", b"3"):
            self.publish(self.fanout(1), source=name * 16)
        self.assertEqual(self.worker.ran, [1, 1])
        self.assertEqual(self.notices.counts["overloaded"], 1)


class RunningTests(Case):
    options = {"max_running_calls": 1}

    def test_overloaded(self):
        self.begin()
        self.publish(self.fanout(1), self.fanout(2))
        self.assertEqual(self.worker.ran, [1])
        self.assertEqual((self.notices.counts["overloaded"], self.notices.counts["fanout_refused"]), (1, 1))
