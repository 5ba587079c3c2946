"""Which connection strategy serves which kind of message: the whole meaning of the three booleans."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from zmqrpc.errors import ConfigError
from zmqrpc.settings import Settings

STATIC, DYNAMIC, ROUTED, PUBLISHED = "static-direct", "dynamic-direct", "router-proxy", "publisher-proxy"
"""Names of our connection strategies; a plugin has another."""


class DeliveryPlan(Struct, frozen=True):
    """
    Which strategy serves which kind.

    :ivar name: the topology, as ``zmq_topology`` names it.
    :ivar calls: the strategy for CALL, CAST and NOTIFY.
    :ivar fanouts: the strategy for FANOUT.
    :ivar warning: what to tell the operator once; empty for nothing.
    """

    name: str
    calls: str
    fanouts: str
    warning: str = ""

    @property
    def needs_proxies(self) -> bool:
        """Whether something goes through a proxy, which is a process of its own."""
        return ROUTED in (self.calls, self.fanouts) or PUBLISHED in (self.calls, self.fanouts)

    @property
    def subscribes(self) -> bool:
        """Whether servers of this plan subscribe to publishers."""
        return self.fanouts == PUBLISHED


_IGNORED = "use_dynamic_connections is ignored because use_router_proxy is set; unset one of them"

# use_pub_sub, use_router_proxy, use_dynamic_connections
_ROWS: Final = {
    (False, False, False): DeliveryPlan("static-direct", STATIC, STATIC),
    (False, False, True): DeliveryPlan("dynamic-direct", DYNAMIC, DYNAMIC),
    (False, True, False): DeliveryPlan("router-proxy", ROUTED, ROUTED),
    (False, True, True): DeliveryPlan("router-proxy", ROUTED, ROUTED, _IGNORED),
    (True, False, False): DeliveryPlan("static-direct+pub-sub", STATIC, PUBLISHED),
    (True, False, True): DeliveryPlan("dynamic-direct+pub-sub", DYNAMIC, PUBLISHED),
    (True, True, False): DeliveryPlan("router-proxy+pub-sub", ROUTED, PUBLISHED),
    (True, True, True): DeliveryPlan("router-proxy+pub-sub", ROUTED, PUBLISHED, _IGNORED),
}


TOPOLOGIES: Final = {plan.name: plan for plan in _ROWS.values() if not plan.warning}
"""Our topologies, by name."""


def plan_for(use_pub_sub: bool, use_router_proxy: bool, use_dynamic_connections: bool) -> DeliveryPlan:
    """Return the plan that the three booleans of the configuration mean."""
    return _ROWS[use_pub_sub, use_router_proxy, use_dynamic_connections]


def plan_named(name: str) -> DeliveryPlan:
    """
    Return the plan with this name; a name that is none of ours means the strategy of a plugin, for everything.

    Whether there is such a plugin is not known here (`zmqrpc.connections`).
    """
    return TOPOLOGIES.get(name) or DeliveryPlan(name, name, name)


def plan_of(settings: Settings) -> DeliveryPlan:
    """
    Return the plan that settings choose: by name, or by the three booleans.

    :raises ConfigError: the plan of that name is not the one that the booleans mean.
    """
    booleans = ("use_pub_sub", "use_router_proxy", "use_dynamic_connections")
    chosen = plan_for(*(getattr(settings, name) for name in booleans))
    if settings.zmq_topology is None:
        return chosen
    named = plan_named(settings.zmq_topology)
    true = [name for name in booleans if getattr(settings, name)]
    if true and chosen.name != named.name:
        raise ConfigError(
            f"option zmq_topology is {named.name}, but {' with '.join(true)} means {chosen.name}; give one of them",
            options=("zmq_topology", *true),
        )
    return named


def check_matchmaker(plan: DeliveryPlan, matchmaker: str) -> str:
    """
    Check that a matchmaker, which is named as in a transport URL, can serve a plan.

    :return: what it serves otherwise than the plan says, to tell the operator once; empty for nothing.
    :raises ConfigError: it cannot; the text says why.
    """
    if plan.calls == ROUTED and matchmaker == "file":
        raise ConfigError(
            f"the topology {plan.name} cannot be served with the matchmaker file, whose table names no instances, and "
            "router proxies go by these; use another matchmaker, such as zmq+redis or zmq+sqlite, or static-direct",
            options=("url", "rpc_zmq_matchmaker", "zmq_topology", "use_router_proxy"),
        )
    if plan.subscribes and matchmaker == "file":
        return (
            "fan-outs go to each member by itself (use_pub_sub), as the table of the matchmaker file does not tell who "
            "subscribes; use another matchmaker, such as zmq+redis or zmq+sqlite, or static-direct"
        )
    return ""
