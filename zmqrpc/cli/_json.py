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


def from_json(text: str) -> Any:
    """
    Read a value.

    :raises ValueError: the text is not JSON, or holds a ``$bytes`` or ``$float`` that is none.
    """
    return json.loads(text, object_hook=_special, parse_constant=_refuse)


def read_argument(text: str) -> Any:
    """
    Read the value of an argument: JSON, or a string when it is not JSON.

    :raises ValueError: it is JSON with a ``$bytes`` or ``$float`` that is none.
    """
    try:
        return from_json(text)
    except _NotSpecial:
        raise
    except (ValueError, RecursionError):
        return text


class _NotSpecial(ValueError):
    pass


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


def _special(value: dict[str, Any]) -> Any:
    match value:
        case {"$bytes": str(text), **rest} if not rest:
            try:
                return b64decode(text, validate=True)
            except ValueError as error:
                raise _NotSpecial(f"{text!r} of $bytes is not base64: {error}") from error
        case {"$float": str(text), **rest} if not rest:
            if text not in _INFINITE:
                raise _NotSpecial(f"{text!r} of $float is neither Infinity nor -Infinity")
            return _INFINITE[text]
    return value


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")
