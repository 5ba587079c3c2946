"""What crosses the wire arrives as it was sent, and everything else is refused by name before it leaves."""

import datetime
import decimal
import enum
import uuid
from collections import OrderedDict, defaultdict, namedtuple

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.core.batch import decode_batch, encode_batch
from zmqrpc.core.envelope import Reply, encode_message
from zmqrpc.core.values import MAX_DEPTH, check_quickly, check_value
from zmqrpc.errors import EncodingError
from zmqrpc.test.core.strategies import SCALARS, TEXT, VALUES


class Colour(enum.IntEnum):
    RED = 1


class Text(str):
    __slots__ = ()


class Point(namedtuple("Point", "x y")):
    __slots__ = ()


class Money(msgspec.Struct):
    amount: int


SURROGATE = "a\ud800"
INT, KEYS = "is an int outside -2**63 to 2**64 - 1", "keys are str"
FOREIGN = "only None, bool, int, float, str, bytes, list, tuple and dict cross the wire"

# Value, its path, and what is said about it.
REFUSED = [
    (2**64, "", INT),
    (-(2**63) - 1, "", INT),
    (10**400, "", INT),
    (float("nan"), "", "is NaN"),
    (SURROGATE, "", "lone surrogate"),
    (object(), "", f"is a builtins.object; {FOREIGN}"),
    (Colour.RED, "", "test_values.Colour"),
    (Text("a"), "", "test_values.Text"),
    (Point(1, 2), "", "test_values.Point"),
    (Money(1), "", "test_values.Money"),
    (OrderedDict(), "", "collections.OrderedDict"),
    (defaultdict(list), "", "collections.defaultdict"),
    (bytearray(b"a"), "", "builtins.bytearray"),
    (memoryview(b"a"), "", "builtins.memoryview"),
    ({1}, "", "builtins.set"),
    (frozenset(), "", "builtins.frozenset"),
    (1j, "", "builtins.complex"),
    (decimal.Decimal(1), "", "decimal.Decimal"),
    (uuid.UUID(int=0), "", "uuid.UUID"),
    (datetime.date(2020, 1, 1), "", "datetime.date"),
    (msgspec.msgpack.Ext(1, b""), "", "msgspec.msgpack.Ext"),
    (msgspec.Raw(b"\x01"), "", "msgspec.Raw"),
    (range(2), "", "builtins.range"),
    (..., "", "builtins.ellipsis"),
    ({1: 2}, "", f"has the key 1 of type int; {KEYS}"),
    ({b"a": 2}, "", "has the key b'a' of type bytes"),
    ({None: 2}, "", "has the key None of type NoneType"),
    ({Text("a"): 2}, "", "has the key 'a' of type Text"),
    ({SURROGATE: 2}, "", "has the key 'a\\ud800' of type str"),
    ({"a": [1, {"b": 2**64}]}, "['a'][1]['b']", INT),
    ({"a": (1, float("nan"))}, "['a'][1]", "is NaN"),
    ([[], [[{1: 1}]]], "[1][0][0]", KEYS),
    ({"a": SURROGATE}, "['a']", "lone surrogate"),
    ({"a": {SURROGATE: 1}}, "['a']", KEYS),
]

EXTREMES: list[object] = [
    0.0,
    -0.0,
    float("inf"),
    float("-inf"),
    5e-324,
    1.7976931348623157e308,
    2**64 - 1,
    -(2**63),
    "",
    b"",
    [],
    {},
    {"": None},
    "\0",
    "🐍\u2028",
    b"\xff\0",
    True,
    1,
    1.0,
    [[]] * 1000,
    "x" * 70_000,
]


def nested(depth, value: object = None, wrap=lambda inner: [inner]):
    for _ in range(depth):
        value = wrap(value)
    return value


def travelled(value):
    """Return what arrives when `value` is sent."""
    batch = encode_batch(b"s" * 16, b"d" * 16, 0, (), [encode_message(Reply(1, value))])
    (reply,) = decode_batch(batch).messages
    assert isinstance(reply, Reply)
    return reply.result


