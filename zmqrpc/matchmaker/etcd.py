"""The matchmaker of many machines with a cluster of its own: etcd (``zmq+etcd://one,two,three``)."""

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
from zmqrpc.matchmaker._etcd.place import EtcdPlace
from zmqrpc.matchmaker._etcd.store import EtcdStore
from zmqrpc.matchmaker._shared_doubts import SharedDoubts
from zmqrpc.matchmaker._tls import StoreTls
from zmqrpc.matchmaker._topic_watches import TopicWatches
from zmqrpc.record import Record, Sighting
from zmqrpc.settings import Settings
from zmqrpc.target import Target


@implementer(IMatchmaker, IOutages)
class EtcdMatchmaker:
    """
    One Node's part in an etcd.

    :param reactor: the reactor.
    :param place: the members, and the prefix.
    :param limit: seconds after which a question that no member answers is given up.
    :param chance: the source of jitter.
    """

    def __init__(self, reactor: Any, place: EtcdPlace, limit: float, chance: Random | None = None) -> None:
        chance = chance or Random()
        self._watches = TopicWatches(reactor)
        self._doubts = Doubts(SharedDoubts(reactor, self.register, self.withdraw, self._watches.shown, chance))
        self._closed = False
        self._store = EtcdStore(reactor, place, self._watches.publish, limit, chance)

    def register(self, record: Record, expire: float) -> Deferred[None]:
        """See `IMatchmaker`; `expire` is rounded up to whole seconds."""
        return self._store.register(record, expire)

    def withdraw(self, record: Record) -> Deferred[None]:
        """See `IMatchmaker`."""
        return self._store.withdraw(record)

    def lookup(self, exchange: str, topic: str) -> Deferred[list[Sighting]]:
        """See `IMatchmaker`; ages are not known."""
        return self._store.lookup((exchange, topic))

    def records(self) -> Deferred[list[Sighting]]:
        """See `IMatchmaker`; a record that never expires has no age."""
        return self._store.records().addCallback(sorted, key=records_order)

    def watch(self, exchange: str, topic: str, changed: Changed) -> Callable[[], None]:
        """See `IMatchmaker`; changes and expiries are told by etcd."""
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

    def acknowledge(self, record: Record) -> Deferred[None] | None:
        """See `IMatchmaker`; others hear of it as a record."""
        return self._doubts.remove(record)

    def neg_acknowledge(self, record: Record, reason: str) -> Deferred[None] | None:
        """See `IMatchmaker`; others hear of it as a record."""
        return self._doubts.add(record, reason)

    def bind_address(self, target: Target) -> None:
        """Return None: a server may choose its address."""

    def close(self) -> Deferred[None]:
        """See `IMatchmaker`; what was registered stays in etcd until it expires."""
        self._closed = True
        self._doubts.close()
        self._watches.close()
        return self._store.close()

    def away(self) -> str:
        """See `IOutages`."""
        return self._store.trouble

    def silent(self) -> list[str]:
        """See `IOutages`; members that fail while others answer are not told."""
        return list(filter(None, [self._store.trouble]))


@implementer(IMatchmakerFactory)
class EtcdFactory:
    """Makes the matchmakers of ``zmq+etcd://host``."""

    scheme = "etcd"
    local = False

    _log = Logger()

    def make(self, reactor: Any, url: str, settings: Settings) -> IMatchmaker:
        """See `IMatchmakerFactory`."""
        place = attrs.evolve(EtcdPlace.from_url(url), tls=StoreTls.from_settings(settings))
        if not place.user and not place.is_loopback:
            self._log.warn(
                "{place} is used without a user: whoever reaches it decides where calls go; "
                "make one there (etcdctl user add) and name it in the transport URL",
                place=place.called,
            )
        return EtcdMatchmaker(reactor, place, settings.matchmaker_timeout / 1000)


factory = EtcdFactory()
