"""What a router proxy does with each message."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.core.batch import Batch, decode_batch, encode_batch
from zmqrpc.core.envelope import Hello, Ping, Refusal, encode_message
from zmqrpc.core.keys import SELF_KEY, instance_key, token_key, topic_key
from zmqrpc.core.relay import Answer, Discard, Effect, Forward, GiveBack, Publish, Relay, Side

FRONT, BACK = Side
CLIENT, SERVER, STRANGER = b"c" * 16, b"s" * 16, b"x" * 16
HELLO = encode_message(Hello(1, 1, "server", [], {}, []))
PING = encode_message(Ping(7))
OPAQUE = b"\xc1 not even a batch"


def make_batch(source: bytes, *messages: bytes) -> bytes:
    return encode_batch(source, None, 1, (), messages)


def make_relay() -> Relay:
    """Make a relay to which a client and a server have said HELLO."""
    relay = Relay()
    relay.dispatch(FRONT, b"client", [SELF_KEY, make_batch(CLIENT, HELLO)])
    relay.dispatch(BACK, b"server", [SELF_KEY, make_batch(SERVER, HELLO)])
    return relay


class DispatchTests(SynchronousTestCase):
    # frames after the routing id, the effect when they came from the client
    ROWS: list[tuple[list[bytes], Effect]] = [
        ([instance_key(SERVER), OPAQUE], Forward(BACK, b"server", instance_key(SERVER), OPAQUE)),
        ([instance_key(CLIENT), OPAQUE], Forward(FRONT, b"client", instance_key(CLIENT), OPAQUE)),
        ([instance_key(STRANGER), OPAQUE], GiveBack(FRONT, b"client", Refusal.UNROUTABLE, OPAQUE)),
        ([topic_key("x", "compute"), OPAQUE], Publish(topic_key("x", "compute"), OPAQUE)),
        ([topic_key("x", "compute"), b""], Publish(topic_key("x", "compute"), b"")),
        ([], Discard("0 frames where a key and a payload belong")),
        ([OPAQUE], Discard("1 frames where a key and a payload belong")),
        ([SELF_KEY, OPAQUE, b""], Discard("3 frames where a key and a payload belong")),
        ([token_key(STRANGER), OPAQUE], Discard("a key of 17 bytes that is none of ours")),
        ([instance_key(b"short"), OPAQUE], Discard("a key of 6 bytes that is none of ours")),
        ([b"Tx\0compute", OPAQUE], Discard("a key of 10 bytes that is none of ours")),
        ([b"I", OPAQUE], Discard("a key of 1 bytes that is none of ours")),
    ]

    def test_rows(self):
        for frames, effect in self.ROWS:
            self.assertEqual(make_relay().dispatch(FRONT, b"client", frames), effect, f"{frames}")

    def test_what_is_for_the_proxy_is_answered(self):
        for message in (HELLO, PING):
            payload = make_batch(STRANGER, message)
            effect = make_relay().dispatch(BACK, b"id", [SELF_KEY, payload])
            self.assertEqual(effect, Answer(BACK, b"id", decode_batch(payload)))

    def test_an_unreadable_payload_for_the_proxy_is_discarded(self):
        effect = make_relay().dispatch(FRONT, b"client", [SELF_KEY, OPAQUE])
        self.assertIsInstance(effect, Discard)

    def test_another_version_is_answered_and_not_routed_to(self):
        relay = Relay()
        payload = b"\x97\x09" + make_batch(STRANGER, HELLO)[2:]
        effect = relay.dispatch(FRONT, b"id", [SELF_KEY, payload])
        self.assertEqual(effect, Answer(FRONT, b"id", Batch(9, STRANGER, None, 1, [], None, [])))
        self.assertEqual(len(relay), 0)


class WayTests(SynchronousTestCase):
    """Which connection an instance is behind."""

    def way(self, relay: Relay, instance: bytes) -> tuple[Side, bytes] | None:
        effect = relay.dispatch(FRONT, b"asks", [instance_key(instance), OPAQUE])
        return (effect.side, effect.identity) if isinstance(effect, Forward) else None

    def test_hello_tells_and_nothing_else(self):
        relay = make_relay()
        relay.dispatch(BACK, b"id", [SELF_KEY, make_batch(STRANGER, PING)])
        relay.dispatch(BACK, b"id", [instance_key(SERVER), make_batch(STRANGER, HELLO)])
        self.assertIsNone(self.way(relay, STRANGER))
        relay.dispatch(BACK, b"id", [SELF_KEY, make_batch(STRANGER, PING, HELLO)])
        self.assertEqual((self.way(relay, STRANGER), len(relay)), ((BACK, b"id"), 3))

    def test_the_newest_connection_wins(self):
        relay = make_relay()
        for side, identity in ((BACK, b"2"), (FRONT, b"2"), (BACK, b"3")):
            relay.dispatch(side, identity, [SELF_KEY, make_batch(SERVER, HELLO)])
            self.assertEqual((self.way(relay, SERVER), len(relay)), ((side, identity), 2))

    def test_the_end_of_an_older_connection_takes_nothing(self):
        relay = make_relay()
        relay.dispatch(BACK, b"2", [SELF_KEY, make_batch(SERVER, HELLO)])
        relay.disconnected(BACK, b"server")
        self.assertEqual(self.way(relay, SERVER), (BACK, b"2"))
        relay.disconnected(FRONT, b"2")  # another socket's connection of that name
        self.assertEqual(self.way(relay, SERVER), (BACK, b"2"))
        relay.disconnected(BACK, b"2")
        self.assertEqual((self.way(relay, SERVER), len(relay)), (None, 1))

    def test_a_connection_has_one_instance(self):
        # Else one connection could fill the memory with instances.
        relay = make_relay()
        for number in range(100):
            relay.dispatch(BACK, b"server", [SELF_KEY, make_batch(b"%16d" % number, HELLO)])
        self.assertEqual((len(relay), self.way(relay, SERVER)), (2, None))
        self.assertEqual(self.way(relay, b"%16d" % 99), (BACK, b"server"))

    def test_an_instance_that_moves_leaves_the_connection_to_the_next(self):
        relay = make_relay()
        relay.dispatch(BACK, b"2", [SELF_KEY, make_batch(SERVER, HELLO)])
        relay.dispatch(BACK, b"server", [SELF_KEY, make_batch(STRANGER, HELLO)])
        self.assertEqual((self.way(relay, SERVER), self.way(relay, STRANGER)), ((BACK, b"2"), (BACK, b"server")))


class UndeliverableTests(SynchronousTestCase):
    def refused(self, gone: bool) -> tuple[Effect, Effect]:
        """Have the socket refuse a message: what comes of it, and of the next one."""
        relay = make_relay()
        frames = [instance_key(SERVER), OPAQUE]
        forward = relay.dispatch(FRONT, b"client", frames)
        assert isinstance(forward, Forward)
        return relay.undeliverable(forward, FRONT, b"client", gone), relay.dispatch(FRONT, b"client", frames)

    def test_a_connection_that_is_gone_is_forgotten(self):
        back = GiveBack(FRONT, b"client", Refusal.UNROUTABLE, OPAQUE)
        self.assertEqual(self.refused(gone=True), (back, back))

    def test_one_that_is_full_is_not(self):
        back, following = self.refused(gone=False)
        self.assertEqual(back, GiveBack(FRONT, b"client", Refusal.OVERLOADED, OPAQUE))
        self.assertIsInstance(following, Forward)
