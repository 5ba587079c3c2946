"""One Node's matchmaker over a store that many use and that tells of changes."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from zope.interface import implementer

from zmqrpc.interfaces import Changed, IMatchmaker, IOutages
from zmqrpc.matchmaker._doubts import Doubts
from zmqrpc.matchmaker._entry import TopicKey
from zmqrpc.matchmaker._outage_watches import OutageWatches
from zmqrpc.matchmaker._shared_doubts import SharedDoubts
from zmqrpc.matchmaker._topic_watches import Show, TopicWatches
from zmqrpc.record import Record, Sighting
from zmqrpc.target import Target


class Store(Protocol):
    """What each store does in its own way; what is not said here is as in `IMatchmaker` and `IOutages`."""

    def register(self, record: Record, expire: float) -> Deferred[None]: ...

    def withdraw(self, record: Record) -> Deferred[None]: ...

    def lookup(self, topic: TopicKey) -> Deferred[list[Sighting]]: ...

    def records(self) -> Deferred[list[Sighting]]: ...

    def follow(self, topic: TopicKey) -> None:
        """Show a topic soon and after each change; one that is followed is shown once more."""

    def leave(self, topic: TopicKey) -> None:
        """Follow a topic no longer."""

    def away(self) -> str: ...

    def failing(self) -> list[str]: ...

    def close(self) -> Deferred[None]:
        """End what was begun; what was registered stays. Fires when nothing of it runs any more."""


MakeStore = Callable[[Show, Callable[[], None]], Store]
"""Makes a store, given what it has to call: with a topic and its records, and when what it says of outages changes."""


@implementer(IMatchmaker, IOutages)
class Matchmaker:
    """
    One Node's part in a store: what is the same whichever store that is.

    :param reactor: the reactor.
    :param chance: the source of jitter.
    :ivar store: what was made.
    """

    def __init__(self, reactor: Any, make: MakeStore, chance: Random | None = None) -> None:
        self._watches = TopicWatches(reactor)
        self._outages = OutageWatches(reactor, self)
        self._doubts = Doubts(SharedDoubts(reactor, self.register, self.withdraw, self._watches.shown, chance))
        self._closed = False
        self.store = make(self._watches.publish, self._outages.turned)

    def register(self, record: Record, expire: float) -> Deferred[None]:
        """See `IMatchmaker`."""
        return self.store.register(record, expire)

    def withdraw(self, record: Record) -> Deferred[None]:
        """See `IMatchmaker`."""
        return self.store.withdraw(record)

    def lookup(self, exchange: str, topic: str) -> Deferred[list[Sighting]]:
        """See `IMatchmaker`."""
        return self.store.lookup((exchange, topic))

    def records(self) -> Deferred[list[Sighting]]:
        """See `IMatchmaker`."""
        return self.store.records()

    def watch(self, exchange: str, topic: str, changed: Changed) -> Callable[[], None]:
        """See `IMatchmaker`."""
        if self._closed:
            return lambda: None
        watched = (exchange, topic)
        stop_watch = self._watches.add(watched, changed)
        self.store.follow(watched)

        def stop() -> None:
            stop_watch()
            if watched not in self._watches and not self._closed:
                self.store.leave(watched)

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
        """See `IMatchmaker`; what was registered stays until it expires."""
        self._closed = True
        self._doubts.close()
        self._watches.close()
        self._outages.close()
        return self.store.close()

    def away(self) -> str:
        """See `IOutages`."""
        return self.store.away()

    def failing(self) -> list[str]:
        """See `IOutages`."""
        return self.store.failing()

    def watch_outages(self, turned: Callable[[], None]) -> Callable[[], None]:
        """See `IOutages`."""
        return self._outages.add(turned)
