"""The vectors of docs/spec/wire, read and written by the codec: its only proof that is not its own word."""

import json
from pathlib import Path
from unittest import SkipTest

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.core import envelope, keys
from zmqrpc.core.batch import decode_batch, encode_batch
from zmqrpc.errors import RemoteProtocolError
from zmqrpc.test.core import witness
from zmqrpc.test.core.strategies import VALUES
from zmqrpc.test.core.write_vectors import VECTORS, files

KINDS = {kind.name: getattr(envelope, kind.name.capitalize()) for kind in envelope.Kind}
HEAD = ("version", "source", "destination", "sent")


# JSON and what it stands for


def said(value):
    """Say a value in JSON."""
    if isinstance(value, bytes):
        return {"hex": value.hex()}
    if isinstance(value, float) and value in (float("inf"), float("-inf")):
        return {"float": str(value)}
    if isinstance(value, msgspec.Struct):
        return said(msgspec.structs.asdict(value))
    if isinstance(value, dict):
        return {name: said(item) for name, item in value.items()}
    return [said(item) for item in value] if isinstance(value, list) else value


def meant(value):
    """Take what JSON says."""
    if isinstance(value, dict):
        if set(value) == {"hex"}:
            return bytes.fromhex(value["hex"])
        if set(value) == {"float"}:
            return float(value["float"])
        return {name: meant(item) for name, item in value.items()}
    return [meant(item) for item in value] if isinstance(value, list) else value


def say_message(message):
    if type(message) is envelope.Unreadable:
        return {"kind": "unreadable", "sequence": message.sequence}
    return {"kind": envelope.Kind(message.__struct_config__.tag).name, **said(message)}


def say_batch(batch):
    fields = said({name: getattr(batch, name) for name in batch.__struct_fields__[:-1]})
    if batch.version != envelope.WIRE_VERSION:
        return {name: fields[name] for name in HEAD} if batch.messages == [] else "its messages were read"
    return {**fields, "messages": [say_message(message) for message in batch.messages]}


def write_message(described):
    fields = {name: item for name, item in meant(described).items() if name != "kind"}
    if fields.get("failure"):
        fields["failure"] = envelope.Failure(**fields["failure"])
    if "targets" in fields:
        fields["targets"] = [envelope.Served(**target) for target in fields["targets"]]
    return envelope.encode_message(KINDS[described["kind"]](**fields))


def write_batch(described):
    source, destination, sent, settled = (meant(described[name]) for name in (*HEAD[1:], "settled"))
    messages = [write_message(message) for message in described["messages"]]
    return encode_batch(source, destination, sent, settled, messages)


def say_key(key):
    if key == keys.SELF_KEY:
        return "self"
    instance = keys.read_instance(key)
    if instance is not None:
        return {"instance": said(instance)}
    if keys.is_token(key):
        return {"token": said(key[1:])}
    names = keys.read_topic(key)
    return names and {"exchange": names[0], "topic": names[1]}


def write_key(described):
    if described == "self":
        return keys.SELF_KEY
    fields = meant(described)
    if "topic" in fields:
        return keys.topic_key(**fields)
    return keys.instance_key(**fields) if "instance" in fields else keys.token_key(**fields)


# Frames

LEGS = {
    "direct": ["batch"],
    "proxied": ["key", "batch"],
    "publish": ["key", "batch"],
    "publish-done": ["key", "counter"],
    "published": ["key", "counter", "batch"],
    "published-idle": ["key", "counter"],
    "published-token": ["key", "counter"],
}


def read_payload(frame):
    try:
        return say_batch(decode_batch(frame))
    except RemoteProtocolError:
        return "malformed"


READERS = {"key": say_key, "counter": lambda frame: said(keys.decode_counter(frame)), "batch": read_payload}
WRITERS = {
    "key": write_key,
    "counter": lambda described: keys.encode_counter(keys.Counter(**meant(described))),
    "batch": write_batch,
}


