"""The envelope: every message there and back, and whatever else may arrive in its frame."""

import resource
from contextlib import contextmanager
from time import process_time
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import astuple
from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.core import envelope
from zmqrpc.core.batch import BATCH_OVERHEAD, MOST_MESSAGES, Batch, decode_batch, encode_batch
from zmqrpc.core.envelope import (
    WIRE_VERSION,
    Call,
    FailureCode,
    Kind,
    Ping,
    Refusal,
    Reply,
    Unreadable,
    encode_message,
    readdress,
)
from zmqrpc.core.ranges import MOST_RANGES, Ranges, flatten
from zmqrpc.errors import RemoteProtocolError
from zmqrpc.test.core.strategies import INSTANCES, MESSAGES, NATURALS, POSITIVES, RANGES, REQUESTS
from zmqrpc.test.core.witness import array32, pack

SOURCE, DESTINATION = b"s" * 16, b"d" * 16
FIELDS = [WIRE_VERSION, SOURCE, DESTINATION, 5, [0], None]
GOOD = encode_message(Ping(7))
REQUEST = [1, 3, 1, 0, 1000, "openstack", "compute", None, None, None, "ping", {}]

fast = settings(derandomize=True)
thorough = settings(derandomize=True, max_examples=150)


def batch_of(*messages, fields=FIELDS):
    """Join messages that are bytes already."""
    return b"\x97" + b"".join(map(pack, fields)) + array32(messages)


def request_with(argument):
    """Encode a CALL with one argument that is bytes already."""
    return b"\x9c" + b"".join(map(pack, REQUEST[:-1])) + b"\x81\xa1a" + argument


def read(payload) -> list[Any]:
    return decode_batch(payload).messages


def replaced(values, index, value):
    return [*values[:index], value, *values[index + 1 :]]


class RoundTrip(SynchronousTestCase):
    @given(INSTANCES, st.none() | INSTANCES, NATURALS, RANGES, st.lists(MESSAGES, max_size=4))
    @thorough
    def test_batch(self, source, destination, sent, settled, messages):
        payload = encode_batch(source, destination, sent, settled, [encode_message(message) for message in messages])
        batch = Batch(WIRE_VERSION, source, destination, sent, settled, None, messages)
        # Not only equal: repr tells 1 from 1.0 and True.
        self.assertEqual(repr(decode_batch(payload)), repr(batch))

    @given(st.lists(MESSAGES, min_size=1, max_size=3))
    @fast
    def test_buffers(self, messages):
        """What ZeroMQ hands over is no bytes, but has the buffer interface."""
        payload = encode_batch(SOURCE, None, 0, (), [encode_message(message) for message in messages])
        for kind in (bytearray, memoryview):
            self.assertEqual(decode_batch(kind(payload)), decode_batch(payload))

    @given(MESSAGES)
    @fast
    def test_tuples(self, message):
        """A tuple of a kind and all its fields is what the message is."""
        kind = Kind[type(message).__name__.upper()]
        self.assertEqual(encode_message((kind, *astuple(message))), encode_message(message))

    def test_longest_batch(self):
        payload = batch_of(*[GOOD] * MOST_MESSAGES)
        self.assertEqual(len(decode_batch(payload).messages), MOST_MESSAGES)

    @given(INSTANCES, st.none() | INSTANCES, NATURALS, st.lists(NATURALS, max_size=1 + 2 * MOST_RANGES))
    @fast
    def test_overhead(self, source, destination, sent, settled):
        self.assertTrue(len(encode_batch(source, destination, sent, settled, [GOOD])) <= BATCH_OVERHEAD + len(GOOD))

    def test_greatest_overhead(self):
        gaps = Ranges()
        for sequence in range(2**64 - 1, 2**64 - 400, -2):
            gaps.add(sequence)
        payload = encode_batch(SOURCE, DESTINATION, 2**64 - 1, gaps.flat(), [GOOD] * 3)
        self.assertTrue(1200 < len(payload) - 3 * len(GOOD) <= BATCH_OVERHEAD)


