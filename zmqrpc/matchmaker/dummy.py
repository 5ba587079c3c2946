"""The matchmaker of one process: a table in its memory, shared by all of its Nodes (``zmq://``, ``zmq+dummy://``)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import urlsplit
from weakref import WeakValueDictionary

from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from zmqrpc.core.plan import plan_of
from zmqrpc.errors import ConfigError, MatchmakerUnavailable
from zmqrpc.interfaces import Changed, IMatchmaker, IMatchmakerFactory
from zmqrpc.matchmaker._doubts import Doubts
from zmqrpc.matchmaker._shared_doubts import SharedDoubts
from zmqrpc.matchmaker._table import Table
from zmqrpc.record import Record, Sighting
from zmqrpc.settings import Settings, masked_url
from zmqrpc.target import Target

T = TypeVar("T")


@implementer(IMatchmaker)
class DummyMatchmaker:
    """
    One Node's part in a `Table`.

    :param table: the table, which other matchmakers may use as well.
    """

    def __init__(self, table: Table) -> None:
        self._table = table
        self._doubts = Doubts(SharedDoubts(table.clock, self.register, self.withdraw, table.of_topic))
        self._stops: set[Callable[[], None]] = set()
        self._closed = False

    def register(self, record: Record, expire: float) -> Deferred[None]:
        """See `IMatchmaker`."""
        return self._answer(lambda: self._table.put(record, expire))

    def withdraw(self, record: Record) -> Deferred[None]:
        """See `IMatchmaker`."""
        return self._answer(lambda: self._table.remove(record))

    def lookup(self, exchange: str, topic: str) -> Deferred[list[Sighting]]:
        """See `IMatchmaker`."""
        return self._answer(lambda: self._table.of_topic((exchange, topic)))

    def records(self) -> Deferred[list[Sighting]]:
        """See `IMatchmaker`."""
        return self._answer(self._table.all)

    def watch(self, exchange: str, topic: str, changed: Changed) -> Callable[[], None]:
        """See `IMatchmaker`."""
        if self._closed:
            return lambda: None
        stop_watch = self._table.watch((exchange, topic), changed)

        def stop() -> None:
            self._stops.discard(stop)
            stop_watch()

        self._stops.add(stop)
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
        """See `IMatchmaker`; what was registered stays in the table."""
        self._closed = True
        self._doubts.close()
        for stop in list(self._stops):
            stop()
        return succeed(None)

    def _answer(self, read: Callable[[], T]) -> Deferred[T]:
        if self._closed:
            return fail(MatchmakerUnavailable("the matchmaker is closed; make a new Node"))
        return succeed(read())


@implementer(IMatchmakerFactory)
class DummyFactory:
    """
    Makes the matchmakers of ``zmq+dummy://``.

    Those made with one reactor share a table: a process has one reactor, and every `task.Clock` of a test is a process
    of its own. A table lasts as long as somebody holds a matchmaker of it.
    """

    scheme = "dummy"
    local = True

    def __init__(self) -> None:
        self._tables: WeakValueDictionary[int, Table] = WeakValueDictionary()

    def make(self, reactor: Any, url: str, settings: Settings) -> IMatchmaker:
        """See `IMatchmakerFactory`."""
        parts = urlsplit(url)
        if parts.netloc or parts.path.strip("/") or parts.fragment:
            raise ConfigError(
                f"the transport URL {masked_url(url)!r} names a host or path; for this process alone write zmq://"
            )
        plan = plan_of(settings)
        if plan.needs_proxies:
            raise ConfigError(
                f"the topology {plan.name} needs proxies, which the matchmaker dummy cannot find, since it knows only "
                "this process; use zmq+sqlite:///path, or static-direct",
                options=("url", "zmq_topology", "use_pub_sub", "use_router_proxy"),
            )
        # The table holds its reactor, so that an id cannot be used again while its table is here.
        table = self._tables.get(id(reactor))
        if table is None:
            table = self._tables[id(reactor)] = Table(reactor)
        return DummyMatchmaker(table)


factory = DummyFactory()
