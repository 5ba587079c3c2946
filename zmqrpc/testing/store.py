"""A store of records that can be slow, unavailable, read-only or emptied, for every Node of a test."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IDelayedCall
from zope.interface import implementer

from zmqrpc.errors import MatchmakerUnavailable
from zmqrpc.interfaces import Changed, IMatchmaker
from zmqrpc.matchmaker._doubts import Doubts
from zmqrpc.matchmaker._shared_doubts import SharedDoubts
from zmqrpc.matchmaker._table import Table
from zmqrpc.matchmaker.dummy import DummyMatchmaker
from zmqrpc.record import Record, Role, Sighting
from zmqrpc.target import Target

T = TypeVar("T")


class Store:
    """
    The records of one network.

    :param clock: a clock or a reactor; what the store lives by, whatever becomes of the processes that use it.
    :ivar available: whether it answers at all.
    :ivar writable: whether it takes records, and removes them.
    :ivar hints: what was said of instances, in order: a record with why it was not reachable, or with None when it
        answered again.
    """

    def __init__(self, clock: Any) -> None:
        self.available = True
        self.writable = True
        self.hints: list[tuple[Record, str | None]] = []
        self._clock = clock
        self._table = Table(clock)
        self._seconds = 0.0
        self._made = 0
        self._missed: list[Callable[[], None]] = []

    def matchmaker(self, clock: Any = None) -> StoreMatchmaker:
        """
        Make one process's access to it.

        :param clock: the clock of the process; None for that of the store.
        """
        self._made += 1
        return StoreMatchmaker(self, DummyMatchmaker(self._table), clock or self._clock, Random(self._made))

    def records(self) -> list[Record]:
        """List what is stored without the doubts, available or not."""
        return [record for record in self._stored() if record.role is not Role.DOUBT]

    def doubts(self) -> list[Record]:
        """List the doubts that are stored, available or not."""
        return [record for record in self._stored() if record.role is Role.DOUBT]

    def _stored(self) -> list[Record]:
        return [sighting.record for sighting in self._table.all()]

    def served(self) -> list[tuple[str, str]]:
        """List the exchange and name of every topic that has a server, available or not."""
        return list(dict.fromkeys((r.exchange, r.topic) for r in self.records() if r.role is Role.SERVER))

    # Faults

    def go_down(self, after: float = 0.0) -> None:
        """
        Answer nothing, and tell of no change.

        :param after: seconds that who asks waits for its `MatchmakerUnavailable`; a hung server's time-out.
        """
        self.available = False
        self._seconds = after

    def go_read_only(self) -> None:
        """Take no record, and remove none, as a replica does that nobody has made the master yet."""
        self.writable = False

    def come_back(self, slow: float = 0.0) -> None:
        """
        Answer, take records, and tell of the changes that were missed.

        :param slow: seconds that each answer takes.
        """
        self.available = self.writable = True
        self._seconds = slow
        missed, self._missed = self._missed, []
        for tell in missed:
            tell()

    def forget(self) -> None:
        """Lose every record, as a store does that restarts without persistence; what is refreshed comes back."""
        for record in self._stored():
            self._table.remove(record)

    # For its matchmakers

    @property
    def seconds(self) -> float:
        """How long an answer takes."""
        return self._seconds

    def missed(self, tell: Callable[[], None]) -> None:
        """Keep what a watch was not told."""
        self._missed.append(tell)


@implementer(IMatchmaker)
class StoreMatchmaker:
    """One process's access to a `Store`; made by `Store.matchmaker`."""

    def __init__(self, store: Store, matchmaker: DummyMatchmaker, clock: Any, chance: Random | None = None) -> None:
        self._store = store
        self._matchmaker = matchmaker
        self._clock = clock
        self._shown: dict[tuple[str, str], list[Sighting]] = {}
        self._doubts = Doubts(SharedDoubts(clock, self.register, self.withdraw, self._shown.get, chance))
        self._waiting: list[tuple[IDelayedCall, Deferred[None]]] = []

    def register(self, record: Record, expire: float) -> Deferred[None]:
        return self._answer(lambda: self._write(lambda: self._matchmaker.register(record, expire)))

    def withdraw(self, record: Record) -> Deferred[None]:
        return self._answer(lambda: self._write(lambda: self._matchmaker.withdraw(record)))

    def lookup(self, exchange: str, topic: str) -> Deferred[list[Sighting]]:
        return self._answer(lambda: self._matchmaker.lookup(exchange, topic))

    def records(self) -> Deferred[list[Sighting]]:
        return self._answer(self._matchmaker.records)

    def watch(self, exchange: str, topic: str, changed: Changed) -> Callable[[], None]:
        news: list[list[Sighting]] = []
        stopped = False

        def heard(sightings: list[Sighting]) -> None:
            news[:] = [sightings]
            tell()

        def tell() -> None:
            if news and not stopped:
                if self._store.available:
                    self._shown[exchange, topic] = news.pop()
                    changed(list(self._shown[exchange, topic]))
                else:
                    self._store.missed(tell)

        stop_watch = self._matchmaker.watch(exchange, topic, heard)

        def stop() -> None:
            nonlocal stopped
            stopped = True
            self._shown.pop((exchange, topic), None)
            stop_watch()

        return stop

    def acknowledge(self, record: Record) -> Deferred[None] | None:
        self._store.hints.append((record, None))
        return self._doubts.remove(record)

    def neg_acknowledge(self, record: Record, reason: str) -> Deferred[None] | None:
        self._store.hints.append((record, reason))
        return self._doubts.add(record, reason)

    def bind_address(self, target: Target) -> str | None:
        return self._matchmaker.bind_address(target)

    def close(self) -> Deferred[None]:
        self._doubts.close()
        waiting, self._waiting = self._waiting, []
        for call, later in waiting:
            if call.active():
                call.cancel()
                later.callback(None)
        return self._matchmaker.close()

    def kill(self) -> None:
        """End as the process does that dies: it hears of nothing any more, and what it registered stays."""
        self._doubts.close()
        self._matchmaker.close()

    def _write(self, write: Callable[[], Deferred[T]]) -> Deferred[T]:
        if not self._store.writable:
            return fail(MatchmakerUnavailable("the store of this test is read-only; let it come back"))
        return write()

    def _answer(self, ask: Callable[[], Deferred[T]]) -> Deferred[T]:
        """Do what was asked when the store gets to it."""

        def now(_: object = None) -> Deferred[T]:
            if not self._store.available:
                return fail(MatchmakerUnavailable("the store of this test is down; let it come back"))
            return ask()

        if self._store.seconds <= 0:
            return now()
        later: Deferred[None] = Deferred()
        self._waiting = [(call, waiting) for call, waiting in self._waiting if call.active()]
        self._waiting.append((self._clock.callLater(self._store.seconds, later.callback, None), later))
        return later.addCallback(now)
