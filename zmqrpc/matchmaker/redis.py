"""The matchmaker of many machines: a Redis server (``zmq+redis://host:port``)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from random import Random
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, gatherResults
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from zmqrpc.errors import MatchmakerUnavailable
from zmqrpc.interfaces import Changed, IMatchmaker, IMatchmakerFactory
from zmqrpc.matchmaker._doubts import Doubts
from zmqrpc.matchmaker._entry import lookup_order, records_order
from zmqrpc.matchmaker._outage import Outage
from zmqrpc.matchmaker._redis.answers import Look, read_list, read_look
from zmqrpc.matchmaker._redis.asker import RedisAsker
from zmqrpc.matchmaker._redis.channels import RedisChannels
from zmqrpc.matchmaker._redis.connection import connect
from zmqrpc.matchmaker._redis.follower import RedisFollower
from zmqrpc.matchmaker._redis.names import new_channel
from zmqrpc.matchmaker._redis.place import RedisPlace
from zmqrpc.matchmaker._redis.scripts import RedisScripts, Words
from zmqrpc.matchmaker._topic_watches import TopicWatches
from zmqrpc.record import Record, Sighting
from zmqrpc.settings import Settings
from zmqrpc.target import Target

T = TypeVar("T")

CONNECT = 3
"""How many times as long as an answer a connection may take: whoever asks does not wait for it that long."""


@implementer(IMatchmaker)
class RedisMatchmaker:
    """
    One Node's part in a database. Two connections to it are made when they are needed: one to ask, one to hear.

    :param reactor: the reactor.
    :param place: the server and its database.
    :param limit: seconds after which a server that does not answer is given up.
    :param chance: the source of jitter.
    """

    def __init__(self, reactor: Any, place: RedisPlace, limit: float, chance: Random | None = None) -> None:
        chance = chance or Random()
        name = f"the Redis server {place.name}"
        self._name = name
        self._place = place
        self._scripts = RedisScripts(place.db)
        self._asker = RedisAsker(reactor, lambda: connect(reactor, place, CONNECT * limit), name, chance, limit)
        self._follower = RedisFollower(reactor, place.db, self._look, self._show, chance)
        self._channels = RedisChannels(
            reactor,
            lambda heard: connect(reactor, place, CONNECT * limit, heard),
            self._follower.heard,
            self._follower.subscribed,
            self._hears,
            chance,
            limit,
        )
        self._watches = TopicWatches(reactor)
        self._doubts = Doubts()
        self._outage = Outage(reactor, f"the matchmaker in {name}")
        self._failing: set[str] = set()
        self._closed = False

    def register(self, record: Record, expire: float) -> Deferred[None]:
        """See `IMatchmaker`."""
        return self._ask(self._scripts.register(record, expire), _nothing)

    def withdraw(self, record: Record) -> Deferred[None]:
        """See `IMatchmaker`."""
        return self._ask(self._scripts.withdraw(record), _nothing)

    def lookup(self, exchange: str, topic: str) -> Deferred[list[Sighting]]:
        """See `IMatchmaker`."""
        watched = (exchange, topic)
        heard = self._follower.asked(watched)

        def found(look: Look) -> list[Sighting]:
            self._follower.looked(watched, look, heard)
            entries = look.entries or {}
            return sorted((entry.sighting(look.now) for entry in entries.values()), key=lookup_order)

        return self._ask(self._scripts.look(watched), partial(read_look, watched)).addCallback(found)

    def records(self) -> Deferred[list[Sighting]]:
        """See `IMatchmaker`."""
        return self._ask(self._scripts.list(), lambda answer: sorted(read_list(answer), key=records_order))

    def watch(self, exchange: str, topic: str, changed: Changed) -> Callable[[], None]:
        """See `IMatchmaker`; a change is told by the server, an expiry is seen within 0.3 s."""
        if self._closed:
            return lambda: None
        watched = (exchange, topic)
        if watched in self._watches:
            self._follower.again(watched)
        else:
            # First, so that it tells also the first watch of a database that others find empty.
            self._channels.add(new_channel(self._place.db))
            self._channels.add(self._follower.add(watched))
        stop_watch = self._watches.add(watched, changed)

        def stop() -> None:
            stop_watch()
            if watched not in self._watches and not self._closed:
                self._channels.remove(self._follower.remove(watched))

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
        self._follower.close()
        return gatherResults([self._channels.close(), self._asker.close()]).addCallback(_nothing)

    def _look(self, watched: tuple[str, str], version: int, soonest: int) -> Deferred[Look]:
        return self._ask(self._scripts.look(watched, version, soonest), partial(read_look, watched))

    def _show(self, watched: tuple[str, str], sightings: list[Sighting]) -> None:
        self._watches.publish(watched, sightings)

    def _ask(self, words: Words, read: Callable[[Any], T]) -> Deferred[T]:
        def answered(answer: Any) -> T:
            self._works("asking")
            try:
                return read(answer)
            except (ValueError, TypeError) as error:
                raise MatchmakerUnavailable(f"{self._name} answered what is no answer: {error}") from error

        def failed(failure: Failure) -> Failure:
            if not self._closed:
                self._fails("asking", str(failure.value))
            return failure

        return self._asker.ask(words).addCallbacks(answered, failed)

    def _hears(self, reason: str | None) -> None:
        if reason is None:
            self._works("hearing")
        else:
            self._fails("hearing", reason)

    # One outage for both connections: it ends when neither fails any more.

    def _fails(self, what: str, reason: str) -> None:
        self._failing.add(what)
        self._outage.failed(reason)

    def _works(self, what: str) -> None:
        self._failing.discard(what)
        if not self._failing:
            self._outage.worked()


def _nothing(_: object) -> None:
    return None


@implementer(IMatchmakerFactory)
class RedisFactory:
    """Makes the matchmakers of ``zmq+redis://host:port``."""

    scheme = "redis"
    local = False

    _log = Logger()

    def make(self, reactor: Any, url: str, settings: Settings) -> IMatchmaker:
        """See `IMatchmakerFactory`."""
        place = RedisPlace.from_url(url)
        if place.password is None and not place.is_loopback:
            self._log.warn(
                "the Redis server {place} is used without a password: whoever reaches it decides where calls go; "
                "set one there (requirepass) and in the transport URL",
                place=place.name,
            )
        return RedisMatchmaker(reactor, place, settings.redis_socket_timeout / 1000)


factory = RedisFactory()
