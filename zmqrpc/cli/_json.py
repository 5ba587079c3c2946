"""
Values as JSON, on the way in and out.

JSON lacks two things that cross the wire: bytes are written ``{"$bytes": "aGVsbG8="}`` (base64), and infinite numbers
``{"$float": "Infinity"}`` or ``{"$float": "-Infinity"}``. Both are understood in arguments too.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from typing import Any

_INFINITE = {"Infinity": float("inf"), "-Infinity": float("-inf")}


def to_json(value: Any, ascii_only: bool = False) -> str:
    """Write a value on one line."""
    return json.dumps(_plain(value), ensure_ascii=ascii_only, allow_nan=False)


class NotSendable(ValueError):
    """A text is JSON, and no value that could be sent; the text says why."""


def from_json(text: str) -> Any:
    """
    Read a value.

    :raises NotSendable: the text is JSON, and stands for no value that could be sent.
    :raises ValueError: the text is not JSON.
    """
    try:
        return json.loads(text, object_pairs_hook=_object, parse_constant=_refuse, parse_int=_int, parse_float=_float)
    except RecursionError as error:
        raise NotSendable("it is nested too deeply; 100 levels are the most") from error


def read_argument(text: str) -> Any:
    """
    Read the value of an argument: JSON, or a string when it is not JSON.

    :raises NotSendable: it is JSON, and stands for no value that could be sent.
    """
    try:
        return from_json(text)
    except NotSendable:
        raise
    except ValueError:
        return text


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, bytes):
        return {"$bytes": b64encode(value).decode()}
    if isinstance(value, float) and value in _INFINITE.values():
        return {"$float": "Infinity" if value > 0 else "-Infinity"}
    return value


def _object(pairs: list[tuple[str, Any]]) -> Any:
    value = dict(pairs)
    if len(value) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise NotSendable(f"{twice!r} is in one object twice")
    match value:
        case {"$bytes": str(text), **rest} if not rest:
            try:
                return b64decode(text, validate=True)
            except ValueError as error:
                raise NotSendable(f"{text!r} of $bytes is not base64: {error}") from error
        case {"$float": str(text), **rest} if not rest:
            if text not in _INFINITE:
                raise NotSendable(f"{text!r} of $float is neither Infinity nor -Infinity")
            return _INFINITE[text]
    return value


def _int(text: str) -> int:
    # Python reads at most 4300 digits, and 64 bits are the most that can be sent.
    digits = len(text.removeprefix("-"))
    if digits > 100:
        raise NotSendable(f"{text[:10]}... has {digits} digits; 64 bits are the most")
    return int(text)


def _float(text: str) -> float:
    value = float(text)
    if value in _INFINITE.values():
        raise NotSendable(f"{text[:40]} is larger than a float can be")
    return value


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")
