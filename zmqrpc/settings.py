"""
Every option of zmqrpc, in one table: the fields of `Settings`.

A field's metadata holds its help; names are those of `[oslo_messaging_zmq]` in the seeds where these have one. Parsed
once, frozen, and read where parts are made; nothing else passes configuration around.
"""

from __future__ import annotations

import re
import socket
from math import inf
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

import attrs

from zmqrpc.errors import ConfigError

URL_VARIABLE = "ZMQRPC_URL"
"""The environment variable that our commands take the transport URL from when none is given."""

_PASSWORD_OPTION = re.compile(r"(password=)[^&#]*", re.IGNORECASE)

_TRUE = {"true", "yes", "on", "1"}
_FALSE = {"false", "no", "off", "0"}


def _to_bool(text: str) -> bool:
    if text.lower() in _TRUE:
        return True
    if text.lower() in _FALSE:
        return False
    raise ValueError("is not true or false")


def _optional_float(text: str) -> float | None:
    return None if text.lower() in {"", "none"} else float(text)


_PARSERS: dict[str, Any] = {
    "str": str,
    "int": int,
    "float": float,
    "bool": _to_bool,
    "float | None": _optional_float,
    "str | None": lambda text: text or None,
}

_TYPES: dict[str, tuple[tuple[type, ...], str]] = {
    "str": ((str,), "a string"),
    "int": ((int,), "a whole number"),
    "float": ((float, int), "a number"),
    "bool": ((bool,), "True or False"),
}
"""What a field of each type takes, and how that is called."""


def _option(default: Any, help: str, low: float | None = None, high: float | None = None) -> Any:
    return attrs.field(default=default, kw_only=True, metadata={"help": help, "low": low, "high": high})


def _check_type(field: attrs.Attribute[Any], value: Any) -> None:
    name, _, none = str(field.type).partition(" | ")
    types, called = _TYPES[name]
    # A bool is an int for isinstance, and is none for people.
    if isinstance(value, types) and (name == "bool" or not isinstance(value, bool)):
        return
    if value is None and none:
        return
    # What is given for a URL may hold a password, in whatever form.
    shown = f"of type {type(value).__name__}" if field.name == "url" else repr(value)
    raise ConfigError(f"option {field.name} is {shown}; it must be {called}{' or None' if none else ''}")


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
    user, colon, _ = userinfo.partition(":")
    if at and colon and not rest.startswith("/"):
        rest = f"{user}:***@{hosts}"
    elif at and slashes and "/" not in user:
        rest = f"***@{hosts}"
    return scheme + slashes + _PASSWORD_OPTION.sub(r"\1***", rest)


