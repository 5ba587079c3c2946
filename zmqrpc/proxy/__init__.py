"""
The stateless processes between clients and servers where a full mesh would be too many connections.

Ours are named in `OURS` and imported when they are wanted (``zmq-proxy --type NAME``); those of others are plugins.
"""

from __future__ import annotations

from importlib import import_module
from typing import cast

from zmqrpc.errors import ConfigError
from zmqrpc.families import Family, describe, raised
from zmqrpc.interfaces import IProxy, IProxyFactory, IProxySite
from zmqrpc.settings import Settings

__all__ = ["LOCAL_PUBLISHER", "ROUTERS_ONLY", "ROUTER_PROXY", "find_factory", "make_proxy"]

ROUTER_PROXY, LOCAL_PUBLISHER = "router-proxy", "local-publisher"

OURS = {ROUTER_PROXY: "router", LOCAL_PUBLISHER: "local_publisher"}
"""Name and module; the module's `factory` is the `IProxyFactory`."""

ROUTERS_ONLY = ("proxy_frontend_port", "proxy_backend_port", "proxy_ipc")
"""What a local publisher has no use for."""

_OPTIONS = ("proxy_type",)


def find_factory(settings: Settings) -> IProxyFactory:
    """
    Find the factory that settings name, ours before a plugin's.

    :raises ConfigError: there is none of the name, or two; the text lists those there are.
    """
    name = settings.proxy_type
    if settings.proxy_local_publisher and name not in (None, LOCAL_PUBLISHER):
        raise ConfigError(
            f"option proxy_type is {name!r}, and proxy_local_publisher is set; give one of them",
            options=("proxy_type", "proxy_local_publisher"),
        )
    if name is None:
        name = LOCAL_PUBLISHER if settings.proxy_local_publisher else ROUTER_PROXY
    if name in OURS:
        return cast(IProxyFactory, import_module(f"{__name__}.{OURS[name]}").factory)
    theirs = Family(IProxyFactory, "name", taken=frozenset(OURS))
    try:
        factory = theirs.find(name)
    except ConfigError as error:
        error.options = _OPTIONS
        raise
    if factory is None:
        raise ConfigError(f"there is no kind of proxy {name!r}; {theirs.known}", options=_OPTIONS)
    return cast(IProxyFactory, factory)


def make_proxy(factory: IProxyFactory, site: IProxySite) -> IProxy:
    """
    Make a proxy.

    :raises ConfigError: a setting is not valid for it, or a plugin raised.
    """
    try:
        return factory.make(site)
    except ConfigError:
        raise
    except (Exception, SystemExit) as error:
        if factory.name in OURS:
            raise
        raise ConfigError(f"the plugin {describe(factory)} raised {raised(error)}", options=_OPTIONS) from error