class Hostile(SynchronousTestCase):
    """Whatever arrives, `decode_batch` returns or raises RemoteProtocolError; soon, and without eating memory."""

    def read(self, payload):
        """Return the messages, None when the whole is malformed."""
        try:
            return decode_batch(payload).messages
        except RemoteProtocolError as error:
            self.assertIn(f"{memoryview(payload).nbytes} bytes", str(error))
            return None

    @contextmanager
    def modestly(self, seconds=1.0, megabytes=300):
        most, begun = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, process_time()
        yield
        self.assertTrue(process_time() - begun < seconds, f"{process_time() - begun:.1f} s")
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - most) // 1024
        self.assertTrue(grown < megabytes, f"{grown} MiB")

    @given(st.binary(max_size=200))
    @thorough
    def test_random_bytes(self, payload):
        self.read(payload)

    @given(st.binary(max_size=60))
    @thorough
    def test_random_message(self, message):
        self.read(batch_of(GOOD, message))

    @given(st.lists(MESSAGES, min_size=1, max_size=3), st.data())
    @fast
    def test_truncated(self, messages, data):
        payload = encode_batch(SOURCE, DESTINATION, 5, [0], [encode_message(message) for message in messages])
        cut = data.draw(st.integers(0, len(payload) - 1))
        self.assertIsNone(self.read(payload[:cut]))

    @given(st.lists(MESSAGES, min_size=1, max_size=3), st.data())
    @thorough
    def test_flipped_bits(self, messages, data):
        payload = bytearray(
            encode_batch(SOURCE, DESTINATION, 5, [0], [encode_message(message) for message in messages])
        )
        for _ in range(data.draw(st.integers(1, 4))):
            payload[data.draw(st.integers(0, len(payload) - 1))] ^= 1 << data.draw(st.integers(0, 7))
        self.read(payload)

    @given(st.recursive(st.none() | st.integers(-(2**63), 2**64 - 1) | st.binary(max_size=17), st.lists, max_leaves=20))
    @thorough
    def test_other_msgpack(self, value):
        self.read(pack(value))
        self.read(batch_of(GOOD, pack(value)))

    def test_deep(self):
        for opening in (b"\x91", b"\x81\xa1a", b"\x81", b"\xdd\0\0\0\1"):
            bottomless = opening * 100_000 + b"\xc0"
            for payload in (
                bottomless,
                batch_of(bottomless),
                batch_of(GOOD, request_with(bottomless)),
                batch_of(bottomless, fields=replaced(FIELDS, 0, 2)),
                batch_of(GOOD)[: -len(GOOD)] + bottomless,
                batch_of(GOOD).replace(b"\x97", b"\x98", 1) + bottomless,
            ):
                with self.modestly():
                    self.assertIsNone(self.read(payload))

    def test_huge_claims(self):
        for claim in (b"\xdd", b"\xdf", b"\xc6", b"\xdb", b"\xc9"):
            for size in (2**32 - 1, 2**28):
                claimed = claim + size.to_bytes(4, "big") + b"\0" * 100
                for payload in (
                    claimed,
                    batch_of(claimed),
                    batch_of(request_with(claimed)),
                    batch_of(request_with(claimed * 50)),
                    batch_of(request_with(b"\x81" + claimed)),
                    b"\x97" + b"".join(map(pack, FIELDS[:4])) + claimed,
                    b"\x97" + b"".join(map(pack, FIELDS)) + claimed,
                ):
                    with self.modestly():
                        self.assertIsNone(self.read(payload))

    def test_more_messages_than_allowed(self):
        for message in (b"\x91\x0c", b"\xc0", b"\x90"):
            for count in (MOST_MESSAGES + 1, 10_000_000):
                payload = batch_of()[:-4] + count.to_bytes(4, "big") + message * count
                with self.modestly():
                    self.assertIsNone(self.read(payload))

    def test_nothing_but_bad_messages(self):
        with self.modestly(seconds=3):
            messages = self.read(batch_of(*[b"\xc0"] * MOST_MESSAGES))
        self.assertEqual({type(message) for message in messages}, {Unreadable})

    # What is wrong, and the batch's fields.
    HEADS = (
        ("source of 15 bytes", replaced(FIELDS, 1, SOURCE[1:])),
        ("source of 17 bytes", replaced(FIELDS, 1, SOURCE + b"s")),
        ("source that is text", replaced(FIELDS, 1, "s" * 16)),
        ("source nil", replaced(FIELDS, 1, None)),
        ("destination of 15 bytes", replaced(FIELDS, 2, DESTINATION[1:])),
        ("negative version", replaced(FIELDS, 0, -1)),
        ("version true", replaced(FIELDS, 0, True)),
        ("version nil", replaced(FIELDS, 0, None)),
        ("version a float", replaced(FIELDS, 0, 1.0)),
        ("negative time", replaced(FIELDS, 3, -5)),
        ("time a float", replaced(FIELDS, 3, 5.5)),
        ("time nil", replaced(FIELDS, 3, None)),
        ("negative sequence settled", replaced(FIELDS, 4, [-1])),
        ("settled nil", replaced(FIELDS, 4, None)),
        ("settled nested", replaced(FIELDS, 4, [[1]])),
        ("settled a number", replaced(FIELDS, 4, 7)),
        ("extensions an array", replaced(FIELDS, 5, [1])),
        ("extensions with an int as key", replaced(FIELDS, 5, {1: 1})),
        ("a field too few", FIELDS[:-1]),
    )

    def test_heads(self):
        self.assertEqual(self.read(batch_of(GOOD)), [Ping(7)])
        for wrong, fields in self.HEADS:
            self.assertIsNone(self.read(batch_of(GOOD, fields=fields)), wrong)
        self.assertIsNone(self.read(pack({"version": 1})))


