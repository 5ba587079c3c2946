"""Values that services send: what JSON carries as it is, what it makes something else of, and what it refuses."""

import datetime
import decimal
import enum
import ipaddress
import uuid
from collections import OrderedDict, namedtuple
from typing import Any


class Context:
    """As the request contexts of services."""

    def __init__(self, holds: dict[str, Any]) -> None:
        self._holds = holds

    def to_dict(self) -> dict[str, Any]:
        return self._holds

    def redacted_copy(self) -> Any:
        return self


class Colour(enum.Enum):
    RED = 1


class Level(enum.IntEnum):
    HIGH = 3


class Text(str):
    pass


Pair = namedtuple("Pair", "left right")


class Opaque:
    __slots__ = ()


def nested(depth: int) -> Any:
    value: Any = "deep"
    for each in range(depth):
        value = [value] if each % 2 else {"in": value}
    return value


LOOP: list[Any] = []
LOOP.append(LOOP)

VALUES: dict[str, Any] = {
    "none": None,
    "booleans": [True, False],
    "integers": [0, -1, 2**31, -(2**63), 2**64 - 1],
    "big integers": [2**64, -(2**63) - 1, 10**100],
    "floats": [0.1, -0.0, 1e308, 5e-324, 1.0],
    "no numbers": [float("nan"), float("inf"), float("-inf")],
    "text": "grüße 你好",
    "astral": "\U0001f600 \U00010000",
    "surrogates": ["lone \ud800", "pair \ud83d\ude00", "\udfff"],
    "control": "\x00\x1f\x7f\u2028",
    "bytes": b"bytes",
    "bytes of no text": b"\xff\xfe",
    "tuple": (1, (2, 3)),
    "named tuple": Pair(1, 2),
    "set": {1},
    "frozenset": frozenset(["one"]),
    "generator": range(3),
    "date": datetime.date(2024, 2, 29),
    "time": datetime.datetime(2024, 2, 29, 12, 30, 15, 999999),  # noqa: DTZ001
    "time of a zone": datetime.datetime(2024, 2, 29, 12, tzinfo=datetime.UTC),
    "uuid": uuid.UUID(int=5),
    "decimal": decimal.Decimal("1.5"),
    "address": ipaddress.ip_address("127.0.0.1"),
    "enum": Colour.RED,
    "int enum": Level.HIGH,
    "kind of text": Text("text"),
    "ordered": OrderedDict(b=1, a=2),
    "integer keys": {1: "one", -2: "two"},
    "other keys": {None: 1, True: 2, 1.5: 3},
    "tuple keys": {(1, 2): 3},
    "mixed keys": {1: "one", "1": "another"},
    "empty key": {"": {}},
    "our name": {"oslo.json": "no json"},
    "empty": [{}, [], "", ()],
    "deep": nested(90),
    "deeper": nested(150),
    "too deep": nested(5000),
    "loop": LOOP,
    "exception": ValueError("no value"),
    "opaque": Opaque(),
    "opaque inside": {"in": [1, Opaque()]},
    "class": int,
    "function": len,
    "large": "x" * 300_000,
    "many": list(range(20_000)),
}
