"""What the errors of etcd, and of the way to it, mean for who runs it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from zmqrpc.matchmaker._unreached import unreached
from zmqrpc.spelling import shown

UNKNOWN, DEADLINE, UNAVAILABLE = 2, 4, 14
"""Codes of gRPC; with the last two a member says that another may do better."""

ELECTION = (
    "leader changed",
    "no leader",
    "not leader",
    "proposal dropped",
    "request timed out",
    "context deadline exceeded",
    "unhealthy cluster",
)
"""What a member says to what it is asked while the cluster elects a leader; it takes one to two election timeouts."""

STALE_TOKENS = ("invalid auth token", "revision of auth store is old")
NO_LEASE = "requested lease not found"
LEASE_EXISTS = "lease already exists"
DENIED = "permission denied"
NO_SPACE = "database space exceeded"

_OTHERS = "see the other members"
_LEADERLESS = ("has no leader: it does not reach the majority of its cluster", _OTHERS)
_MEANINGS = {
    "user name is empty": (
        "asks who we are",
        "write user and password into the transport URL, zmq+etcd://USER:PASSWORD@HOST",
    ),
    "invalid user ID or password": ("refuses the user or the password of the transport URL", "correct them"),
    "authentication is not enabled": (
        "knows no users",
        "switch them on there (etcdctl auth enable), or take the user out of the transport URL",
    ),
    DENIED: (
        "does not allow our user what we need",
        "give it a role that may read and write our prefix, as docs/howto/etcd says",
    ),
    NO_SPACE: (
        "has no space left and takes no changes (NOSPACE)",
        "compact and defragment it, then disarm its alarm",
    ),
    "no leader": _LEADERLESS,
    "not leader": _LEADERLESS,
    "proposal dropped": _LEADERLESS,
    "leader changed": ("has another leader again and again", _OTHERS),
    "request timed out": ("does not reach the majority of its cluster in time", _OTHERS),
    "too many requests": ("has more to do than it can", "see its log"),
    "corrupt": ("has raised an alarm about its own data (CORRUPT)", "see its log"),
}
"""A piece of what is said, what it means, to stand after the name, and what to do."""


class Fault(NamedTuple):
    """
    Why a member does not do what it was asked.

    :ivar what: to stand after its name.
    :ivar advice: what to do; may be empty.
    :ivar said: in its own words; may be empty.
    :ivar passes: whether an election of the cluster may be the reason, which is over by itself.
    """

    what: str
    advice: str = ""
    said: str = ""
    passes: bool = False

    def sentence(self, name: str) -> str:
        """
        Say it to people.

        :param name: whose fault it is.
        """
        return (
            f"{name} {self.what}" + (f"; {self.advice}" if self.advice else "") + (f" ({self.said})" * bool(self.said))
        )


class NoAnswer(Exception):
    """
    A member did not answer, or not as etcd does.

    :ivar fault: why.
    """

    def __init__(self, what: str, advice: str = "", passes: bool = False) -> None:
        super().__init__(what)
        self.fault = Fault(what, advice, passes=passes)


def trouble(faults: Mapping[str, Fault]) -> str:
    """
    Say to people in one sentence what is wrong with members: each is named, and what several have is said once.

    :param faults: by the address of the member; at least one.
    """
    if len(faults) == 1:
        return next(fault.sentence(f"the etcd server {name}") for name, fault in faults.items())
    alike: dict[str, list[str]] = {}
    for name, fault in faults.items():
        alike.setdefault(fault.what, []).append(name)
    members = ", ".join(f"{', '.join(names)} ({what})" for what, names in alike.items())
    advices = dict.fromkeys(fault.advice for fault in faults.values() if fault.advice)
    return "; ".join([f"etcd cannot be used at {members}", *advices])


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
        return self.code in (0, DEADLINE, UNAVAILABLE) or self.says("too many requests") or self.is_election

    @property
    def is_election(self) -> bool:
        """Whether the cluster may be electing a leader."""
        return bool(self.code) and self.says(*ELECTION)

    @property
    def fault(self) -> Fault:
        """What it is for people."""
        said = shown(self.said)[:200]
        for text, (what, advice) in _MEANINGS.items():
            if text in self.said:
                return Fault(what, advice, said, self.is_election)
        if not self.code:
            return Fault(
                f"does not answer as etcd 3.4 or later does (HTTP status {self.status}, {self.said[:200]!r})",
                "correct the transport URL",
            )
        return Fault("refuses what it was asked", "", said, self.is_election)


def silent(limit: float) -> NoAnswer:
    """Make the error of who says nothing, which in an election is not his fault, for so many seconds."""
    return NoAnswer(f"did not answer within {limit:g} s", passes=True)


def unreachable(error: BaseException, encrypted: bool) -> NoAnswer:
    """
    Make the error of an answer that did not come.

    :param encrypted: whether it was asked by TLS.
    """
    what, _, advice = (unreached("", error) or "").strip().partition("; ")
    if what:
        return NoAnswer(what, advice)
    return NoAnswer(
        "closed the connection",
        f"see its log, and whether it {'has' if encrypted else 'asks for'} TLS (option matchmaker_tls)",
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
