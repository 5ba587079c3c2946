"""What is typed after `zmqrpc`."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import attrs

from zmqrpc.cli._exit import Exit
from zmqrpc.cli._json import from_json, read_argument
from zmqrpc.configuration import load
from zmqrpc.errors import ConfigError
from zmqrpc.settings import KEPT, URL_VARIABLE, Settings, masked_url
from zmqrpc.target import Target

COMMANDS = {
    "call": "call a method of one member and print its result",
    "cast": "have one member run a method, without waiting for its result",
    "fanout": "have every member of a topic run a method, and print whom it reached",
}

_STATUSES = """exit status:
  0  done
  1  something unexpected
  2  the command line or a setting is not valid
  3  nobody listens
  4  the time was up
  5  the method raised, or refused its arguments
  6  the matchmaker does not answer
  7  refused: overloaded, stopping, or no access
  8  outcome unknown: the server was lost, or never acknowledged
"""


@attrs.frozen
class Request:
    """
    What the command line asks for.

    :ivar command: one of `COMMANDS`.
    :ivar timeout: seconds, None for the default.
    :ivar wait: whether to wait for somebody to listen.
    :ivar json_errors: whether errors are written as JSON.
    """

    command: str
    settings: Settings
    target: Target
    method: str
    arguments: dict[str, Any]
    context: dict[str, Any] | None
    timeout: float | None
    wait: bool
    json_errors: bool


def parse(arguments: Sequence[str]) -> Request:
    """
    Read a command line.

    :raises SystemExit: help or version was asked for, or something is wrong, which is said in one line on standard
        error.
    """
    command = arguments[0] if arguments else None
    if command not in COMMANDS:
        main = _main_parser()
        main.parse_args(arguments)
        main.error("give a command: " + ", ".join(COMMANDS))
    parser = _command_parser(command)
    # So that options may stand anywhere among the rest; argparse cannot do that for commands of its own.
    options = parser.parse_intermixed_args(arguments[1:])
    try:
        return _request(command, options)
    except ConfigError as error:
        parser.error(str(error))


def parse_config(arguments: Sequence[str], config: Callable[[str | None, Sequence[str], bool], int]) -> int:
    """
    Read what follows ``zmqrpc config``, run it and return the exit status.

    :raises SystemExit: as `parse`.
    """
    parser = _Parser(prog="zmqrpc config", description="Print a sample configuration, or what a configuration means.")
    add_settings(parser)
    parser.add_argument("--json", action="store_true", help="write JSON")
    options = parser.parse_args(arguments)
    try:
        return config(options.url, options.config_file, options.json)
    except ConfigError as error:
        parser.error(str(error))


class _Parser(ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Say it in one line, where argparse would repeat the usage."""
        # Whatever was typed may be in it, such as a URL where none belongs.
        text = " ".join(masked_url(word) for word in message.split())
        print(f"{self.prog}: {text}; see {self.prog} --help", file=sys.stderr)
        sys.exit(Exit.USAGE)


def _main_parser() -> _Parser:
    from zmqrpc import __version__

    commands = "\n".join(f"  {name:8} {text}" for name, text in COMMANDS.items())
    parser = _Parser(
        prog="zmqrpc",
        description="Call methods of servers over ZeroMQ, without a broker.",
        epilog=f"commands:\n{commands}\n\nzmqrpc COMMAND --help says more.\n\n{_STATUSES}",
        formatter_class=RawDescriptionHelpFormatter,
        usage="zmqrpc COMMAND [options] ...",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"zmqrpc {__version__}")
    parser.add_argument("command", nargs="?", help="one of those below", choices=list(COMMANDS), metavar="COMMAND")
    return parser


def _command_parser(command: str) -> _Parser:
    parser = _Parser(
        prog=f"zmqrpc {command}",
        description=f"{COMMANDS[command].capitalize()}.",
        epilog=_STATUSES,
        formatter_class=RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("topic", metavar="TOPIC", help="compute, or compute.machine1 for one member (first dot splits)")
    parser.add_argument("method", metavar="METHOD")
    parser.add_argument(
        "arguments",
        metavar="NAME=JSON",
        nargs="*",
        default=[],  # without one argparse calls it required
        help="an argument; a value that is not JSON is a string",
    )
    add_settings(parser)
    parser.add_argument("--server", metavar="S", help="the member; TOPIC is then taken literally, and '' is any member")
    parser.add_argument("--namespace", metavar="NS", help="the namespace of the endpoint")
    parser.add_argument("--version", metavar="V", help="the version of the interface, MAJOR.MINOR")
    parser.add_argument("--context", metavar="JSON", help="an object that the method gets as its context")
    parser.add_argument("--timeout", metavar="S", type=float, help="seconds; default: rpc_response_timeout, 60")
    parser.add_argument("--wait", action="store_true", help="wait for somebody to listen, up to the timeout")
    parser.add_argument("--json", action="store_true", help="write errors as JSON too")
    return parser


def add_settings(parser: ArgumentParser) -> None:
    """Add the options that say what the settings are."""
    parser.add_argument("--url", help=f"{KEPT['url'].help} Default: that of the files, else ${URL_VARIABLE}")
    parser.add_argument(
        *("--config-file", "-c"),
        metavar="FILE",
        action="append",
        default=[],
        help="an INI file with options; may be repeated, and a later one overrides an earlier one",
    )


def _request(command: str, options: Namespace) -> Request:
    if options.timeout is not None and not 0 < options.timeout < float("inf"):
        raise ConfigError(f"--timeout {options.timeout:g} is not a time; give seconds, more than 0")
    return Request(
        command,
        load(url=options.url, config_files=options.config_file).settings,
        _target(options),
        options.method,
        _arguments(options.arguments),
        _context(options.context),
        options.timeout,
        options.wait,
        options.json,
    )


def _target(options: Namespace) -> Target:
    if options.server is None:
        whole = Target.parse(options.topic)
        topic, server = whole.topic, whole.server
    else:
        topic, server = options.topic, options.server or None
    return Target(topic=topic, server=server, namespace=options.namespace, version=options.version)


def _arguments(texts: Sequence[str]) -> dict[str, Any]:
    arguments: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise ConfigError(f"the argument {text!r} has no name; write NAME=VALUE")
        if name in arguments:
            raise ConfigError(f"the argument {name!r} is given twice")
        try:
            arguments[name] = read_argument(value)
        except ValueError as error:
            raise ConfigError(f"the argument {name!r} is not valid: {error}") from error
    return arguments


def _context(text: str | None) -> dict[str, Any] | None:
    if text is None:
        return None
    try:
        context = from_json(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"--context is not JSON: {error}") from error
    if not isinstance(context, dict):
        raise ConfigError('--context is no JSON object; write for example \'{"user": "ada"}\'')
    return context
