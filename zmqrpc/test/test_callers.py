"""What a node remembers of its clients, and how much of it."""

from __future__ import annotations

from typing import Any, cast

from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.callers import Callers
from zmqrpc.core.envelope import Hello, Nack, Refusal, Welcome, decode_batch, encode_batch, encode_message
from zmqrpc.interfaces import SENT
from zmqrpc.notices import Notices
from zmqrpc.settings import Settings

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
        def now():
            return 1.0

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

    def test_a_connection_that_names_many_instances_is_one_client(self):
        for number in range(100):
            self.assertIsInstance(self.say_hello(b"c", number.to_bytes(16, "big")), Welcome)
        self.assertIsInstance(self.say_hello(b"d", b"d" * 16), Welcome)
