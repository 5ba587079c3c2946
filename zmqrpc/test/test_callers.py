"""What a node remembers of its clients, and how much of it."""

from __future__ import annotations

from typing import Any, cast

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from zmqrpc import Target, expose
from zmqrpc.callers import Callers
from zmqrpc.core.batch import decode_batch, encode_batch
from zmqrpc.core.envelope import (
    Ack,
    Beat,
    Call,
    Cancel,
    Cast,
    FailureCode,
    Goaway,
    Hello,
    Nack,
    Ping,
    Pong,
    Refusal,
    Reply,
    Served,
    Welcome,
    encode_message,
)
from zmqrpc.core.link_timers import ACK_SECONDS, BEAT_SECONDS, NEWCOMER_SECONDS
from zmqrpc.core.recorder import Recorder
from zmqrpc.core.ways import Through
from zmqrpc.interfaces import GONE, SENT
from zmqrpc.notices import Notices
from zmqrpc.outbox import RETRY_FULL
from zmqrpc.server import RPCServer
from zmqrpc.settings import Settings
from zmqrpc.test.logs import LogLines
from zmqrpc.threads import Threads

OURS = bytes(16)
HELLO = encode_message(Hello(1, 1, "client", [], {}, []))


class Router:
    """
    Keeps what is written.

    :ivar gone: connections that are gone.
    """

    def __init__(self):
        self.written = []
        self.gone = set()

    def send(self, identity, payload):
        if identity in self.gone:
            return GONE
        self.written.append((identity, decode_batch(payload).messages))
        return SENT


class Ways:
    """Those through proxies, all of which are up."""

    reachable = True

    def __init__(self, send):
        self.send = send

    def largest(self, way):
        return 2**20