class BadMessages(SynchronousTestCase):
    """A bad message leaves its neighbours readable, and names its sequence when it has one that can be read."""

    LATER_KIND = 15
    # What is wrong, the message, the sequence it is refused under.
    TABLE = (
        ("nil", b"\xc0", None),
        ("an int", b"\x05", None),
        ("text", pack("CALL"), None),
        ("a map", pack({"kind": 1}), None),
        ("empty", b"\x90", None),
        ("kind nil", pack([None, 3]), None),
        ("kind text", pack(["CALL", 3]), None),
        ("kind true", pack([True, 3]), None),
        ("kind 0", pack([0, 3]), 3),
        ("kind negative", pack([-1, 3]), 3),
        ("kind huge", pack([2**64 - 1, 3]), 3),
        ("kind later", pack([LATER_KIND, 3, "x"]), 3),
        ("kind later, alone", pack([LATER_KIND]), None),
        ("kind later, text", pack([LATER_KIND, "x"]), None),
        ("kind later, sequence 0", pack([LATER_KIND, 0]), None),
        ("kind later, sequence negative", pack([LATER_KIND, -3]), None),
        ("kind later, sequence true", pack([LATER_KIND, True]), None),
        ("kind later, sequence huge", pack([LATER_KIND, 2**64 - 1]), 2**64 - 1),
        ("request cut short", pack(REQUEST[:-1]), 3),
        ("request without anything", pack([2]), None),
        ("sequence 0", pack(replaced(REQUEST, 1, 0)), None),
        ("sequence negative", pack(replaced(REQUEST, 1, -3)), None),
        ("sequence nil", pack(replaced(REQUEST, 1, None)), None),
        ("sequence a float", pack(replaced(REQUEST, 1, 3.0)), None),
        ("attempt 0", pack(replaced(REQUEST, 2, 0)), 3),
        ("flags negative", pack(replaced(REQUEST, 3, -1)), 3),
        ("remaining negative", pack(replaced(REQUEST, 4, -1)), 3),
        ("remaining a float", pack(replaced(REQUEST, 4, 1.5)), 3),
        ("exchange nil", pack(replaced(REQUEST, 5, None)), 3),
        ("topic bytes", pack(replaced(REQUEST, 6, b"compute")), 3),
        ("member a number", pack(replaced(REQUEST, 7, 1)), 3),
        ("interface a float", pack(replaced(REQUEST, 9, 1.0)), 3),
        ("method nil", pack(replaced(REQUEST, 10, None)), 3),
        ("arguments an array", pack(replaced(REQUEST, 11, [])), 3),
        ("arguments nil", pack(replaced(REQUEST, 11, None)), 3),
        ("argument without a name", pack(replaced(REQUEST, 11, {1: 1})), 3),
        ("context an array", pack([*REQUEST, []]), 3),
        ("every kind of request: CAST", pack([2, 3]), 3),
        ("every kind of request: FANOUT", pack([3, 3]), 3),
        ("every kind of request: NOTIFY", pack([4, 3]), 3),
        ("text that is no UTF-8", request_with(b"\xa2\xff\xfe"), 3),
        ("text with a surrogate", request_with(b"\xa3\xed\xa0\x80"), 3),
        ("name that is no UTF-8", request_with(b"\x81\xa1\xff\x01"), 3),
        ("a map as a key", request_with(b"\x81\x80\x01"), 3),
        ("an array with a map as a key", request_with(b"\x81\x91\x80\x01"), 3),
        ("a time that cannot be", request_with(b"\xd7\xff" + b"\xff" * 8), 3),
        # Their second elements are no sequences of requests.
        ("REPLY", pack([5, 3, None, "failure"]), None),
        ("REPLY with a short failure", pack([5, 3, None, [0]]), None),
        ("REPLY to nothing", pack([5, 0]), None),
        ("ACK", pack([6, 3]), None),
        ("ACK of a negative sequence", pack([6, [-1, 3]]), None),
        ("NACK", pack([7, 3]), None),
        ("NACK with text that is bytes", pack([7, 3, [], b""]), None),
        ("CANCEL", pack([8, 3]), None),
        ("BEAT", pack([9, 3]), None),
        ("PING", pack([10, 3, -1]), None),
        ("PONG", pack([11, 3, "x"]), None),
        ("GOAWAY", pack([12, 3]), None),
        ("HELLO", pack([13, 3]), None),
        ("HELLO with a limit that is negative", pack([13, 1, 1, "client", [], {"message": -1}, []]), None),
        ("HELLO with a limit that is text", pack([13, 1, 1, "client", [], {"message": "all"}, []]), None),
        ("HELLO with a target that is text", pack([13, 1, 1, "client", [], {}, ["compute"]]), None),
        ("WELCOME", pack([14, 3]), None),
    )

    def test_table(self):
        for wrong, message, sequence in self.TABLE:
            first, bad, last = read(batch_of(GOOD, message, GOOD))
            self.assertEqual((first, last), (Ping(7), Ping(7)), wrong)
            self.assertIs(type(bad), Unreadable, wrong)
            self.assertEqual(bad.sequence, sequence, wrong)
            self.assertTrue(bad.reason, wrong)

    def test_alone(self):
        for wrong, message, sequence in self.TABLE:
            (bad,) = read(batch_of(message))
            self.assertEqual(bad.sequence, sequence, wrong)

    def test_head_is_read_all_the_same(self):
        batch = decode_batch(batch_of(b"\xc0", fields=[1, SOURCE, None, 5, [4, 6, 7], {"x": 1}]))
        self.assertEqual((batch.version, batch.source, batch.destination, batch.sent), (1, SOURCE, None, 5))
        self.assertEqual((batch.settled, batch.extensions), ([4, 6, 7], {"x": 1}))

    def test_nearly_values(self):
        """What may not be sent and does no harm is left to the endpoint (docs/spec/wire, Request)."""
        for argument in (
            b"\xcb\x7f\xf8" + bytes(6),  # NaN
            b"\xd4\x05\x00",  # an extension type
            b"\xd6\xff" + bytes(4),  # a time
            b"\x81\x01\x01",  # a number as a key
            b"\x81\x92\x01\x02\x01",  # an array as a key
        ):
            call, good = read(batch_of(request_with(argument), GOOD))
            self.assertIs(type(call), Call, argument)
            self.assertEqual(good, Ping(7))


