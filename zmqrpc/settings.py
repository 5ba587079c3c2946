"""
Every option of zmqrpc, in one table.

A row is a field of `Settings`, or stands in `_NO_FIELDS` when its value goes elsewhere or nowhere. Parsers, help texts,
``zmqrpc config`` and the reference are made from `OPTIONS`. Names are those of both seeds where these have one. Parsed
once and frozen; a part gets the whole, or the one value that it needs, where ``zmqrpc/parts.py`` makes it.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from typing import Any

import attrs
from twisted.logger import Logger

from zmqrpc.contradictions import check_together
from zmqrpc.errors import ConfigError
from zmqrpc.option import DEFAULT, PROXY, REDIS, RING, ZMQ, Effect, Option
from zmqrpc.spelling import nearest
from zmqrpc.transport_url import cut_url, parse_url
from zmqrpc.transport_url import masked_url as masked_url

URL_VARIABLE = "ZMQRPC_URL"
"""The environment variable that our commands take the transport URL from when nothing else names one."""

ROUND_ROBIN, LEAST_OUTSTANDING = "round-robin", "least-outstanding"
"""How calls may be balanced."""

_log = Logger()

_PREFIXES = {PROXY: "proxy_", REDIS: "redis_"}
"""What is put before the names of groups whose options have names such as ``host``."""


def _option(
    default: Any, help: str, low: float | None = None, high: float | None = None, group: str = ZMQ, **more: Any
) -> Any:
    row = {"help": help, "low": low, "high": high, "group": group, **more}
    return attrs.field(default=default, kw_only=True, repr=not more.get("secret", False), metadata=row)


def _seed(default: Any, help: str, low: float | None = None, high: float | None = None, **more: Any) -> Any:
    """Make an option of the seeds, which the older one has in ``[DEFAULT]``."""
    return _option(default, help, low, high, older=True, **more)


@attrs.frozen
class Settings:
    """
    The settings of one Node; a change is a new `Settings` and a new Node.

    :raises ConfigError: an option has a value it cannot have, or two contradict; the text names option, value and what
        is valid.
    """

    url: str = attrs.field(
        default="zmq://",
        repr=lambda url: repr(masked_url(url)),
        metadata={
            "help": "The transport URL; its scheme names the matchmaker, and its query sets options.",
            "group": DEFAULT,
            "key": "transport_url",
            "flag": "url",
            "letter": "u",
            "secret": True,
        },
    )
    rpc_response_timeout: float = _option(
        60.0, "Seconds a call may take when its caller names none.", 0.001, group=DEFAULT
    )
    control_exchange: str = _option(
        "openstack", "The exchange of a target that names none.", group=DEFAULT, form="name"
    )

    rpc_zmq_matchmaker: str = _seed("dummy", "Which matchmaker the URL zmq:// means.")
    rpc_zmq_host: str | None = _seed(
        None,
        "Name or address by which others reach this machine; unset: the host name.",
        form="host",
        flag="host",
        letter="H",
    )
    rpc_zmq_bind_address: str | None = _seed(
        None,
        "Address to bind: *, an IP address or an Ethernet adapter; unset: *, or with a local matchmaker and of a local "
        "publisher loopback.",
    )
    rpc_zmq_advertised_address: str | None = _option(
        None,
        "Host or host:port that peers are told, where it is not what is bound (NAT); unset: as rpc_zmq_host says.",
        form="host or address",
    )
    rpc_zmq_min_port: int = _seed(49153, "Lowest port to bind.", 1, 65535, older_default="49152")
    rpc_zmq_max_port: int = _seed(65536, "Highest port to bind, exclusive.", 2, 65536)
    rpc_zmq_bind_port_retries: int = _seed(100, "Ports tried before PortRangeExhausted.", 1)

    zmq_target_expire: int = _seed(
        300, "Seconds until a record that is not refreshed is forgotten; <= 0: never.", older_default="120"
    )
    zmq_target_update: float | None = _seed(
        None, "Seconds between refreshes of a record; unset: min(180, zmq_target_expire / 2).", 0.001
    )

    zmq_topology: str | None = _option(
        None,
        "Name of the topology, or of a plugin's connection strategy; unset: chosen by the three booleans below.",
    )
    use_pub_sub: bool = _seed(False, "Whether fan-outs are published through proxies.", older_default="true")
    use_router_proxy: bool = _seed(False, "Whether calls and casts go through router proxies.")
    use_dynamic_connections: bool = _seed(
        False, "Whether direct connections are opened per message; ignored with use_router_proxy."
    )
    subscribe_on: tuple[str, ...] = _option(
        (),
        "Publishers to subscribe to, host:port,host:port; unset: those the matchmaker knows. It needs use_pub_sub.",
        form="address",
    )
    zmq_failover_connections: int = _seed(
        2, "Members connected to at once beside the one whose turn it is, with dynamic connections.", 0
    )
    rpc_zmq_ipc_dir: str = _seed(
        "/var/run/openstack", "Directory of the IPC socket of a proxy on each host.", form="path"
    )

    rpc_use_acks: bool = _option(True, "Whether a message is acknowledged; false: a cast fires when handed over.")
    rpc_ack_timeout_base: float = _option(15.0, "Seconds until an unacknowledged message is sent again.", 0.01)
    rpc_ack_timeout_multiplier: float = _option(2.0, "By how much that grows with each retry.", 1)
    rpc_retry_attempts: int = _option(
        3,
        "How often a message is sent again that nobody has acknowledged, and how often to another member after "
        "Overloaded or, when it is idempotent, after a loss; 0: never; negative or None: no limit.",
        none=-1,
    )
    call_monitor_timeout: float = _option(
        5.0,
        "Seconds an instance may be silent, or not name what it runs (one second at least), while calls wait for it; "
        "then it is given up, or asked again. 0: for ever.",
        0,
    )
    rpc_retry_budget: float = _option(
        0.1,
        "Repetitions for each call that a node sends: by time, elsewhere after Overloaded, elsewhere as it is "
        "idempotent, and hedges. 0: ten, and one a second; negative: no limit.",
        -1,
    )
    balance: str = _option(
        ROUND_ROBIN,
        f"Which member gets a call to a bare topic: {ROUND_ROBIN}, each in turn; {LEAST_OUTSTANDING}, of two drawn at "
        "random the one with fewer calls in flight from here, each counted as long as calls take there.",
        choices=(ROUND_ROBIN, LEAST_OUTSTANDING),
    )
    hedge_calls: bool = _option(
        False,
        "Whether an idempotent call to a bare topic is sent to a second member as well when it takes longer than 95 of "
        "100 of its method did; the first answer counts.",
    )
    rpc_message_ttl: float = _option(300.0, "Seconds until what is remembered of a silent client is forgotten.", 1)
    route_ttl: float = _option(
        600.0, "Seconds until a route that is not used is given up, and its topic with the last one.", 0.1
    )
    rpc_thread_pool_size: int = _option(100, "Most threads in which methods run that block.", 1, 10000)

    quarantine_time: float = _option(
        1.0,
        "Seconds an instance is avoided that the application complains about, doubled each time it does so again; 0: "
        "it is not avoided.",
        0,
    )
    quarantine_time_max: float = _option(60.0, "Most seconds that grows to.", 0)

    zmq_linger: float = _seed(
        -1.0,
        "Seconds to deliver what is written after a close, and that a dynamic connection stays for a cast that nobody "
        "waits for (rpc_use_acks = false); -1: the drain timeout, and at a stop what is left of it.",
        -1,
        was=((ZMQ, "rpc_cast_timeout"), (DEFAULT, "rpc_cast_timeout")),
    )
    zmq_tcp_keepalive: int = _option(
        1, "Whether TCP looks after idle connections: 1, 0, or -1 for what the system does.", -1, 1
    )
    zmq_tcp_keepalive_idle: int = _option(
        60, "Seconds of silence until TCP probes a connection; -1 or 0: what the system does.", -1, 32767
    )
    zmq_tcp_keepalive_intvl: int = _option(
        15, "Seconds between two of these probes; -1 or 0: what the system does.", -1, 32767
    )
    zmq_tcp_keepalive_cnt: int = _option(
        4, "Probes without an answer until TCP ends a connection; -1 or 0: what the system does.", -1, 127
    )
    drain_timeout: float = _option(30.0, "Seconds running calls may take after a stop was asked for.", 0)
    max_message_size: int = _option(
        64 * 2**20,
        "Bytes of the largest message sent or accepted, encoded and with 1280 around it. Of both ends and a proxy "
        "between them the least counts; subscribers are not asked, and one that takes less misses what is published.",
        4096,
    )
    max_unsettled_calls: int = _option(
        65536,
        "Calls in flight to one instance; past it calls wait at the client, as max_queued_calls allows, and a server "
        "refuses them: Overloaded.",
        1,
    )
    max_unsettled_bytes: int = _option(
        256 * 2**20, "Bytes of calls in flight to one instance; past it calls wait, as max_queued_bytes allows.", 1024
    )
    max_queued_calls: int = _option(
        10000,
        "Calls waiting for one peer or one lookup, or casts, or notifications, that nobody waits for of a transport of "
        "oslo.messaging; past it: Overloaded.",
        1,
    )
    max_queued_bytes: int = _option(
        64 * 2**20,
        "Bytes waiting for one peer or one lookup; past it: Overloaded, and the oldest replies to it are dropped.",
        1024,
    )
    max_routes: int = _option(
        10000, "Targets a node keeps a route to; for one more, one that is not used is given up, else: Overloaded.", 1
    )
    max_running_calls: int = _option(10000, "Calls a server runs at once; past it: Overloaded.", 1)
    max_running_bytes: int = _option(
        256 * 2**20, "Bytes of the calls that a server runs at once, or that wait for it; past it: Overloaded.", 1024
    )
    max_waiting_time: float = _option(
        1.0,
        "Seconds a request waits at a server for those before it, as those that just ran tell; past it: Overloaded. 0: "
        "any time.",
        0,
    )
    max_clients: int = _option(
        10000,
        "Client instances a server remembers, one more is refused; and connections a proxy knows, for one more the one "
        "that was silent for longest is forgotten.",
        1,
    )
    max_filters: int = _option(
        10000,
        "Topics that may be subscribed to at one publisher, 64 bytes long on average with their exchange; one more is "
        "refused, and after a tenth more its connection is ended.",
        1,
    )
    max_reply_memory: int = _option(
        64 * 2**20, "Bytes of unsettled replies kept for one client; past it the oldest are forgotten.", 1024
    )
    max_replies_memory: int = _option(
        512 * 2**20,
        "Bytes of unsettled replies kept for all clients together; past it those with most of them lose their oldest.",
        1024,
    )
    send_tracebacks: bool = _option(False, "Whether a remote error carries the server's traceback.")
    rpc_inspect: bool = _option(
        True, "Whether who can connect is told what is in flight, by zmqrpc inspect: names and times, no values."
    )
    flight_recorder_events: int = _option(
        4096, "How many of the last events are kept, for zmqrpc inspect; 0: none.", 0, 1_000_000
    )

    matchmaker_timeout: int = _option(
        1000,
        "Milliseconds until a store (Redis, Sentinel, etcd) that does not answer counts as away. A new connection to "
        "Redis may take three times as long.",
        1,
        was=((REDIS, "socket_timeout"),),
    )
    matchmaker_tls: bool = _option(False, "Whether the store (Redis, Sentinel, etcd) is reached by TLS.")
    matchmaker_tls_ca: str | None = _option(
        None,
        "File with the certificates (PEM) of who may have issued the store's; unset: those that the system trusts.",
        form="path",
    )
    matchmaker_tls_certificate: str | None = _option(
        None, "File with the certificate (PEM) that is shown to the store; unset: none is.", form="path"
    )
    matchmaker_tls_key: str | None = _option(None, "File with the private key (PEM) of that certificate.", form="path")
    matchmaker_tls_name: str | None = _option(
        None,
        "Name that the store's certificates are for; unset: the host of each server as it is connected to.",
        form="host",
    )
    redis_sentinel_user: str | None = _option(
        None, "User that Sentinels ask for; unset: their default user.", group=REDIS
    )
    redis_sentinel_password: str | None = _option(
        None,
        "Password that Sentinels ask for; unset: that of the transport URL, where they ask for one.",
        group=REDIS,
        secret=True,
    )

    proxy_host: str | None = _option(
        None,
        "Name or address by which others reach the proxy; unset: as rpc_zmq_host says.",
        group=PROXY,
        older=True,
        form="host",
    )
    proxy_frontend_port: int | None = _option(
        None,
        "Port of the proxy for clients, and for servers too where no backend port is given; 0: one of the range.",
        0,
        65535,
        group=PROXY,
        older=True,
        flag="frontend-port",
        letter="f",
    )
    proxy_backend_port: int | None = _option(
        None,
        "Port of the proxy for servers; 0: one of the range, also when neither is given.",
        0,
        65535,
        group=PROXY,
        older=True,
        flag="backend-port",
        letter="b",
    )
    proxy_publisher_port: int | None = _option(
        None,
        "Port on which the proxy publishes, which takes use_pub_sub; unset or 0: one of the range.",
        0,
        65535,
        group=PROXY,
        older=True,
        flag="publisher-port",
        letter="p",
    )
    proxy_local_publisher: bool = _option(
        False,
        "Whether it is a local publisher, which repeats what the proxies publish.",
        group=PROXY,
        older=True,
        flag="local-publisher",
    )
    proxy_ipc: bool = _option(
        False,
        "Whether clients of its host reach it by the IPC socket zmq-broker in rpc_zmq_ipc_dir too.",
        group=PROXY,
        flag="ipc",
    )
    proxy_type: str | None = _option(
        None,
        "Name of the kind of proxy, that of a plugin for example; unset: router-proxy, or local-publisher.",
        group=PROXY,
        flag="type",
    )

    def __new__(cls, *_: Any, **options: Any) -> Settings:
        """
        Check that there are such options at all.

        :raises ConfigError: there is none of a name.
        """
        check_names(options)
        return super().__new__(cls)

    def __attrs_post_init__(self) -> None:
        for option in FIELDS.values():
            option.check(getattr(self, option.name))
        parse_url(self.url)
        check_together(self)

    @staticmethod
    def from_url(url: str, **options: Any) -> Settings:
        """
        Read a transport URL; its query overrides defaults, and `options` override its query.

        What has no effect in it is logged.

        :raises ConfigError: the URL is no ``zmq://`` or ``zmq+NAME://``, or an option or value is not valid.
        """
        # It is made of the table below.
        from zmqrpc.reading import read_url

        if not isinstance(url, str):
            raise ConfigError(f"the transport URL is of type {type(url).__name__}; give a text like zmq+redis://HOST")
        configuration = read_url(url, options)
        for text in configuration.warnings:
            _log.warn("{text}", text=text)
        return configuration.settings

    @property
    def matchmaker(self) -> str:
        """The name of the matchmaker: the URL's, or that of `rpc_zmq_matchmaker` for ``zmq://``."""
        return cut_url(self.url).scheme.partition("+")[2] or self.rpc_zmq_matchmaker

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

    @property
    def keepalive(self) -> tuple[int, int, int, int]:
        """What TCP does about idle connections: whether, idle seconds, seconds between probes, probes; -1: unset."""
        return (
            self.zmq_tcp_keepalive,
            self.zmq_tcp_keepalive_idle or -1,
            self.zmq_tcp_keepalive_intvl or -1,
            self.zmq_tcp_keepalive_cnt or -1,
        )


