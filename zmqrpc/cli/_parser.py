"""The parsers, made from the table of commands."""

from __future__ import annotations

from argparse import Action, ArgumentParser, ArgumentTypeError, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable, Iterator, Sequence
from itertools import zip_longest
from math import inf
from typing import Any, NoReturn

from zmqrpc.cli._commands import CHOICES, COMMANDS, Command, CommandOption, Kind, Word
from zmqrpc.cli._exit import MEANINGS
from zmqrpc.errors import ConfigError
from zmqrpc.spelling import did_you_mean, meant_or_all


def choose(arguments: Sequence[str]) -> Command:
    """
    Find the command of a command line.

    :raises SystemExit: help or the version was asked for, and is printed.
    :raises ConfigError: there is no such command.
    """
    name = arguments[0] if arguments else "--"
    for command in COMMANDS:
        if command.name == name:
            return command
    if name in ("-h", "--help", "--version"):
        main_parser().parse_args([name])
    raise ConfigError(f"{_unknown(name)}; see zmqrpc --help")


def parse(command: Command, arguments: Sequence[str]) -> Namespace:
    """
    Read what follows a command.

    :return: an attribute for each option (``config_file`` for ``--config-file``) and for each word (``arguments`` for
        ``NAME=JSON``).
    :raises SystemExit: help was asked for, and is printed.
    :raises ConfigError: something is wrong with it.
    """
    parser = command_parser(command)
    # So that options may stand anywhere among the rest; argparse cannot do that for commands of its own.
    options, rest = parser.parse_known_intermixed_args(list(_with_values(command, arguments)))
    if rest:
        flags = [option.flag for option in command.options]
        near = did_you_mean(rest[0], flags, 3) if rest[0].startswith("-") else ""
        parser.error(f"there is no argument {rest[0]}{near and f'; {near}'}")
    return options


def _with_values(command: Command, arguments: Sequence[str]) -> Iterator[str]:
    """Write down the value of each option that may be without: argparse would take the next word for it."""
    flags = [option.flag for option in command.options if option.optional]
    for argument, following in zip_longest(arguments, arguments[1:], fillvalue=""):
        left_out = argument in flags and not following.isdigit()
        yield f"{argument}={_ALL}" if left_out else argument


def main_parser() -> ArgumentParser:
    """Make the parser of what stands before a command."""
    from zmqrpc import __version__

    parser = _Parser(
        prog="zmqrpc",
        description="Call methods of servers over ZeroMQ, without a broker, and see who is there.",
        epilog="\n".join(
            [
                "commands:",
                *(f"  {command.name:11} {command.summary}" for command in COMMANDS),
                "",
                "zmqrpc COMMAND --help says more.",
                "",
                *_statuses(),
            ]
        ),
        formatter_class=RawDescriptionHelpFormatter,
        usage="zmqrpc COMMAND [options] ...",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"zmqrpc {__version__}")
    return parser


def command_parser(command: Command) -> ArgumentParser:
    """Make the parser of a command."""
    parser = _Parser(
        prog=f"zmqrpc {command.name}",
        description=command.about.replace("`", ""),
        epilog="\n".join(_statuses()),
        formatter_class=_Formatter,
        allow_abbrev=False,
    )
    for word in command.words:
        _add_word(parser, word)
    for option in command.options:
        _add_option(parser, option)
    return parser


_ALL = 999_999_999
"""What an option means whose value, a number, is left out; who is asked knows how many there are and what fits."""


class _Parser(ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Raise it, where argparse would print the usage."""
        raise ConfigError(f"{message}; see {self.prog} --help")


class _Once(Action):
    def __call__(self, parser: ArgumentParser, namespace: Namespace, values: Any, flag: str | None = None) -> None:
        """Take the value of an option, where argparse would let the last of several count."""
        if getattr(namespace, self.dest) is not None:
            parser.error(f"{flag} is given twice; give it once")
        setattr(namespace, self.dest, values)


class _Formatter(RawDescriptionHelpFormatter):
    """Fills the description, and leaves the list of statuses as it is."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if "\n" in text:
            return super()._fill_text(text, width, indent)
        from textwrap import fill

        return fill(text, width, initial_indent=indent, subsequent_indent=indent)


def _add_word(parser: ArgumentParser, word: Word) -> None:
    name = "arguments" if "=" in word.name else word.name.lower()
    more: dict[str, Any] = {"nargs": word.many} if word.many else {}
    if word.many == "*":
        more["default"] = []  # without one argparse calls it required
    if word.kind in CHOICES:
        more["choices"] = CHOICES[word.kind]
    parser.add_argument(name, metavar=word.name, help=word.help, **more)


def _add_option(parser: ArgumentParser, option: CommandOption) -> None:
    if option.kind is Kind.FLAG:
        parser.add_argument(*option.flags, action="store_true", help=option.help)
        return
    more: dict[str, Any] = {"action": "append", "default": []} if option.repeat else {"action": _Once}
    if option.kind in _READERS:
        more["type"] = _READERS[option.kind]
    value = f"[{option.value}]" if option.optional else option.value
    parser.add_argument(*option.flags, metavar=value, help=option.help.replace("%", "%%"), **more)


def _statuses() -> list[str]:
    return ["exit status:", *(f"  {status:<3d}  {meaning}" for status, meaning in MEANINGS.items())]


def _unknown(name: str) -> str:
    names = [command.name for command in COMMANDS]
    if name.startswith("-"):
        return "give a command: " + ", ".join(names)
    return f"there is no command {name!r}; {meant_or_all(name, names)}"


def _number(kind: Kind, read: Callable[[str], float], low: float, above: bool) -> Callable[[str], float]:
    def check(text: str) -> float:
        try:
            value = read(text)
        except ValueError:
            value = inf
        if not (low < value if above else low <= value) or value >= 1e9:
            raise ArgumentTypeError(f"{text!r} is not {kind.value}")
        return value

    return check


_READERS = {
    Kind.SECONDS: _number(Kind.SECONDS, float, 0, above=True),
    Kind.PAUSE: _number(Kind.PAUSE, float, 0, above=False),
    Kind.RATE: _number(Kind.RATE, float, 0, above=True),
    Kind.COUNT: _number(Kind.COUNT, int, 1, above=False),
    Kind.ROUNDS: _number(Kind.ROUNDS, int, 0, above=False),
    Kind.EVENTS: _number(Kind.EVENTS, int, 0, above=False),
}
