"""
The directive ``seed-options``: the options of the predecessor in one section, and what each does here.

Names, older places, defaults and meanings are those of the one table in zmqrpc/settings.py. What they were there stands
below, since the table has no need of it.
"""

from typing import Any, ClassVar

from docutils import nodes
from docutils.parsers.rst import Directive
from docutils.statemachine import StringList
from option_table import describe_default, escape

from zmqrpc.option import DEFAULT, PROXY, REDIS, RING, ZMQ, Effect, Option
from zmqrpc.settings import OPTIONS

THERE: dict[tuple[str, str], str] = {
    (DEFAULT, "transport_url"): "rabbit",
    (DEFAULT, "rpc_backend"): "rabbit",
    (DEFAULT, "rpc_response_timeout"): "60",
    (DEFAULT, "control_exchange"): "openstack",
    (DEFAULT, "rpc_zmq_concurrency"): "eventlet",
    (DEFAULT, "rpc_zmq_port"): "9501",
    (DEFAULT, "direct_over_proxy"): "true",
    (DEFAULT, "matchmaker_heartbeat_freq"): "300",
    (DEFAULT, "matchmaker_heartbeat_ttl"): "600",
    (ZMQ, "rpc_zmq_matchmaker"): "dummy in both texts; redis in their code",
    (ZMQ, "rpc_zmq_host"): "the host name",
    (ZMQ, "rpc_zmq_bind_address"): "*",
    (ZMQ, "rpc_zmq_min_port"): "49153; older 49152, 9050 in its example",
    (ZMQ, "rpc_zmq_max_port"): "65536; 10050 in the older example",
    (ZMQ, "rpc_zmq_bind_port_retries"): "100",
    (ZMQ, "zmq_target_expire"): "300; older 120",
    (ZMQ, "zmq_target_update"): "180",
    (ZMQ, "use_pub_sub"): "false; older true",
    (ZMQ, "use_router_proxy"): "false",
    (ZMQ, "use_dynamic_connections"): "false",
    (ZMQ, "subscribe_on"): "unset",
    (ZMQ, "zmq_failover_connections"): "2",
    (ZMQ, "zmq_linger"): "-1; 60 in the example",
    (ZMQ, "rpc_zmq_ipc_dir"): "/var/run/openstack",
    (ZMQ, "rpc_use_acks"): "false",
    (ZMQ, "rpc_ack_timeout_base"): "15",
    (ZMQ, "rpc_ack_timeout_multiplier"): "2",
    (ZMQ, "rpc_retry_attempts"): "3",
    (ZMQ, "rpc_message_ttl"): "300",
    (ZMQ, "rpc_thread_pool_size"): "100",
    (ZMQ, "zmq_tcp_keepalive"): "-1",
    (ZMQ, "zmq_tcp_keepalive_idle"): "-1",
    (ZMQ, "zmq_tcp_keepalive_cnt"): "-1",
    (ZMQ, "zmq_tcp_keepalive_intvl"): "-1",
    (ZMQ, "rpc_zmq_contexts"): "1",
    (ZMQ, "rpc_zmq_topic_backlog"): "unset",
    (ZMQ, "rpc_poll_timeout"): "1",
    (ZMQ, "rpc_zmq_serialization"): "json",
    (ZMQ, "zmq_immediate"): "true",
    (PROXY, "host"): "the host name",
    (PROXY, "frontend_port"): "0",
    (PROXY, "backend_port"): "0",
    (PROXY, "publisher_port"): "0",
    (PROXY, "local_publisher"): "false",
    (PROXY, "url"): "zmq://127.0.0.1:6379/",
    (PROXY, "ack_pub_sub"): "false",
    (REDIS, "host"): "127.0.0.1",
    (REDIS, "port"): "6379",
    (REDIS, "password"): "none",
    (REDIS, "sentinel_hosts"): "unset",
    (REDIS, "sentinel_group_name"): "oslo-messaging-zeromq",
    (REDIS, "socket_timeout"): "10000, for Sentinel alone; older 1000",
    (REDIS, "wait_timeout"): "2000; older 500",
    (REDIS, "check_timeout"): "20000",
    (RING, "ringfile"): "/etc/oslo/matchmaker_ring.json",
}
"""The options of the predecessor, by section and name, and their defaults there: the newer one's first."""

MOVED = {(REDIS, "socket_timeout"): "matchmaker_timeout"}
"""Those that have another name here; it is that of `Option.name`."""

MORE: dict[tuple[str, str], str] = {
    (
        DEFAULT,
        "rpc_backend",
    ): "Read by zmqrpc's own commands alone: oslo.messaging knows it no more. In a service "
    "write transport_url = zmq:// in its place.",
    (
        ZMQ,
        "rpc_thread_pool_size",
    ): "In a service the executor of oslo.messaging has threads of its own.",
    (ZMQ, "use_dynamic_connections"): "A connection is kept for a moment, and carries all messages of that.",
    (ZMQ, "zmq_linger"): "Nothing waits for ever.",
    (ZMQ, "rpc_use_acks"): "In every topology.",
    (
        PROXY,
        "host",
    ): "The spelling [zmq_proxy_opt] of the newer examples is read too, for all of them.",
    (PROXY, "url"): "There its default won over [DEFAULT] transport_url; here transport_url counts.",
}
"""What is to be said beyond the help text."""


def row_of(place: tuple[str, str]) -> Option:
    """Find the row of an option of the predecessor."""
    group, key = place
    for option in OPTIONS:
        if option.name == MOVED.get(place) or (option.group, option.key) == place:
            return option
    raise LookupError(f"{key} in [{group}] is no option")


def table_lines(group: str) -> list[str]:
    """Write the table of a section in reStructuredText."""
    lines = [".. list-table::", "   :header-rows: 1", "   :widths: 24 20 16 14 46", ""]
    rows = [["option", "also read as", "default there", "default here", "what it does here"]]
    for place, default in THERE.items():
        if place[0] != group:
            continue
        option = row_of(place)
        dead = option.effect is Effect.NONE
        others = [(option.group, option.key), *option.was]
        elsewhere = [f"``[{section}] {key}``" for section, key in others if (section, key) != place]
        meaning = " ".join(part for part in ("No effect." if dead else "", option.help, MORE.get(place, "")) if part)
        rows.append(
            [
                f"``{place[1]}``",
                ", ".join(elsewhere),
                escape(default),
                "" if dead else describe_default(option),
                escape(meaning),
            ]
        )
    for row in rows:
        for column, cell in enumerate(row):
            lines.append(f"   {'*' if column == 0 else ' '} - {cell}".rstrip())
    return lines


class SeedOptions(Directive):
    """Put the table of the section that it names where the directive stands."""

    required_arguments = 1
    option_spec: ClassVar = {}

    def run(self) -> list[nodes.Node]:
        """Parse the generated lines in place."""
        container = nodes.container()
        lines = StringList(table_lines(self.arguments[0]), source="docs/_ext/seed_options.py")
        self.state.nested_parse(lines, self.content_offset, container)
        return container.children


def setup(app: Any) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("seed-options", SeedOptions)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
