"""Where a fixed table says that a proxy is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from zmqrpc.address import LOOPBACK, numeric, split_address
from zmqrpc.core.plan import plan_of
from zmqrpc.errors import ConfigError
from zmqrpc.interfaces import IMatchmaker
from zmqrpc.record import PROXIES, SIDES
from zmqrpc.settings import Settings
from zmqrpc.target import Target

_PORTS = dict(zip(SIDES, ("proxy_frontend_port", "proxy_backend_port", "proxy_publisher_port"), strict=True))


def placed(settings: Settings, matchmaker: IMatchmaker) -> tuple[Settings, bool]:
    """
    Return settings with the host and the ports of the lines that a fixed table has for this proxy.

    :return: the settings as they are where the matchmaker lets a proxy choose; and whether it does not.
    :raises ConfigError: the table has no line for it, its lines name several hosts, a port is given that is not that
        of its line, or it is to publish there and not by its settings.
    """
    lines = {side: line for side in SIDES if (line := _line(matchmaker.bind_address, settings.host, side)) is not None}
    if not lines:
        return settings, False
    addresses = {side: split_address(line) for side, line in lines.items()}
    hosts = sorted({host for host, _ in addresses.values()})
    if len(hosts) > 1:
        raise ConfigError(
            f"the fixed table has the proxy {settings.host} on several hosts, {' and '.join(hosts)}; one process "
            "advertises one host",
            options=("url",),
        )
    if "publisher" in lines and not plan_of(settings).subscribes:
        raise ConfigError(
            f"the fixed table has {settings.host} publish at {lines['publisher']}, and without use_pub_sub it "
            "publishes nothing; set use_pub_sub to true, or take the line away",
            options=("url", "use_pub_sub"),
        )
    if lines.get("backend") == lines.get("frontend"):
        del addresses["backend"]
        if settings.proxy_backend_port is not None:
            raise ConfigError(
                f"option proxy_backend_port is {settings.proxy_backend_port}, and the fixed table has one address for "
                f"both sides of {settings.host}; take the option away, or write frontend and backend in the table",
                options=("proxy_backend_port", "url"),
            )
    changed: dict[str, Any] = {}
    for side, (_, port) in addresses.items():
        name = _PORTS[side]
        if getattr(settings, name) not in (None, 0, port):
            raise ConfigError(
                f"option {name} is {getattr(settings, name)}, and the fixed table has the {side} of {settings.host} at "
                f"port {port}; take the option away, or write the same in both",
                options=(name, "url"),
            )
        changed[name] = port
    if settings.rpc_zmq_advertised_address is None:
        changed["rpc_zmq_advertised_address"] = hosts[0]
    if settings.rpc_zmq_bind_address is None:
        changed["rpc_zmq_bind_address"] = hosts[0] if numeric(hosts[0]) else "*"
        if hosts[0] == "localhost":
            changed["rpc_zmq_bind_address"] = LOOPBACK
    return attrs.evolve(settings, **changed), True


def _line(line_of: Callable[[Target], str | None], member: str, side: str) -> str | None:
    return line_of(Target(exchange=PROXIES[0], topic=side, server=member))
