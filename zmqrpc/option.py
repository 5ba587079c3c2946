"""One option: where it stands, what it takes, and how it is read and written."""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import Enum
from math import inf
from typing import Any, NamedTuple

from msgspec import Struct

from zmqrpc.address import check_host, split_address, split_host
from zmqrpc.errors import ConfigError
from zmqrpc.target import fault_of_name

DEFAULT = "DEFAULT"
ZMQ = "oslo_messaging_zmq"
PROXY = "zmq_proxy_opts"
REDIS = "matchmaker_redis"
RING = "matchmaker_ring"
"""The groups: sections of a configuration file."""

_TRUE = {"true", "yes", "on", "1"}
_FALSE = {"false", "no", "off", "0"}

_UNSET = {"", "none", "{hostname}"}
"""Texts that leave an option unset where it may be; the last is how both seeds print ``rpc_zmq_host``."""


class Effect(Enum):
    """What becomes of an option that is set."""

    YES = "it counts"
    NONE = "no effect"


class Option(Struct, frozen=True, kw_only=True):
    """
    One row of the table in `zmqrpc.settings`.

    :ivar name: its name in `Settings`, in the query of a transport URL and in messages; a str.
    :ivar key: its name in a file.
    :ivar group: the section it stands in.
    :ivar type: ``str``, ``int``, ``float``, ``bool`` or ``tuple[str, ...]``, perhaps with `` | None``.
    :ivar low: the least a number may be; None for no limit.
    :ivar high: the most a number may be.
    :ivar form: what a string has to be, or each of a list: ``name``, ``host``, ``host or address``, ``address``,
        ``path`` (an absolute one), or empty for anything.
    :ivar choices: what a string may be; empty for anything.
    :ivar was: older places: group and key.
    :ivar older_default: its default in the older seed, as text, where that has changed.
    :ivar none: the value that the text ``None`` stands for, where it cannot be unset.
    :ivar flag: the option of our commands that sets it, for example ``host``.
    :ivar letter: the short form of that.
    :ivar secret: whether its value may hold a password.
    :ivar field: whether `Settings` has it; what it has not goes into the transport URL, or has no effect.
    """

    name: str
    key: str
    group: str
    type: str
    default: Any
    help: str
    low: float | None = None
    high: float | None = None
    form: str = ""
    choices: tuple[str, ...] = ()
    was: tuple[tuple[str, str], ...] = ()
    older_default: str | None = None
    none: Any = None
    effect: Effect = Effect.YES
    flag: str = ""
    letter: str = ""
    secret: bool = False
    field: bool = True

    @property
    def optional(self) -> bool:
        """Whether it may be unset."""
        return self.type.endswith(" | None")

    @property
    def kind(self) -> str:
        """Its type without the None."""
        return self.type.removesuffix(" | None")

    @property
    def range(self) -> str:
        """What is valid of its type, for people; empty for everything."""
        if self.choices:
            return " or ".join(self.choices)
        if self.low is None:
            return ""
        return f"from {self.low:.10g} to {self.high:.10g}" if self.high is not None else f"at least {self.low:.10g}"

    def parse(self, text: str) -> Any:
        """
        Read a value as it stands in a file or a URL.

        :raises ValueError: it is none; the text says what it must be.
        """
        if self.optional and text.lower() in _UNSET:
            return None
        if self.none is not None and text.lower() == "none":
            return self.none
        try:
            return _KINDS[self.kind].read(text)
        except ValueError:
            raise ValueError(f"it must be {_KINDS[self.kind].called.lower()}") from None

    def check(self, value: Any) -> None:
        """
        Check a value of Python.

        :raises ConfigError: it has another type, is out of range, or has not the form it needs.
        """
        if value is None and self.optional:
            return
        classes, called, _, _ = _KINDS[self.kind]
        # A bool is an int for isinstance, and is none for people.
        if not isinstance(value, classes) or (isinstance(value, bool) and self.kind != "bool"):
            shown = f"of type {type(value).__name__}" if self.secret else repr(value)
            raise self.refusal(f"is {shown}; it must be {called}{' or None' if self.optional else ''}")
        if isinstance(value, (str, tuple)):
            self._check_form(value)
        elif not -inf < value < inf:
            raise self.refusal(f"is {value}; it must be a finite number")
        elif self.low is not None and not self.low <= value <= (inf if self.high is None else self.high):
            raise self.refusal(f"is {self.write(value)}; it must be {self.range}")

    def _check_form(self, value: str | tuple[Any, ...]) -> None:
        if self.choices and value not in self.choices:
            raise self.refusal(f"is {value!r}; it must be {self.range}")
        if not self.form:
            return
        verb, items = ("names", value) if isinstance(value, tuple) else ("is", (value,))
        for item in items:
            try:
                _FORMS[self.form](str(item))
            except ValueError as error:
                raise self.refusal(f"{verb} {item!r}, which {error}") from None

    def refusal(self, text: str) -> ConfigError:
        """Return an error about this option."""
        return ConfigError(f"option {self.name} {text}", options=(self.name,))

    def write(self, value: Any) -> str:
        """Write a value as `parse` reads it."""
        return "" if value is None else _KINDS[self.kind].write(value)


def _to_bool(text: str) -> bool:
    if text.lower() in _TRUE:
        return True
    if text.lower() in _FALSE:
        return False
    raise ValueError


def _to_list(text: str) -> tuple[str, ...]:
    return tuple(item.strip() for item in re.split("[,\n]", text) if item.strip())


def _check_name(text: str) -> None:
    if fault := fault_of_name(text):
        raise ValueError(fault)


def _check_path(text: str) -> None:
    if not text.startswith("/") or "\0" in text:
        # A daemon changes its directory, and others on the host have one of their own.
        raise ValueError("is no absolute path; write it from / on")


_FORMS: dict[str, Callable[[str], object]] = {
    "name": _check_name,
    "host": check_host,
    "host or address": split_host,
    "address": split_address,
    "path": _check_path,
}
"""What checks a string; a ValueError goes on after its value."""


class _Kind(NamedTuple):
    """A type: its classes, how it is called, how it is read and how it is written."""

    classes: Any
    called: str
    read: Callable[[str], Any]
    write: Callable[[Any], str]


_KINDS = {
    "str": _Kind((str,), "a string", str, str),
    "int": _Kind((int,), "a whole number", int, str),
    "float": _Kind((float, int), "a number", float, lambda value: f"{value:.10g}"),
    "bool": _Kind((bool,), "True or False", _to_bool, lambda value: str(value).lower()),
    "tuple[str, ...]": _Kind((tuple,), "a tuple", _to_list, ",".join),
}
