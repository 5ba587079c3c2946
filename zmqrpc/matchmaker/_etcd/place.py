"""Where the members of an etcd cluster are, which keys of theirs are ours, and who we are there."""

from __future__ import annotations

from typing import Self
from urllib.parse import SplitResult, unquote, unquote_to_bytes

import attrs

from zmqrpc.errors import ConfigError
from zmqrpc.matchmaker._hosts import is_loopback, located, read_hosts, read_user
from zmqrpc.matchmaker._tls import StoreTls
from zmqrpc.transport_url import masked_url, parse_url

PORT = 2379
PREFIX = "zmqrpc"

_LONGEST_PREFIX = 255


@attrs.frozen
class EtcdPlace:
    """
    The keys of one prefix in one etcd.

    :ivar hosts: host and port of each member that is known; a host is a name, or a numeric address without brackets.
    :ivar prefix: what our keys begin with, without a slash at either end.
    :ivar user: empty to say none.
    :ivar tls: what is needed for TLS; None for none.
    """

    hosts: tuple[tuple[str, int], ...]
    prefix: str = PREFIX
    user: str = ""
    password: str = attrs.field(default="", repr=False)
    tls: StoreTls | None = attrs.field(default=None, repr=False)

    @classmethod
    def from_url(cls, url: str) -> Self:
        """
        Read ``zmq+etcd://[user:password@]host[:port][,host[:port]...][/prefix]``.

        User, password and prefix may be written with ``%``.

        :raises ConfigError: it is not of this form.
        """
        parts = parse_url(url)
        try:
            hosts = read_hosts(parts.netloc, PORT)
            user, password = (_text(part or b"", "user or password") for part in read_user(parts.netloc))
            if password and not user:
                raise ValueError("has a password without a user; write user:password@, etcd has no others")
            prefix = _prefix(parts)
        except ValueError as error:
            raise ConfigError(
                f"the transport URL {masked_url(url)!r} {error}; for example zmq+etcd://127.0.0.1:2379 or "
                "zmq+etcd://user:PASSWORD@one:2379,two:2379,three:2379/prefix",
                options=("url",),
            ) from None
        return cls(tuple(hosts), prefix, user, password)

    @property
    def is_loopback(self) -> bool:
        """Whether it can only be members on this machine."""
        return all(is_loopback(host) for host, _ in self.hosts)

    @property
    def names(self) -> tuple[str, ...]:
        """The members for people, in the order of `hosts`."""
        return tuple(located(host, port) for host, port in self.hosts)

    @property
    def name(self) -> str:
        """The members and the prefix for people, without user and password."""
        return ", ".join(self.names) + (f", prefix {self.prefix}" if self.prefix != PREFIX else "")

    @property
    def called(self) -> str:
        """What people call it, with `name`."""
        return f"etcd at {self.name}"


def _prefix(parts: SplitResult) -> str:
    if parts.fragment:
        raise ValueError("has a # (# and / in a password are %23 and %2F)")
    words = parts.path.strip("/").split("/")
    # etcd does not know .., but whoever reads such a prefix takes it for another one.
    if words != [""] and any(unquote(word) in ("", ".", "..") for word in words):
        raise ValueError("has a prefix with an empty part, or one that is . or ..; write names between the slashes")
    prefix = _text(unquote_to_bytes(parts.path), "prefix").strip("/")
    if not prefix.isprintable() or len(prefix) > _LONGEST_PREFIX:
        raise ValueError(f"has a prefix that is not printable, or longer than {_LONGEST_PREFIX} characters")
    return prefix or PREFIX


def _text(written: bytes, what: str) -> str:
    try:
        return written.decode()
    except UnicodeDecodeError:
        raise ValueError(f"has a {what} that is not UTF-8") from None
