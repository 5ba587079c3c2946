"""Keeps the routing table fed: lookups on use, watches for changes, and what follows from both for the links."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from zmqrpc.core.routing import RoutingTable, Topic, link_key
from zmqrpc.errors import MatchmakerUnavailable
from zmqrpc.interfaces import IConnectionStrategy, IMatchmaker
from zmqrpc.record import Sighting

POLL_SECONDS = 60.0
"""Seconds after which a topic is looked up again though its watch was silent: a push may be lost."""

RETRY_SECONDS = 1.0
"""Seconds after which a lookup that failed is made again."""


class Discovery:
    """
    The shell of the routing table.

    :param strategy: is told which records appear and go.
    :param answered: is told of every topic whose knowledge was renewed: with None, or with why it could not be.
    :param seconds: the monotonic clock.
    :param jitter: gives a number from 0.5 to 1, so that clients do not ask in step.
    :param wake_by: asks that `sweep` is called at a time.
    """

    log = Logger()

    def __init__(
        self,
        matchmaker: IMatchmaker,
        table: RoutingTable,
        strategy: IConnectionStrategy,
        answered: Callable[[Topic, MatchmakerUnavailable | None], None],
        seconds: Callable[[], float],
        jitter: Callable[[], float],
        wake_by: Callable[[float], None],
    ) -> None:
        self._matchmaker = matchmaker
        self._table = table
        self._strategy = strategy
        self._answered = answered
        self._seconds = seconds
        self._jitter = jitter
        self._wake_by = wake_by
        self._due: dict[Topic, float] = {}
        self._watches: dict[tuple[str, str], Callable[[], None]] = {}
        self._closed = False

    def resolve(self, topic: Topic) -> None:
        """Look a topic up, unless that is under way, and watch it from now on; `answered` tells the end."""
        if self._closed or topic.resolving:
            return
        topic.resolving = True
        key = (topic.exchange, topic.name)
        if key not in self._watches:
            self._watches[key] = lambda: None
            self._watches[key] = self._matchmaker.watch(
                topic.exchange, topic.name, lambda sightings: self._learned(topic, sightings)
            )
        looked_up: Deferred[list[Sighting]] = self._matchmaker.lookup(topic.exchange, topic.name)
        looked_up.addCallbacks(
            lambda sightings: self._found(topic, sightings), lambda failure: self._failed(topic, failure)
        )

    @property
    def wake_at(self) -> float:
        """When `sweep` has to be called next."""
        return min(self._due.values(), default=float("inf"))

    def sweep(self, now: float) -> None:
        """Look the topics up again whose turn it is, in the background."""
        for topic in [topic for topic, due in self._due.items() if due <= now]:
            del self._due[topic]
            self.resolve(topic)

    def _again(self, topic: Topic, seconds: float) -> None:
        self._due[topic] = due = self._seconds() + seconds * self._jitter()
        self._wake_by(due)

    def close(self) -> None:
        """End every watch."""
        self._closed = True
        self._due.clear()
        for stop in self._watches.values():
            stop()
        self._watches.clear()

    def _found(self, topic: Topic, sightings: list[Sighting]) -> None:
        topic.resolving = False
        self._again(topic, POLL_SECONDS)
        self._learned(topic, sightings)

    def _learned(self, topic: Topic, sightings: list[Sighting]) -> None:
        if self._closed:
            return
        appeared, gone = self._table.learned(topic, sightings, self._seconds())
        for record in appeared:
            self._strategy.appeared(link_key(record), record)
        for key in gone:
            self._strategy.gone(key)
        self._answered(topic, None)

    def _failed(self, topic: Topic, failure: Failure) -> None:
        topic.resolving = False
        if self._closed:
            return
        error = failure.value
        if not isinstance(error, MatchmakerUnavailable):
            self.log.failure("the matchmaker failed otherwise than its interface says", failure=failure)
            error = MatchmakerUnavailable(f"the matchmaker failed: {error!r}; see the log")
        self._again(topic, RETRY_SECONDS)
        self._table.failed(topic)
        self._answered(topic, error)
