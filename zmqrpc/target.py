"""Where a message goes."""

from __future__ import annotations

import re
from typing import ClassVar

import attrs

from zmqrpc.errors import ConfigError

_VERSION = re.compile(r"\d+(\.\d+)?\Z")


def check_name(what: str, name: str) -> str:
    """
    Return `name`, or refuse what could not stand in a key, a filter or a log line.

    :param what: what the name names, for the error text.
    :raises ConfigError: it is empty, longer than 255 bytes in UTF-8, or holds a control character (NUL
        terminates names in routing keys, docs/spec/wire).
    """
    if not isinstance(name, str):
        raise ConfigError(f"the {what} {name!r} is not text; give a str")
    fault = fault_of_name(name)
    if fault:
        shown = repr(name) if len(name) < 256 else f"{name[:40]!r}..."
        raise ConfigError(f"the {what} {shown} {fault}")
    return name


def fault_of_name(name: str) -> str:
    """Tell what is wrong with a name, in words that go on after it; empty when nothing is."""
    if not name or any(ord(character) < 32 or ord(character) == 127 for character in name):
        return "is empty or holds a control character; give a printable name"
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        return "is not valid Unicode text; give a printable name"
    return "is longer than 255 bytes; give a shorter one" if size > 255 else ""


def _optional_name(_: object, attribute: attrs.Attribute[str | None], value: str | None) -> None:
    if value is not None:
        check_name(attribute.name, value)


def _optional_version(_: object, attribute: attrs.Attribute[str | None], value: str | None) -> None:
    if value is not None and not (isinstance(value, str) and _VERSION.match(value)):
        raise ConfigError(f"the version {value!r} is not MAJOR or MAJOR.MINOR; write for example '1.2'")


@attrs.frozen(cache_hash=True)
class Target:
    """
    Where a message goes: to one member of a topic, to any of them, or to all.

    A target without `server` is a **bare topic**, one with it a **directed topic**.

    :ivar topic: the group name, for example ``compute``; may hold dots.
    :ivar server: the member; None is any (or, for a fan-out, every) member.
    :ivar exchange: the name space of the topic; None is the node's default (``control_exchange``).
    :ivar namespace: which endpoint of the server; None is the endpoint without one.
    :ivar version: the interface version the caller wants, ``MAJOR.MINOR``; None is ``1.0``.
    :ivar fanout: whether every member is meant.
    :raises ConfigError: a name or the version is malformed.
    """

    topic: str | None = attrs.field(default=None, validator=_optional_name)
    server: str | None = attrs.field(default=None, validator=_optional_name)
    exchange: str | None = attrs.field(default=None, validator=_optional_name)
    namespace: str | None = attrs.field(default=None, validator=_optional_name)
    version: str | None = attrs.field(default=None, validator=_optional_version)
    fanout: bool = False

    @classmethod
    def parse(cls, text: str) -> Target:
        """
        Read what people write: ``compute`` is a bare topic, ``compute.machine1`` a directed one (the first dot splits).

        :raises ConfigError: a part is empty.
        """
        topic, dot, server = text.partition(".")
        return cls(topic=topic, server=server if dot else None)

    def __str__(self) -> str:
        """Return what `parse` reads, with the exchange in front when there is one."""
        name = self.topic or "(no topic)"
        if self.server is not None:
            name = f"{name}.{self.server}"
        return f"{self.exchange}/{name}" if self.exchange else name


@attrs.frozen(cache_hash=True)
class Pool:
    """
    Where a notification goes: to one listener of a pool of a topic.

    :ivar exchange: the name space of the topic.
    :ivar name: of the pool; None for the one pool without a name.
    """

    exchange: str
    topic: str
    name: str | None = None

    server: ClassVar[None] = None
    """It has no member that could be meant."""

    @property
    def called(self) -> str:
        """What it is called in a sentence."""
        return f"pool {self.name}" if self.name is not None else "the pool without a name"

    def __str__(self) -> str:
        """Return the topic as `Target` writes it, and the pool."""
        return f"{self.exchange}/{self.topic}, {self.called}"
