"""What a router proxy does with each message."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.core.age import LATE_MILLISECONDS
from zmqrpc.core.batch import decode_batch, encode_batch
from zmqrpc.core.envelope import Beat, Goaway, Hello, Nack, Ping, Pong, Refusal, Served, Welcome, encode_message
from zmqrpc.core.keys import SELF_KEY, instance_key, token_key, topic_key
from zmqrpc.core.relay import LEAVE, SILENCE, Answer, Came, Discard, Effect, Publish, Relay

FRONT, BACK = 0, 1
PROXY, CLIENT, SERVER, STRANGER = b"p" * 16, b"c" * 16, b"s" * 16, b"x" * 16
OPAQUE = b"\xc1 not even a batch"
TOPIC = topic_key("x", "compute")
LARGEST = 4096


def hello(role: str, **limits: int) -> bytes:
    return encode_message(Hello(1, 1, role, [], limits, []))


PING = encode_message(Ping(7))
GOAWAY = encode_message(Goaway("bye"))
WELCOME = Welcome(1, 1, "router", ["publish"], {"message": LARGEST}, [])
WRONG = Nack(Refusal.WRONG_INSTANCE, [])


def make_batch(source: bytes, *messages: bytes, destination: bytes | None = None, sent: int = 1) -> bytes:
    return encode_batch(source, destination, sent, (), messages)


def say(
    relay: Relay, side: int, identity: bytes, source: bytes, *messages: bytes, now: float = 0.0, **more: Any
) -> Any:
    payload = make_batch(source, *messages, **more)
    relay.way(side, identity, SELF_KEY)
    return dispatch(relay, side, identity, SELF_KEY, payload, now)


def dispatch(relay: Relay, side: int, identity: bytes, key: bytes, payload: bytes, now: float = 0.0) -> Any:
    """Return the one thing that is done about a message, None for none."""
    effects = relay.dispatch(side, identity, key, payload, now)
    assert len(effects) < 2
    return effects[0] if effects else None


def served(relay: Relay, identity: bytes, source: bytes, role: str, **more: Any) -> list[Any]:
    """Say HELLO with a target; return what is done about it."""
    said = encode_message(Hello(1, 1, role, [], {}, [Served("x", "compute", "a")]))
    return relay.dispatch(BACK, identity, SELF_KEY, make_batch(source, said, **more), 0.0)


def make_relay(publishes: bool = True, most: int = 10) -> Relay:
    """Make a relay to which a client and a server have said HELLO."""
    relay = Relay(PROXY, LARGEST, most, publishes)
    say(relay, FRONT, b"client", CLIENT, hello("client"))
    say(relay, BACK, b"server", SERVER, hello("server", message=1000))
    return relay


def back(reason: Refusal, payload: bytes | None = OPAQUE, side: int = FRONT, identity: bytes = b"client") -> Answer:
    return Answer(side, identity, CLIENT if identity == b"client" else SERVER, (Nack(reason, [], "", payload),))


class CameTests(SynchronousTestCase):
    def test_what_a_server_serves_is_told(self):
        """Each time it says so to this proxy; what a client says is not."""
        relay = Relay(PROXY, LARGEST, 10, True)
        for _ in range(2):
            came, answer = served(relay, b"server", SERVER, "server")
            self.assertEqual(came, Came([Served("x", "compute", "a")]))
            self.assertIsInstance(answer, Answer)
        self.assertEqual(len(served(relay, b"client", CLIENT, "client")), 1)
        self.assertEqual(len(served(relay, b"other", STRANGER, "server", destination=STRANGER)), 1)


class KeylessTests(SynchronousTestCase):
    """Somebody asks who is there before he knows how to ask."""

    def ask(self, side: int, *messages: bytes, relay: Relay | None = None) -> Any:
        return (relay or make_relay()).keyless(side, b"9", make_batch(CLIENT, *messages))

    def test_hello(self):
        relay = make_relay()
        self.assertEqual(self.ask(FRONT, hello("client"), relay=relay), Answer(FRONT, b"9", CLIENT, [WELCOME]))
        self.assertEqual(len(relay), 2)
        self.assertEqual(relay.largest(FRONT, b"9"), 0)

    def test_refused(self):
        relay = make_relay()
        relay.part("tcp://h:1", "tcp://h:2")
        (nack,) = self.ask(BACK, hello("client"), relay=relay).messages
        self.assertEqual(nack.reason, Refusal.NOT_SERVED)

    def test_nothing_else(self):
        for messages in ([PING], [GOAWAY], [hello("client"), PING], []):
            self.assertIsInstance(self.ask(FRONT, *messages), Discard, messages)
        for payload in (b"", OPAQUE, make_batch(CLIENT, hello("client"))[:-1]):
            self.assertIsInstance(make_relay().keyless(FRONT, b"9", payload), Discard, payload)

    def test_not_ready(self):
        relay = make_relay()
        for text, told in ((None, None), ("", {"not_ready": ""}), ("x" * 5000, {"not_ready": "x" * 1000})):
            relay.not_ready = text
            (welcome,) = self.ask(FRONT, hello("client"), relay=relay).messages
            self.assertEqual(welcome.extensions, told)


class ForwardTests(SynchronousTestCase):
    """Which connection a message goes to."""

    def way(self, relay: Relay, side: int, identity: bytes, key: bytes) -> tuple[int, bytes] | None:
        to = relay.way(side, identity, key)
        return None if to is None else (to.side, to.identity)

    def test_rows(self):
        rows = [
            (FRONT, b"client", SERVER, (BACK, b"server")),
            (BACK, b"server", CLIENT, (FRONT, b"client")),
            # Nobody reaches one of the same role, himself, or anybody without a HELLO.
            (FRONT, b"client", CLIENT, None),
            (BACK, b"server", SERVER, None),
            (FRONT, b"client", PROXY, None),
            (FRONT, b"client", STRANGER, None),
            (FRONT, b"other", SERVER, None),
            # The routing ids of two sockets have nothing to do with each other.
            (BACK, b"client", SERVER, None),
        ]
        for side, identity, instance, where in rows:
            found = self.way(make_relay(), side, identity, instance_key(instance))
            self.assertEqual(found, where, (side, identity, instance))

    def test_one_socket(self):
        """The role counts, not the side that somebody came by."""
        relay = Relay(PROXY, LARGEST, 10, False)
        say(relay, FRONT, b"1", CLIENT, hello("client"))
        say(relay, FRONT, b"2", SERVER, hello("server"))
        self.assertEqual(self.way(relay, FRONT, b"1", instance_key(SERVER)), (FRONT, b"2"))
        self.assertEqual(self.way(relay, FRONT, b"2", instance_key(CLIENT)), (FRONT, b"1"))

    def test_both_roles(self):
        """A process that calls and serves has a connection for each."""
        relay = make_relay()
        say(relay, FRONT, b"3", SERVER, hello("client"))
        self.assertEqual(self.way(relay, FRONT, b"3", instance_key(SERVER)), (BACK, b"server"))
        self.assertEqual(self.way(relay, BACK, b"server", instance_key(SERVER)), (FRONT, b"3"))
        self.assertEqual(self.way(relay, FRONT, b"client", instance_key(SERVER)), (BACK, b"server"))

    def test_the_newest_connection_counts(self):
        relay = make_relay()
        say(relay, BACK, b"2", SERVER, hello("server"), sent=2)
        self.assertEqual(self.way(relay, FRONT, b"client", instance_key(SERVER)), (BACK, b"2"))
        # What the older one had on its way still goes to where it belongs.
        self.assertEqual(self.way(relay, BACK, b"server", instance_key(CLIENT)), (FRONT, b"client"))

    def test_a_hello_that_is_read_late(self):
        relay = make_relay()
        say(relay, BACK, b"3", SERVER, hello("server"), sent=3)
        say(relay, BACK, b"2", SERVER, hello("server"), sent=2)
        self.assertEqual(self.way(relay, FRONT, b"client", instance_key(SERVER)), (BACK, b"3"))

    def test_a_stamp_of_the_future(self):
        """Nobody keeps an instance out by the number that it says: who comes later is the newest, but for seconds."""
        for ahead, newest in ((LATE_MILLISECONDS, b"2"), (LATE_MILLISECONDS + 1, b"3"), (2**63, b"3")):
            relay = make_relay()
            say(relay, BACK, b"2", SERVER, hello("server"), sent=1000 + ahead)
            say(relay, BACK, b"3", SERVER, hello("server"), sent=1000)
            self.assertEqual(self.way(relay, FRONT, b"client", instance_key(SERVER)), (BACK, newest), ahead)

    def test_the_end_of_an_older_connection_takes_nothing(self):
        relay = make_relay()
        older = relay.way(FRONT, b"client", instance_key(SERVER))
        assert older is not None
        say(relay, BACK, b"2", SERVER, hello("server"))
        relay.forget(older)
        relay.forget(older)
        self.assertEqual(self.way(relay, FRONT, b"client", instance_key(SERVER)), (BACK, b"2"))
        self.assertIsNone(self.way(relay, BACK, b"server", instance_key(CLIENT)))

    def test_an_older_connection_takes_over(self):
        """A client that has found two ways to one proxy leaves the one that it has said HELLO by last."""
        for ends in ("goaway", "forgotten", "gone"):
            relay = make_relay()
            for number in (2, 3):
                say(relay, FRONT, b"%d" % number, CLIENT, hello("client"), sent=number)
            last = relay.way(BACK, b"server", instance_key(CLIENT))
            assert last is not None and last.identity == b"3"
            if ends == "goaway":
                say(relay, FRONT, b"3", CLIENT, GOAWAY)
            elif ends == "gone":
                heir = relay.heir(last)
                assert heir is not None and heir.identity == b"2"
            else:
                relay.forget(last)
            self.assertEqual(self.way(relay, BACK, b"server", instance_key(CLIENT)), (FRONT, b"2"))
            for identity in (b"2", b"client"):
                say(relay, FRONT, identity, CLIENT, GOAWAY)
            # All leave, and what is under way still comes to the one that was there last.
            self.assertEqual(self.way(relay, BACK, b"server", instance_key(CLIENT)), (FRONT, b"client"))
            for identity in (b"2", b"client", b"3"):
                relay.forget_behind(FRONT, identity)
            self.assertIsNone(relay.way(BACK, b"server", instance_key(CLIENT)))
            self.assertEqual(relay._siblings, {})

    def test_goaway_counts_once(self):
        relay = make_relay()
        say(relay, FRONT, b"2", CLIENT, hello("client"), sent=2)
        say(relay, FRONT, b"2", CLIENT, GOAWAY)
        say(relay, FRONT, b"3", CLIENT, hello("client"), sent=3)
        say(relay, FRONT, b"2", CLIENT, GOAWAY)
        self.assertEqual(self.way(relay, BACK, b"server", instance_key(CLIENT)), (FRONT, b"3"))

    def test_a_connection_has_one_instance(self):
        relay = make_relay()
        for number in range(100):
            say(relay, BACK, b"server", b"%16d" % number, hello("server"))
        self.assertEqual(len(relay), 2)
        self.assertIsNone(self.way(relay, FRONT, b"client", instance_key(SERVER)))
        self.assertEqual(self.way(relay, FRONT, b"client", instance_key(b"%16d" % 99)), (BACK, b"server"))


class DispatchTests(SynchronousTestCase):
    # key and payload from the client, what becomes of them
    ROWS: list[tuple[bytes, bytes, Effect | None]] = [
        (instance_key(STRANGER), OPAQUE, back(Refusal.UNROUTABLE)),
        (instance_key(CLIENT), OPAQUE, back(Refusal.UNROUTABLE)),
        (instance_key(PROXY), b"", back(Refusal.UNROUTABLE, b"")),
        (b"Tx\0compute", OPAQUE, Discard("malformed", "a routing key of 10 bytes that is none of ours")),
        (token_key(STRANGER), OPAQUE, Discard("malformed", "a routing key of 17 bytes that is none of ours")),
        (instance_key(b"short"), OPAQUE, Discard("malformed", "a routing key of 6 bytes that is none of ours")),
        (b"T" + bytes(2**20), OPAQUE, Discard("malformed", "a routing key of 1048577 bytes that is none of ours")),
        (b"I", OPAQUE, Discard("malformed", "a routing key of 1 bytes that is none of ours")),
        (SELF_KEY, make_batch(CLIENT, PING), Answer(FRONT, b"client", CLIENT, [Pong(7)])),
        (SELF_KEY, make_batch(CLIENT, PING, destination=PROXY), Answer(FRONT, b"client", CLIENT, [Pong(7)])),
        (SELF_KEY, make_batch(CLIENT, PING, destination=SERVER), Answer(FRONT, b"client", CLIENT, [WRONG])),
        (SELF_KEY, make_batch(STRANGER, PING), Answer(FRONT, b"client", STRANGER, [WRONG])),
        (SELF_KEY, make_batch(CLIENT, GOAWAY), None),
        (SELF_KEY, make_batch(CLIENT, hello("client")), Answer(FRONT, b"client", CLIENT, [WELCOME])),
        (SELF_KEY, make_batch(CLIENT, encode_message(Beat([]))), Discard("unexpected", "a Beat for the proxy")),
    ]

    def test_rows(self):
        for key, payload, effect in self.ROWS:
            found = dispatch(make_relay(), FRONT, b"client", key, payload, 0)
            self.assertEqual(found, effect, f"{key[:30]!r} {payload!r}")

    def test_unreadable(self):
        for payload in (OPAQUE, b"", make_batch(CLIENT, b"\x92\x0a\xa1x")):
            effect = dispatch(make_relay(), FRONT, b"client", SELF_KEY, payload, 0)
            self.assertEqual(getattr(effect, "name", None), "malformed", payload)

    def test_the_others_of_a_batch(self):
        """What cannot be read, or belongs elsewhere, is dropped alone."""
        unreadable, beat = b"\x92\x0a\xa1x", encode_message(Beat([]))
        for odd, name in ((unreadable, "malformed"), (beat, "unexpected")):
            batch = make_batch(CLIENT, PING, odd, encode_message(Ping(8)), odd)
            *dropped, answer = make_relay().dispatch(FRONT, b"client", SELF_KEY, batch, 0)
            self.assertEqual([each.name for each in dropped if isinstance(each, Discard)], [name] * 2)
            self.assertEqual(answer, Answer(FRONT, b"client", CLIENT, [Pong(7), Pong(8)]))
        refused = say(make_relay(), FRONT, b"client", CLIENT, PING, hello("router"), PING)
        self.assertEqual([type(message) for message in refused.messages], [Pong, Nack])

    def test_another_version(self):
        """Whoever speaks another one is told which is spoken here, and is not known."""
        relay = Relay(PROXY, LARGEST, 10, False)
        later = encode_message(Hello(2, 9, "server", [], {}, []))
        for payload, theirs in (
            (b"\x97\x09" + make_batch(STRANGER, hello("server"))[2:], "9"),
            (make_batch(STRANGER, later), "2 to 9"),
        ):
            effect = dispatch(relay, FRONT, b"id", SELF_KEY, payload, 0)
            text = f"wire versions 1 to 1 are spoken here, not {theirs}"
            self.assertEqual(effect, Answer(FRONT, b"id", STRANGER, [Nack(Refusal.BAD_VERSION, [], text)]))
        self.assertEqual(len(relay), 0)

    def test_another_role(self):
        relay = Relay(PROXY, LARGEST, 10, False)
        (nack,) = say(relay, FRONT, b"id", STRANGER, hello("router")).messages
        self.assertEqual((nack.reason, len(relay)), (Refusal.NOT_SERVED, 0))
        self.assertIn("a proxy takes the roles client and server, not 'router'", nack.text)

    def test_the_other_side(self):
        """Where each side has a socket, nobody on the frontend is a server, and nobody on the backend a client."""
        relay = make_relay()
        relay.part("tcp://p:1", "tcp://p:2")
        rows = [
            (FRONT, "server", "tcp://p:1 is the frontend, which is for clients; the backend tcp://p:2 is for servers"),
            (BACK, "client", "tcp://p:2 is the backend, which is for servers; the frontend tcp://p:1 is for clients"),
        ]
        for side, role, text in rows:
            (nack,) = say(relay, side, b"id", SERVER if role == "server" else CLIENT, hello(role), sent=9).messages
            self.assertEqual((nack.reason, nack.text, len(relay)), (Refusal.NOT_SERVED, text, 2))
        for side, role in ((FRONT, "client"), (BACK, "server")):
            (answer,) = say(relay, side, b"id", STRANGER, hello(role)).messages
            self.assertEqual(answer, WELCOME)

    def test_without_hello(self):
        """Whatever else comes first, its sender has to say HELLO anew; it is not given back what it sent."""
        for key, payload in ((instance_key(SERVER), OPAQUE), (TOPIC, OPAQUE)):
            effect = dispatch(make_relay(), FRONT, b"id", key, payload, 0)
            self.assertEqual(effect, Answer(FRONT, b"id", None, (WRONG,)))
        effect = dispatch(make_relay(), FRONT, b"id", SELF_KEY, make_batch(STRANGER, GOAWAY), 0)
        self.assertEqual(effect, Answer(FRONT, b"id", STRANGER, [WRONG]))

    def test_a_predecessor_is_looked_for(self):
        """Who means another instance is told which one is here, and is not known."""
        relay = Relay(PROXY, LARGEST, 10, False)
        answer = say(relay, FRONT, b"id", STRANGER, hello("server"), destination=SERVER)
        self.assertEqual(answer.messages, [Welcome(1, 1, "router", [], {"message": LARGEST}, [])])
        self.assertEqual(len(relay), 0)

    def test_publishing(self):
        """What a client publishes is published, where that is done; a server's is given back."""
        effect = dispatch(make_relay(), FRONT, b"client", TOPIC, OPAQUE, 0)
        self.assertIsInstance(effect, Publish)
        effect = dispatch(make_relay(publishes=False), FRONT, b"client", TOPIC, OPAQUE, 0)
        self.assertEqual(effect, back(Refusal.UNROUTABLE))
        effect = dispatch(make_relay(), BACK, b"server", TOPIC, OPAQUE, 0)
        self.assertEqual(effect, back(Refusal.UNROUTABLE, side=BACK, identity=b"server"))

    def test_too_large_to_be_given_back(self):
        """A NACK over the limit of its receiver would end the connection; it is told at least that there is a fault."""
        payload = bytes(900)
        effect = dispatch(make_relay(), BACK, b"server", instance_key(STRANGER), payload, 0)
        self.assertEqual(effect, back(Refusal.UNROUTABLE, None, BACK, b"server"))
        effect = dispatch(make_relay(), BACK, b"server", instance_key(STRANGER), payload[:700], 0)
        self.assertEqual(effect, back(Refusal.UNROUTABLE, payload[:700], BACK, b"server"))
        assert isinstance(effect, Answer)
        nack = encode_batch(PROXY, SERVER, 2**63, (), [encode_message(effect.messages[0])])
        self.assertLess(len(nack), 1000)


