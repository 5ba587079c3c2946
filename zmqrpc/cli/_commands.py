"""
The table of commands: the parser, the help, the completions and the manual page are made from it.

It imports nothing that costs time, since every command line reads it.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from zmqrpc.core.notification import PRIORITIES
from zmqrpc.settings import FIELDS


class Kind(Enum):
    """How a word of the command line is read, and completed."""

    TEXT = "any text"
    FLAG = "nothing"
    FILE = "a file"
    TOPIC = "a topic that somebody listens on"
    METHOD = "a method of that topic"
    SHELL = "a shell"
    PRIORITY = "a priority"
    JSON = "a JSON object"
    SECONDS = "a number of seconds above 0"
    PAUSE = "a number of seconds, 0 or more"
    RATE = "a number above 0"
    COUNT = "a whole number, 1 or more"
    ROUNDS = "a whole number, 0 or more"
    EVENTS = "a number of events, 0 or more"


SHELLS = ("bash", "zsh")

CHOICES = {Kind.SHELL: SHELLS, Kind.PRIORITY: PRIORITIES}
"""What a word of these kinds may be."""


class Word(NamedTuple):
    """
    One argument of a command.

    :ivar name: as usage lines show it.
    :ivar many: ``""`` for exactly one, ``?`` for none or one, ``*`` for any number, ``+`` for one or more.
    """

    name: str
    help: str
    kind: Kind = Kind.TEXT
    many: str = ""


class CommandOption(NamedTuple):
    """
    One option of a command.

    :ivar flag: with its dashes.
    :ivar value: what usage lines call its value; empty for a flag.
    :ivar short: its short form, with a dash; empty for none.
    :ivar repeat: whether it may be given more than once.
    :ivar optional: whether its value, a number, may be left out.
    """

    flag: str
    help: str
    kind: Kind = Kind.FLAG
    value: str = ""
    short: str = ""
    repeat: bool = False
    optional: bool = False

    @property
    def flags(self) -> tuple[str, ...]:
        """All that it may be typed as."""
        return (self.short, self.flag) if self.short else (self.flag,)


class Command(NamedTuple):
    """
    One command.

    :ivar summary: what it does, in one clause.
    :ivar details: more sentences, for its help and the manual page; a back-quoted word is to be typed.
    :ivar module: the module below `zmqrpc.cli` whose `run` does it, imported only then.
    """

    name: str
    summary: str
    details: str
    module: str
    words: tuple[Word, ...]
    options: tuple[CommandOption, ...]

    @property
    def about(self) -> str:
        """The summary as a sentence, and the details."""
        return f"{self.summary[0].upper()}{self.summary[1:]}. {self.details}"

    @property
    def synopsis(self) -> str:
        """Its usage, on one line."""
        words = [f"{word.name} ..." if word.many in ("*", "+") else word.name for word in self.words]
        words = [
            f"[{shown}]" if word.many in ("*", "?") else shown for shown, word in zip(words, self.words, strict=True)
        ]
        return " ".join(["zmqrpc", self.name, "[OPTION ...]", *words])


_TOPIC = Word("TOPIC", "compute, or compute.machine1 for one member (first dot splits)", Kind.TOPIC)
_METHOD = Word("METHOD", "the method's name", Kind.METHOD)
_ARGUMENTS = Word("NAME=JSON", "an argument; a value that is not JSON is a string", many="*")

_JSON = CommandOption("--json", "write for programs: results and errors as JSON")
_STORE = (
    CommandOption(
        "--url", "the transport URL; default: that of the configuration files, else $ZMQRPC_URL", Kind.TEXT, "URL"
    ),
    CommandOption(
        "--config-file",
        "an INI file with options; may be repeated, and a later one overrides an earlier one",
        Kind.FILE,
        "F",
        "-c",
        repeat=True,
    ),
)
_EXCHANGE = CommandOption("--exchange", "the exchange of TOPIC; default: control_exchange", Kind.TEXT, "E")
_MEMBER = (
    CommandOption("--server", "the member; TOPIC is then taken literally, and '' is any member", Kind.TEXT, "S"),
    _EXCHANGE,
)
_CONTEXT = CommandOption("--context", "an object that the method gets as its context", Kind.JSON, "JSON")
_INTERFACE = (
    CommandOption("--namespace", "the namespace of the endpoint", Kind.TEXT, "NS"),
    CommandOption("--version", "the version of the interface, MAJOR.MINOR", Kind.TEXT, "V"),
    _CONTEXT,
)
_WAIT = CommandOption("--wait", "wait for somebody to listen, up to the timeout")


def _timeout(default: str) -> CommandOption:
    return CommandOption("--timeout", f"seconds that an answer may take; default: {default}", Kind.SECONDS, "S")


_TIMEOUT = _timeout(f"rpc_response_timeout, {FIELDS['rpc_response_timeout'].default:g}")
_SENDING = (*_STORE, *_MEMBER, *_INTERFACE, _TIMEOUT, _WAIT, _JSON)

COMMANDS: tuple[Command, ...] = (
    Command(
        "call",
        "call a method of one member and print its result",
        "The result is printed as JSON on one line.",
        "_send",
        (_TOPIC, _METHOD, _ARGUMENTS),
        _SENDING,
    ),
    Command(
        "cast",
        "have one member run a method, without waiting for its result",
        "`null` is printed when the member has acknowledged it.",
        "_send",
        (_TOPIC, _METHOD, _ARGUMENTS),
        _SENDING,
    ),
    Command(
        "fanout",
        "have every member of a topic run a method, and print whom it reached",
        "For each member that it did not reach there is a line on standard error, and the highest status counts.",
        "_send",
        (_TOPIC, _METHOD, _ARGUMENTS),
        _SENDING,
    ),
    Command(
        "notify",
        "send a notification, and print how many pools of listeners have it",
        "The arguments are its payload. The number is 0 when nobody listens, which is no error. "
        "It is printed when an endpoint of each pool has returned.",
        "_notify",
        (
            Word("TOPIC", "a topic, taken literally", Kind.TOPIC),
            Word("PRIORITY", f"one of {', '.join(PRIORITIES)}", Kind.PRIORITY),
            Word("EVENT_TYPE", "what has happened, such as instance.started"),
            Word("NAME=JSON", "a member of the payload; a value that is not JSON is a string", many="*"),
        ),
        (
            *_STORE,
            _EXCHANGE,
            CommandOption("--publisher", "who listeners are told it is from; default: zmqrpc.HOST", Kind.TEXT, "ID"),
            _CONTEXT,
            _TIMEOUT,
            _JSON,
        ),
    ),
    Command(
        "listen",
        "listen for notifications, and print each as JSON on a line",
        "It takes its share of those of its pool: what it prints, other listeners of the pool do not get. "
        "With a `--pool` of its own it gets a copy of each. Ctrl-C or SIGTERM ends it with the status 0.",
        "_listen",
        (Word("TOPIC", "a topic, taken literally", Kind.TOPIC, "+"),),
        (
            *_STORE,
            _EXCHANGE,
            CommandOption("--pool", "the pool to be in; default: the one without a name", Kind.TEXT, "P"),
            _JSON,
        ),
    ),
    Command(
        "ls",
        "list who is registered with the matchmaker",
        "With a TOPIC that nobody listens on the status is 3.",
        "_ls",
        (Word("TOPIC", "only this topic, or this member of it", Kind.TOPIC, "?"),),
        (*_STORE, CommandOption("--topics", "print the names of the topics only, one on a line"), _JSON),
    ),
    Command(
        "describe",
        "show the methods of a topic, with signatures and docstrings",
        "Every member is asked; those that offer the same are described together. "
        "What cannot be asked has a line on standard error, and the highest status counts.",
        "_describe",
        (_TOPIC,),
        (
            *_STORE,
            *_MEMBER,
            _timeout("5"),
            CommandOption("--methods", "print the names of the methods only, one on a line"),
            _JSON,
        ),
    ),
    Command(
        "ping",
        "call every member of a topic, or who is at an address, and print the round trips",
        "An address, tcp://HOST:PORT or ipc:///PATH, is asked without a matchmaker and without a configuration: "
        "who is there, and each of its servers whether it takes calls. "
        "A member that others cannot find just now says so itself. "
        "The status is 0 when each member has answered at least once; else that of what kept the others, the highest. "
        "Ctrl-C ends it like the last round.",
        "_ping",
        (Word("TOPIC", "compute, compute.machine1 for one member, or an address", Kind.TOPIC),),
        (
            *_STORE,
            *_MEMBER,
            CommandOption("--count", "rounds; 0: until Ctrl-C; default: 1", Kind.ROUNDS, "N"),
            CommandOption("--interval", "seconds from one round to the next; default: 1", Kind.PAUSE, "S"),
            _timeout("5"),
            _JSON,
        ),
    ),
    Command(
        "inspect",
        "show what is in flight in a node or a proxy, and where it is stuck",
        "An address, tcp://HOST:PORT or ipc:///PATH, is asked without a matchmaker and without a configuration: "
        "a server, a listener or a proxy, also one that is stopping. Of a topic every member is asked. "
        "What is told are names and times, never arguments, contexts or results. "
        "A process that only calls has no port; SIGUSR2 has those that `twistd` runs write the same to their log. "
        "What cannot be asked has a line on standard error, and the highest status counts.",
        "_inspect",
        (Word("TOPIC", "compute, compute.machine1 for one member, or an address", Kind.TOPIC),),
        (
            *_STORE,
            *_MEMBER,
            CommandOption(
                "--events",
                "how many of the last events; without N as many as fit into a message; default: 10",
                Kind.EVENTS,
                "N",
                optional=True,
            ),
            _timeout("5"),
            _JSON,
        ),
    ),
    Command(
        "bench",
        "call a method over and over, and print rates and latencies",
        "With `--rate` calls are due at random times (exponential intervals), whether or not others were answered, "
        "and each latency counts from the time its call was due, so that no wait is left out. "
        "With `--outstanding` each answer makes the next call. "
        "Without METHOD it calls `ping` in the namespace `zmqrpc`, which every server answers. "
        "A call that fails before the load begins ends it. "
        "The status is 0 when every call was answered, else the highest of what the others ended with. "
        "Ctrl-C ends the load and prints what was measured.",
        "_bench",
        (
            _TOPIC,
            Word("METHOD", "the method's name; default: ping of the namespace zmqrpc", Kind.METHOD, "?"),
            _ARGUMENTS,
        ),
        (
            *_STORE,
            *_MEMBER,
            *_INTERFACE,
            CommandOption("--rate", "open loop: calls a second", Kind.RATE, "R"),
            CommandOption("--outstanding", "closed loop: calls in flight; default: 1", Kind.COUNT, "N"),
            CommandOption("--duration", "seconds that are measured; default: 10", Kind.SECONDS, "S"),
            CommandOption("--warmup", "seconds of load before that; default: 1", Kind.PAUSE, "S"),
            _TIMEOUT,
            _JSON,
        ),
    ),
    Command(
        "config",
        "print a sample configuration file, or what a configuration amounts to",
        "With `--url` or `--config-file` every option is printed with its value and where that comes from.",
        "_config",
        (),
        (*_STORE, _JSON),
    ),
    Command(
        "plan",
        "say how many connections a deployment needs in each topology",
        "Nothing is contacted. What is printed is the most: everybody calls everybody.",
        "_plan",
        (),
        (
            CommandOption("--hosts", "hosts with services; default: 1", Kind.COUNT, "N"),
            CommandOption("--services", "services on each host; default: 1", Kind.COUNT, "K"),
            CommandOption("--proxies", "proxies, on hosts of their own; default: 3", Kind.COUNT, "P"),
            CommandOption("--calls", "calls in flight at one service; default: 1", Kind.COUNT, "C"),
            CommandOption("--failover", "zmq_failover_connections; default: 2", Kind.ROUNDS, "F"),
            _JSON,
        ),
    ),
    Command(
        "completion",
        "print the completions for a shell",
        "For bash: `source <(zmqrpc completion bash)`. For zsh: `source <(zmqrpc completion zsh)` after `compinit`.",
        "_completion",
        (Word("SHELL", "bash or zsh", Kind.SHELL),),
        (_JSON,),
    ),
)
