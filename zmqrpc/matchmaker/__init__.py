"""
Matchmakers: who listens on a topic (`zmqrpc.interfaces.IMatchmaker`, docs/spec/records).

One module for each, chosen by the scheme of the transport URL. Ours are named in `MATCHMAKERS` and imported when they
are wanted, so that nobody pays for a store that is not used; those of others are plugins.
"""

from __future__ import annotations

from typing import Any

from zmqrpc.families import Family, find, making
from zmqrpc.interfaces import IMatchmaker, IMatchmakerFactory
from zmqrpc.matchmaker._entry import collect_skips
from zmqrpc.settings import Settings
from zmqrpc.transport_url import MATCHMAKERS

__all__ = ["collect_skips", "find_factory", "make_matchmaker"]

_OURS = {name: f"{__name__}.{name}" for name in MATCHMAKERS}
"""Scheme and module; the module's `factory` is the `IMatchmakerFactory`."""

_OPTIONS = ("url", "rpc_zmq_matchmaker")
"""What names a matchmaker."""


def find_factory(name: str) -> IMatchmakerFactory:
    """
    Find the factory of a matchmaker, ours before a plugin's.

    :param name: the scheme, for example `Settings.matchmaker`.
    :raises ConfigError: there is none, or two plugins have the name; the text lists those there are.
    """
    factory: IMatchmakerFactory = find(name, _OURS, _theirs, "matchmaker", _OPTIONS)
    return factory


def make_matchmaker(reactor: Any, settings: Settings, factory: IMatchmakerFactory | None = None) -> IMatchmaker:
    """
    Make the matchmaker of a transport URL; nothing is contacted or opened before it is used.

    :param factory: what `find_factory` has found; None to find it now.
    :raises ConfigError: the URL names a matchmaker that does not exist, or is not as that matchmaker needs it, or a
        plugin raised.
    """
    if factory is None:
        factory = find_factory(settings.matchmaker)
    # What they refuse is the URL, unless they say otherwise.
    with making(factory, settings.matchmaker in _OURS, ("url",)):
        return factory.make(reactor, settings.url, settings)


def _theirs() -> Family:
    return Family(IMatchmakerFactory, "scheme", r"[a-z][a-z0-9.-]*", frozenset(_OURS))
