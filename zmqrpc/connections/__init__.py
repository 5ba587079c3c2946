"""
Connection strategies: how envelopes of some kinds reach a target (`zmqrpc.interfaces.IConnectionStrategy`).

Ours are named in `OURS` and imported when they are wanted; those of others are plugins.
"""

from __future__ import annotations

from collections.abc import Callable

from zmqrpc.connections._guarded import Guarded
from zmqrpc.core.plan import DYNAMIC, ROUTED, STATIC, TOPOLOGIES
from zmqrpc.families import Family, find, making
from zmqrpc.interfaces import IConnectionStrategy, IConnectionStrategyFactory, ILinks
from zmqrpc.settings import Settings

__all__ = ["check_strategy", "find_factory", "make_strategy"]

_MODULES = {STATIC: "static_direct", DYNAMIC: "dynamic_direct", ROUTED: "router_proxy"}

OURS = {name: f"{__name__}.{module}" for name, module in _MODULES.items()}
"""Name and module; the module's `factory` is the `IConnectionStrategyFactory`."""

_OPTIONS = ("zmq_topology",)


def find_factory(name: str) -> IConnectionStrategyFactory:
    """
    Find the factory of a strategy, ours before a plugin's.

    :param name: as `DeliveryPlan.calls`.
    :raises ConfigError: there is none, or two plugins have the name; the text lists those there are.
    """
    factory: IConnectionStrategyFactory = find(name, OURS, _theirs, "topology", _OPTIONS)
    return factory


def check_strategy(name: str) -> None:
    """
    Look whether there is a strategy of a plugin, unless it is one of ours.

    :param name: as `DeliveryPlan.name`.
    :raises ConfigError: as `find_factory`.
    """
    if name not in TOPOLOGIES:
        find_factory(name)


def make_strategy(
    name: str,
    links: ILinks,
    settings: Settings,
    seconds: Callable[[], float],
    wake_by: Callable[[float], None],
) -> IConnectionStrategy:
    """
    Make a strategy; parameters as of `IConnectionStrategyFactory.make`.

    :param name: as `DeliveryPlan.calls`.
    :raises ConfigError: as `find_factory`, or the factory of a plugin raised.
    """
    factory = find_factory(name)
    with making(factory, name in OURS, _OPTIONS):
        strategy = factory.make(links, settings, seconds, wake_by)
        return strategy if name in OURS else Guarded(strategy, name)


def _theirs() -> Family:
    return Family(IConnectionStrategyFactory, "name", taken=frozenset(TOPOLOGIES))