class OtherVersions(SynchronousTestCase):
    def test_messages_mean_nothing(self):
        for version in (0, 2, 2**64 - 1):
            batch = decode_batch(batch_of(GOOD, fields=replaced(FIELDS, 0, version)))
            self.assertEqual((batch.version, batch.source, batch.messages), (version, SOURCE, []))

    def test_unlike_anything_here(self):
        for more in range(5):
            batch = decode_batch(pack([2, SOURCE, None, 5, *["later"] * more]))
            self.assertEqual((batch.version, batch.destination, batch.sent), (2, None, 5))
            self.assertEqual((batch.settled, batch.extensions, batch.messages), ([], None, []))

    def test_too_short_to_answer(self):
        self.assertRaises(RemoteProtocolError, decode_batch, pack([2, SOURCE, None]))


class UnknownNumbers(SynchronousTestCase):
    def test_are_read_as_something(self):
        for number in (0, 11, 99, 2**64 - 1):
            self.assertIs(Refusal(number), Refusal.UNREADABLE)
        for number in (11, 99, 2**64 - 1):
            self.assertIs(FailureCode(number), FailureCode.RAISED)

    def test_flags_are_ignored(self):
        (call,) = read(batch_of(pack(replaced(REQUEST, 3, 0xFE))))
        self.assertTrue(call.flags & envelope.Flag.IDEMPOTENT)
        self.assertFalse(call.flags & envelope.Flag.ACK_WANTED)


