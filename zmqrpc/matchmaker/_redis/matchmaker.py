"""Makes matchmakers in Redis: in one server, in several, or in the master that Sentinels name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from random import Random
from typing import Any

from zmqrpc.matchmaker._matchmaker import Matchmaker
from zmqrpc.matchmaker._redis.connection import connect
from zmqrpc.matchmaker._redis.place import RedisPlace
from zmqrpc.matchmaker._redis.sentinels import Sentinels
from zmqrpc.matchmaker._redis.store import RedisStore
from zmqrpc.matchmaker._redis.stores import RedisStores
from zmqrpc.matchmaker._topic_watches import Show

CONNECT = 3
"""How many times as long as an answer a connection may take: whoever asks does not wait for it that long."""


def redis_matchmaker(
    reactor: Any,
    places: Sequence[RedisPlace],
    limit: float,
    chance: Random | None = None,
    sentinels: Sentinels | None = None,
) -> Matchmaker:
    """
    Make one Node's part in a database, or in one of several servers each.

    :param reactor: the reactor.
    :param places: the servers and their databases.
    :param limit: seconds after which a server that does not answer is given up.
    :param chance: the source of jitter.
    :param sentinels: who names the server; None where `places` do.
    """
    random = chance or Random()

    def store_at(place: RedisPlace, show: Show, turned: Callable[[], None]) -> RedisStore:
        connected = partial(connect, reactor, place, CONNECT * limit)
        return RedisStore(
            *(reactor, place.called, place.db, connected, show, limit, random),
            source=lambda: place.location,
            turned=turned,
        )

    def store_behind(named_by: Sentinels, show: Show, turned: Callable[[], None]) -> RedisStore:
        store = RedisStore(
            *(reactor, named_by.called, named_by.db, named_by.connect, show, limit, random),
            source=named_by.where,
            turned=turned,
            address=named_by.address,
        )
        named_by.moved = store.moved
        named_by.turns = lambda: store.turns
        named_by.turned = turned
        return store

    makers = [partial(store_at, place) for place in places]
    if sentinels is not None:
        makers = [partial(store_behind, sentinels)]
    return Matchmaker(
        reactor, lambda show, turned: RedisStores(reactor, makers, show, random, turned, sentinels), random
    )