class UndeliverableTests(SynchronousTestCase):
    def refused(self, gone: bool) -> tuple[Relay, Answer]:
        relay = make_relay()
        to = relay.way(FRONT, b"client", instance_key(SERVER))
        assert to is not None
        return relay, relay.undeliverable(FRONT, b"client", to, gone, memoryview(OPAQUE))

    def test_a_connection_that_is_gone_is_forgotten(self):
        relay, answer = self.refused(gone=True)
        self.assertEqual(answer, back(Refusal.UNROUTABLE))
        self.assertEqual((relay.way(FRONT, b"client", instance_key(SERVER)), len(relay)), (None, 1))

    def test_one_that_is_full_is_not(self):
        relay, answer = self.refused(gone=False)
        self.assertEqual(answer, back(Refusal.OVERLOADED))
        self.assertIsNotNone(relay.way(FRONT, b"client", instance_key(SERVER)))


class SilenceTests(SynchronousTestCase):
    def pass_time(self, relay: Relay, until: float) -> None:
        while relay.wake_at <= until:
            relay.sweep(relay.wake_at)

    def test_silent_for_a_minute(self):
        relay = make_relay()
        self.pass_time(relay, 30)
        relay.way(BACK, b"server", instance_key(CLIENT))
        self.pass_time(relay, SILENCE + 5)
        self.assertEqual(len(relay), 1)
        self.assertIsNone(relay.way(FRONT, b"client", instance_key(SERVER)))
        self.pass_time(relay, 30 + SILENCE + 10)
        self.assertEqual((len(relay), relay.wake_at), (0, float("inf")))

    def test_bounded(self):
        """For one connection more, that which has been silent for longest goes."""
        relay = make_relay(most=3)
        say(relay, FRONT, b"3", STRANGER, hello("client"))
        relay.way(FRONT, b"client", b"")
        say(relay, FRONT, b"4", b"4" * 16, hello("client"))
        self.assertEqual((len(relay), relay.forgotten), (3, 1))
        self.assertIsNone(relay.way(FRONT, b"client", instance_key(SERVER)))
        say(relay, FRONT, b"5", b"5" * 16, hello("client"))
        self.assertIsNone(dispatch(relay, FRONT, b"client", SELF_KEY, make_batch(CLIENT, GOAWAY), 0))
        self.assertIsNotNone(relay.dispatch(FRONT, b"3", SELF_KEY, make_batch(STRANGER, GOAWAY), 0))

    def test_bounded_when_all_speak(self):
        relay = make_relay(most=2)
        for number in range(50):
            for identity in (b"client", b"%d" % (number - 1)):
                relay.way(FRONT, identity, b"")
            say(relay, FRONT, b"%d" % number, b"%16d" % number, hello("client"))
            self.assertEqual(len(relay), 2)


