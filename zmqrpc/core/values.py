"""Which Python values cross the wire unchanged: None, bool, int, float, str, bytes, list, dict."""

from __future__ import annotations

from typing import Any

from zmqrpc.errors import EncodingError

SCALARS = frozenset((type(None), bool, int, str, bytes))
"""Types that need no look before they are encoded: the encoder itself refuses an int or a str that does not fit."""

PLAIN = SCALARS | {float, dict, list, tuple}
"""Types that may cross, given what they hold may."""

MAX_DEPTH = 100
_MOST_KEY = 60
_HALF_PATH = 60
_LOW, _HIGH = -(2**63), 2**64 - 1


def check_value(value: Any, where: str) -> None:
    """
    Refuse what would not arrive as it was sent.

    :param where: names the value in the error text, for example ``argument``.
    :raises EncodingError: naming the place and what is wrong there.
    """
    found = _fault(value, 0)
    if found is not None:
        path, fault = found
        raise EncodingError(f"{where}{_shortened(path)} {fault}")


def _fault(value: Any, depth: int) -> tuple[str, str] | None:
    """Find the first value that cannot cross: its path below `value`, and what is wrong; None when all can."""
    kind = type(value)
    if kind is int:
        return None if _LOW <= value <= _HIGH else ("", "is an int outside -2**63 to 2**64 - 1; send it as a str")
    if kind is str:
        return None if value.isascii() or encodes(value) else ("", "is a str with a lone surrogate; send bytes")
    if kind in SCALARS:
        return None
    if kind is float:
        return None if value == value else ("", "is NaN, which does not even equal itself; send None")
    if kind not in PLAIN:
        name = f"{kind.__module__}.{kind.__qualname__}"
        return "", f"is a {name}; only None, bool, int, float, str, bytes, list, tuple and dict cross the wire"
    if depth == MAX_DEPTH:
        return "", f"is nested deeper than {MAX_DEPTH}; flatten it"
    for step, item in value.items() if kind is dict else enumerate(value):
        if kind is dict and (type(step) is not str or not encodes(step)):
            return "", f"has the key {_shown(step)} of type {type(step).__name__}; keys are str of valid Unicode"
        found = _fault(item, depth + 1)
        if found is not None:
            return f"[{_shown(step)}]{found[0]}", found[1]
    return None


def _shown(step: Any) -> str:
    """Write a key or an index; a long key in part."""
    try:
        text = repr(step)
    except Exception:
        text = "(one that cannot be shown)"
    return text if len(text) <= _MOST_KEY else f"{text[:_MOST_KEY]}..."


def _shortened(path: str) -> str:
    """Leave out the middle of a path through what is nested deep."""
    if len(path) <= 2 * _HALF_PATH:
        return path
    return f"{path[:_HALF_PATH]} ... {path[-_HALF_PATH:]}"


def encodable(text: str) -> str:
    """Escape lone surrogates, which file names bring and the wire does not carry."""
    return text.encode("utf-8", "backslashreplace").decode()


def encodes(text: str) -> bool:
    """Tell whether a text has no lone surrogates, which the wire does not carry."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def check_quickly(value: Any, where: str) -> None:
    """
    Do what `check_value` does, at 0.1 us for what most calls carry: a scalar, or a dict of scalars.

    It leaves the size of ints and the encoding of strs to the encoder; when that refuses, `check_value` names where.

    :raises EncodingError: naming the place and what is wrong there.
    """
    kind = type(value)
    if kind in SCALARS:
        return
    if kind is dict:
        for key, item in value.items():
            if type(item) not in SCALARS or type(key) is not str:
                break
        else:
            return
    check_value(value, where)
