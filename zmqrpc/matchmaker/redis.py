"""The matchmaker of many machines: a Redis server (``zmq+redis://host:port``)."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from zope.interface import implementer

from zmqrpc.interfaces import Changed, IMatchmaker, IMatchmakerFactory, IOutages
from zmqrpc.matchmaker._doubts import Doubts
from zmqrpc.matchmaker._entry import records_order
from zmqrpc.matchmaker._redis.connection import connect
from zmqrpc.matchmaker._redis.place import RedisPlace
from zmqrpc.matchmaker._redis.store import RedisStore
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
    One Node's part in a database.

    :param reactor: the reactor.
    :param place: the server and its database.
    :param limit: seconds after which a server that does not answer is given up.
    :param chance: the source of jitter.
    """

    def __init__(self, reactor: Any, place: RedisPlace, limit: float, chance: Random | None = None) -> None:
        self._watches = TopicWatches(reactor)
        self._doubts = Doubts()
        self._closed = False
        self._store = RedisStore(
            reactor,
            place.called,
            place.db,
            lambda heard: connect(reactor, place, CONNECT * limit, heard),
            self._watches.publish,
            limit,
            chance or Random(),
        )

    def register(self, record: Record, expire: float) -> Deferred[None]:
        """See `IMatchmaker`."""
        return self._store.register(record, expire)

    def withdraw(self, record: Record) -> Deferred[None]:
        """See `IMatchmaker`."""
        return self._store.withdraw(record)

    def lookup(self, exchange: str, topic: str) -> Deferred[list[Sighting]]:
        """See `IMatchmaker`."""
        return self._store.lookup((exchange, topic))

    def records(self) -> Deferred[list[Sighting]]:
        """See `IMatchmaker`."""
        return self._store.records().addCallback(sorted, key=records_order)

    def watch(self, exchange: str, topic: str, changed: Changed) -> Callable[[], None]:
        """See `IMatchmaker`; a change is told by the server, an expiry is seen within 0.3 s."""
        if self._closed:
            return lambda: None
        watched = (exchange, topic)
        self._store.follow(watched)
        stop_watch = self._watches.add(watched, changed)

        def stop() -> None:
            stop_watch()
            if watched not in self._watches and not self._closed:
                self._store.leave(watched)

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
        return self._store.close()

    def away(self) -> str:
        """See `IOutages`."""
        return self._store.trouble

    def silent(self) -> list[str]:
        """See `IOutages`."""
        return list(filter(None, [self._store.trouble]))


@implementer(IMatchmakerFactory)
class RedisFactory:
    """Makes the matchmakers of ``zmq+redis://host:port``."""

    scheme = "redis"
    local = False

    _log = Logger()

    def make(self, reactor: Any, url: str, settings: Settings) -> IMatchmaker:
        """See `IMatchmakerFactory`."""
        place = attrs.evolve(RedisPlace.from_url(url), tls=StoreTls.from_settings(settings))
        if place.password is None and not place.is_loopback:
            self._log.warn(
                "{place} is used without a password: whoever reaches it decides where calls go; "
                "set one there (requirepass) and in the transport URL",
                place=place.called,
            )
        return RedisMatchmaker(reactor, place, settings.matchmaker_timeout / 1000)


factory = RedisFactory()
