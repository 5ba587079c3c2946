"""What the errors of etcd, and of the way to it, mean for who runs it."""

from __future__ import annotations

from zmqrpc.matchmaker._unreached import unreached
from zmqrpc.spelling import shown

UNKNOWN, DEADLINE, UNAVAILABLE = 2, 4, 14
"""Codes of gRPC; with the last two a member says that another may do better."""

STALE_TOKENS = ("invalid auth token", "revision of auth store is old")
NO_LEASE = "requested lease not found"
LEASE_EXISTS = "lease already exists"
DENIED = "permission denied"
NO_SPACE = "database space exceeded"

_MEANINGS = {
    "user name is empty": "asks who we are; write user and password into the transport URL, zmq+etcd://USER:PASSWORD@HOST",
    "invalid user ID or password": "refuses the user or the password of the transport URL; correct them",
    "authentication is not enabled": "knows no users; switch them on there (etcdctl auth enable), or take the user "
    "out of the transport URL",
    DENIED: "does not allow our user what we need; give it a role that may read and write our prefix, as "
    "docs/howto/etcd says",
    NO_SPACE: "has no space left and takes no changes (NOSPACE); compact and defragment it, then disarm its alarm",
    "no leader": "has no leader: it does not reach the majority of its cluster; see the other members",
    "request timed out": "does not reach the majority of its cluster in time; see the other members",
    "too many requests": "has more to do than it can; see its log",
    "corrupt": "has raised an alarm about its own data (CORRUPT); see its log",
}
"""A piece of what is said, and what to do; to stand after the name."""


class EtcdRefusal(Exception):
    """
    A member answered that it does not do what it was asked.

    :ivar code: that of gRPC; 0 where it is not even said by etcd.
    :ivar said: what it said.
    :ivar status: that of HTTP.
    """

    def __init__(self, code: int, said: str, status: int) -> None:
        super().__init__(said)
        self.code = code
        self.said = " ".join(said.split())
        self.status = status

    def says(self, *texts: str) -> bool:
        """Tell whether one of these is what it said, or a part of it."""
        return any(text in self.said for text in texts)

    @property
    def is_passing(self) -> bool:
        """Whether another member may do what this one does not."""
        return self.code in (0, DEADLINE, UNAVAILABLE) or self.says("too many requests")

    def sentence(self, name: str) -> str:
        """
        Say it to people.

        :param name: who answered.
        """
        said = shown(self.said)[:200]
        for text, meaning in _MEANINGS.items():
            if text in self.said:
                return f"{name} {meaning} ({said})"
        if not self.code:
            return (
                f"{name} does not answer as etcd 3.4 or later does (HTTP status {self.status}, {self.said[:200]!r}); "
                "correct the transport URL"
            )
        return f"{name} refuses what it was asked ({said})"


def unreachable(name: str, error: BaseException, encrypted: bool) -> str:
    """
    Write a sentence about an answer that did not come.

    :param encrypted: whether it was asked by TLS.
    """
    return unreached(name, error) or (
        f"{name} closed the connection; see its log, and whether it {'has' if encrypted else 'asks for'} TLS "
        "(option matchmaker_tls)"
    )


def other_format(name: str, found: object, version: str, key: str) -> str:
    """
    Write a sentence about a store that is not of our format.

    :param key: where that stands.
    """
    return (
        f"{name} holds records of format {str(found)[:20]!r}, this zmqrpc reads format {version} ({key}); "
        "run one release with it, or use another prefix, zmq+etcd://HOST/PREFIX"
    )