class DrainTests(SynchronousTestCase):
    def test_until_every_client_has_gone(self):
        relay = make_relay()
        self.assertEqual(list(make_relay().goaways()), list(relay.goaways()))
        relay.drain("bye", 100)
        self.assertEqual(
            list(relay.goaways()),
            [Answer(FRONT, b"client", CLIENT, (Goaway("bye"),)), Answer(BACK, b"server", SERVER, (Goaway("bye"),))],
        )
        self.assertFalse(relay.drained(100))
        say(relay, FRONT, b"client", CLIENT, GOAWAY, now=100.1)
        self.assertTrue(relay.drained(100.1))
        self.assertEqual([answer.identity for answer in relay.goaways()], [b"server"])
        self.assertIsNotNone(relay.way(FRONT, b"client", instance_key(SERVER)), "it forwards as before")

    def test_silent_clients(self):
        relay = make_relay()
        relay.drain("bye", 100)
        self.assertFalse(relay.drained(100 + LEAVE - 0.1))
        relay.way(FRONT, b"client", instance_key(SERVER))
        self.assertFalse(relay.drained(101.9))
        self.assertFalse(relay.drained(101.9 + LEAVE - 0.1))
        self.assertTrue(relay.drained(101.9 + LEAVE))

    def test_who_comes_late(self):
        relay = make_relay()
        relay.drain("bye", 100)
        answer = say(relay, FRONT, b"3", STRANGER, hello("client"), now=101)
        self.assertEqual(answer.messages, [WELCOME, Goaway("bye")])
        self.assertFalse(relay.drained(102))


