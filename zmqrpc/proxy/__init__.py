"""
The stateless processes between clients and servers where a full mesh would be too many connections.

Ours are named in `OURS` and imported when they are wanted (``zmq-proxy --type NAME``); those of others are plugins.
"""

from __future__ import annotations

from zmqrpc.errors import ConfigError
from zmqrpc.families import Family, find, making
from zmqrpc.interfaces import IProxy, IProxyFactory, IProxySite
from zmqrpc.settings import Settings

__all__ = ["LOCAL_PUBLISHER", "ROUTERS_ONLY", "ROUTER_PROXY", "find_factory", "make_proxy"]

ROUTER_PROXY, LOCAL_PUBLISHER = "router-proxy", "local-publisher"

OURS = {ROUTER_PROXY: f"{__name__}.router", LOCAL_PUBLISHER: f"{__name__}.local_publisher"}
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
    factory: IProxyFactory = find(name, OURS, _theirs, "kind of proxy", _OPTIONS)
    return factory


def make_proxy(factory: IProxyFactory, site: IProxySite) -> IProxy:
    """
    Make a proxy.

    :raises ConfigError: a setting is not valid for it, or a plugin raised.
    """
    with making(factory, factory.name in OURS, _OPTIONS):
        return factory.make(site)


def _theirs() -> Family:
    return Family(IProxyFactory, "name", taken=frozenset(OURS))
