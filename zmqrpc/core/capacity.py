"""How many connections a deployment needs (docs/howto/capacity)."""

from __future__ import annotations

from msgspec import Struct

SUBSCRIBER_DESCRIPTORS = 3
"""What a SUB socket takes beside its connection: one itself, and one for each end of what tells of its connection."""

_SPARE = 64
"""What a process has open beside its connections, at most."""

LOCAL = " with local publishers"
"""What is added to the name of a topology whose services subscribe to a local publisher on their host."""


class Deployment(Struct, frozen=True):
    """
    What is planned.

    Everybody calls everybody, which is the most that can be: each service is a process that serves, calls, and in a
    topology with PUB/SUB publishes and subscribes.

    :ivar hosts: hosts with services.
    :ivar services: services on each of them.
    :ivar proxies: proxies, each a process, on hosts of their own.
    :ivar calls: calls in flight at one service, which counts with dynamic connections.
    :ivar failover: ``zmq_failover_connections``.
    """

    hosts: int
    services: int
    proxies: int = 3
    calls: int = 1
    failover: int = 2


class Connections(Struct, frozen=True):
    """
    The ends of connections in one topology.

    :ivar service: at one service.
    :ivar host: at all processes of one host with services, a local publisher included.
    :ivar proxy: at one proxy; 0 where there is none.
    :ivar descriptors: what the process that needs most of them takes: one for each end, some for each subscription, and
        what it has open anyway.
    :ivar formula: of `service`, with ``S`` services in all, ``P`` proxies, ``C`` calls and ``F`` failover connections.
    """

    topology: str
    service: int
    host: int
    proxy: int
    descriptors: int
    formula: str


def connections(planned: Deployment) -> list[Connections]:
    """List the connections of every topology."""
    services = planned.hosts * planned.services
    proxies = planned.proxies
    # Each end counts: those that a service opens, and those that the others open to it.
    static = 2 * (services - 1)
    dynamic = min(2 * planned.calls * (1 + planned.failover), static)
    direct = (("static-direct", static, "2(S-1)"), ("dynamic-direct", dynamic, "min(2C(1+F), 2(S-1))"))
    rows = [_row(planned, name, ends, 0, 0, formula) for name, ends, formula in direct]
    rows.append(_row(planned, "router-proxy", 2 * proxies, 2 * services, 0, "2P"))
    for name, ends, formula in direct:
        rows.append(_row(planned, f"{name}+pub-sub", ends + 3 * proxies, 3 * services, proxies, f"{formula} + 3P"))
    rows.append(_row(planned, "router-proxy+pub-sub", 3 * proxies, 3 * services, proxies, "3P"))
    service, proxy, local = 2 * proxies + 1, 2 * services + planned.hosts, planned.services + proxies
    host = planned.services * service + local
    needed = _descriptors((service, 1), (proxy, 0), (local, proxies))
    rows.append(Connections(f"router-proxy+pub-sub{LOCAL}", service, host, proxy, needed, "2P + 1"))
    return rows


def _row(planned: Deployment, topology: str, service: int, proxy: int, subscriptions: int, formula: str) -> Connections:
    needed = _descriptors((service, subscriptions), (proxy, 0))
    return Connections(topology, service, planned.services * service, proxy, needed, formula)


def _descriptors(*processes: tuple[int, int]) -> int:
    """Return what the busiest of processes needs, of each its ends and how many of them are subscriptions."""
    return _SPARE + max(ends + SUBSCRIBER_DESCRIPTORS * subscriptions for ends, subscriptions in processes)
