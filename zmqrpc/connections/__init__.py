"""
Connection strategies: how envelopes of some kinds reach a target (`zmqrpc.interfaces.IConnectionStrategy`).

Ours are named in `OURS` and imported when they are wanted; those of others are plugins.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import cast

from zmqrpc.connections._guarded import Guarded
from zmqrpc.core.plan import DYNAMIC, ROUTED, STATIC, TOPOLOGIES
from zmqrpc.errors import ConfigError
from zmqrpc.families import Family, describe, raised
from zmqrpc.interfaces import IConnectionStrategy, IConnectionStrategyFactory, ILinks
from zmqrpc.settings import Settings

__all__ = ["check_strategy", "find_factory", "make_strategy"]

OURS = {STATIC: "static_direct", DYNAMIC: "dynamic_direct", ROUTED: "router_proxy"}
"""Name and module; the module's `factory` is the `IConnectionStrategyFactory`."""

_OPTIONS = ("zmq_topology",)


def find_factory(name: str) -> IConnectionStrategyFactory:
    """
    Find the factory of a strategy, ours before a plugin's.

    :param name: as `DeliveryPlan.calls`.
    :raises ConfigError: there is none, or two plugins have the name; the text lists those there are.
    """
    if name in OURS:
        return cast(IConnectionStrategyFactory, import_module(f"{__name__}.{OURS[name]}").factory)
    theirs = Family(IConnectionStrategyFactory, "name", taken=frozenset(TOPOLOGIES))
    try:
        factory = theirs.find(name)
    except ConfigError as error:
        error.options = _OPTIONS
        raise
    if factory is None:
        raise ConfigError(f"there is no topology {name!r}; {theirs.known}", options=_OPTIONS)
    return cast(IConnectionStrategyFactory, factory)


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
    if name in OURS:
        return factory.make(links, settings, seconds, wake_by)
    try:
        return Guarded(factory.make(links, settings, seconds, wake_by), name)
    except ConfigError as error:
        error.options = error.options or _OPTIONS
        raise
    except (Exception, SystemExit) as error:
        raise ConfigError(f"the plugin {describe(factory)} raised {raised(error)}", options=_OPTIONS) from error
