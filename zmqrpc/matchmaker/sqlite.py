"""The matchmaker of one machine: a file that all its processes share (``zmq+sqlite:///path``)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from zmqrpc.errors import MatchmakerUnavailable
from zmqrpc.interfaces import IMatchmaker, IMatchmakerFactory
from zmqrpc.matchmaker._entry import TopicKey, lookup_order, records_order
from zmqrpc.matchmaker._matchmaker import Matchmaker
from zmqrpc.matchmaker._outage import Outage
from zmqrpc.matchmaker._path import path_of
from zmqrpc.matchmaker._sqlite.file import Row, SqliteFile, is_missing
from zmqrpc.matchmaker._sqlite.lookout import Lookout
from zmqrpc.matchmaker._sqlite.machine import Machine
from zmqrpc.matchmaker._thread import IThreadedReactor, WorkThread
from zmqrpc.matchmaker._topic_watches import Show
from zmqrpc.record import Record, Sighting
from zmqrpc.settings import Settings

READING, WRITING = "reading", "writing"
"""The parts of an outage."""


class SqliteStore:
    """
    One Node's part in the file. The file is touched in a thread of its own only, from the first use on.

    :param reactor: the reactor.
    :param path: the absolute path of the file.
    :param machine: whose time and processes count.
    :param limit: seconds that an operation may take; half of that to wait for a lock of another process.
    :param show: is called with a topic and its records whenever they may have changed.
    :param turned: is called when what `away` returns has changed.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: IThreadedReactor,
        path: str,
        machine: Machine,
        limit: float,
        show: Show,
        turned: Callable[[], None],
    ) -> None:
        name = f"the matchmaker file {path}"
        self._path = path
        self._reactor = reactor
        self._machine = machine
        self._show = show
        self._file = SqliteFile(path, self._machine, limit / 2)
        self._lookout = Lookout(self._file, self._machine, self._found, self._looked)
        self._thread = WorkThread(reactor, name, idle=self._lookout.look, last=self._file.close, limit=limit)
        self._told_missing = False
        self._registering = 0
        self._outage = Outage(reactor, name, turned)

    def register(self, record: Record, expire: float) -> Deferred[None]:
        """See `IMatchmaker`."""
        self._registering += 1
        registered = self._thread.run(self._file.register, record, expire).addBoth(self._registered)
        return self._note(WRITING, registered)

    def _registered(self, outcome: Any) -> Any:
        self._registering -= 1
        return outcome

    def withdraw(self, record: Record) -> Deferred[None]:
        """See `IMatchmaker`."""
        return self._note(WRITING, self._thread.run(self._file.withdraw, record))

    def lookup(self, topic: TopicKey) -> Deferred[list[Sighting]]:
        """See `IMatchmaker`."""
        return self._note(READING, self._thread.run(self._file.read, topic)).addCallback(self._sighted, lookup_order)

    def records(self) -> Deferred[list[Sighting]]:
        """See `IMatchmaker`."""
        return self._note(READING, self._thread.run(self._file.read)).addCallback(self._sighted, records_order)

    def follow(self, topic: TopicKey) -> None:
        """Show a topic soon; a change by another process is seen within 50 ms, the death of one within 250."""
        self._thread.send(lambda: self._lookout.watch(topic))

    def leave(self, topic: TopicKey) -> None:
        """Follow a topic no longer."""
        self._thread.send(lambda: self._lookout.unwatch(topic))

    def away(self) -> str:
        """See `IOutages`."""
        return self._outage.reason

    def failing(self) -> list[str]:
        """See `IOutages`."""
        return list(filter(None, [self.away()]))

    def close(self) -> Deferred[None]:
        """See `IMatchmaker`; what was registered stays in the file until it expires or the process ends."""
        return self._thread.close()

    def _sighted(self, rows: list[Row], order: Callable[[Sighting], Any]) -> list[Sighting]:
        if self._file.missing and not self._told_missing and not self._registering:
            self._told_missing = True
            self._log.info("{text}", text=_absence(self._path))
        now = self._machine.now()
        return sorted((row.sighting(now, self._path) for row in rows), key=order)

    def _note(self, part: str, answer: Deferred[Any]) -> Deferred[Any]:
        def worked(result: Any) -> Any:
            # While another process keeps the file locked, reading works and writing does not; not the other way round.
            self._outage.worked(*((READING, WRITING) if part == WRITING else (READING,)))
            return result

        def failed(failure: Failure) -> Failure:
            if isinstance(failure.value, MatchmakerUnavailable):
                self._outage.failed(str(failure.value), part)
            return failure

        return answer.addCallbacks(worked, failed)

    # The lookout calls these two in the thread.

    def _found(self, topic: TopicKey, rows: list[Row]) -> None:
        self._reactor.callFromThread(lambda: self._show(topic, self._sighted(rows, lookup_order)))

    def _looked(self, error: MatchmakerUnavailable | None) -> None:
        if error is None:
            # Whoever only calls may never write again, so that what failed to be written would be the last word.
            self._reactor.callFromThread(self._outage.worked, READING, WRITING)
        else:
            self._reactor.callFromThread(self._outage.failed, str(error), READING)


def sqlite_matchmaker(
    reactor: IThreadedReactor, path: str, machine: Machine | None = None, limit: float = 2.0
) -> Matchmaker:
    """Make one Node's part in the file; see `SqliteStore`."""
    return Matchmaker(reactor, partial(SqliteStore, reactor, path, machine or Machine(), limit))


@implementer(IMatchmakerFactory)
class SqliteFactory:
    """Makes the matchmakers of ``zmq+sqlite:///path``."""

    scheme = "sqlite"
    local = True

    def make(self, reactor: Any, url: str, settings: Settings) -> IMatchmaker:
        """See `IMatchmakerFactory`."""
        return sqlite_matchmaker(reactor, _path_of(url))

    def absence_of(self, url: str) -> str:
        """See `IMatchmakerFactory`."""
        path = _path_of(url)
        with suppress(OSError):  # of which there is an error already
            if is_missing(path):
                return _absence(path)
        return ""


def _absence(path: str) -> str:
    return f"the matchmaker file {path} does not exist; a server makes it at its start"


def _path_of(url: str) -> str:
    return path_of(url, "zmq+sqlite:///var/lib/zmqrpc/matchmaker.db")


factory = SqliteFactory()
