"""Where the members of an etcd cluster are, which keys of theirs are ours, and who we are there."""

from __future__ import annotations

from typing import Self
from urllib.parse import unquote

import attrs

from zmqrpc.address import numeric, split_host
from zmqrpc.errors import ConfigError
from zmqrpc.matchmaker._tls import StoreTls
from zmqrpc.settings import masked_url

PORT = 2379
PREFIX = "zmqrpc"


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
        # Not by urlsplit, which refuses some lists of hosts with IPv6.
        netloc, _, path = url.partition("://")[2].partition("/")
        userinfo, at, location = netloc.rpartition("@")
        user, _, password = userinfo.partition(":")
        if at and not (user and password):
            raise _refusal(
                url, "names no user or no password; write user:password@, etcd has no passwords without users"
            )
        try:
            unquoted = [unquote(text, errors="strict") for text in (user, password, path)]
        except UnicodeDecodeError:
            raise _refusal(url, "has a user, a password or a prefix that is not UTF-8") from None
        prefix = unquoted[2].strip("/") or PREFIX
        if "#" in netloc + path or "//" in prefix or not prefix.isprintable():
            raise _refusal(
                url,
                "has a prefix that is empty between two slashes or holds what cannot be printed, or a # "
                "(# and / in a password are %23 and %2F)",
            )
        hosts = dict.fromkeys(_host(url, text) for text in location.split(","))
        return cls(tuple(hosts), prefix, unquoted[0], unquoted[1])

    @property
    def is_loopback(self) -> bool:
        """Whether it can only be members on this machine."""
        addresses = [(host, numeric(host)) for host, _ in self.hosts]
        return all(host == "localhost" or (address is not None and address.is_loopback) for host, address in addresses)

    @property
    def names(self) -> tuple[str, ...]:
        """The members for people, in the order of `hosts`."""
        return tuple(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.hosts)

    @property
    def name(self) -> str:
        """The members and the prefix for people, without user and password."""
        return ", ".join(self.names) + (f", prefix {self.prefix}" if self.prefix != PREFIX else "")

    @property
    def called(self) -> str:
        """What people call it, with `name`."""
        return f"etcd at {self.name}"


def _host(url: str, text: str) -> tuple[str, int]:
    if not text:
        raise _refusal(url, "names no host, or an empty one")
    try:
        host, port = split_host(text)
        return host, port or PORT
    except ValueError:
        # Its text repeats what may be a piece of a password.
        raise _refusal(
            url, "has no valid host or no valid port; write HOST, HOST:PORT or [IPv6]:PORT, PORT from 1 to 65535"
        ) from None


def _refusal(url: str, what: str) -> ConfigError:
    return ConfigError(
        f"the transport URL {masked_url(url)!r} {what}; for example zmq+etcd://127.0.0.1:2379 or "
        "zmq+etcd://user:PASSWORD@one:2379,two:2379,three:2379/prefix"
    )