class RememberedClientsTests(SynchronousTestCase):
    def setUp(self):
        self.now = 1.0

        def now():
            return self.now

        self.router = Router()
        self.notices = Notices(now)
        settings = Settings(max_clients=3)
        self.callers = Callers(OURS, settings, self.notices, now, lambda: None, lambda when: None)
        self.callers.opened(cast(Any, self.router))

    def say_hello(self, identity, instance):
        """Return the kind of message that answers it."""
        self.router.written.clear()
        self.callers.payload_received(identity, encode_batch(instance, None, 5, (), [HELLO]))
        self.callers.end_pass()
        ((to, (message,)),) = self.router.written
        self.assertEqual(to, identity)
        return message

    def test_one_more_than_max_clients_is_refused(self):
        for number in range(3):
            self.assertIsInstance(self.say_hello(b"c%d" % number, bytes([number]) * 16), Welcome)
        refused = self.say_hello(b"c3", b"3" * 16)
        self.assertIsInstance(refused, Nack)
        self.assertEqual(refused.reason, Refusal.OVERLOADED)
        self.assertEqual(self.notices.counts["overloaded"], 1)
        # Who is known may come again.
        self.assertIsInstance(self.say_hello(b"c4", bytes([1]) * 16), Welcome)

    def send(self, identity, instance, *messages, version=1):
        encoded = encode_batch(instance, OURS, 5, (), [encode_message(message) for message in messages])
        self.callers.payload_received(identity, encoded[:1] + bytes([version]) + encoded[2:])

    def assert_remembered(self, number):
        """Check how many are, by how many more are let in; they are remembered from then on."""
        for new in range(3 - number):
            self.assertIsInstance(self.say_hello(b"n%d" % new, bytes([100 + new]) * 16), Welcome)
        self.assertIsInstance(self.say_hello(b"nn", bytes([200]) * 16), Nack)

    def test_who_has_left_is_forgotten(self):
        """A client that stops in good order makes room at once."""
        for number in range(3):
            self.say_hello(b"c%d" % number, bytes([number]) * 16)
        self.send(b"c0", bytes([0]) * 16, Goaway("", {"only": True}))
        self.send(b"c1", bytes([1]) * 16, Goaway("", {"only": True, "later": 1}))
        self.assert_remembered(1)
        self.assertEqual(self.notices.counts.get("unexpected", 0), 0)

    def test_who_asks_for_nothing_and_is_gone_is_forgotten(self):
        """Thousands may come and go without a word; who still has a connection is asked once, and stays."""
        for number in range(3):
            self.assertIsInstance(self.say_hello(b"c%d" % number, bytes([number]) * 16), Welcome)
        self.send(b"c1", bytes([1]) * 16, Cast(1, 1, 0, 9000, "e", "calc", None, None, None, "f", {}))
        self.callers.end_pass()
        self.router.gone |= {b"c0", b"c1"}
        self.router.written.clear()
        for _ in range(4):
            self.now += NEWCOMER_SECONDS / 2
            self.callers.sweep(self.now)
            self.callers.end_pass()
        ((to, (beat,)),) = self.router.written
        self.assertEqual((to, beat), (b"c2", Beat([])))
        self.assertEqual(self.notices.counts["replies_dropped"], 0)
        self.assert_remembered(2)

    def test_who_is_found_to_be_gone_while_all_are_told_is_forgotten(self):
        """What is written to one may be more than fits into a batch, and be written at once."""
        for number in range(2):
            self.say_hello(b"c%d" % number, bytes([number]) * 16)
        self.router.gone.add(b"c0")
        self.router.written.clear()
        targets = [Served("exchange", "t" * 100, str(number)) for number in range(100)]
        welcome = encode_message(Welcome(1, 5, "server", [], {}, targets))
        for _ in range(30):
            self.callers._each(lambda caller: caller.write(welcome))
        self.callers.end_pass()
        self.assertEqual({identity for identity, _ in self.router.written}, {b"c1"})
        self.assertEqual(sum(len(messages) for _, messages in self.router.written), 30)

    def test_newcomers_of_one_connection_leave_nothing(self):
        """Each takes the place of the one before, whatever instances it names."""
        for number in range(1000):
            self.say_hello(b"c0", number.to_bytes(16, "big"))
        self.assertEqual(len(self.callers._newcomers), 1)

    def test_who_may_have_more_under_way_is_remembered(self):
        """It used another connection, or does not say; or says it wrongly."""
        for number, extensions in enumerate((None, {"only": False}, {"only": 1})):
            self.say_hello(b"c%d" % number, bytes([number]) * 16)
            self.send(b"c%d" % number, bytes([number]) * 16, Goaway("", extensions))
        self.assert_remembered(3)

    def test_who_has_left_unsettled_is_remembered(self):
        """What it may ask for once more is kept, whatever it says; once that is settled it is forgotten."""

        class Quick:
            @expose
            def do(_, context):
                pass

        self.callers.add(RPCServer(Target("work", server="a", exchange="x"), [Quick()], Threads(None, 1)))
        source = bytes([1]) * 16
        self.say_hello(b"c1", source)
        for number in (2, 3):
            self.say_hello(b"c%d" % number, bytes([number]) * 16)
        self.send(b"c1", source, Call(1, 1, 1, 1000, "x", "work", None, None, None, "do", {}))
        self.callers.end_pass()
        goodbye = [encode_message(Goaway("", {"only": True}))]
        self.callers.payload_received(b"c1", encode_batch(source, OURS, 6, (), goodbye))
        self.assertIsInstance(self.say_hello(b"c4", bytes([4]) * 16), Nack)
        self.callers.payload_received(b"c1", encode_batch(source, OURS, 7, (1,), goodbye))
        self.assertIsInstance(self.say_hello(b"c4", bytes([4]) * 16), Welcome)

    def ask_for(self, identity, source, number, size, left=1000):
        """Have a call answered with so many bytes, that is not settled."""
        request = Call(number, 1, 1, left, "x", "work", None, None, None, "make", {"size": size})
        sent = int(self.now * 1000) - 995
        self.callers.payload_received(identity, encode_batch(source, OURS, sent, (), [encode_message(request)]))
        self.callers.end_pass()

    def serve_large(self):
        class Large:
            @expose
            def make(_, context, size):
                return bytes(size)

        self.callers.add(RPCServer(Target("work", server="a", exchange="x"), [Large()], Threads(None, 1)))

    def kept(self):
        return sum(caller.filter.reply_bytes for caller in self.callers.all())

    def pass_time(self, seconds):
        """Let time pass, and have swept at each time that was asked for."""
        end = self.now + seconds
        while self.callers.wake_at <= end:
            self.now = max(self.now, self.callers.wake_at)
            self.callers.sweep(self.now)
            self.callers.end_pass()
        self.now = end

    def test_replies_that_nobody_asks_for_any_more_are_not_kept(self):
        """Whether their client is there or gone; their numbers are kept, so that nothing runs twice."""
        self.serve_large()
        sources = [bytes([number]) * 16 for number in (1, 2)]
        for number, source in enumerate(sources):
            self.say_hello(b"c%d" % number, source)
            self.ask_for(b"c%d" % number, source, 1, 100_000, left=20_000)
        self.router.gone.add(b"c0")
        self.pass_time(20)
        self.assertGreater(self.kept(), 200_000)
        self.pass_time(7)
        self.assertLess(self.kept(), 1000)
        self.assert_remembered(2)
        self.router.written.clear()
        self.ask_for(b"c1", sources[1], 1, 100_000)
        ((_, (reply,)),) = self.router.written
        self.assertEqual(reply.failure.code, FailureCode.NOT_KEPT)
        # What comes later goes again when its time is up.
        self.ask_for(b"c1", sources[1], 2, 100_000)
        self.assertGreater(self.kept(), 100_000)
        self.pass_time(8)
        self.assertLess(self.kept(), 1000)

    def test_nothing_is_lent_to_who_is_forgotten(self):
        """What waited while this process was stopped for longer than it remembers clients is refused after that."""
        self.serve_large()
        source = bytes([1]) * 16
        self.say_hello(b"c1", source)
        request = Call(1, 1, 1, 1000, "x", "work", None, None, None, "make", {"size": 1})
        self.send(b"c1", source, request)
        self.now += 2 * self.callers.settings.rpc_message_ttl
        self.callers.sweep(self.now)
        self.callers.end_pass()
        self.assertEqual((self.callers.all(), self.notices.counts["expired"]), ([], 1))
        memory = self.callers.kept_replies.memory
        self.assertEqual((memory.held, memory._lent), (0, 0))

    def test_replies_of_all_clients_are_bounded(self):
        settings = attrs.evolve(self.callers.settings, max_replies_memory=300_000)
        self.callers = Callers(OURS, settings, self.notices, lambda: self.now, lambda: None, lambda when: None)
        self.callers.opened(cast(Any, self.router))
        self.serve_large()
        for number in range(3):
            source = bytes([1 + number]) * 16
            self.say_hello(b"c%d" % number, source)
            for sequence in range(1, 6):
                self.ask_for(b"c%d" % number, source, sequence, 50_000, left=60_000)
                self.assertLessEqual(self.kept(), 300_000)
        self.assertGreater(self.notices.counts["replies_forgotten"], 0)
        self.flushLoggedErrors()

    def behind_proxies(self):
        """Have clients come by proxies; return a list of what is written to them."""
        written: list[bytes] = []

        def write(way, payload):
            written.append(payload)
            return SENT

        self.callers.settings = attrs.evolve(self.callers.settings, max_queued_bytes=2**20)
        self.callers.wire(Ways(write), lambda events, most: {})
        return written

    def test_what_comes_back_from_a_full_way_is_kept_within_bounds(self):
        written = self.behind_proxies()
        way = Through(b"L1", bytes([1]) * 16)
        self.callers.payload_received(way, encode_batch(way.instance, OURS, 5, (), [HELLO]))
        self.callers.end_pass()
        for _ in range(3):
            written.clear()
            kept, dropped = bytes(600_000), bytes(600_001)
            self.callers.given_back.returned(way, kept, Refusal.OVERLOADED)
            self.callers.given_back.returned(way, dropped, Refusal.OVERLOADED)
            self.now += RETRY_FULL
            self.callers.sweep(self.now)
            self.callers.end_pass()
            self.assertEqual(written, [kept])
        self.assertEqual(self.notices.counts["replies_dropped"], 3)

    def test_nothing_follows_what_comes_back_from_a_full_way(self):
        """It would come back as well: what goes to and fro would be bounded by nothing but its speed."""
        written = self.behind_proxies()
        self.serve_large()
        way = Through(b"L1", bytes([1]) * 16)
        self.callers.payload_received(way, encode_batch(way.instance, OURS, 5, (), [HELLO]))
        self.callers.end_pass()
        self.ask_for(way, way.instance, 1, 600_000)
        self.callers.given_back.returned(way, written.pop(), Refusal.OVERLOADED)
        written.clear()
        for number in range(2, 6):
            self.ask_for(way, way.instance, number, 400_000)
        (caller,) = self.callers.all()
        self.assertEqual(len(written), 0)
        self.assertLessEqual(caller.unread, 2**20)
        self.assertEqual(self.notices.counts["replies_dropped"], 2)
        self.pass_time(RETRY_FULL)
        # The one that came back is one more than may wait, but for the moment.
        self.assertEqual([len(payload) // 100_000 for payload in written], [4, 4, 6])
        self.ask_for(way, way.instance, 6, 100_000)
        self.assertEqual(len(written), 4)

    def test_a_way_is_full_for_no_longer_than_said(self):
        """Also one from which nothing is kept, when another was full a moment before it."""
        written = self.behind_proxies()
        ways = [Through(b"L1", bytes([number]) * 16) for number in (1, 2)]
        for way in ways:
            self.callers.payload_received(way, encode_batch(way.instance, OURS, 5, (), [HELLO]))
        self.callers.end_pass()
        self.callers.given_back.returned(ways[0], written[0], Refusal.OVERLOADED)
        self.pass_time(RETRY_FULL / 2)
        self.callers.given_back.returned(ways[1], bytes(2**21), Refusal.OVERLOADED)
        self.pass_time(RETRY_FULL)
        self.assertEqual(self.callers.given_back.full, {})

    def test_what_is_logged(self):
        """Each peer is named in what is logged about it, and none hides another."""
        lines = LogLines(self, "zmqrpc.notices.Notices")
        instances = [bytes([number]) * 16 for number in (1, 2)]
        for name, instance in zip((b"\xc1", b"\xc2"), instances, strict=True):
            for _ in range(3):
                self.callers.payload_received(name, b"junk")
                self.callers.malformed_received(name, "two frames")
                self.send(name, instance, Ping(1))
                self.send(name, instance, version=7)
            self.say_hello(name, instance)
            for _ in range(3):
                self.send(name, instance, Pong(1))
            self.now += 1
            for _ in range(3):
                self.send(name, instance, [99, "odd"])
        self.say_hello(b"\xc3", bytes([3]) * 16)
        self.say_hello(b"\xc4", bytes([4]) * 16)
        said = "\n".join(lines)
        for text in (
            "malformed: connection c1: a payload of 4 bytes is not a batch",
            "wrong_instance: client 0101",
            "bad_version: client 0101",
            "malformed: a message of client 01010101010101010101010101010101: ",
            "unexpected: client 01010101010101010101010101010101 sent a Pong",
            "overloaded: client 04040404040404040404040404040404 is refused, 3 are remembered (max_clients)",
        ):
            self.assertIn(text, said)
            self.assertIn(text.replace("c1", "c2").replace("01", "02"), said)
        self.assertEqual(len(lines), 5 * 2 + 1)

    def serve_slow(self):
        """Serve a method to a client that is connected, whose calls go on until a Deferred of the list fires."""
        results: list[Deferred[str]] = []

        class Slow:
            @expose
            def wait(_, context):
                results.append(Deferred())
                return results[-1]

        self.callers.add(RPCServer(Target("work", server="a", exchange="x"), [Slow()], Threads(None, 1)))
        self.say_hello(b"c1", bytes([1]) * 16)
        self.router.written.clear()
        return results

    def wait_call(self, number, kind=Call):
        return kind(number, 1, 1, 60_000, "x", "work", None, None, None, "wait", {})

    def test_the_answer_says_it_too(self):
        """What runs on is acknowledged in a moment, unless its answer came before, or something else is written."""
        results = self.serve_slow()

        def ask(*numbers, kind=Call):
            self.send(b"c1", bytes([1]) * 16, *(self.wait_call(number, kind) for number in numbers))
            self.callers.end_pass()

        def said():
            self.callers.end_pass()
            said, self.router.written[:] = [message for _, batch in self.router.written for message in batch], []
            return said

        ask(1)
        self.assertEqual(said(), [])
        self.assertLessEqual(self.callers.wake_at, self.now + ACK_SECONDS)
        results[0].callback("done")
        self.assertEqual(said(), [Reply(1, "done")])
        # What is written for another brings it along.
        ask(2, 3)
        results[1].callback("done")
        self.assertEqual(said(), [Reply(2, "done"), Ack([3, 3])])
        ask(4)
        ask(5)
        self.now += ACK_SECONDS
        self.callers.sweep(self.now)
        self.assertEqual(said(), [Ack([4, 5])])
        self.assertGreater(self.callers.wake_at, self.now + ACK_SECONDS)
        # A repetition is answered at once, and so is a cast.
        ask(5)
        self.assertEqual(said(), [Ack([5, 5])])
        ask(6, kind=Cast)
        self.assertEqual(said(), [Ack([6, 6])])

    def test_nobody_else_is_told_what_runs(self):
        """Who has gone meanwhile is written nothing."""
        results = self.serve_slow()
        self.send(b"c1", bytes([1]) * 16, self.wait_call(1))
        self.callers.end_pass()
        self.router.gone.add(b"c1")
        self.now += ACK_SECONDS
        self.callers.sweep(self.now)
        self.callers.end_pass()
        self.assertEqual(self.router.written, [])
        results[0].callback("done")
        self.callers.end_pass()
        self.assertEqual(self.router.written, [])

    def test_acknowledged_and_late(self):
        """A cast that was acknowledged and cannot run any more is named in the log."""
        lines = LogLines(self, "zmqrpc.notices.Notices")

        class Slow:
            @expose
            def sleep(_, context):
                self.now += 5

        self.callers.add(RPCServer(Target("work", server="a", exchange="x"), [Slow()], Threads(None, 1)))
        self.say_hello(b"\xc1", bytes([1]) * 16)
        casts = [Cast(n, 1, 1, 1000, "x", "work", None, None, None, "sleep", {}) for n in (1, 2)]
        self.send(b"\xc1", bytes([1]) * 16, *casts)
        self.callers.end_pass()
        self.callers.end_pass()
        [line] = lines
        self.assertIn("work sleep of client 01010101010101010101010101010101 was acknowledged and did not run", line)

    def test_what_is_taken_is_recorded_as_it_comes(self):
        """Of numbers that were skipped or settled, or were refused, nothing was taken."""

        class Quick:
            @expose
            def do(_, context):
                pass

        self.notices.recorder = Recorder(10)
        self.callers.add(RPCServer(Target("work", server="a", exchange="x"), [Quick()], Threads(None, 1)))
        source = bytes([1]) * 16
        self.say_hello(b"c1", source)

        def call(number, topic="work"):
            return encode_message(Call(number, 1, 1, 60_000, "x", topic, None, None, None, "do", {}))

        for first, calls, taken in (
            (1, [call(500_001), call(700_000)], [2]),
            (2**40, [], [2]),
            (2**40, [call(2**40 + 1, "other"), call(2**40 + 2)], [1, 2]),
        ):
            self.callers.payload_received(b"c1", encode_batch(source, OURS, 5, (first - 1,), calls))
            self.callers.end_pass()
            self.send(b"c1", source, Ping(1))
            self.now += 1
            events = self.notices.recorder.newest(10)
            self.assertEqual([event.number for event in events if event.name == "taken"], taken)

    def test_a_connection_that_comes_to_nothing_is_counted_and_said(self):
        lines = LogLines(self)
        self.callers.handshake_failed("10.0.0.7", "it says nothing")
        self.callers.handshake_failed("10.0.0.7", "it says nothing")
        self.callers.handshake_failed("10.0.0.8", "{odd}")
        self.callers.handshake_failed("", "it says nothing")
        self.assertEqual(self.notices.counts["handshake_failed"], 4)
        self.assertEqual(
            lines,
            [
                "handshake_failed: a connection from 10.0.0.7 was dropped: it says nothing",
                "handshake_failed: a connection from 10.0.0.8 was dropped: {odd}",
                "handshake_failed: a connection from an unknown address was dropped: it says nothing",
            ],
        )

    def test_a_connection_that_names_many_instances_is_one_client(self):
        for number in range(100):
            self.assertIsInstance(self.say_hello(b"c", number.to_bytes(16, "big")), Welcome)
        self.assertIsInstance(self.say_hello(b"d", b"d" * 16), Welcome)


class LostClientsTests(SynchronousTestCase):
    """Clients that have no connection any more, and what runs for them."""

    CLIENT, OTHER = b"c" * 16, b"o" * 16

    def setUp(self):
        self.now = 100.0
        self.sent: list[tuple[Any, Any]] = []
        self.dead: set[Any] = set()
        self.running: list[Deferred[Any]] = []
        self.ended: list[str] = []
        self.cleaned: Deferred[Any] = Deferred()
        self.lines = LogLines(self)
        self.notices = Notices(lambda: self.now)
        self.callers = Callers(OURS, Settings(), self.notices, lambda: self.now, lambda: None, lambda when: None)
        self.callers.opened(cast(Any, self))
        self.ways = Ways(self.send)
        self.callers.wire(self.ways, lambda events, most: {})
        case = self

        class Slow:
            @expose
            def hold(_, context, stubborn=False, cleans=False):
                held: Deferred[Any] = Deferred(lambda held: held.callback("done all the same") if stubborn else None)
                case.running.append(held)
                if cleans:
                    held.addErrback(lambda failure: case.cleaned.addCallback(lambda _: failure))
                return held.addBoth(case.note)

            @expose
            def block(_, context):
                case.now += 0.3
                case.note("blocks")

            @expose
            async def roll_back(_, context):
                try:
                    await Deferred()
                except CancelledError:
                    case.note("rolls back")
                    try:
                        await case.cleaned
                    except CancelledError:
                        case.note(ZeroDivisionError())
                    raise

        self.callers.add(RPCServer(Target("work", server="a", exchange="x"), [Slow()], Threads(None, 1)))

    def note(self, result):
        self.ended.append(getattr(result, "type", type(result)).__name__)
        return result

    def send(self, identity, payload):
        """Write, as the bound socket does, or the way through a proxy."""
        if identity in self.dead:
            return GONE
        self.sent.extend((identity, message) for message in decode_batch(payload).messages)
        return SENT

    def say(self, identity, *messages, source=CLIENT):
        encoded = [encode_message(message) for message in messages]
        stamp = int(self.now * 1000)
        self.callers.payload_received(identity, encode_batch(source, OURS, stamp, (), encoded))
        self.callers.end_pass()

    def ask(self, identity, *numbers, source=CLIENT, kind=Call, attempt=1, method="hold", left=60_000, **arguments):
        requests = [kind(n, attempt, 1, left, "x", "work", None, None, None, method, arguments) for n in numbers]
        self.say(identity, *requests, source=source)

    def connect(self, identity, source=CLIENT):
        self.say(identity, Hello(1, 1, "client", [], {}, []), source=source)

    def beat(self, times=1):
        for _ in range(times):
            self.now += BEAT_SECONDS
            self.callers.sweep(self.now)
            self.callers.end_pass()

    def test_what_is_said_of_many_is_no_larger_than_a_message_may_be(self):
        """Numbers with gaps are ranges, each of up to 18 bytes, and what is too large would end the connection."""
        self.callers.settings = attrs.evolve(self.callers.settings, max_message_size=4096)
        self.connect(b"1")
        largest = []
        write = self.send

        def send(identity, payload):
            largest.append(len(payload))
            return write(identity, payload)

        self.send = send  # type: ignore[method-assign]
        odd = range(2**33 + 1, 2**33 + 2001, 2)
        self.ask(b"1", *odd)
        self.beat()
        for kind in (Ack, Beat):
            ranges = [each for _, said in self.sent if type(said) is kind for each in said.ranges]
            self.assertEqual(ranges, [number for number in odd for _ in "12"])
        self.assertLessEqual(max(largest), 4096)

    def test_copy_of_a_hello_opens_no_connection(self):
        """What was sent after the first of them, and is read late behind the second, is as old as it is."""
        self.connect(b"1")
        hello = encode_batch(self.CLIENT, OURS, 100_000, (), [HELLO])
        call = Call(2, 1, 1, 1_000, "x", "work", None, None, None, "hold", {})
        late = encode_batch(self.CLIENT, OURS, 100_100, (), [encode_message(call)])
        self.ask(b"1", 1)
        self.now += 3
        self.dead.add(b"1")
        self.beat()
        self.dead.clear()
        self.sent.clear()
        self.callers.payload_received(b"1", hello)
        self.callers.payload_received(b"1", late)
        self.callers.end_pass()
        self.assertEqual(len(self.running), 1)
        (nack,) = (message for _, message in self.sent if type(message) is Nack)
        self.assertEqual(nack.reason, Refusal.EXPIRED)

    def test_two_intervals_after_it_is_known(self):
        self.connect(b"1")
        self.ask(b"1", 1, 2)
        self.connect(b"2", self.OTHER)
        self.ask(b"2", 1, source=self.OTHER)
        self.beat(3)
        self.assertEqual([each for _, each in self.sent if type(each) is Beat], [Beat([1, 2]), Beat([1, 1])] * 3)
        self.dead.add(b"1")
        self.beat(2)
        self.assertEqual(self.ended, [])
        self.beat()
        self.assertEqual(self.ended, ["CancelledError"] * 2)
        self.assertEqual(self.notices.counts["caller_gone"], 2)
        self.beat(10)
        self.assertEqual((self.ended, self.notices.counts["caller_gone"]), (["CancelledError"] * 2, 2))
        [line] = self.lines.about("caller_gone")
        self.assertIn(f"client {self.CLIENT.hex()} has no link any more, so 2 of its calls are cancelled", line)

    def test_casts_go_on(self):
        self.connect(b"1")
        self.ask(b"1", 1, kind=Cast)
        self.ask(b"1", 2)
        self.dead.add(b"1")
        self.beat(20)
        self.assertEqual(self.ended, ["CancelledError"])
        self.running[0].callback(None)
        self.assertEqual(self.ended, ["CancelledError", "NoneType"])

    def test_who_comes_back_in_time_is_named_its_calls(self):
        self.connect(b"1")
        self.ask(b"1", 1)
        self.dead.add(b"1")
        self.beat(2)
        self.connect(b"2")
        self.sent.clear()
        self.beat(5)
        self.assertEqual(self.sent, [(b"2", Beat([1, 1]))] * 5)
        self.assertEqual(self.ended, [])
        # It counts anew.
        self.dead.add(b"2")
        self.beat(2)
        self.assertEqual(self.ended, [])
        self.beat()
        self.assertEqual(self.ended, ["CancelledError"])

    def answer_to(self, number):
        """Come back and ask again; return what is answered."""
        self.connect(b"2")
        self.sent.clear()
        self.ask(b"2", number, attempt=2)
        [(_, answer)] = self.sent
        return answer

    def test_who_comes_back_too_late_is_told(self):
        self.connect(b"1")
        self.ask(b"1", 1)
        self.dead.add(b"1")
        self.beat(4)
        answer = self.answer_to(1)
        self.assertEqual((type(answer), answer.failure.code), (Reply, FailureCode.FORGOTTEN))
        self.assertEqual(answer.failure.text, "the server cancelled it: its client had no link to it")
        self.assertEqual(len(self.running), 1)

    def test_who_comes_back_gets_what_was_not_to_be_cancelled(self):
        self.connect(b"1")
        self.ask(b"1", 1, stubborn=True)
        self.dead.add(b"1")
        self.beat(4)
        answer = self.answer_to(1)
        self.assertEqual((type(answer), answer.result), (Reply, "done all the same"))

    def test_who_comes_back_while_it_is_cancelled_is_told_that_it_runs(self):
        self.connect(b"1")
        self.ask(b"1", 1, cleans=True)
        self.dead.add(b"1")
        self.beat(4)
        self.assertEqual(self.answer_to(1), Ack([1, 1]))
        self.cleaned.callback(None)
        self.callers.end_pass()
        self.assertEqual(self.sent[-1][1].failure.code, FailureCode.FORGOTTEN)

    def test_what_was_cancelled_has_time_to_roll_back(self):
        """Whoever says that it is to end, and however often: a second time would cancel what it does then."""
        self.connect(b"1")
        for number in range(1, 4):
            self.ask(b"1", number, method="roll_back", left=2_000)
        self.say(b"1", Cancel([1, 1]))
        self.say(b"1", Cancel([1, 1]))
        self.beat(7)
        self.assertEqual(self.ended, ["str"] * 3)
        self.dead.add(b"1")
        self.beat(4)
        self.connect(b"2")
        self.say(b"2", Cancel([1, 3]))
        self.beat(4)
        self.assertEqual(self.ended, ["str"] * 3)
        self.assertEqual(self.notices.counts["caller_gone"], 0)
        self.sent.clear()
        self.cleaned.callback(None)
        self.callers.end_pass()
        self.assertEqual([said.failure.code for _, said in self.sent], [FailureCode.CANCELLED] * 3)

    def test_at_the_end_of_a_drain_it_has_no_more_time(self):
        self.connect(b"1")
        self.ask(b"1", 1, method="roll_back")
        self.say(b"1", Cancel([1, 1]))
        self.callers.requests.cancel_running()
        self.assertEqual(self.ended, ["str", "ZeroDivisionError"])

    def beat_and_run(self, times):
        """Let time go by as `block` takes it: a pass, and what is due then."""
        for _ in range(times):
            self.callers.end_pass()
            self.now += 0.01
            self.callers.sweep(self.now)

    def test_what_waits_does_not_run_for_who_is_gone(self):
        self.connect(b"1")
        self.connect(b"2", self.OTHER)
        self.ask(b"1", *range(1, 21), method="block")
        self.ask(b"2", *range(1, 21), source=self.OTHER, method="block")
        self.ask(b"1", 21, kind=Cast, method="block")
        self.dead.add(b"1")
        self.sent.clear()
        before = len(self.ended)
        self.beat_and_run(60)
        calls = len(self.ended) - 21
        # It is known at a BEAT, and counts as gone two later: there is time for one after every second of them.
        self.assertLessEqual(calls - before, 6)
        self.assertEqual(self.notices.counts["caller_gone"], 20 - calls)
        self.assertEqual({identity for identity, _ in self.sent}, {b"2"})
        self.assertEqual(sum(type(said) is Reply for _, said in self.sent), 20)
        # Should it come back, it is told, and may have them run elsewhere.
        self.connect(b"3")
        self.sent.clear()
        self.ask(b"3", 20, attempt=2, method="block")
        self.beat_and_run(3)
        [(_, answer)] = self.sent
        text = "it waited at the server, which gave it up when its client had no link to it"
        self.assertEqual((type(answer), answer.reason, answer.text), (Nack, Refusal.OVERLOADED, text))

    def test_who_waits_is_heard_of_by_no_beat_of_its_own(self):
        """What waits does not run: to name it would be to say so."""
        self.connect(b"1")
        self.ask(b"1", *range(1, 5), method="block")
        self.beat_and_run(10)
        self.assertEqual([said for _, said in self.sent if type(said) is Beat and said.ranges], [])
        self.assertEqual(self.ended, ["str"] * 4)

    def test_one_behind_a_proxy_has_longer(self):
        for given_back in (True, False):
            self.ended.clear()
            way = Through(b"p%d" % given_back, self.CLIENT)
            self.connect(way)
            self.ask(way, 1 + given_back)
            if given_back:
                self.callers.given_back.returned(way, b"", Refusal.UNROUTABLE)
            else:
                self.callers.given_back.way_ended(way.connection)
            self.beat(5)
            self.assertEqual(self.ended, [])
            self.beat()
            self.assertEqual(self.ended, ["CancelledError"])

    def test_while_no_proxy_is_up_its_time_does_not_count(self):
        way = Through(b"p", self.CLIENT)
        self.connect(way)
        self.ask(way, 1)
        self.callers.given_back.way_ended(way.connection)
        self.ways.reachable = False
        self.beat(50)
        self.ways.reachable = True
        self.beat(5)
        self.assertEqual(self.ended, [])
        self.beat()
        self.assertEqual(self.ended, ["CancelledError"])
