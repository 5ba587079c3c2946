"""Routing keys, subscription filters and counters: the frames beside the payload (docs/spec/wire, Legs)."""

from __future__ import annotations

import re
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from zmqrpc.core.envelope import DECODE_ERRORS
from zmqrpc.errors import RemoteProtocolError

SELF_KEY = b""
LONGEST_SUBSCRIPTION = 64 * 1024
"""
Bytes of a subscription, at most, for a publisher to hear of it and say who it came from; a longer one ends its
connection without a word. The longest filter of ours has 513.
"""

_INSTANCE, _TOPIC, _TOKEN = b"I", b"T", b"K"
_INSTANCE_SIZE = 16
_TOPIC_KEY = re.compile(rb"T([^\x00-\x1f\x7f]{1,255})\x00([^\x00-\x1f\x7f]{1,255})\x00")


def instance_key(instance: bytes) -> bytes:
    """Make the key of what goes to one instance."""
    return _INSTANCE + instance


def topic_key(exchange: str, topic: str) -> bytes:
    """Make the key under which fan-outs are published; it is the subscription filter too."""
    return b"%s%s\0%s\0" % (_TOPIC, exchange.encode(), topic.encode())


def token_key(token: bytes) -> bytes:
    """Make the filter of a one-time subscription token of 16 random bytes."""
    return _TOKEN + token


def read_instance(key: bytes) -> bytes | None:
    """Return the instance an instance-key is for, None when it is no such key."""
    return key[1:] if key[:1] == _INSTANCE and len(key) == 1 + _INSTANCE_SIZE else None


def is_token(key: bytes) -> bool:
    """Tell whether a subscription filter is a token."""
    return key[:1] == _TOKEN and len(key) == 1 + _INSTANCE_SIZE


def read_topic(key: bytes) -> tuple[str, str] | None:
    """Return exchange and topic of a topic-key, None when it is no such key."""
    names = _TOPIC_KEY.fullmatch(key)
    if names is None:
        return None
    try:
        return names[1].decode(), names[2].decode()
    except UnicodeDecodeError:
        return None


def describe(key: bytes) -> str:
    """Say for a log whom a key is for, or what it subscribes to."""
    instance, topic = read_instance(key), read_topic(key)
    if instance is not None:
        return f"instance {instance.hex()}"
    if topic is not None:
        return "/".join(topic)
    return "a token" if is_token(key) else "the proxy" if key == SELF_KEY else f"a key of {len(key)} bytes"


class Counter(Struct, array_like=True, frozen=True):
    """How many messages one publisher instance has published under one filter."""

    publisher: Annotated[bytes, Meta(min_length=16, max_length=16)]
    count: Annotated[int, Meta(ge=0)]


encode_counter = msgspec.msgpack.Encoder().encode
_decode_counter = msgspec.msgpack.Decoder(Counter).decode


def decode_counter(frame: bytes) -> Counter:
    """
    Read the counter frame of a published message.

    :raises RemoteProtocolError: it is not one.
    """
    try:
        return _decode_counter(frame)
    except DECODE_ERRORS as error:
        raise RemoteProtocolError(f"a counter frame of {len(frame)} bytes cannot be read: {error}") from error
