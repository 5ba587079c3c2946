"""Whatever arrives on the port of a server: counted, logged once a second, dropped, and the next call is served."""

import os
import socket
import struct
import time
from typing import Any

import msgspec
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from twisted.internet.threads import deferToThread

from zmqrpc.core.envelope import (
    Ack,
    Beat,
    Call,
    Cancel,
    Cast,
    Goaway,
    Hello,
    Nack,
    Ping,
    Pong,
    Refusal,
    Reply,
    Welcome,
    encode_message,
)
from zmqrpc.test.integration.nodes import NodeCase
from zmqrpc.test.integration.support import RawClient, eventually, pause
from zmqrpc.test.logs import LogLines

GREETING = b"\xff" + bytes(8) + b"\x7f" + b"\x03\x01" + b"NULL".ljust(20, b"\0") + bytes(32)
READY = b"\x04\x29\x05READY\x0bSocket-Type\x00\x00\x00\x06DEALER\x08Identity\x00\x00\x00\x00"
HUGE = b"\x02" + struct.pack(">Q", 2**62) + b"x" * 100

JUNK = {
    "nothing": b"",
    "one byte": b"\xff",
    "random": os.urandom(5000),
    "web": b"GET / HTTP/1.1\r\nHost: example.org\r\nAccept: */*\r\n\r\n",
    "ssh": b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n",
    "tls": bytes.fromhex("16030100c8010000c40303") + os.urandom(200),
    "ZMTP 1": b"\x01\x00\x05\x00hello",
    "ZMTP 2": b"\xff" + bytes(8) + b"\x7f\x01\x05\x00\x00",
    "half a greeting": GREETING[:20],
    "greeting only": GREETING,
    "unknown mechanism": GREETING.replace(b"NULL", b"ROT3"),
    "half a READY": GREETING + READY[:11],
    "huge READY": GREETING + b"\x06" + struct.pack(">Q", 2**62),
    "huge frame": GREETING + READY + HUGE,
    "half a frame": GREETING + READY + b"\x00\x64hello",
    "endless message": GREETING + READY + b"\x01\x01x" * 2000,
    "unknown command": GREETING + READY + b"\x04\x05\x04NOPE",
    "wrong type": GREETING + READY.replace(b"DEALER", b"PULLER"),
    "error": GREETING + b"\x04\x0b\x05ERROR\x04nope",
}
OPENS = {"half a frame"}
"""Whose handshake is over when the junk comes."""


