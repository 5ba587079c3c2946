"""What a node remembers of its clients, and how much of it."""

from __future__ import annotations

from typing import Any, cast

import attrs
from twisted.trial.unittest import SynchronousTestCase

from zmqrpc import Target, expose
from zmqrpc.callers import Callers
from zmqrpc.core.batch import decode_batch, encode_batch
from zmqrpc.core.envelope import Call, Cast, Goaway, Hello, Nack, Ping, Pong, Refusal, Welcome, encode_message
from zmqrpc.core.ways import Through
from zmqrpc.interfaces import SENT
from zmqrpc.notices import Notices
from zmqrpc.outbox import RETRY_FULL
from zmqrpc.server import RPCServer
from zmqrpc.settings import Settings
from zmqrpc.test.logs import LogLines
from zmqrpc.threads import Threads

OURS = bytes(16)
HELLO = encode_message(Hello(1, 1, "client", [], {}, []))


class Router:
    """Keeps what is written."""

    def __init__(self):
        self.written = []

    def send(self, identity, payload):
        self.written.append((identity, decode_batch(payload).messages))
        return SENT


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

    def test_what_comes_back_from_a_full_way_is_kept_within_bounds(self):
        written: list[bytes] = []

        def write(way, payload):
            written.append(payload)
            return SENT

        self.callers.settings = attrs.evolve(self.callers.settings, max_queued_bytes=2**20)
        self.callers.send_through, self.callers.largest_through = write, lambda way: 2**20
        way = Through(b"L1", bytes([1]) * 16)
        self.callers.payload_received(way, encode_batch(way.instance, OURS, 5, (), [HELLO]))
        self.callers.end_pass()
        for _ in range(3):
            written.clear()
            kept, dropped = bytes(600_000), bytes(600_001)
            self.callers.returned(way, kept, Refusal.OVERLOADED)
            self.callers.returned(way, dropped, Refusal.OVERLOADED)
            self.now += RETRY_FULL
            self.callers.sweep(self.now)
            self.callers.end_pass()
            self.assertEqual(written, [kept])
        self.assertEqual(self.notices.counts["replies_dropped"], 3)

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
