"""The manual page zmqrpc(1), made from the table of commands; ``tools/write-share`` writes it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from textwrap import wrap

from zmqrpc.cli._commands import COMMANDS, Command, CommandOption, Kind
from zmqrpc.cli._exit import MEANINGS

_DESCRIPTION = """\
`zmqrpc` calls methods of servers over ZeroMQ, without a broker, and shows who is there. Servers and callers find each
other through a matchmaker, which a transport URL names, for example zmq+sqlite:///var/lib/zmqrpc/matchmaker.db.

TOPIC is `compute`, or `compute.machine1` for one member: the first dot splits. With `--server` it is taken literally.
Options may stand anywhere after the command.

A value that is not JSON is a string: `name=Ada`, but name='"1"' for the string 1. Bytes are {"$bytes": "aGVsbG8="},
in base64, and infinite numbers {"$float": "Infinity"} and {"$float": "-Infinity"}, in arguments and in results.

Errors are one line on standard error; with `--json` that line is a JSON object with `error`, `message`,
`maybe_executed` and `exit_status`.
"""

_EXAMPLES = (
    ("Call a method:", "zmqrpc call greeter hello name=Ada"),
    ("See who is registered:", "zmqrpc ls"),
    ("See what can be called:", "zmqrpc describe greeter"),
    ("Watch every member until Ctrl-C:", "zmqrpc ping --count 0 greeter"),
    ("See what is stuck in a process, and where:", "zmqrpc inspect tcp://10.0.0.7:49153"),
    ("Make 500 calls a second for a minute:", "zmqrpc bench --rate 500 --duration 60 greeter hello name=Ada"),
)


def manual() -> str:
    """Return the page in the language of man(7)."""
    return "\n".join(_page()) + "\n"


def _page() -> Iterator[str]:
    yield '.\\" Made by tools/write-share from zmqrpc/cli/_commands.py.'
    yield '.TH ZMQRPC 1 "" zmqrpc "zmqrpc manual"'
    yield ".SH NAME"
    yield "zmqrpc \\- call methods of servers over ZeroMQ, and see who is there"
    yield ".SH SYNOPSIS"
    yield ".nf"
    yield from (_escaped(command.synopsis) for command in COMMANDS)
    yield "zmqrpc \\-\\-help"
    yield "zmqrpc \\-\\-version"
    yield ".fi"
    yield ".SH DESCRIPTION"
    for number, paragraph in enumerate(_DESCRIPTION.strip().split("\n\n")):
        if number:
            yield ".PP"
        yield _words(paragraph)
    yield ".SH COMMANDS"
    for command in COMMANDS:
        yield from _command(command)
    yield ".SH EXIT STATUS"
    for status, meaning in MEANINGS.items():
        yield ".TP"
        yield f"\\fB{status:d}\\fR"
        yield _words(meaning)
    yield ".SH ENVIRONMENT"
    yield ".TP"
    yield "\\fBZMQRPC_URL\\fR"
    yield "the transport URL where none is given"
    yield ".SH EXAMPLES"
    for about, typed in _EXAMPLES:
        yield ".TP"
        yield _words(about)
        yield _words(f"`{typed}`")
    yield ".SH SEE ALSO"
    yield "\\fBtwistd\\fR(1)"


def _command(command: Command) -> Iterator[str]:
    yield f".SS {_escaped(command.synopsis)}"
    yield _words(command.about)
    for option in command.options:
        yield ".TP"
        yield _flag(option)
        yield _words(option.help)


def _flag(option: CommandOption) -> str:
    value = "" if option.kind is Kind.FLAG else f" \\fI{option.value}\\fR"
    if option.optional:
        value = f" [\\fI{option.value}\\fR]"
    return ", ".join(f"\\fB{_escaped(flag)}\\fR{value}" for flag in option.flags)


def _words(text: str) -> str:
    """Break a text into lines, as pages of this kind are written, and escape it; a back-quoted word becomes bold."""
    text = re.sub(r"`[^`]*`", lambda quoted: quoted[0].replace(" ", "\0"), " ".join(text.split()))
    return "\n".join(map(_escaped, wrap(text, 72, break_long_words=False, break_on_hyphens=False)))


def _escaped(line: str) -> str:
    line = line.replace("\\", "\\e").replace("-", "\\-").replace("\0", " ")
    line = re.sub("`([^`]*)`", r"\\fB\1\\fR", line)
    return f"\\&{line}" if line.startswith((".", "'")) else line