class JunkTests(NodeCase):
    """What is no ZeroMQ at all, or not for long."""

    async def start(self):
        server = await self.serve()
        self.counts = server.notices.counts
        host, port = server.address.removeprefix("tcp://").split(":")
        return host, int(port)

    async def test_junk(self):
        lines = LogLines(self)
        host, port = await self.start()
        begin = time.monotonic()
        _, client = self.calling()
        await client.call(self.target, "echo", {"value": "before"})
        kept = []
        for end in ("keep", "close", "reset"):
            for name, junk in JUNK.items():
                peer = socket.create_connection((host, port))
                self.addCleanup(peer.close)
                peer.sendall(junk)
                if end == "close":
                    peer.close()
                elif end == "reset":
                    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    peer.close()
                else:
                    kept.append(peer)
                target = self.target
                self.assertEqual(await client.call(target, "echo", {"value": name}, timeout=5), name)
        other = await client.call(self.target, "echo", {"value": "after"}, timeout=5)
        self.assertEqual(other, "after")
        self.assertEqual(len(self.echo.ran), 3 * len(JUNK) + 2)
        # One that is reset may be so before it was accepted.
        least = 2 * (len(JUNK) - len(OPENS))
        await eventually("the count of them", lambda: self.counts["handshake_failed"] >= least)
        await pause(2.5)
        self.assertLessEqual(self.counts["handshake_failed"], 3 * len(JUNK))
        said = lines.about("handshake_failed")
        # Those whose address is not learnt count as one peer more.
        self.assertLessEqual(len(said), 2 * (1 + time.monotonic() - begin))
        self.assertTrue(any("a connection from 127.0.0.1 was dropped: " in line for line in said), said)

    async def test_junk_among_clients(self):
        """Each is counted, though clients come and go at the same time; and nothing else is."""
        host, port = await self.start()
        clients = []
        for number in range(60):
            _, client = self.calling()
            clients.append(client.call(self.target, "echo", {"value": f"c{number}"}, timeout=5))
            with socket.create_connection((host, port)) as peer:
                peer.sendall(JUNK["web"])
            if number % 10 == 0:
                await pause(0.005)
        for client in clients:
            await client
        await eventually("the count of them", lambda: self.counts["handshake_failed"] >= 60)
        await pause(0.1)
        self.assertEqual(self.counts["handshake_failed"], 60)

    async def test_flood_of_junk(self):
        """A port scanner without mercy costs no client its answer."""
        host, port = await self.start()
        _, client = self.calling()
        lines = LogLines(self)
        begin = time.monotonic()
        flooding = await self.flood(host, port, 3000)
        answered = 0
        while not flooding.called:
            await client.call(self.target, "echo", {"value": answered}, timeout=5)
            answered += 1
        await eventually("the count of them", lambda: self.counts["handshake_failed"] >= 3000)
        self.assertEqual(self.counts["handshake_failed"], 3000)
        self.assertGreater(answered, 10)
        self.assertLessEqual(len(lines.about("handshake_failed")), 2 * (1 + time.monotonic() - begin))

    async def flood(self, host, port, count):
        def knock():
            for _ in range(count):
                with socket.create_connection((host, port)) as peer:
                    peer.sendall(JUNK["ssh"])

        return deferToThread(knock)


class Hostile(NodeCase):
    """A server, an honest client of it, and a hostile one."""

    async def start(self, **options):
        self.server = await self.serve(**options)
        self.counts = self.server.notices.counts
        _, self.client = self.calling()
        self.raw = RawClient(self.peers, self.server.address)

    async def lives(self):
        """Check that an honest call is served."""
        value = f"honest {len(self.echo.ran)}"
        self.assertEqual(await self.client.call(self.target, "echo", {"value": value}, timeout=5), value)

    async def counted(self, name, times=1):
        await eventually(f"{times} {name}", lambda: self.counts[name] >= times)
        self.assertEqual(self.counts[name], times)

    def request(self, sequence, value, kind=Call, **changes):
        fields = {
            "attempt": 1,
            "flags": 1,
            "remaining": 5000,
            "exchange": "openstack",
            "topic": self.topic,
            "member": "one",
            "namespace": None,
            "interface": None,
            "method": "echo",
            "arguments": {"value": value},
        }
        return kind(sequence=sequence, **{**fields, **changes})


