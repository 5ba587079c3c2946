"""What the errors of Redis, and of the way to it, mean for who runs it."""

from __future__ import annotations

from zmqrpc.errors import MatchmakerUnavailable
from zmqrpc.matchmaker._redis.names import FORMAT_KEY, PREFIX, SINCE_KEY, TOPICS_KEY
from zmqrpc.matchmaker._redis.place import SENTINEL, RedisPlace
from zmqrpc.matchmaker._tls import tls_fault
from zmqrpc.matchmaker._unreached import unreached
from zmqrpc.spelling import shown


class RedisRefusal(MatchmakerUnavailable):
    """
    A server has answered that something is an error.

    :ivar code: the first word of that error after ``ERR``.
    """

    def __init__(self, text: str, code: str = "") -> None:
        super().__init__(text)
        self.code = code

    @property
    def is_for_good(self) -> bool:
        """Whether we have not the right to what was asked."""
        return self.code == "NOPERM"


class TooMany(MatchmakerUnavailable):
    """As many wait for an answer as may: this says nothing of the server."""


_RIGHTS = "give our user the rights that docs/howto/redis lists"
_FORBIDDEN_KEYS = ("one of the keys used as arguments", "No permissions to access a key")  # before Redis 7.0 and after
_CLUSTER = "is a Redis Cluster, which cannot be used; name a server of its own"
_OR_USER = "or USER:PASSWORD where it has users"
_REFUSALS = {
    "AUTH": "takes no password, or not this one; correct the transport URL or the server's configuration",
    "BUSY": "is kept busy by a script of somebody else; see SCRIPT KILL",
    "CLUSTERDOWN": _CLUSTER,
    "CROSSSLOT": _CLUSTER,
    "DB": "has no such database; correct the number at the end of the transport URL, or raise databases there (16)",
    "DENIED": "is in protected mode; set a password there (requirepass) and in the transport URL",
    "LOADING": "is reading its dump and does not answer yet",
    "MISCONF": "takes no changes while it cannot write its dump; see its log, or configure it without (save '')",
    "MOVED": _CLUSTER,
    "NOAUTH": "asks for a password; write it into the transport URL, zmq+redis://:PASSWORD@HOST, " + _OR_USER,
    "NOPERM": "does not allow us what we need; " + _RIGHTS,
    "NOREPLICAS": "takes no changes while too few replicas follow it (min-replicas-to-write)",
    "OOM": "has no memory left (maxmemory)",
    "READONLY": "is a replica and takes no changes; name the master",
    "WRONGPASS": "refuses the user or the password of the transport URL; correct them, there or in the server",
    "WRONGTYPE": "has something under our keys that is not ours; use another database, zmq+redis://HOST:PORT/1",
    "unknown": "has no such command; where it is a Sentinel, write zmq+sentinel://HOST",
}
"""The first word of an error, or the name of a command that was refused, and what to do; to stand after the server."""

OF_ALL = frozenset(("BUSY", "DENIED", "FORMAT", "LOADING", "NOAUTH", "WRONGPASS"))
"""The errors that whatever is asked is answered with: when something works, nothing fails with them any more."""

_WITHOUT_CODE = {
    "unauthenticated": "NOAUTH",  # it does not even read that many words of somebody unknown
    "executing the script can't": "NOPERM",
    "ACL failure": "NOPERM",  # as Redis 7.2 says that
    "in a cluster": "CROSSSLOT",
    "cluster mode": "CROSSSLOT",
    "the same slot": "CROSSSLOT",
}
"""What stands in errors whose first word says nothing, and which of those above is meant."""

_THEIRS = "options sentinel_user and sentinel_password in [matchmaker_redis]"
_OF_SENTINELS = {
    "AUTH": f"takes no password, or not this one; correct the {_THEIRS} or its configuration",
    "NOAUTH": f"asks for a password; set the {_THEIRS}",
    "NOPERM": "does not allow us what we need; give our user the rights that docs/howto/sentinel lists",
    "WRONGPASS": f"refuses the user or the password that it was told; correct the {_THEIRS}, or those in the Sentinel",
}
"""What is different where a Sentinel says so."""

