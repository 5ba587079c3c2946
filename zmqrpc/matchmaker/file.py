"""The matchmaker of a fixed table: a file that people write (``zmq+file:///path``)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from math import inf
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from zmqrpc.errors import ConfigError, MatchmakerUnavailable
from zmqrpc.interfaces import Changed, IMatchmaker, IMatchmakerFactory, IOutages
from zmqrpc.matchmaker._doubts import Doubts
from zmqrpc.matchmaker._entry import TopicKey, lookup_order, records_order
from zmqrpc.matchmaker._fixed_file import FixedFile
from zmqrpc.matchmaker._fixed_table import FixedTable
from zmqrpc.matchmaker._outage import Outage
from zmqrpc.matchmaker._outage_watches import OutageWatches
from zmqrpc.matchmaker._path import path_of
from zmqrpc.matchmaker._thread import IThreadedReactor, WorkThread
from zmqrpc.matchmaker._topic_watches import TopicWatches
from zmqrpc.record import PROXIES, Record, Sighting
from zmqrpc.settings import Settings
from zmqrpc.target import Target

INTERVAL = 0.1
"""Seconds between two looks whether the file has changed, while somebody watches, or serves what is in it."""

RETRY = 0.5
"""Seconds until a file that cannot be used is looked at again."""


@implementer(IMatchmaker, IOutages)
class FileMatchmaker:
    """
    One Node's view of the file, which is read once when it is made, and then in a thread.

    Whatever becomes of the file, what it said when it could last be used counts, so that lookups do not fail.

    :param reactor: the reactor.
    :param path: the absolute path of the file.
    :param exchange: the exchange of topics that name none.
    :raises ConfigError: the file cannot be used.
    """

    _log = Logger()

    def __init__(self, reactor: IThreadedReactor, path: str, exchange: str) -> None:
        self._reactor = reactor
        self._file = FixedFile(path, exchange)
        self._table = self._file.table
        self._thread = WorkThread(reactor, f"the fixed table {path}", idle=self._look, last=lambda: None)
        self._watches = TopicWatches(reactor)
        self._doubts = Doubts()
        self._outages = OutageWatches(reactor, self)
        self._reading = Outage(reactor, "reading a fixed table", self._outages.turned)
        self._watched: set[TopicKey] = set()
        self._ours: dict[tuple[str, ...], Record] = {}
        self._missing: set[tuple[str, ...]] = set()
        self._failing = False
        self._closed = False

    def register(self, record: Record, expire: float) -> Deferred[None]:
        """See `IMatchmaker`; nothing is stored, and it fails with `ConfigError` when the table has no such line."""
        self._ours[record.key] = record

        def check(_: None) -> None:
            self._check_ours()
            if record.key in self._missing:
                raise ConfigError(self._missing_text(record))

        return self._renewed().addCallback(check)

    def withdraw(self, record: Record) -> Deferred[None]:
        """See `IMatchmaker`; the line stays in the table."""
        self._ours.pop(record.key, None)
        self._missing.discard(record.key)
        self._outages.turned()
        return self._renewed()

    def lookup(self, exchange: str, topic: str) -> Deferred[list[Sighting]]:
        """See `IMatchmaker`."""
        return self._renewed().addCallback(lambda _: self._of_topic((exchange, topic)))

    def records(self) -> Deferred[list[Sighting]]:
        """See `IMatchmaker`."""
        return self._renewed().addCallback(lambda _: self._sighted(self._table.records(), records_order))

    def watch(self, exchange: str, topic: str, changed: Changed) -> Callable[[], None]:
        """See `IMatchmaker`; a change is seen within 0.2 s, or 0.6 s after an outage."""
        watched = (exchange, topic)
        stop_watch = self._watches.add(watched, changed)
        self._watched.add(watched)
        self._renewed().addCallbacks(lambda _: self._publish(watched), lambda _: None)

        def stop() -> None:
            stop_watch()
            if watched not in self._watches:
                self._watched.discard(watched)

        return stop

    def acknowledge(self, record: Record) -> Deferred[None] | None:
        """See `IMatchmaker`; only logged, other processes do not hear of it."""
        return self._doubts.remove(record)

    def neg_acknowledge(self, record: Record, reason: str) -> Deferred[None] | None:
        """See `IMatchmaker`; only logged, other processes do not hear of it."""
        return self._doubts.add(record, reason)

    def bind_address(self, target: Target) -> str | None:
        """See `IMatchmaker`."""
        assert target.exchange is not None and target.topic is not None and target.server is not None
        of_proxy = target.exchange == PROXIES[0]
        try:
            if of_proxy:
                return self._table.socket_of(target.server, target.topic)
            return self._table.line((target.exchange, target.topic), target.server).address
        except LookupError as error:
            who, how = ("proxy", " (--host)") if of_proxy else ("server", "")
            raise ConfigError(
                f"the fixed table {self._file.path} {error}; write a line for this {who}, or give it the name of "
                f"one{how}"
            ) from None

    def close(self) -> Deferred[None]:
        """See `IMatchmaker`."""
        self._closed = True
        self._watches.close()
        self._outages.close()
        self._watched.clear()
        return self._thread.close()

    def away(self) -> str:
        """See `IOutages`; what the file said before counts, so a line that is missing is all there can be."""
        return "; ".join(self._missing_text(self._ours[key]) for key in sorted(self._missing))

    def failing(self) -> list[str]:
        """See `IOutages`."""
        return list(filter(None, [self._reading.reason]))

    def watch_outages(self, turned: Callable[[], None]) -> Callable[[], None]:
        """See `IOutages`."""
        return self._outages.add(turned)

    # What the file says

    def _renewed(self) -> Deferred[None]:
        """Have the file looked at; fires when `_table` is as new as it can be."""
        if self._closed:
            return fail(MatchmakerUnavailable("the matchmaker is closed; make a new Node"))
        return self._thread.run(self._file.read).addCallbacks(self._took, self._failed)

    def _took(self, table: FixedTable) -> None:
        self._failing = False
        self._reading.worked()
        if table is not self._table:
            self._table = table
            self._check_ours()
            for topic in self._watched:
                self._publish(topic)

    def _failed(self, failure: Failure) -> None:
        failure.trap(ConfigError, MatchmakerUnavailable)
        self._failing = True
        self._reading.failed(f"{failure.value}; what it said before counts")

    def _of_topic(self, topic: TopicKey) -> list[Sighting]:
        return self._sighted(self._table.of_topic(topic), lookup_order)

    def _publish(self, topic: TopicKey) -> None:
        self._watches.publish(topic, self._of_topic(topic))

    def _sighted(self, records: Iterable[Record], order: Callable[[Sighting], Any]) -> list[Sighting]:
        # The age of a line is for how long nobody has seen it: it grows while the file cannot be used.
        age = max(0.0, time.monotonic() - self._file.seen_at)
        return sorted((Sighting(record, age, self._file.path, inf) for record in records), key=order)

    # What this process serves

    def _check_ours(self) -> None:
        """Log whose line has vanished or changed, and whose is back; the server itself goes on."""
        missing = {key for key, record in self._ours.items() if not self._table.has(record)}
        for key in missing - self._missing:
            self._log.warn("{text}", text=self._missing_text(self._ours[key]))
        for key in self._missing - missing:
            self._log.info(
                "the fixed table {path} has a line for {topic}.{member} at its address again",
                path=self._file.path,
                topic=self._ours[key].topic,
                member=self._ours[key].member,
            )
        self._missing = missing
        self._outages.turned()

    def _missing_text(self, record: Record) -> str:
        address = record.addresses[0].removeprefix("tcp://")
        return (
            f"the fixed table {self._file.path} has no line for {record.topic}.{record.member} of the exchange "
            f"{record.exchange} at {address}, where it is served; write one, or stop the server"
        )

    # The thread calls this.

    def _look(self) -> float | None:
        if not self._watched and not self._ours:
            return None
        try:
            table = self._file.read()
        except ConfigError:
            self._reactor.callFromThread(self._failed, Failure())
            return RETRY
        if table is not self._table or self._failing:
            self._reactor.callFromThread(self._took, table)
        return INTERVAL


@implementer(IMatchmakerFactory)
class FileFactory:
    """Makes the matchmakers of ``zmq+file:///path``."""

    scheme = "file"
    local = False

    def make(self, reactor: Any, url: str, settings: Settings) -> IMatchmaker:
        """See `IMatchmakerFactory`."""
        path = path_of(url, "zmq+file:///etc/zmqrpc/ring.json")
        return FileMatchmaker(reactor, path, settings.control_exchange)


factory = FileFactory()