def check_names(names: Iterable[str]) -> None:
    """
    Check names of options that somebody wrote in Python.

    :raises ConfigError: there is no such option; the text has those that are most like it.
    """
    for name in names:
        if name not in FIELDS:
            raise ConfigError(f"there is no option {name!r}; {nearest(name, FIELDS)}")


def _row(field: attrs.Attribute[Any]) -> Option:
    row = dict(field.metadata)
    key = row.pop("key", field.name.removeprefix(_PREFIXES.get(row["group"], "")))
    if row.pop("older", False):
        row["was"] = (("zmq_proxy_opt" if row["group"] == PROXY else DEFAULT, key), *row.get("was", ()))
    return Option(name=field.name, key=key, type=str(field.type), default=field.default, **row)


def _elsewhere(group: str, key: str, type: str, default: Any, help: str, **more: Any) -> Option:
    """Make a row whose value goes into the transport URL."""
    return Option(
        name=_PREFIXES.get(group, "") + key,
        key=key,
        group=group,
        type=type,
        default=default,
        help=help,
        field=False,
        **more,
    )


def _dead(group: str, key: str, help: str, *was: tuple[str, str]) -> Option:
    return _elsewhere(group, key, "str | None", None, help, effect=Effect.NONE, was=was)


_NO_FIELDS = (
    _elsewhere(DEFAULT, "rpc_backend", "str | None", None, "zmq: the older spelling of transport_url = zmq://."),
    _elsewhere(REDIS, "host", "str", "127.0.0.1", "The Redis server, where the URL names none.", form="host"),
    _elsewhere(REDIS, "port", "int", 6379, "Its port.", low=1, high=65535),
    _elsewhere(REDIS, "password", "str | None", None, "Its password; None: it has none.", secret=True),
    _elsewhere(REDIS, "sentinel_hosts", "tuple[str, ...]", (), "Sentinels, where the URL names none.", form="address"),
    _elsewhere(
        REDIS, "sentinel_group_name", "str", "oslo-messaging-zeromq", "The name of the master, as Sentinel has it."
    ),
    _elsewhere(
        PROXY,
        "url",
        "str | None",
        None,
        "The transport URL of the proxy; unset: transport_url.",
        was=(("zmq_proxy_opt", "url"),),
        secret=True,
    ),
    _dead(PROXY, "ack_pub_sub", "A proxy always answers what it has published.", ("zmq_proxy_opt", "ack_pub_sub")),
    _dead(ZMQ, "rpc_zmq_contexts", "A node has one ZeroMQ context.", (DEFAULT, "rpc_zmq_contexts")),
    _dead(ZMQ, "rpc_zmq_topic_backlog", "See max_queued_calls.", (DEFAULT, "rpc_zmq_topic_backlog")),
    _dead(ZMQ, "rpc_poll_timeout", "Nothing is polled.", (DEFAULT, "rpc_poll_timeout")),
    _dead(
        ZMQ,
        "rpc_zmq_serialization",
        "Messages are msgpack, whatever both ends are told.",
        (DEFAULT, "rpc_zmq_serialization"),
    ),
    _dead(ZMQ, "zmq_immediate", "A message waits until its connection works, whatever this says."),
    _dead(DEFAULT, "rpc_zmq_concurrency", "Everything runs in the reactor."),
    _dead(DEFAULT, "rpc_zmq_port", "Ports are those of rpc_zmq_min_port and rpc_zmq_max_port."),
    _dead(DEFAULT, "direct_over_proxy", "See use_router_proxy."),
    _dead(DEFAULT, "matchmaker_heartbeat_freq", "See zmq_target_update."),
    _dead(DEFAULT, "matchmaker_heartbeat_ttl", "See zmq_target_expire."),
    _dead(REDIS, "wait_timeout", "A lookup is not repeated at intervals; changes are pushed."),
    _dead(REDIS, "check_timeout", "The deadline of the call ends a lookup."),
    _dead(RING, "ringfile", "Name the file in the URL: zmq+file:///etc/zmqrpc/ring.json."),
)
"""The rows that are no fields of `Settings`."""

OPTIONS: tuple[Option, ...] = (*(_row(field) for field in attrs.fields(Settings)), *_NO_FIELDS)
"""The table."""

FIELDS: dict[str, Option] = {option.name: option for option in OPTIONS if option.field}
"""The rows that are fields of `Settings`, by name."""

OF_URLS: dict[str, Option] = {
    option.name: option
    for option in OPTIONS
    if option.group == ZMQ or (option.field and option.group != PROXY and not option.secret)
}
"""The rows that the query of a transport URL may name."""

OLDER_NAMES: dict[str, str] = {
    f"{_PREFIXES[group]}{key}": option.name
    for option in OF_URLS.values()
    for group, key in option.was
    if group in _PREFIXES
}
"""What options were called in the query of a transport URL, and their names."""