class Connections(RuleBasedStateMachine):
    """Whatever is said, in whatever order: what the tables hold fits together, and is bounded."""

    MOST = 3
    sides = st.sampled_from([FRONT, BACK])
    identities = st.sampled_from([b"1", b"2", b"3", b"4", b"5"])
    instances = st.sampled_from([b"a" * 16, b"b" * 16, b"c" * 16])

    def __init__(self) -> None:
        super().__init__()
        self.relay = Relay(PROXY, LARGEST, self.MOST, True)
        self.now = 0.0

    @rule(side=sides, identity=identities, instance=instances, role=st.sampled_from(["client", "server"]))
    def says_hello(self, side: int, identity: bytes, instance: bytes, role: str) -> None:
        say(self.relay, side, identity, instance, hello(role), now=self.now, sent=int(self.now * 1000))
        newest = self.relay._servers if role == "server" else self.relay._clients
        assert newest[instance_key(instance)] is self.relay._by_identity[side][identity]

    @rule(side=sides, identity=identities, instance=instances, gone=st.booleans())
    def sends(self, side: int, identity: bytes, instance: bytes, gone: bool) -> None:
        to = self.relay.way(side, identity, instance_key(instance))
        if to is not None:
            sender = self.relay._by_identity[side][identity]
            assert to.instance == instance and to.serves is not sender.serves
            if gone:
                answer = self.relay.undeliverable(side, identity, to, True, OPAQUE)
                assert answer.instance == (sender.instance if sender is not to else None)
        else:
            effect = dispatch(self.relay, side, identity, instance_key(instance), OPAQUE, self.now)
            assert isinstance(effect, Answer)

    @rule(side=sides, identity=identities, instance=instances)
    def says_goaway(self, side: int, identity: bytes, instance: bytes) -> None:
        say(self.relay, side, identity, instance, GOAWAY, now=self.now)

    @rule(seconds=st.floats(0.1, 50))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        while self.relay.wake_at <= self.now:
            self.relay.sweep(self.now)

    @rule()
    def stops(self) -> None:
        self.relay.drain("bye", self.now)
        self.relay.drained(self.now)

    @invariant()
    def fits_together(self) -> None:
        relay = self.relay
        known = set(relay._known.values())
        assert len(relay) <= self.MOST
        assert known == {connection for table in relay._by_identity for connection in table.values()}
        for newest, serves in ((relay._clients, False), (relay._servers, True)):
            for key, connection in newest.items():
                assert connection in known and connection.serves is serves and connection.key == key
            assert set(newest) == {connection.key for connection in known if connection.serves is serves}
        for (serves, key), siblings in relay._siblings.items():
            assert len(siblings) > 1
            assert set(siblings) == {each for each in known if each.serves is serves and each.key == key}
        for connection in known:
            assert connection.others is (relay._clients if connection.serves else relay._servers)