class PayloadTests(Hostile):
    """Valid ZeroMQ messages that are no batches."""

    async def test_garbage(self):
        await self.start()
        lines = LogLines(self)
        garbage = [
            b"",
            b"\xc1",
            b"hello",
            os.urandom(1000),
            b"\xdd\xff\xff\xff\xff",  # an array of four thousand million
            b"\xc6\xff\xff\xff\xff",  # bytes, as many
            b"\xdf\xff\xff\xff\xff" * 100,  # maps
            b"\x91" * 100_000,  # arrays, one in the other
            b"\x81\xa1x" * 100_000,
            self.raw.batch(Ping(1))[:-1],
            self.raw.batch(Ping(1)) + b"x",
        ]
        for payload in garbage:
            self.raw.send_raw(payload)
        await self.counted("malformed", len(garbage))
        await self.lives()
        self.assertEqual(len(lines.about("malformed")), 1)
        await self.raw.open(Welcome)
        self.raw.send(self.request(1, "after the garbage"))
        _, reply = await self.raw.message(Reply)
        self.assertEqual(reply.result, "after the garbage")

    async def test_deep_arguments(self):
        """Nesting that no decoder follows drops the batch that it is in, and no other."""
        await self.start()
        await self.raw.open(Welcome)
        call = encode_message(self.request(1, None))
        deep = call.replace(b"\xa5value\xc0", b"\xa5value" + b"\x91" * 100_000 + b"\xc0")
        self.assertGreater(len(deep), 100_000)
        self.raw.send(deep)
        self.raw.send(self.request(2, "next"))
        _, reply = await self.raw.message(Reply)
        self.assertEqual((reply.sequence, reply.result), (2, "next"))
        await self.counted("malformed")
        await self.lives()

    async def test_too_many_frames(self):
        await self.start()
        await self.raw.open(Welcome)
        good = self.raw.batch(self.request(1, "smuggled"))
        for frames in ([b"", good], [good, good], [good, b""], [b"x"] * 10_000):
            self.raw.send_raw(*frames)
        self.raw.send(self.request(2, "whole"))
        _, reply = await self.raw.message(Reply)
        self.assertEqual(reply.result, "whole")
        await self.counted("malformed", 4)
        self.assertEqual(self.echo.ran, ["whole"])
        await self.lives()

    async def test_flood(self):
        """Trouble without end is counted each time, and logged once a second."""
        await self.start()
        lines = LogLines(self)
        begin = time.monotonic()
        for _ in range(20):
            for _ in range(100):
                self.raw.send_raw(b"junk")
            await self.lives()
        await self.counted("malformed", 2000)
        self.assertLessEqual(len(lines.about("malformed")), 1 + int(time.monotonic() - begin))

    async def test_forged_log_lines(self):
        """A peer cannot write lines of its own into the log."""
        await self.start()
        lines = LogLines(self)
        self.raw.send_raw(msgspec.msgpack.encode([1, "\n\x1b[2J root logged in \n"]))
        await self.raw.open(Welcome)
        self.raw.send(encode_message([1, "\n\x1b[2J root logged in \n"]))
        await self.counted("malformed", 2)
        self.assertEqual([line for line in lines if "\n" in line or "\x1b" in line], [])

    async def test_oversize(self):
        """A message over the limit ends its connection, and no other."""
        await self.start(max_message_size=100_000)
        await self.raw.open(Welcome)
        self.raw.send(self.request(1, b"x" * 100_001))
        await self.lives()
        await pause(0.05)
        await self.lives()
        self.assertNotIn(b"x" * 100_001, self.echo.ran)