def fault(value):
    """Return what `check_value` says, None when it says nothing."""
    try:
        check_value(value, "argument")
    except EncodingError as error:
        return str(error)
    return None


def late_fault(value):
    """Return what is said about a value by those who send: `check_quickly`, then the encoder, then `check_value`."""
    try:
        check_quickly(value, "argument")
        encode_message(Reply(1, value))
    except EncodingError as error:
        return str(error)
    except (TypeError, OverflowError, UnicodeEncodeError, RecursionError):
        return fault(value) or "refused by the encoder alone"
    return None


class Crossing(SynchronousTestCase):
    @given(VALUES)
    @settings(derandomize=True, max_examples=300)
    def test_arrives_as_it_was_sent(self, value):
        check_value(value, "argument")
        check_quickly(value, "argument")
        # Not only equal: repr tells 1 from 1.0 and True, and -0.0 from 0.0, and the order of keys.
        self.assertEqual(repr(travelled(value)), repr(value))

    def test_extremes(self):
        for value in EXTREMES:
            check_value(value, "argument")
            self.assertEqual(repr(travelled(value)), repr(value))

    def test_tuple_arrives_as_list(self):
        for value in ((), (1, ("a",)), {"a": (1,)}):
            check_value(value, "argument")
        self.assertEqual(travelled((1, ("a",))), [1, ["a"]])

    def test_deepest(self):
        for wrap in (lambda inner: [inner], lambda inner: {"a": inner}):
            deepest = nested(MAX_DEPTH, 1, wrap)
            check_value(deepest, "argument")
            self.assertEqual(travelled(deepest), deepest)


class Refused(SynchronousTestCase):
    def test_by_name(self):
        for value, path, said in REFUSED:
            message = fault(value)
            self.assertIsNotNone(message, repr(value))
            self.assertTrue(message.startswith(f"argument{path} "), message)
            self.assertIn(said, message)

    def test_below_other_values(self):
        for value, path, _ in REFUSED:
            message = fault({"fine": [1], "wrong": (None, value)})
            self.assertTrue(message.startswith(f"argument['wrong'][1]{path} "), message)

    def test_too_deep(self):
        for depth in (MAX_DEPTH + 1, 100_000):
            message = fault(nested(depth))
            self.assertIn(f"is nested deeper than {MAX_DEPTH}", message)
            self.assertRegex(message, r"^argument\[0\]\[0\].* \.\.\. .*\[0\] is nested")
            self.assertLess(len(message), 250)

    def test_long_keys(self):
        message = fault({"x" * 100_000: {"y" * 100_000: object()}})
        self.assertRegex(message, r"^argument\['xxx.*y\.\.\.\] is a builtins\.object")
        self.assertLess(len(message), 350)

        class Unshowable:
            def __repr__(self) -> str:
                raise ValueError("cannot be shown")

        for key in (Unshowable(), 10**300):
            message = fault({key: 1})
            self.assertIn("has the key ", message)
            self.assertLess(len(message), 250)

    def test_value_that_holds_itself(self):
        value: list[object] = []
        value.append(value)
        self.assertIn("nested deeper", fault(value))


class Ensure(SynchronousTestCase):
    """`check_quickly` leaves some to the encoder; together they refuse what `check_value` does, in the same words."""

    def test_refused(self):
        for value, _, _ in REFUSED:
            for place in (value, {"a": value}, [value], {"a": {"b": value}}):
                self.assertEqual(late_fault(place), fault(place), repr(place))

    def test_too_deep(self):
        for value in (nested(MAX_DEPTH + 1), {"a": nested(MAX_DEPTH)}):
            self.assertIn("nested deeper", late_fault(value))

    anything = st.recursive(
        SCALARS | st.sampled_from([value for value, _, _ in REFUSED]),
        lambda inner: st.one_of(
            st.lists(inner, max_size=3),
            st.tuples(inner),
            st.dictionaries(TEXT | st.sampled_from([1, None, SURROGATE, Text("a")]), inner, max_size=3),
        ),
        max_leaves=5,
    )

    @given(anything)
    @settings(derandomize=True, max_examples=500)
    def test_agrees(self, value):
        self.assertEqual(late_fault(value), fault(value))