class StateTests(SynchronousTestCase):
    def test_whatever_is_said(self):
        run_state_machine_as_test(
            Connections, settings=settings(max_examples=60, stateful_step_count=30, deadline=None)
        )


class HostileTests(SynchronousTestCase):
    @given(st.binary(max_size=40), st.binary(max_size=200))
    def test_bytes(self, key: bytes, payload: bytes) -> None:
        """Nothing raises, and nobody becomes known by chance."""
        relay = make_relay()
        relay.dispatch(FRONT, b"id", key, payload, 0)
        self.assertEqual(len(relay), 2)

    @given(st.binary(max_size=16), st.integers(0, 200))
    def test_spoilt(self, noise: bytes, place: int) -> None:
        """Nor does a HELLO that was spoilt on the way."""
        payload = make_batch(STRANGER, hello("server"))
        payload = payload[:place] + noise + payload[place + len(noise) :]
        for effect in make_relay().dispatch(FRONT, b"id", SELF_KEY, payload, 0):
            for message in effect.messages if isinstance(effect, Answer) else ():
                encode_message(message)

    def test_answers_can_be_read(self):
        answer = back(Refusal.UNROUTABLE)
        batch = decode_batch(encode_batch(PROXY, None, 1, (), [encode_message(answer.messages[0])]))
        self.assertEqual(batch.messages, [Nack(Refusal.UNROUTABLE, [], "", OPAQUE)])