class EnvelopeTests(Hostile):
    """Batches that are none of this version, not for us, or of kinds that have no business here."""

    async def test_versions(self):
        """Another version of the batch is refused by name; so is a HELLO of versions we do not speak."""
        await self.start()
        self.raw.send_raw(b"\x97\x02" + self.raw.batch(Ping(1))[2:])
        _, nack = await self.raw.message(Nack)
        self.assertEqual(nack.reason, Refusal.BAD_VERSION)
        self.assertIn("wire versions 1 to 1 are spoken here, not 2", nack.text)
        for low, high in ((2, 3), (0, 0), (7, 2**63)):
            self.raw.send(Hello(low, high, "client", [], {}, []))
            batch, nack = await self.raw.message(Nack)
            self.assertEqual((nack.reason, batch.version), (Refusal.BAD_VERSION, 1))
            self.assertIn(f"not {low} to {high}", nack.text)
        await self.counted("bad_version", 4)
        await self.lives()
        await self.raw.open(Welcome)

    async def test_future_hello(self):
        """One that speaks newer versions as well is welcome, whatever else it says."""
        await self.start()
        hello = msgspec.msgpack.encode([13, 1, 9, "quantum", ["x"], {"message": 0, "y": 1}, [], {"z": 1}, "new", 2])
        self.raw.send(hello)
        _, welcome = await self.raw.message(Welcome)
        self.assertEqual(welcome.version, 1)
        await self.lives()

    async def test_version_on_an_open_link(self):
        await self.start()
        await self.raw.open(Welcome)
        self.raw.send_raw(b"\x97\x05" + self.raw.batch(self.request(1, "from the future"))[2:])
        _, nack = await self.raw.message(Nack)
        self.assertEqual(nack.reason, Refusal.BAD_VERSION)
        await self.counted("bad_version")
        self.assertEqual(self.echo.ran, [])

    async def test_unknown_kinds(self):
        """What is of no kind that is known is refused by its number, and its neighbours are served."""
        await self.start()
        await self.raw.open(Welcome)
        odd = [
            [15, 1, 1],
            [0, 2],
            [2**60, 3],
            [-1, 4],
            ["CALL", 5],
            [],
            {},
            None,
            [1],
            [1, 0],
            [1, -5],
            [1, 2**70 % 2**64],
            [5, "x"],
        ]
        encoded = [msgspec.msgpack.encode(message) for message in odd]
        self.raw.send(*encoded, self.request(9, "beside"))
        _, reply = await self.raw.message(Reply)
        self.assertEqual(reply.result, "beside")
        await self.counted("malformed", len(odd))
        await self.lives()

    async def test_before_hello(self):
        """Who has not said HELLO is told so, and nothing runs."""
        await self.start()
        self.raw.server = self.server.instance
        self.raw.send(self.request(1, "early"), self.request(3, "early", Cast))
        _, nack = await self.raw.message(Nack)
        self.assertEqual((nack.reason, nack.ranges), (Refusal.WRONG_INSTANCE, [1, 1, 3, 3]))
        await self.counted("wrong_instance")
        for message in (Ping(1), Cancel([1, 2**63]), Goaway(), Reply(1), Welcome(1, 0, "", [], {}, [])):
            self.raw.send(message)
        await self.counted("wrong_instance", 6)
        await self.lives()
        self.assertNotIn("early", self.echo.ran)

    async def test_wrong_destination(self):
        await self.start()
        await self.raw.open(Welcome)
        self.raw.send(self.request(1, "astray"), destination=os.urandom(16))
        _, nack = await self.raw.message(Nack)
        self.assertEqual((nack.reason, nack.ranges), (Refusal.WRONG_INSTANCE, [1, 1]))
        self.raw.send(self.request(2, "forged"), source=os.urandom(16))
        _, nack = await self.raw.message(Nack)
        self.assertEqual((nack.reason, nack.ranges), (Refusal.WRONG_INSTANCE, [2, 2]))
        self.raw.send(self.request(3, "right"))
        _, reply = await self.raw.message(Reply)
        self.assertEqual(reply.result, "right")
        await self.counted("wrong_instance", 2)
        self.assertEqual(self.echo.ran, ["right"])

    async def test_not_served(self):
        """What is addressed to us and not ours does not run."""
        await self.start()
        await self.raw.open(Welcome)
        for sequence, changes in enumerate(({"topic": "x"}, {"exchange": "x"}, {"member": "x"}, {"topic": ""}), 1):
            self.raw.send(self.request(sequence, "astray", **changes))
            _, nack = await self.raw.message(Nack)
            self.assertEqual((nack.reason, nack.ranges), (Refusal.NOT_SERVED, [sequence, sequence]))
        self.assertEqual(self.echo.ran, [])
        await self.counted("not_served", 4)

    async def test_kinds_of_servers(self):
        """What only servers say is counted, and harms nothing."""
        await self.start()
        await self.raw.open(Welcome)
        self.raw.send(
            *(Reply(1, "x"), Ack([0, 2**63]), Nack(3, [1, 2**63]), Beat([1, 1]), Pong(2**63)),
            Welcome(1, 0, "server", [], {}, []),
        )
        self.raw.send(self.request(1, "after"))
        _, reply = await self.raw.message(Reply)
        self.assertEqual(reply.result, "after")
        await self.counted("unexpected", 6)

    async def test_ranges(self):
        """Ranges of any size and shape cost nothing and end nobody else's calls."""
        await self.start()
        await self.raw.open(Welcome)
        beside = self.client.call(self.target, "later", {"value": "beside", "seconds": 0.3}, timeout=5)
        await eventually("that it runs", lambda: self.echo.ran == ["beside"])
        begin = time.monotonic()
        for ranges in ([0, 2**64 - 1], [1], [5, 1], [2**63, 2**63], [1, 2**63] * 1000, []):
            self.raw.send(Cancel(ranges), settled=())
        self.raw.send(Ping(7))
        await self.raw.message(Pong)
        self.assertLess(time.monotonic() - begin, 1)
        self.assertEqual(await beside, "beside")

    async def test_settled(self):
        """Claims about what is settled may cost the one who makes them its calls, and nobody else."""
        await self.start()
        await self.raw.open(Welcome)
        begin = time.monotonic()
        for settled in ([2**64 - 1], [0, 5, 2**63], [3, 2, 1], [0] + [5, 4] * 64, [1] * 5000):
            self.raw.send(Ping(1), settled=settled)
            await self.raw.message(Pong)
            await self.lives()
        self.assertLess(time.monotonic() - begin, 2)

    async def test_repeated(self):
        """The same number runs once, and is answered again."""
        await self.start()
        await self.raw.open(Welcome)
        for _ in range(3):
            self.raw.send(self.request(1, "once"), self.request(1, "once"))
            _, reply = await self.raw.message(Reply)
            self.assertEqual((reply.sequence, reply.result), (1, "once"))
        self.assertEqual(self.echo.ran, ["once"])

    async def test_cancelled_before_it_ran(self):
        """A call whose CANCEL comes with it does not run."""
        await self.start()
        await self.raw.open(Welcome)
        self.raw.send(self.request(1, "cancelled"), self.request(2, "kept"), Cancel([1, 1]))
        _, reply = await self.raw.message(Reply)
        self.assertEqual((reply.sequence, self.echo.ran), (2, ["kept"]))

    async def test_expired(self):
        """A message without time left does not run; neither does one that says that it is old."""
        await self.start()
        await self.raw.open(Welcome)
        self.raw.send(self.request(1, "late", remaining=0))
        _, nack = await self.raw.message(Nack)
        self.assertEqual((nack.reason, nack.ranges), (Refusal.EXPIRED, [1, 1]))
        self.raw.send(self.request(2, "late"), sent=int(time.monotonic() * 1000) - 6000)
        _, nack = await self.raw.message(Nack)
        self.assertEqual((nack.reason, nack.ranges), (Refusal.EXPIRED, [2, 2]))
        for sent in (0, 2**63, 2**64 - 1):
            self.raw.send(Ping(1), sent=sent)
        await self.lives()
        self.assertEqual(self.echo.ran, ["honest 0"])

    async def test_hello_and_then_nothing(self):
        """Clients that only say HELLO cost nobody anything, and hold up no stop."""
        await self.start()
        clients = [RawClient(self.peers, self.server.address) for _ in range(200)]
        for silent in clients:
            await silent.open(Welcome)
        await self.lives()
        begin = time.monotonic()
        await self.server.stopService()
        self.assertLess(time.monotonic() - begin, 1)

    async def test_hello_again_and_again(self):
        """Neither does one that says it all the time, as itself or as others."""
        await self.start()
        for _ in range(300):
            self.raw.send(Hello(1, 1, "client", [], {}, []))
            self.raw.send(Hello(1, 1, "client", [], {}, []), source=os.urandom(16))
        await self.lives()
        await self.raw.open(Welcome)
        self.raw.send(self.request(1, "still me"))
        _, reply = await self.raw.message(Reply)
        self.assertEqual(reply.result, "still me")


