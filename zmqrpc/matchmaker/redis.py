"""The matchmaker of many machines: one Redis server, or several (``zmq+redis://host:port,host:port``)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from random import Random
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from zope.interface import implementer

from zmqrpc.interfaces import Changed, IMatchmaker, IMatchmakerFactory, IOutages
from zmqrpc.matchmaker._doubts import Doubts
from zmqrpc.matchmaker._redis.connection import connect
from zmqrpc.matchmaker._redis.place import RedisPlace
from zmqrpc.matchmaker._redis.store import RedisStore
from zmqrpc.matchmaker._redis.stores import RedisStores, Show
from zmqrpc.matchmaker._tls import StoreTls
from zmqrpc.matchmaker._topic_watches import TopicWatches
from zmqrpc.record import Record, Sighting
from zmqrpc.settings import Settings
from zmqrpc.target import Target

CONNECT = 3
"""How many times as long as an answer a connection may take: whoever asks does not wait for it that long."""


@implementer(IMatchmaker, IOutages)
class RedisMatchmaker:
    """
    One Node's part in a database, or in one of several servers each.

    :param reactor: the reactor.
    :param places: the servers and their databases.
    :param limit: seconds after which a server that does not answer is given up.
    :param chance: the source of jitter.
    """

    def __init__(self, reactor: Any, places: Sequence[RedisPlace], limit: float, chance: Random | None = None) -> None:
        chance = chance or Random()
        self._watches = TopicWatches(reactor)
        self._doubts = Doubts()
        self._closed = False

        def store_at(place: RedisPlace, show: Show, turned: Callable[[], None]) -> RedisStore:
            connected = partial(connect, reactor, place, CONNECT * limit)
            return RedisStore(
                reactor, place.called, place.db, connected, show, limit, chance, source=place.location, turned=turned
            )

        makers = [partial(store_at, place) for place in places]
        self._stores = RedisStores(reactor, makers, self._watches.publish, chance)

    def register(self, record: Record, expire: float) -> Deferred[None]:
        """See `IMatchmaker`."""
        return self._stores.register(record, expire)

    def withdraw(self, record: Record) -> Deferred[None]:
        """See `IMatchmaker`."""
        return self._stores.withdraw(record)

    def lookup(self, exchange: str, topic: str) -> Deferred[list[Sighting]]:
        """See `IMatchmaker`."""
        return self._stores.lookup((exchange, topic))

    def records(self) -> Deferred[list[Sighting]]:
        """See `IMatchmaker`."""
        return self._stores.records()

    def watch(self, exchange: str, topic: str, changed: Changed) -> Callable[[], None]:
        """See `IMatchmaker`; a change is told by a server, an expiry is seen within 0.3 s."""
        if self._closed:
            return lambda: None
        watched = (exchange, topic)
        self._stores.follow(watched)
        stop_watch = self._watches.add(watched, changed)

        def stop() -> None:
            stop_watch()
            if watched not in self._watches and not self._closed:
                self._stores.leave(watched)

        return stop

    def acknowledge(self, record: Record) -> None:
        """See `IMatchmaker`; only logged, other processes do not hear of it."""
        self._doubts.remove(record)

    def neg_acknowledge(self, record: Record, reason: str) -> None:
        """See `IMatchmaker`; only logged, other processes do not hear of it."""
        self._doubts.add(record, reason)

    def bind_address(self, target: Target) -> None:
        """Return None: a server may choose its address."""

    def close(self) -> Deferred[None]:
        """See `IMatchmaker`; what was registered stays in the database until it expires."""
        self._closed = True
        self._watches.close()
        return self._stores.close()

    def away(self) -> str:
        """See `IOutages`."""
        silent = self.silent()
        return "; ".join(silent) if len(silent) == self._stores.count else ""

    def silent(self) -> list[str]:
        """See `IOutages`."""
        return self._stores.silent()


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
        return RedisMatchmaker(reactor, places, settings.matchmaker_timeout / 1000)


factory = RedisFactory()
