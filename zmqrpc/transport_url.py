"""The transport URL: what people see of it, and what its query sets."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import SplitResult, parse_qsl, quote, urlsplit

from zmqrpc.errors import ConfigError
from zmqrpc.spelling import nearest

MATCHMAKERS = ("dummy", "etcd", "file", "redis", "sentinel", "sqlite")
"""The names of our own matchmakers; each is a module of `zmqrpc.matchmaker`."""

_RAW_PERCENT = re.compile("%(?![0-9A-Fa-f]{2})")
_PLACEHOLDER = "PASSWORD"
"""What stands in our sentences where a password belongs."""
_PASSWORD_OPTION = re.compile(r"(password=)[^&#]*", re.IGNORECASE)


def masked_url(url: str) -> str:
    """
    Write a transport URL for people, with ``***`` for its password.

    It need not be well-formed: rather is too much masked than a piece of a password shown. What is no URL stays as it
    is.
    """
    scheme, slashes, rest = url.partition("://")
    if not slashes:
        scheme, rest = "", url
    # The last one: a password may hold an @, or a / or ? that should be %2F or %3F and ends the host for urlsplit.
    userinfo, at, hosts = rest.rpartition("@")
    user, colon, secret = userinfo.partition(":")
    # What begins with a / is the path of a file.
    if at and not rest.startswith("/") and (colon or slashes) and secret != _PLACEHOLDER:
        rest = f"{user}:***@{hosts}" if colon else f"***@{hosts}"
    return scheme + slashes + _PASSWORD_OPTION.sub(r"\1***", rest)


_PLACE_OF_PASSWORDS = (
    "write that of the store before the host, scheme://:PASSWORD@HOST, and that of Sentinels as sentinel_password into "
    "[matchmaker_redis] of a configuration file"
)


def split_url(url: str, valid: Iterable[str]) -> tuple[str, dict[str, str]]:
    """
    Cut a transport URL into what a matchmaker needs, and the options of its query as texts.

    :param valid: the names that its query may have.
    :raises ConfigError: as `parse_url`, or it names an option that does not exist, or one twice, or may have a ``?`` in
        its password.
    """
    valid = set(valid)
    parts = parse_url(url)
    # Also behind a #: what stands there may all be the rest of a password, and then neither name nor value is shown.
    if "@" in url.partition("?")[2]:
        raise _refusal(
            "the transport URL has an @ after its ?; write ? as %3F in a password, and @ as %40 in an option"
        )
    texts: dict[str, str] = {}
    # A + is one, as in zmq_topology=router-proxy+pub-sub; in the forms of web pages it would be a space.
    for name, text in parse_qsl(parts.query.replace("+", "%2B"), keep_blank_values=True):
        if name not in valid and "password" in name:
            raise _refusal(
                f"the transport URL names {name!r} in its query, where no password belongs, as it would be shown; "
                f"{_PLACE_OF_PASSWORDS}"
            )
        if name == "sentinel_user":
            raise _refusal(
                f"the transport URL names {name!r} in its query; write it, with sentinel_password, into "
                "[matchmaker_redis] of a configuration file"
            )
        if name not in valid:
            raise _refusal(f"the transport URL names the unknown option {name!r}; {nearest(name, valid)}")
        if name in texts:
            raise _refusal(f"the transport URL gives the option {name!r} twice; take one of them away")
        texts[name] = text
    # Cut out, since urlunsplit would write zmq+sqlite:/path where zmq+sqlite:///path was given.
    return (url.replace(f"?{parts.query}", "", 1) if parts.query else url), texts


def parse_url(url: str) -> SplitResult:
    """
    Cut a transport URL into its parts.

    :raises ConfigError: it is not ``zmq://`` or ``zmq+NAME://``, or its user or password can be read in two ways.
    """
    if not url.isprintable():
        # urlsplit would leave some of them out, and what is opened would be another file than the one that was named.
        raise _refusal(
            f"the transport URL {masked_url(url)!r} holds a control character; write it with % if it belongs there"
        )
    try:
        parts = cut_url(url)
    except ValueError:
        # Its text repeats what is between // and /, password and all.
        raise _refusal(
            f"the transport URL {masked_url(url)!r} cannot be read: its hosts are not well-formed; "
            "write an IPv6 address in [], and a special character of a password with %"
        ) from None
    if parts.scheme.partition("+")[0] != "zmq":
        raise _refusal(
            f"the transport URL {masked_url(url)!r} does not start with zmq:// or zmq+MATCHMAKER://; matchmakers are "
            f"{', '.join(MATCHMAKERS)}, and those of plugins"
        )
    if not url.partition(":")[2].startswith("//"):
        raise _refusal(
            f"the transport URL {masked_url(url)!r} needs two slashes; write {parts.scheme}://, as in zmq+redis://HOST "
            "or zmq+sqlite:///PATH"
        )
    _check_userinfo(url, parts.netloc.rpartition("@")[0])
    return parts


def cut_url(url: str) -> SplitResult:
    """
    Cut a URL as `urlsplit` does, which refuses ``h1,[::1]:7`` though it takes each of these hosts alone.

    :return: several hosts are whole in ``netloc``, and nowhere else.
    :raises ValueError: it is not well-formed.
    """
    begin, slashes, rest = url.partition("//")
    netloc = re.split("[/?#]", rest, maxsplit=1)[0]
    userinfo, at, hosts = netloc.rpartition("@")
    first, *others = hosts.split(",")
    for host in others:
        urlsplit(f"//{host}")
    parts = urlsplit(f"{begin}{slashes}{userinfo}{at}{first}{rest.removeprefix(netloc)}")
    return parts._replace(netloc=netloc) if others else parts


def store_url(matchmaker: str, hosts: Iterable[str], password: str | None, path: str = "") -> str:
    """Write the URL of a store; the password may hold every character."""
    userinfo = f":{quote(password, safe='')}@" if password else ""
    return f"zmq+{matchmaker}://{userinfo}{','.join(hosts)}{path}"


def _check_userinfo(url: str, userinfo: str) -> None:
    """Refuse a user or password that others might read otherwise."""
    shown = f"the transport URL {masked_url(url)!r} has"
    if "@" in userinfo:
        raise _refusal(f"{shown} an @ in its user or password; write it as %40")
    if _RAW_PERCENT.search(userinfo):
        raise _refusal(f"{shown} a % in its user or password that no two hexadecimal digits follow; write it as %25")


def _refusal(text: str) -> ConfigError:
    return ConfigError(text, options=("url",))
