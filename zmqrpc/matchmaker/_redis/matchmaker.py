"""One Node's part in Redis: in one server, in several, or in the master that Sentinels name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from random import Random
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from zope.interface import implementer

from zmqrpc.interfaces import Changed, IMatchmaker, IOutages
from zmqrpc.matchmaker._doubts import Doubts
from zmqrpc.matchmaker._redis.connection import connect
from zmqrpc.matchmaker._redis.place import RedisPlace
from zmqrpc.matchmaker._redis.sentinels import Sentinels
from zmqrpc.matchmaker._redis.store import RedisStore
from zmqrpc.matchmaker._redis.stores import RedisStores, Show
from zmqrpc.matchmaker._shared_doubts import SharedDoubts
from zmqrpc.matchmaker._topic_watches import TopicWatches
from zmqrpc.record import Record, Sighting
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
    :param sentinels: who names the server; None where `places` do.
    """

    def __init__(
        self,
        reactor: Any,
        places: Sequence[RedisPlace],
        limit: float,
        chance: Random | None = None,
        sentinels: Sentinels | None = None,
    ) -> None:
        chance = chance or Random()
        self._watches = TopicWatches(reactor)
        self._doubts = Doubts(SharedDoubts(reactor, self.register, self.withdraw, self._watches.shown, chance))
        self._closed = False

        def store_at(place: RedisPlace, show: Show, turned: Callable[[], None]) -> RedisStore:
            connected = partial(connect, reactor, place, CONNECT * limit)
            return RedisStore(
                reactor,
                place.called,
                place.db,
                connected,
                show,
                limit,
                chance,
                source=lambda: place.location,
                turned=turned,
            )

        def store_behind(named_by: Sentinels, show: Show, turned: Callable[[], None]) -> RedisStore:
            store = RedisStore(
                *(reactor, named_by.called, named_by.db, named_by.connect, show, limit, chance),
                source=named_by.where,
                turned=turned,
                address=named_by.address,
            )
            named_by.moved = store.moved
            named_by.turns = lambda: store.turns
            return store

        makers = [partial(store_at, place) for place in places]
        if sentinels is not None:
            makers = [partial(store_behind, sentinels)]
        self._sentinels = sentinels
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

    def acknowledge(self, record: Record) -> Deferred[None] | None:
        """See `IMatchmaker`; others hear of it as a record."""
        return self._doubts.remove(record)

    def neg_acknowledge(self, record: Record, reason: str) -> Deferred[None] | None:
        """See `IMatchmaker`; others hear of it as a record."""
        return self._doubts.add(record, reason)

    def bind_address(self, target: Target) -> None:
        """Return None: a server may choose its address."""

    def close(self) -> Deferred[None]:
        """See `IMatchmaker`; what was registered stays in the database until it expires."""
        self._closed = True
        self._doubts.close()
        self._watches.close()
        ended = [self._stores.close()]
        if self._sentinels is not None:
            ended.append(self._sentinels.close())
        return gatherResults(ended).addCallback(lambda _: None)

    def away(self) -> str:
        """See `IOutages`."""
        silent = self._stores.silent()
        return "; ".join(silent) if len(silent) == self._stores.count else ""

    def silent(self) -> list[str]:
        """See `IOutages`; Sentinels too, while there is a master all the same."""
        silent = [*self._stores.silent(), *self._stores.late(), *self._stores.spoiled()]
        return silent if silent or self._sentinels is None else self._sentinels.silent()
