"""
Reading INI files as oslo.config has them, with the line of everything.

The standard library's parser does the work, with most of its own ideas switched off: ``%`` means nothing, ``[DEFAULT]``
is a section like others, names keep their case, an empty line ends a value, and what is given twice is there twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from configparser import MissingSectionHeaderError, ParsingError, RawConfigParser
from io import StringIO

import attrs

from zmqrpc.errors import ConfigError

MOST = 16 * 2**20
"""Bytes that a file may have."""

_HEADER = re.compile(r"\s*\[(.+)\]")
_COMMENTS = ("#", ";")


@attrs.frozen
class Entry:
    """
    One ``name = value``.

    :ivar value: without the quotes around it; lines that continue it are after newlines.
    """

    section: str
    name: str
    value: str
    file: str
    line: int

    @property
    def place(self) -> str:
        """Where it stands, for people."""
        return f"{self.file} line {self.line}"


@attrs.frozen
class IniFile:
    """
    What a file holds, in its order.

    :ivar sections: name and line of each section.
    """

    path: str
    sections: dict[str, int]
    entries: tuple[Entry, ...]


def read(path: str) -> IniFile:
    """
    Read a file.

    :raises ConfigError: it cannot be read, is empty, is no text, or has a line that is neither a section nor an option.
    """
    text = _text(path)
    lines = _Lines(text)
    parser = RawConfigParser(default_section="\0", strict=False, interpolation=None, empty_lines_in_values=False)
    # Each line's name is unique with its number, so that nothing is merged and everything has its place.
    parser.optionxform = lambda name: f"{name}\0{lines.number}"  # type: ignore[method-assign, assignment]
    try:
        parser.read_file(lines, path)
    except MissingSectionHeaderError:
        _check_header(path, *lines.given[-1])
        raise ConfigError(f"{path} line {lines.number} stands before any section; write [DEFAULT] above it") from None
    except ParsingError as error:
        line, text = lines.given[error.errors[0][0] - 1]
        _check_header(path, line, text)
        # Not what it says, which may be a password.
        raise ConfigError(f"{path} line {line} is neither a [section] nor NAME = VALUE nor a # comment") from None
    if not lines.sections:
        raise ConfigError(
            f"the configuration file {path} is empty; write [DEFAULT], and transport_url = zmq+... below it"
        )
    entries = [
        Entry(section.strip(), name.partition("\0")[0], _unquoted(value), path, int(name.partition("\0")[2]))
        for section in parser.sections()
        for name, value in parser.items(section)
    ]
    return IniFile(path, lines.sections, tuple(sorted(entries, key=lambda entry: entry.line)))


def _check_header(path: str, number: int, line: str) -> None:
    """Refuse a line that nothing can be made of, where it was meant as a section."""
    if line.lstrip().startswith("["):
        raise ConfigError(
            f"{path} line {number} begins with [ and is no section; write its name and ], for example [DEFAULT] or "
            "[oslo_messaging_zmq]"
        ) from None


class _Lines:
    """
    The lines that the parser has to see.

    Comments are none: it would end a value at one, which oslo.config does not.

    :ivar number: of the line that was given out last.
    :ivar given: number and text of each line that was given out.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self.number = 0
        self.given: list[tuple[int, str]] = []
        self.sections: dict[str, int] = {}

    def __iter__(self) -> Iterator[str]:
        for number, line in enumerate(StringIO(self._text, newline=None), 1):
            self.number = number
            if line.lstrip().startswith(_COMMENTS):
                continue
            if header := _HEADER.match(line):
                self.sections.setdefault(header[1].strip(), number)
            self.given.append((number, line))
            yield line


def _text(path: str) -> str:
    try:
        with open(path, "rb") as file:
            content = file.read(MOST + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"the configuration file {path} cannot be read ({reason})") from error
    if len(content) > MOST:
        raise ConfigError(
            f"the configuration file {path} has more than {MOST >> 20} MiB; give one that has options only"
        )
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            f"the configuration file {path} is no text: line {line} is not UTF-8; give an INI file in UTF-8"
        ) from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise ConfigError(
            f"the configuration file {path} is no text: line {line} holds a byte of value 0; give an INI file in UTF-8"
        )
    return text


def _unquoted(value: str) -> str:
    if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
        return value[1:-1]
    return value
