"""The matchmaker of many machines: one Redis server, or several (``zmq+redis://host:port,host:port``)."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.logger import Logger
from zope.interface import implementer

from zmqrpc.interfaces import IMatchmaker, IMatchmakerFactory
from zmqrpc.matchmaker._redis.matchmaker import redis_matchmaker
from zmqrpc.matchmaker._redis.place import RedisPlace
from zmqrpc.matchmaker._tls import StoreTls
from zmqrpc.settings import Settings

__all__ = ["RedisFactory", "factory", "redis_matchmaker"]


@implementer(IMatchmakerFactory)
class RedisFactory:
    """Makes the matchmakers of ``zmq+redis://host:port,host:port``."""

    scheme = "redis"
    local = False

    _log = Logger()

    def make(self, reactor: Any, url: str, settings: Settings) -> IMatchmaker:
        """See `IMatchmakerFactory`."""
        tls = StoreTls.from_settings(settings)
        places = [attrs.evolve(place, tls=tls) for place in RedisPlace.from_url(url)]
        for place in places:
            if place.password is None and not place.is_loopback:
                self._log.warn(
                    "{place} is used without a password: whoever reaches it decides where calls go; "
                    "set one there (requirepass) and in the transport URL",
                    place=place.called,
                )
        return redis_matchmaker(reactor, places, settings.matchmaker_timeout / 1000)


factory = RedisFactory()
