"""Keys, filters and counters, read and written, and whatever else may arrive in their frames."""

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.core import keys
from zmqrpc.core.envelope import DECODE_ERRORS
from zmqrpc.core.keys import (
    SELF_KEY,
    Counter,
    decode_counter,
    encode_counter,
    instance_key,
    is_token,
    read_instance,
    read_topic,
    token_key,
    topic_key,
)
from zmqrpc.errors import ConfigError, RemoteProtocolError
from zmqrpc.target import check_name
from zmqrpc.test.core.strategies import INSTANCES, NAMES, NATURALS

INSTANCE = bytes(range(16))

NO_TOPIC_KEYS = (
    b"",
    b"T",
    b"Ta\0",
    b"Ta\0b",
    b"T\0b\0",
    b"Ta\0\0",
    b"Ta\0b\0c",
    b"Ta\0b\0\0",
    b"ta\0b\0",
    b"Ta\nx\0b\0",
    b"Ta\0b\x7f\0",
    b"Ta\0b\0\n",
    b"T" + b"a" * 256 + b"\0b\0",
    b"Ta\0" + b"b" * 256 + b"\0",
    b"T\xff\0b\0",
    b"Ta\0\xed\xa0\x80\0",
)

NO_COUNTERS = (
    b"",
    b"\x92",
    b"\x92\xc4\x10" + INSTANCE,
    b"\x91\xc4\x10" + INSTANCE,
    b"\x92\xc4\x0f" + INSTANCE[1:] + b"\x05",
    b"\x92\xc4\x10" + INSTANCE + b"\xff",
    b"\x92\xc4\x10" + INSTANCE + b"\xc0",
    b"\x92\xa2\xff\xfe\x05",
    b"\xdd\xff\xff\xff\xff",
    b"\x80",
    b"hello",
    b"\x93\xc4\x10" + INSTANCE + b"\x05" + b"\x91" * 100_000 + b"\xc0",
)


class Keys(SynchronousTestCase):
    @given(INSTANCES)
    @settings(derandomize=True)
    def test_instance_and_token(self, sixteen):
        self.assertEqual(read_instance(instance_key(sixteen)), sixteen)
        self.assertTrue(is_token(token_key(sixteen)))
        self.assertFalse(is_token(instance_key(sixteen)))
        self.assertIsNone(read_instance(token_key(sixteen)))
        self.assertIsNone(read_topic(token_key(sixteen)))

    def test_other_sizes(self):
        for size in (0, 15, 17):
            self.assertIsNone(read_instance(b"I" + bytes(size)))
            self.assertFalse(is_token(b"K" + bytes(size)))

    def test_self(self):
        self.assertIsNone(read_instance(SELF_KEY))
        self.assertFalse(is_token(SELF_KEY))
        self.assertIsNone(read_topic(SELF_KEY))

    @given(NAMES, NAMES)
    @settings(derandomize=True)
    def test_topic(self, exchange, topic):
        self.assertEqual(read_topic(topic_key(exchange, topic)), (exchange, topic))

    def test_longest_topic(self):
        self.assertEqual(read_topic(topic_key("e" * 255, "t" * 255)), ("e" * 255, "t" * 255))

    @given(st.lists(st.tuples(NAMES, NAMES), min_size=2, max_size=2, unique=True))
    @settings(derandomize=True)
    def test_no_filter_is_a_prefix_of_another(self, targets):
        first, second = (topic_key(*target) for target in targets)
        self.assertFalse(first.startswith(second) or second.startswith(first))

    def test_topics_that_were_mixed_up(self):
        """The predecessor gave `compute` what was for `compute_agent`."""
        self.assertFalse(topic_key("a", "compute_agent").startswith(topic_key("a", "compute")))
        self.assertNotEqual(topic_key("a", "bc"), topic_key("ab", "c"))

    def test_no_topic_keys(self):
        for key in NO_TOPIC_KEYS:
            self.assertIsNone(read_topic(key), key)

    @given(st.binary(max_size=8).map(lambda more: b"T" + more) | st.text("a\0\n\x7fé", max_size=6).map(str.encode))
    @settings(derandomize=True, max_examples=300)
    def test_what_is_read_is_a_name(self, key):
        """A key is read exactly when its names are those a Target may have."""
        names = read_topic(key)
        if names is not None:
            self.assertEqual(topic_key(*(check_name("name", name) for name in names)), key)

    @given(st.text("a\0\n\x7fé", max_size=3), st.text("a\0\n\x7fé", max_size=3))
    @settings(derandomize=True)
    def test_what_is_a_name_is_read(self, exchange, topic):
        try:
            names = check_name("exchange", exchange), check_name("topic", topic)
        except ConfigError:
            names = None
        self.assertEqual(read_topic(topic_key(exchange, topic)), names)


class Counters(SynchronousTestCase):
    @given(INSTANCES, NATURALS)
    @settings(derandomize=True)
    def test_round_trip(self, publisher, count):
        counter = Counter(publisher, count)
        self.assertEqual(decode_counter(encode_counter(counter)), counter)

    def test_a_later_version_adds_an_element(self):
        self.assertEqual(decode_counter(b"\x93\xc4\x10" + INSTANCE + b"\x05\xa5later"), Counter(INSTANCE, 5))

    def test_malformed(self):
        for frame in NO_COUNTERS:
            self.assertRaises(RemoteProtocolError, decode_counter, frame)

    def test_whatever_a_decoder_raises(self):
        for error in DECODE_ERRORS:

            def decode(frame, error=error):
                raise error("no")

            self.patch(keys, "_decode_counter", decode)
            self.assertRaises(RemoteProtocolError, decode_counter, b"")

    @given(st.binary(max_size=40))
    @settings(derandomize=True, max_examples=300)
    def test_random_bytes(self, frame):
        try:
            decode_counter(frame)
        except RemoteProtocolError as error:
            self.assertIn(f"{len(frame)} bytes", str(error))