values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**63), 2**64 - 1),
        st.floats(),
        st.text(max_size=20),
        st.binary(max_size=40),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=5), st.dictionaries(st.text(max_size=5), inner, max_size=4)),
    max_leaves=15,
)
messages = st.one_of(
    values,
    st.tuples(st.integers(0, 16), values).map(list),
    st.tuples(st.integers(1, 14), st.lists(values, max_size=16)).map(lambda pair: [pair[0], *pair[1]]),
    st.tuples(st.sampled_from([6, 8, 9]), st.lists(st.integers(0, 2**64 - 1), max_size=9)).map(list),
)


class GeneratedTests(Hostile):
    """Envelopes that hypothesis makes up, from a client that has opened its link and from one that has not."""

    def generate(self, strategy, count):
        made: list[Any] = []

        @settings(
            max_examples=count,
            derandomize=True,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(strategy)
        def collect(example):
            made.append(example)

        collect()
        return made

    async def send_all(self, payloads):
        """Send payloads over an open and over a closed link, with honest calls between them."""
        closed = RawClient(self.peers, self.server.address)
        await self.raw.open(Welcome)
        for count, payload in enumerate(payloads):
            self.raw.send_raw(payload)
            closed.send_raw(payload)
            if count % 20 == 0:
                await self.lives()
        await self.lives()
        fresh = RawClient(self.peers, self.server.address)
        await fresh.open(Welcome)
        fresh.send(self.request(1, "fresh"))
        _, reply = await fresh.message(Reply)
        self.assertEqual(reply.result, "fresh")
        self.assertEqual([value for value in self.echo.ran if not str(value).startswith(("honest", "fresh"))], [])

    async def test_bytes(self):
        await self.start()
        await self.send_all(self.generate(st.binary(max_size=200), 150))

    async def test_messages(self):
        """Batches with honest heads and hostile messages."""
        await self.start()
        head = self.raw.batch(b"")[: -len(b"\xdd\0\0\0\1")]
        head = head.replace(b"\xc0\x00", b"\xc4\x10" + self.server.instance + b"\x00", 1)
        bodies = self.generate(st.lists(messages, min_size=1, max_size=6), 150)
        self.assertGreater(len(bodies), 100)
        payloads = []
        for body in bodies:
            encoded = [msgspec.msgpack.encode(message) for message in body]
            payloads.append(self.raw.batch(*encoded, destination=self.server.instance))
        await self.send_all(payloads)

    async def test_batches(self):
        """Hostile heads."""
        await self.start()
        instances = st.sampled_from([self.raw.instance, self.server.instance, bytes(16), None, b"short"])
        heads = st.tuples(
            st.integers(0, 3),
            instances,
            instances,
            st.integers(0, 2**64 - 1),
            st.lists(st.integers(0, 2**64 - 1), max_size=8),
            st.one_of(st.none(), values),
            st.lists(messages, max_size=4),
        )
        await self.send_all([msgspec.msgpack.encode(batch) for batch in self.generate(heads, 150)])

    async def test_torn(self):
        """Honest batches with bytes changed, added and taken away."""
        await self.start()
        honest = self.raw.batch(
            *(Ping(1), self.request(2**40, "honest 1"), Cancel([1, 1]), Goaway("bye"), Ack([1, 2])),
            destination=self.server.instance,
        )
        # The argument's own bytes stay: with others it would be as good a call.
        text = honest.index(b"honest 1")
        places = [*range(text), *range(text + len(b"honest 1"), len(honest))]
        changes = st.lists(st.tuples(st.sampled_from(places), st.integers(0, 255)), min_size=1, max_size=4)
        payloads = []
        for change in self.generate(changes, 150):
            torn = bytearray(honest)
            for place, byte in change:
                torn[place] = byte
            payloads += [bytes(torn), honest[: change[0][0]], honest[change[0][0] :]]
        await self.send_all(payloads)