def load(name):
    frames = [bytes.fromhex(line) for line in (VECTORS / f"{name}.hex").read_text().split("\n")[:-1]]
    return frames, json.loads((VECTORS / f"{name}.json").read_text(encoding="utf-8"))


def exactly(meaning):
    """Tell 1 from 1.0 and True, and 0.0 from -0.0, which are equal in Python."""
    return json.dumps(meaning, indent=1, ensure_ascii=False)


NAMES = sorted(path.stem for path in VECTORS.glob("*.hex")) if VECTORS.is_dir() else []
if not (Path(__file__).parents[3] / "setup.py").exists():
    raise SkipTest("the vectors are only in a checkout")


class Vectors(SynchronousTestCase):
    """Has one test for each vector, made below."""

    def check(self, name):
        frames, meaning = load(name)
        parts = LEGS[meaning["leg"]]
        read = {part: READERS[part](frame) for part, frame in zip(parts, frames, strict=True)}
        self.assertEqual(exactly(read), exactly({part: meaning[part] for part in parts}))
        if meaning["direction"] == "both":
            self.assertEqual([WRITERS[part](meaning[part]).hex() for part in parts], [frame.hex() for frame in frames])


for _name in NAMES:
    setattr(Vectors, f"test_{_name.replace('-', '_')}", lambda case, name=_name: case.check(name))


class Completeness(SynchronousTestCase):
    def setUp(self):
        self.meanings = [load(name)[1] for name in NAMES]
        batches = [
            meaning["batch"] for meaning in self.meanings if meaning["direction"] == "both" and "batch" in meaning
        ]
        self.messages = [message for batch in batches for message in batch["messages"]]

    def test_legs(self):
        self.assertEqual({meaning["leg"] for meaning in self.meanings}, set(LEGS))

    def test_kinds(self):
        self.assertEqual({message["kind"] for message in self.messages}, set(KINDS))

    def test_reasons_and_codes(self):
        reasons = {message["reason"] for message in self.messages if message["kind"] == "NACK"}
        self.assertEqual(reasons, set(envelope.Refusal))
        codes = {message["failure"]["code"] for message in self.messages if message.get("failure")}
        self.assertEqual(codes, set(envelope.FailureCode))

    def test_every_field_has_a_value_somewhere(self):
        for kind, struct in KINDS.items():
            for field in struct.__struct_fields__:
                kinds = KINDS if issubclass(struct, envelope.Request) else [kind]
                values = [message.get(field) for message in self.messages if message["kind"] in kinds]
                self.assertTrue([value for value in values if value not in (None, [], {}, "")], f"{kind} {field}")

    def test_files_are_what_the_tables_say(self):
        """`python -m zmqrpc.test.core.write_vectors` has been run after the last change of the tables."""
        expected = dict(files())
        found = {path.name: path.read_text(encoding="utf-8") for path in VECTORS.iterdir()}
        self.assertEqual(sorted(found), sorted(expected))
        for name, text in expected.items():
            self.assertEqual(found[name], text, name)


class SecondWitness(SynchronousTestCase):
    """Values that no vector holds, encoded by the codec and by an encoder that shares nothing with it."""

    @given(VALUES)
    @settings(derandomize=True, max_examples=300)
    def test_any_value(self, value):
        written = envelope.encode_message(envelope.Reply(1, value))
        self.assertEqual(written, witness.pack(witness.lay_out(witness.message("REPLY", sequence=1, result=value))))

    @given(st.integers(-(2**63), 2**64 - 1))
    @settings(derandomize=True)
    def test_any_integer(self, number):
        self.assertEqual(envelope.encode_message(envelope.Reply(1, number))[3:-3], witness.pack(number))

    def test_lengths_past_16_bits(self):
        for make in ("x".__mul__, b"x".__mul__, [None].__mul__, lambda size: {str(n): n for n in range(size)}):
            for size in (65535, 65536):
                with self.subTest(make=make, size=size):
                    written = envelope.encode_message(envelope.Reply(1, make(size)))
                    self.assertEqual(written[3:-3], witness.pack(make(size)))
