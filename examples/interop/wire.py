"""The codec of docs/spec/wire.rst: batches and messages are lists, with the fields in the order of that page."""

import msgpack

REQUEST = "number number uint uint str str str? str? str? str dict|bytes dict?= str?= str?= dict?="
LINK = "str str[] dict target[] dict?="
FIELDS = {  # a field with "?" may be nil, one with "=" may be missing at the end
    **dict.fromkeys(["CALL", "CAST", "FANOUT", "NOTIFY"], REQUEST),
    "REPLY": "number any?= failure?= str?= dict?=",
    "ACK": "uint[]",
    "NACK": "uint uint[] str= bytes?= dict?=",
    "CANCEL": "uint[]",
    "BEAT": "uint[]",
    "PING": "uint uint?= dict?=",
    "PONG": "uint dict?=",
    "GOAWAY": "str= dict?=",
    "HELLO": f"uint uint {LINK}",
    "WELCOME": f"uint uint {LINK}",
    "failure": "uint str str str=",
    "target": "str str str?= str?=",
    "head": "uint instance instance? uint",
    "batch": "uint instance instance? uint uint[] dict? list",
}
KINDS = list(FIELDS)[:14]


def fits(kind, value):
    if kind in ("uint", "number"):
        return type(value) is int and value >= (kind == "number")
    if kind == "instance":
        return type(value) is bytes and len(value) == 16
    return kind == "any" or type(value).__name__ in kind.split("|")


def read(kind, value):
    if value is None and "?" in kind:
        return None
    kind = kind.rstrip("?=")
    if kind.endswith("[]") and type(value) is list:
        return [read(kind[:-2], item) for item in value]
    if kind in FIELDS and type(value) is list:
        fields = FIELDS[kind].split()
        defaults = [None if "?" in field else "" for field in fields if "=" in field]
        value = [*value, *defaults[len(value) - len(fields) :]][: len(fields)]
        return [read(*pair) for pair in zip(fields, value, strict=True)]
    if not fits(kind, value):
        raise ValueError(f"{value!r} is not {kind}")
    return value


def read_message(array):
    number, sequence = [*array, None, None][:2] if type(array) is list else (None, None)
    try:
        msgpack.packb(array)  # which refuses text that is not UTF-8, and what read_map has refused
        return [kind := KINDS[read("number", number) - 1], *read(kind, array[1:])]
    except (LookupError, TypeError, ValueError):
        refusable = type(number) is int and not 5 <= number <= 14 and fits("number", sequence)
        return ["unreadable", sequence if refusable else None]


def read_map(pairs):
    return dict(pairs) if all(type(name) is str for name, _ in pairs) else NotImplemented


def decode(frame):
    """Read a batch: of an unknown version only its head, and of what is to be dropped whole nothing."""
    try:
        raw = msgpack.unpackb(frame, unicode_errors="surrogateescape", strict_map_key=False, object_pairs_hook=read_map)
        batch = read("head", raw)
        return batch if batch[0] != 1 else [*read("batch", raw)[:-1], [read_message(each) for each in raw[6]]]
    except (TypeError, ValueError):
        return []


def encode(*head, messages):
    parts = [b"\x97", *map(msgpack.packb, head), b"\xdd", len(messages).to_bytes(4, "big")]
    return b"".join([*parts, *(msgpack.packb([KINDS.index(kind) + 1, *fields]) for kind, *fields in messages)])
