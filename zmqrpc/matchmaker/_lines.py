"""JSON whose strings know in which line they stand, so that people are told where they went wrong."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')


class Text(str):
    """
    A string of a document.

    :ivar line: the line that it stands in, from 1.
    """

    __slots__ = ("line",)
    line: int


class Pairs(list[tuple[Text, Any]]):
    """An object of a document: its names and values in order, also those that are there twice."""


def read_lines(text: str) -> Any:
    """
    Read JSON; objects become `Pairs`, strings `Text`.

    :raises ValueError: it is not JSON; the text begins with the line.
    """
    try:
        value = json.loads(text, object_pairs_hook=Pairs, parse_int=float)
        return _placed(value, _lines_of_strings(text))
    except json.JSONDecodeError as error:
        raise ValueError(f"line {error.lineno}: this is no JSON: {error.msg} (column {error.colno})") from None
    except RecursionError:
        raise ValueError("line 1: it is nested too deeply") from None


def _lines_of_strings(text: str) -> Iterator[int]:
    # In valid JSON nothing else is in quotes, so these are the strings of the document in its order.
    line, position = 1, 0
    for match in _STRING.finditer(text):
        line += text.count("\n", position, match.start())
        position = match.start()
        yield line


def _placed(value: Any, lines: Iterator[int]) -> Any:
    if isinstance(value, Pairs):
        return Pairs((_placed(name, lines), _placed(inner, lines)) for name, inner in value)
    if isinstance(value, list):
        return [_placed(inner, lines) for inner in value]
    if isinstance(value, str):
        placed = Text(value)
        placed.line = next(lines)
        return placed
    return value