class Readdress(SynchronousTestCase):
    @given(REQUESTS, POSITIVES, POSITIVES, NATURALS)
    @thorough
    def test_changes_three_fields(self, request, sequence, attempt, remaining):
        encoded = readdress(encode_message(request), sequence, attempt, remaining)
        request.sequence, request.attempt, request.remaining = sequence, attempt, remaining
        self.assertEqual(encoded, encode_message(request))

    def test_first_sequence_of_what_had_none(self):
        """A request that waits for its link is encoded without a sequence, which could not be sent so."""
        request = Call(0, 1, 0, 0, "e", "t", None, None, None, "m", {})
        encoded = encode_message(request)
        self.assertEqual(read(batch_of(encoded))[0].sequence, None)
        (sent,) = read(batch_of(readdress(encoded, 9, 1, 50)))
        self.assertEqual((sent.sequence, sent.attempt, sent.remaining), (9, 1, 50))


class RangesOfSequences(SynchronousTestCase):
    FLAT: tuple[tuple[list[int], list[int]], ...] = (
        ([], []),
        ([5], [5, 5]),
        ([3, 1, 2], [1, 3]),
        ([1, 1, 3, 3], [1, 1, 3, 3]),
        ([9, 7, 8, 1, 2, 4], [1, 2, 4, 4, 7, 9]),
    )

    def test_flatten(self):
        for sequences, ranges in self.FLAT:
            self.assertEqual(flatten(sequences), ranges)

    @given(st.lists(st.integers(1, 60)))
    @fast
    def test_flatten_loses_nothing(self, sequences):
        ranges = flatten(sequences)
        again = [n for low, high in zip(ranges[::2], ranges[1::2], strict=True) for n in range(low, high + 1)]
        self.assertEqual(again, sorted(set(sequences)))


class NotEncodable(SynchronousTestCase):
    def test_says_so(self):
        """`encode_message` is the encoder itself; what it raises for values that were not checked is known."""
        endless: list[object] = []
        endless.append(endless)
        for value, error in (
            (object(), TypeError),
            (2**64, OverflowError),
            ("\ud800", UnicodeEncodeError),
            (endless, RecursionError),
        ):
            self.assertRaises(error, encode_message, Reply(1, value))
