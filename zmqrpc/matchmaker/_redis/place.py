"""Where a Redis server or a Sentinel is, and how it is talked to."""

from __future__ import annotations

from typing import Self

import attrs

from zmqrpc.errors import ConfigError
from zmqrpc.matchmaker._hosts import is_loopback, located, read_hosts, read_user
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
    :ivar by_sentinels: whether Sentinels have named it, and not the transport URL.
    """

    host: str
    port: int = PORT
    db: int = 0
    user: bytes = b""
    password: bytes | None = attrs.field(default=None, repr=False)
    tls: StoreTls | None = attrs.field(default=None, repr=False)
    kind: str = "Redis server"
    by_sentinels: bool = False

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
        return is_loopback(self.host)

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
        return located(self.host, self.port)


def _is_database(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 10 and int(text) <= _MOST_DB


def _refusal(url: str, what: str) -> ConfigError:
    return ConfigError(
        f"the transport URL {masked_url(url)!r} {what}; "
        "for example zmq+redis://127.0.0.1:6379 or zmq+redis://:PASSWORD@redis.example.org:6379/1"
    )