@attrs.frozen
class Settings:
    """
    The settings of one Node; a change is a new `Settings` and a new Node.

    :raises ConfigError: an option has a value it cannot have; the text names option, value and what is valid.
    """

    url: str = attrs.field(
        default="zmq://",
        repr=lambda url: repr(masked_url(url)),
        metadata={"help": "The transport URL; its scheme names the matchmaker."},
    )

    rpc_zmq_matchmaker: str = _option("dummy", "Which matchmaker the URL zmq:// means.")
    rpc_zmq_host: str | None = _option(None, "Name or address that peers use to reach this node; unset: host name.")
    rpc_zmq_bind_address: str | None = _option(
        None,
        "Address to bind: *, an IP address or an Ethernet adapter; unset: * or, with a local matchmaker, loopback.",
    )
    rpc_zmq_min_port: int = _option(49153, "Lowest port to bind.", 1, 65535)
    rpc_zmq_max_port: int = _option(65536, "Highest port to bind, exclusive.", 2, 65536)
    rpc_zmq_bind_port_retries: int = _option(100, "Ports tried before PortRangeExhausted.", 1)

    zmq_target_expire: int = _option(300, "Seconds until a record that is not refreshed is forgotten; <= 0: never.")
    zmq_target_update: float | None = _option(
        None, "Seconds between refreshes of a record; unset: min(180, zmq_target_expire / 2).", 0.001
    )

    control_exchange: str = _option("openstack", "The exchange of a target that names none.")
    rpc_response_timeout: float = _option(60.0, "Seconds a call may take when its caller names none.", 0.001)
    rpc_use_acks: bool = _option(True, "Whether a message is acknowledged; false: a cast fires when handed over.")
    rpc_ack_timeout_base: float = _option(15.0, "Seconds until an unacknowledged message is sent again.", 0.01)
    rpc_ack_timeout_multiplier: float = _option(2.0, "By how much that grows with each retry.", 1)
    rpc_retry_attempts: int = _option(3, "How often an unacknowledged message is sent again; negative: no limit.")
    rpc_message_ttl: float = _option(300.0, "Seconds until what is remembered of a silent client is forgotten.", 1)
    route_ttl: float = _option(
        600.0, "Seconds until a route that is not used is given up, and its topic with the last one.", 0.1
    )

    zmq_linger: float = _option(-1.0, "Seconds to deliver what is written after a close; -1: the drain timeout.", -1)
    drain_timeout: float = _option(30.0, "Seconds running calls may take after a stop was asked for.", 0)
    max_message_size: int = _option(64 * 2**20, "Largest encoded message, in bytes, sent or accepted.", 4096)
    max_unsettled_calls: int = _option(65536, "Calls in flight to one instance; past it: Overloaded.", 1)
    max_unsettled_bytes: int = _option(
        256 * 2**20, "Bytes of calls in flight to one instance; past it calls wait, as max_queued_bytes allows.", 1024
    )
    max_queued_calls: int = _option(10000, "Calls waiting for one peer or one lookup; past it: Overloaded.", 1)
    max_queued_bytes: int = _option(
        64 * 2**20, "Bytes waiting for one peer; past it: Overloaded, and the oldest replies to it are dropped.", 1024
    )
    max_routes: int = _option(
        10000, "Targets a node keeps a route to; for one more, one that is not used is given up, else: Overloaded.", 1
    )
    max_running_calls: int = _option(10000, "Calls a server runs at once; past it: Overloaded.", 1)
    max_running_bytes: int = _option(
        256 * 2**20, "Bytes of the calls that a server runs at once, or that wait for it; past it: Overloaded.", 1024
    )
    max_clients: int = _option(10000, "Client instances a server remembers; one more is refused.", 1)
    max_reply_memory: int = _option(
        64 * 2**20, "Bytes of unsettled replies kept for one client; past it the oldest are forgotten.", 1024
    )
    send_tracebacks: bool = _option(False, "Whether a remote error carries the server's traceback.")

    zmq_topology: str | None = _option(None, "Name of the delivery plan; unset: chosen by the three booleans below.")
    use_pub_sub: bool = _option(False, "Whether fan-outs are published through proxies.")
    use_router_proxy: bool = _option(False, "Whether calls and casts go through router proxies.")
    use_dynamic_connections: bool = _option(False, "Whether direct connections are opened per use.")

    def __attrs_post_init__(self) -> None:
        for field in attrs.fields(Settings):
            value = getattr(self, field.name)
            _check_type(field, value)
            low, high = field.metadata.get("low"), field.metadata.get("high")
            if value is None or isinstance(value, str):
                continue
            if not -inf < value < inf:
                raise ConfigError(f"option {field.name} is {value}; it must be a finite number")
            if low is None:
                continue
            if value < low or (high is not None and value > high):
                bounds = f"from {low} to {high}" if high is not None else f"at least {low}"
                raise ConfigError(f"option {field.name} is {value}; it must be {bounds}")
        if self.rpc_zmq_min_port >= self.rpc_zmq_max_port:
            raise ConfigError(
                f"option rpc_zmq_min_port is {self.rpc_zmq_min_port}, not below rpc_zmq_max_port "
                f"({self.rpc_zmq_max_port}, exclusive); give a range that holds a port"
            )
        if 0 < self.zmq_target_expire <= (self.zmq_target_update or 0):
            raise ConfigError(
                f"option zmq_target_update is {self.zmq_target_update:g}, not below zmq_target_expire "
                f"({self.zmq_target_expire}); records would expire before they are refreshed, make it smaller"
            )

    @classmethod
    def from_url(cls, url: str, **options: Any) -> Self:
        """
        Read a transport URL; its query overrides defaults, and `options` override its query.

        :raises ConfigError: the URL is not ``zmq:`` or ``zmq+NAME:``, or an option or value is not valid.
        """
        try:
            parts = urlsplit(url)
        except ValueError:
            # Its text repeats what is between // and /, password and all.
            raise ConfigError(
                f"the transport URL {masked_url(url)!r} cannot be read: its hosts are not well-formed; "
                "write an IPv6 address in [], and a special character of a password with %"
            ) from None
        if parts.scheme.partition("+")[0] != "zmq":
            raise ConfigError(f"the transport URL {masked_url(url)!r} does not start with zmq:// or zmq+MATCHMAKER://")
        fields = {field.name: field for field in attrs.fields(cls) if field.name != "url"}
        values: dict[str, Any] = {}
        for name, text in parse_qsl(parts.query, keep_blank_values=True):
            if name not in fields and "@" in parts.query:
                raise ConfigError(
                    f"the transport URL {masked_url(url)!r} names an unknown option, or has a ? in its password, which "
                    f"is written %3F there; valid options are {', '.join(sorted(fields))}"
                )
            if name not in fields:
                raise ConfigError(
                    f"the transport URL names the unknown option {name!r}; valid are {', '.join(sorted(fields))}"
                )
            try:
                values[name] = _PARSERS[str(fields[name].type)](text)
            except ValueError as error:
                raise ConfigError(f"option {name} of the transport URL is {text!r}: {error}") from error
        values.update(options)
        # Cut out, since urlunsplit would write zmq+sqlite:/path where zmq+sqlite:///path was given.
        return cls(url=url.replace(f"?{parts.query}", "", 1) if parts.query else url, **values)

    @property
    def matchmaker(self) -> str:
        """The name of the matchmaker: the URL's, or that of `rpc_zmq_matchmaker` for ``zmq://``."""
        return urlsplit(self.url).scheme.partition("+")[2] or self.rpc_zmq_matchmaker

    @property
    def refresh_interval(self) -> float:
        """Seconds between two registrations of one record."""
        if self.zmq_target_update is not None:
            return self.zmq_target_update
        return min(180.0, self.zmq_target_expire / 2) if self.zmq_target_expire > 0 else 180.0

    @property
    def host(self) -> str:
        """The name of this node: `rpc_zmq_host`, or the host name of the machine."""
        return self.rpc_zmq_host or socket.gethostname()

    @property
    def linger(self) -> float:
        """Seconds that what was written before a close may still be delivered."""
        return self.drain_timeout if self.zmq_linger < 0 else self.zmq_linger
