"""What a command prints."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any

from zmqrpc import errors
from zmqrpc.cli._exit import Exit, exit_for
from zmqrpc.cli._json import to_json
from zmqrpc.errors import ConfigError, DeadlineExceeded, NoRoute
from zmqrpc.settings import masked_url
from zmqrpc.spelling import printable


class Report:
    """
    The two streams of one run.

    :param program: what each error begins with, for example ``zmqrpc call``.
    :ivar json: whether errors are written as JSON too.
    :ivar absence: says what is missing that lets nobody be found; empty for nothing.
    """

    def __init__(self, program: str, as_json: bool) -> None:
        self._program = program
        self.json = as_json
        self.absence: Callable[[], str] = str

    def result(self, value: Any) -> None:
        """
        Print a value as JSON on one line.

        :raises OSError: standard output does not take it.
        """
        self._print(to_json(value), to_json(value, ascii_only=True))

    def text(self, text: str) -> None:
        """
        Print a text of our own as it is.

        :raises OSError: standard output does not take it.
        """
        self._print(text.removesuffix("\n"), text)

    def lines(self, lines: Iterable[str]) -> None:
        """
        Print lines for people; none at all for no lines.

        :raises OSError: standard output does not take them.
        """
        text = "\n".join(printable(line) for line in lines)
        if text:
            self._print(text, text.encode("ascii", "backslashreplace").decode())

    def _print(self, text: str, in_ascii: str) -> None:
        try:
            try:
                print(text, flush=True)
            except UnicodeEncodeError:
                print(in_ascii, flush=True)
        except OSError:
            # A full disk, or a reader that has left. What is buffered would raise once more at the end.
            sys.stdout = open(os.devnull, "w")  # noqa: SIM115
            raise

    def error(self, error: Exception, who: str | None = None) -> Exit:
        """
        Print an error in one line on standard error.

        :param who: the member it is about.
        :return: the exit status for it.
        """
        status = exit_for(error)
        absence = self.missing() if isinstance(error, (NoRoute, DeadlineExceeded)) else ""
        more = f"; {absence}" if absence else ""
        text = named(error) + printable(more)
        self._say(
            {**described(error), "message": f"{error}{more}", "exit_status": int(status)},
            f"{who}: {text}" if who else text,
        )
        return status

    def missing(self) -> str:
        """Say what of the matchmaker is missing, empty when nothing is."""
        try:
            return self.absence()
        except Exception as error:
            # What a plugin adds to an error must not take the error's place.
            return f"the matchmaker, asked what is missing, raised {type(error).__name__}: {error}"

    def refuse(self, error: ConfigError) -> Exit:
        """Print what is wrong with the command line or the configuration; return the exit status for it."""
        # Whatever was typed may be in it, such as a URL where none belongs.
        text = " ".join(masked_url(word) for word in str(error).split())
        self._say({**described(error), "message": text, "exit_status": int(Exit.USAGE)}, printable(text))
        return Exit.USAGE

    def note(self, text: str) -> None:
        """Tell people something on standard error; programs do not need it."""
        if not self.json:
            self._say({}, printable(text))

    def warn(self, text: str, **facts: Any) -> None:
        """
        Tell people and programs something on standard error that does not change the status.

        :param facts: what programs are told beside the text.
        """
        self._say({"warning": text, **facts}, printable(text))

    def _say(self, value: dict[str, Any], text: str) -> None:
        line = json.dumps(value, ensure_ascii=False) if self.json else f"{self._program}: {text}"
        with suppress(OSError):  # where nobody reads it, the status still says what it was
            print(line, file=sys.stderr, flush=True)


def kind_of(error: Exception) -> str:
    """Return the name of the class of an error, as people find it in the documentation."""
    kinds = type(error).__mro__
    return next((kind.__name__ for kind in kinds if kind.__module__ == errors.__name__), kinds[0].__name__)


def named(error: Exception) -> str:
    """Write class and text on one line; the text of most remote errors begins with the class already."""
    name, text = kind_of(error), printable(" ".join(str(error).split()))
    return text if text.startswith(f"{name}: ") else f"{name}: {text}"


def described(error: Exception) -> dict[str, Any]:
    """Write an error for programs."""
    return {
        "error": kind_of(error),
        "message": str(error),
        "maybe_executed": getattr(error, "maybe_executed", None),
    }


def aligned(rows: Sequence[Sequence[str]], right: frozenset[int] = frozenset()) -> list[str]:
    """
    Write a table, each column as wide as its widest cell.

    :param right: the columns, from 0, that are aligned to the right.
    """
    rows = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
