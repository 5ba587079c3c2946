"""
Matchmakers: who listens on a topic (`zmqrpc.interfaces.IMatchmaker`, docs/spec/records).

One module for each, chosen by the scheme of the transport URL. Ours are named here and imported when they are wanted,
so that nobody pays for a store that is not used; those of others are plugins.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, cast

from twisted import plugins as twisted_plugins
from twisted.plugin import getPlugins

from zmqrpc import plugins as zmqrpc_plugins
from zmqrpc.errors import ConfigError
from zmqrpc.interfaces import IMatchmaker, IMatchmakerFactory
from zmqrpc.settings import Settings

__all__ = ["find_factory", "make_matchmaker"]

_OURS = {
    "dummy": "zmqrpc.matchmaker.dummy",
    "sqlite": "zmqrpc.matchmaker.sqlite",
}
"""Scheme and module; the module's `factory` is the `IMatchmakerFactory`."""


def find_factory(name: str) -> IMatchmakerFactory:
    """
    Find the factory of a matchmaker, ours before a plugin's.

    :param name: the scheme, for example `Settings.matchmaker`.
    :raises ConfigError: there is none; the text lists those there are.
    """
    if name in _OURS:
        return cast(IMatchmakerFactory, import_module(_OURS[name]).factory)
    theirs = _plugins()
    if name not in theirs:
        raise ConfigError(f"there is no matchmaker {name!r}; valid are {', '.join(sorted(theirs.keys() | _OURS))}")
    return theirs[name]


def make_matchmaker(reactor: Any, settings: Settings) -> IMatchmaker:
    """
    Make the matchmaker of a transport URL; nothing is contacted or opened before it is used.

    :raises ConfigError: the URL names a matchmaker that does not exist, or is not as that matchmaker needs it.
    """
    return find_factory(settings.matchmaker).make(reactor, settings.url, settings)


def _plugins() -> dict[str, IMatchmakerFactory]:
    return {
        factory.scheme: factory
        for package in (twisted_plugins, zmqrpc_plugins)
        for factory in getPlugins(IMatchmakerFactory, package)
    }
