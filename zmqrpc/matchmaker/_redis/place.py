"""Where a Redis server or a Sentinel is, and how it is talked to."""

from __future__ import annotations

from typing import Self
from urllib.parse import unquote_to_bytes

import attrs

from zmqrpc.address import numeric, split_address
from zmqrpc.errors import ConfigError
from zmqrpc.matchmaker._tls import StoreTls
from zmqrpc.transport_url import masked_url, parse_url

PORT, SENTINEL_PORT = 6379, 26379

SENTINEL = "Sentinel"
"""The `RedisPlace.kind` of a Sentinel."""

_MOST_DB = 2**31 - 1
"""What ``databases`` of Redis allows."""


@attrs.frozen
class RedisPlace:
    """
    One database of one server that speaks as Redis does, and who we are there.

    :ivar host: a name, or a numeric address without brackets.
    :ivar db: the number of the database.
    :ivar user: empty for the server's default user.
    :ivar password: None to say none.
    :ivar tls: what is needed for TLS; None for none.
    :ivar kind: what people call such a server.
    """

    host: str
    port: int = PORT
    db: int = 0
    user: bytes = b""
    password: bytes | None = attrs.field(default=None, repr=False)
    tls: StoreTls | None = attrs.field(default=None, repr=False)
    kind: str = "Redis server"

    @classmethod
    def from_url(cls, url: str) -> list[Self]:
        """
        Read ``zmq+redis://[[user]:password@]host[:port][,host[:port]...][/db]``.

        User and password may be written with ``%``; they are those of all hosts, and so is the database.

        :raises ConfigError: it is not of this form, or names a server twice.
        """
        parts = parse_url(url)
        try:
            database = parts.path.removeprefix("/") or "0"
            if parts.fragment or not _is_database(database):
                raise ValueError(
                    f"names a database that is no number from 0 to {_MOST_DB} (# and / in a password are %23 and %2F)"
                )
            user, password = read_user(parts.netloc)
            hosts = read_hosts(parts.netloc, PORT)
        except ValueError as error:
            raise _refusal(url, str(error)) from None
        return [cls(host, port, int(database), user, password) for host, port in hosts]

    @property
    def is_loopback(self) -> bool:
        """Whether it can only be a server of this machine."""
        address = numeric(self.host)
        return self.host == "localhost" or (address is not None and address.is_loopback)

    @property
    def called(self) -> str:
        """What people call it, with `name`."""
        # A server that does not speak TLS takes what we say for the begin of a long line, and never answers: a hint.
        return f"the {self.kind} {self.name}" + (" (TLS)" if self.tls is not None else "")

    @property
    def name(self) -> str:
        """The server and database for people, without user and password."""
        return self.location + (f", database {self.db}" if self.db else "")

    @property
    def location(self) -> str:
        """The server as it stands in the URL: host and port."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def read_hosts(netloc: str, port: int) -> list[tuple[str, int]]:
    """
    Read ``host[:port],host[:port]...`` behind user and password of a transport URL.

    :param port: what counts where none is written.
    :return: hosts as `split_address` has them, and ports.
    :raises ValueError: it is not that; the text goes on after the URL.
    """
    found: list[tuple[str, int]] = []
    for location in netloc.rpartition("@")[2].split(","):
        if not location.partition(":")[0] and location.count(":") < 2:
            raise ValueError("names no host, or has a comma too many")
        try:
            place = split_address(location if ":" in location.rpartition("]")[2] else f"{location}:{port}")
        except ValueError:
            # Its text repeats what may be a piece of a password.
            raise ValueError(
                "has no valid host or no valid port; write HOST, HOST:PORT or [IPv6]:PORT, PORT from 1 to 65535"
            ) from None
        if place in found:
            raise ValueError(f"names {RedisPlace(*place).location} twice; name each server once")
        found.append(place)
    return found


def read_user(netloc: str) -> tuple[bytes, bytes | None]:
    """
    Read ``[user]:password@``, each of which may be written with ``%``, from the host part of a transport URL.

    :return: the user, empty for none, and the password, None for none.
    :raises ValueError: there is a user without a password; the text goes on after the URL.
    """
    userinfo, at, _ = netloc.rpartition("@")
    user, colon, password = userinfo.partition(":")
    if at and not password:
        raise ValueError("names a user without a password; write user:password@, or :password@ without a user")
    return unquote_to_bytes(user), unquote_to_bytes(password) if colon else None


def _is_database(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 10 and int(text) <= _MOST_DB


def _refusal(url: str, what: str) -> ConfigError:
    return ConfigError(
        f"the transport URL {masked_url(url)!r} {what}; "
        "for example zmq+redis://127.0.0.1:6379 or zmq+redis://:PASSWORD@redis.example.org:6379/1"
    )