_OR_ANOTHER = ", or use another database, zmq+redis://HOST:PORT/1"
_OF_MASTERS = {
    "NOAUTH": "asks for a password; write it into the transport URL, zmq+sentinel://:PASSWORD@HOST, " + _OR_USER,
    "READONLY": "is a replica and takes no changes; Sentinels may be choosing another master",
    "WRONGTYPE": "has something under our keys that is not ours; remove it",
}
"""What is different where Sentinels have named the server."""

NO_ANSWER = "answered what is no answer of Redis; see who listens there"
"""To stand after a server."""


_TLS_ALERT = b"\x15\x03"


def no_answer(said: bytes, place: RedisPlace) -> str:
    """
    Write a clause about what is no answer, to stand after the server.

    :param said: the begin of what came; empty for what has no meaning by itself.
    """
    if said.startswith(_TLS_ALERT) and place.tls is None:
        return "expects TLS; set the option matchmaker_tls"
    if not said or (place.password and place.password in said):
        return NO_ANSWER
    return f"answered {repr(said)[1:]}, which is no answer of Redis; see who listens there"


def refusal(place: RedisPlace, command: object, text: str, version: str) -> RedisRefusal:
    """
    Put an error that the server has answered into a sentence.

    :param command: what was asked; of ``AUTH`` nothing is repeated, since some servers repeat the password.
    :param version: the format that we write.
    """
    code, _, rest = text.removeprefix("ERR ").partition(" ")
    server = place.called
    if code not in _REFUSALS:
        code = next((meant for part, meant in _WITHOUT_CODE.items() if part in text), code)
    if code == "FORMAT":
        return RedisRefusal(
            f"{server} holds records of format {shown(rest)[:20]}, this zmqrpc reads format {version} ({FORMAT_KEY}); "
            f"run one release with it{'' if place.by_sentinels else _OR_ANOTHER}",
            code,
        )
    if code == "unknown":
        text = text.partition(", with args")[0]  # which would be the script
    said = shown(text)[:200]
    if command == "AUTH":
        said = code = code if code in _REFUSALS and code.isupper() else "AUTH"
    if code == "NOPERM" and (forbidden := _forbidden(place, text)):
        return RedisRefusal(f"{server} does not allow us {forbidden}; {_RIGHTS} ({said})", code)
    known = _REFUSALS
    if place.kind == SENTINEL or place.by_sentinels:
        known = _REFUSALS | (_OF_SENTINELS if place.kind == SENTINEL else _OF_MASTERS)
    what = known.get(code, "refuses what it was asked")
    if code in ("AUTH", "WRONGPASS") and not place.user:
        what = f"{what}; no user is named, so it is default; where that is off, name one: {_named_in(place)}"
    return RedisRefusal(f"{server} {what} ({said})", code)


def _forbidden(place: RedisPlace, text: str) -> str:
    """Name what is forbidden where Redis does not: it says only that it is one of those that a command names."""
    if text.endswith(_FORBIDDEN_KEYS):
        return f"one of the keys {FORMAT_KEY}, {TOPICS_KEY}, {SINCE_KEY}"
    return f"the channels {PREFIX}{place.db}:*" if "one of the channels" in text else ""


def _named_in(place: RedisPlace) -> str:
    """Say where the user is written."""
    if place.kind == SENTINEL:
        return "sentinel_user"
    return f"zmq+{'sentinel' if place.by_sentinels else 'redis'}://USER:PASSWORD@HOST"


def spoiled(server: str, text: str) -> str:
    """
    Write a sentence about a key that cannot be used, which is no matter of the others.

    :param server: what people call it.
    :param text: what a script said of it, the key in parentheses at its end.
    """
    _, found, key = text.partition(" (")
    key = shown(key.removesuffix(")"))
    if not found:
        return f"{server} answered {shown(text)}"
    if text.startswith("WRONGTYPE"):
        what = "has something under our keys that is not ours, {}; remove it, or use another database (WRONGTYPE)"
    else:
        what = "does not allow us the key {}; " + _RIGHTS
    return f"{server} {what.format(key)}"


def unreachable(place: RedisPlace, error: BaseException) -> str:
    """Write a sentence about a connection that could not be made, or has ended."""
    server = place.called
    fault = tls_fault(error, place.tls)
    if fault is not None:
        return f"{server} {fault}"
    return unreached(server, error) or f"{server} closed the connection; see its log"
