"""Which Redis server a transport URL means."""

from __future__ import annotations

from typing import Self
from urllib.parse import unquote_to_bytes, urlsplit

import attrs

from zmqrpc.errors import ConfigError
from zmqrpc.settings import masked_url

PORT = 6379


@attrs.frozen
class RedisPlace:
    """
    One database of one Redis server, and who we are there.

    :ivar host: a name, or a numeric address without brackets.
    :ivar db: the number of the database.
    :ivar user: empty for the server's default user.
    :ivar password: None to say none.
    """

    host: str
    port: int = PORT
    db: int = 0
    user: bytes = b""
    password: bytes | None = attrs.field(default=None, repr=False)

    @classmethod
    def from_url(cls, url: str) -> Self:
        """
        Read ``zmq+redis://[[user]:password@]host[:port][/db]``; user and password may be written with ``%``.

        :raises ConfigError: it is not of this form.
        """
        parts = urlsplit(url)
        userinfo, at, location = parts.netloc.rpartition("@")
        if "," in location:
            raise _refusal(url, "names several hosts, which this version does not serve yet; name one")
        try:
            host, port = parts.hostname, parts.port
        except ValueError:
            raise _refusal(url, "has no valid port; give one from 1 to 65535") from None
        if not host or port == 0:
            raise _refusal(url, "names no host" if not host else "has no valid port; give one from 1 to 65535")
        database = parts.path.removeprefix("/")
        if parts.fragment or (database and not (database.isascii() and database.isdigit())):
            raise _refusal(url, "names a database that is no number (# and / in a password are %23 and %2F)")
        user, colon, password = userinfo.partition(":")
        if at and not password:
            raise _refusal(url, "names a user without a password; write user:password@, or :password@ without a user")
        return cls(
            host=host,
            port=port or PORT,
            db=int(database or 0),
            user=unquote_to_bytes(user),
            password=unquote_to_bytes(password) if colon else None,
        )

    @property
    def is_loopback(self) -> bool:
        """Whether it can only be a server of this machine."""
        return self.host in ("localhost", "::1") or self.host.startswith("127.")

    @property
    def name(self) -> str:
        """The server and database for people, without user and password."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}" + (f", database {self.db}" if self.db else "")


def _refusal(url: str, what: str) -> ConfigError:
    return ConfigError(
        f"the transport URL {masked_url(url)!r} {what}; "
        "for example zmq+redis://127.0.0.1:6379 or zmq+redis://:PASSWORD@redis.example.org:6379/1"
    )
