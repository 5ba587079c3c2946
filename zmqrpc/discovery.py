"""
Keeps the routing table fed.

Lookups on use, watches for changes, what the links show, and what follows from all of it for the links.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from zmqrpc.core.agenda import NEVER
from zmqrpc.core.due import Due
from zmqrpc.core.envelope import Served
from zmqrpc.core.evidence import Evidence
from zmqrpc.core.route import Route
from zmqrpc.core.routing import RoutingTable
from zmqrpc.core.spread import spread
from zmqrpc.core.topic import Knowledge, Topic, link_key
from zmqrpc.errors import Journey, MatchmakerUnavailable, Overloaded
from zmqrpc.hints import Hints
from zmqrpc.interfaces import IConnectionStrategy, IMatchmaker
from zmqrpc.record import Sighting, well_formed
from zmqrpc.target import Pool, Target

POLL_SECONDS = 300.0
"""
Seconds after which a topic is looked up again though its watch was silent. It is the last net: our own watches look
themselves whether a push was lost, which costs less.
"""

RETRY_SECONDS = 1.0
"""Seconds after which a lookup that failed is made again, unless a crowd takes longer (docs/adr/0037)."""

DOUBT_SECONDS = 1.0
"""
Seconds after somebody listened in which one empty answer is not believed, nor that it is not known who listens: a store
that was emptied fills again.
"""

ONCE_MORE_SECONDS = 0.6
"""Seconds at most until the look after such an answer; a registration that was lost is made again by then."""

_MOST_TRIED = 100
"""How many routes are looked at to find one that may be given up for a new one."""


class Discovery:
    """
    The shell of the routing table.

    :param strategy: is told which records appear and go.
    :param hold: is told of each link, by its key, whether it is to stay connected since it alone shows that its
        instance lives.
    :param answered: is told of every topic whose knowledge was renewed: with None, or with why it could not be.
    :param in_use: tells whether calls wait for a topic, or are on a link that only it leads to.
    :param seconds: the monotonic clock.
    :param jitter: gives a number from 0.5 to 1, so that clients do not ask in step.
    :param wake_by: asks that `sweep` is called at a time.
    :param record: notes what the matchmaker says or fails to say, as `Notices.record`.
    """

    log = Logger()

    def __init__(
        self,
        matchmaker: IMatchmaker,
        hints: Hints,
        table: RoutingTable,
        strategy: IConnectionStrategy,
        hold: Callable[[str, bool], None],
        answered: Callable[[Topic, MatchmakerUnavailable | None], None],
        in_use: Callable[[Topic], bool],
        seconds: Callable[[], float],
        jitter: Callable[[], float],
        wake_by: Callable[[float], None],
        record: Callable[..., None],
    ) -> None:
        self._matchmaker = matchmaker
        self._hints = hints
        self._table = table
        self._strategy = strategy
        self._hold = hold
        self._held: set[str] = set()
        self._answered = answered
        self._in_use = in_use
        self._seconds = seconds
        self._jitter = jitter
        self._wake_by = wake_by
        self._record = record
        self._polled: dict[tuple[str, str], Topic] = {}
        self._due = Due(self._polled)
        self._once_more: set[Topic] = set()
        self._failing: set[Topic] = set()
        self._malformed: set[tuple[str, str]] = set()
        self._watches: dict[tuple[str, str], Callable[[], None]] = {}
        self._look_at = NEVER
        self._closed = False

    def resolve(self, topic: Topic) -> None:
        """Look a topic up, unless that is under way, and watch it until it is given up; `answered` tells the end."""
        if self._closed or topic.resolving:
            return
        topic.resolving = True
        if self._look_at == NEVER:
            self._look_by(self._seconds())
        key = topic.key
        if key not in self._watches:
            self._watches[key] = lambda: None
            try:
                self._watches[key] = self._matchmaker.watch(
                    topic.exchange, topic.name, lambda sightings: self._learned(topic, sightings)
                )
            except Exception:
                self.log.failure("the matchmaker cannot tell what becomes of {topic}, it is asked", topic=topic.name)
        self._ask(topic)

    def _ask(self, topic: Topic) -> None:
        looked_up: Deferred[list[Sighting]] = maybeDeferred(self._matchmaker.lookup, topic.exchange, topic.name)
        looked_up.addCallbacks(
            lambda sightings: self._found(topic, sightings), lambda failure: self._failed(topic, failure)
        )

    @property
    def wake_at(self) -> float:
        """When `sweep` has to be called next."""
        return min(self._look_at, self._due.wake_at)

    def sweep(self, now: float) -> None:
        """Look the topics up again whose turn it is, in the background."""
        # One that a lookup before it has made room by giving up does not come up any more.
        while (topic := self._due.pop(now)) is not None:
            topic.sweep_at = NEVER
            if topic in self._once_more:
                self._ask(topic)
            else:
                self.resolve(topic)
        if self._look_at <= now:
            self._look(now)

    def _again(self, topic: Topic, seconds: float) -> None:
        topic.sweep_at = NEVER
        self._polled[topic.key] = topic
        self._due.by(topic, self._seconds() + seconds * self._jitter())
        self._wake_by(topic.sweep_at)

    def close(self) -> None:
        """End every watch."""
        self._closed = True
        self._hints.close()
        self._look_at = NEVER
        self._polled.clear()
        self._due.clear()
        self._once_more.clear()
        self._failing.clear()
        for stop in self._watches.values():
            stop()
        self._watches.clear()

    def _found(self, topic: Topic, sightings: list[Sighting]) -> None:
        if self._closed:
            return
        if not self._taken(topic, sightings):
            return
        self._answers_again(topic)
        if not self._looks_once_more(topic):
            self._once_more.discard(topic)
            topic.resolving = False
            self._again(topic, POLL_SECONDS)
        self._answered(topic, None)

    def _looks_once_more(self, topic: Topic) -> bool:
        """Look soon again at a topic that was just emptied, unless that was done; return whether it is."""
        doubtful = topic.knowledge is Knowledge.EMPTY and self._seconds() < topic.emptied_at + DOUBT_SECONDS
        if not doubtful or topic in self._once_more:
            return False
        self._once_more.add(topic)
        self._again(topic, ONCE_MORE_SECONDS)
        return True

    def _learned(self, topic: Topic, sightings: list[Sighting]) -> None:
        """Take what a watch tells."""
        if not self._closed and self._taken(topic, sightings):
            if topic in self._failing:
                # It says what the next lookup was to find out.
                self._answers_again(topic)
                self._again(topic, POLL_SECONDS)
            self._answered(topic, None)

    def _answers_again(self, topic: Topic) -> None:
        if topic in self._failing:
            self._failing.discard(topic)
            self._record("lookup_worked", "the matchmaker answers about {peer} again", topic.name)

    def _taken(self, topic: Topic, sightings: list[Sighting]) -> bool:
        """Take what the store says, whatever that is; what we fail at is answered as a lookup that has failed."""
        try:
            self._learn(topic, sightings)
        except Exception as error:
            self.log.failure("what is stored of {topic} could not be taken, a fault of ours", topic=topic.name)
            text = f"what the matchmaker says could not be taken: {type(error).__name__}: {error}; see the log"
            self._failed(topic, Failure(MatchmakerUnavailable(text)))
            return False
        return True

    def _learn(self, topic: Topic, sightings: list[Sighting]) -> None:
        before = topic.doubted
        good = well_formed(sightings)
        if len(good) != len(sightings) and topic.key not in self._malformed:
            self._malformed.add(topic.key)
            self.log.warn(
                "the matchmaker gave {count} records of {topic} whose instance is none; they are left out",
                count=len(sightings) - len(good),
                topic=topic.name,
            )
        appeared, gone = self._table.learned(topic, good, self._seconds())
        if appeared or gone:
            text = "instances under {peer}: {appeared} have come, {gone} are gone, {known} are recorded"
            counts = {"appeared": len(appeared), "gone": len(gone), "known": len(good)}
            self._record("records_changed", text, topic.name, **counts)
        for record in appeared:
            self._strategy.appeared(link_key(record), record)
        self._gone(gone)
        for key in topic.doubted - before:
            self._hints.heard(key)

    def _gone(self, keys: list[str]) -> None:
        for key in keys:
            self._hints.gone(key)
            self._strategy.gone(key)
        for key in self._table.kept_changes():
            held = self._table.is_kept(key)
            if held is not (key in self._held):
                self._held.symmetric_difference_update((key,))
                self._hold(key, held)

    def _failed(self, topic: Topic, failure: Failure) -> None:
        error = failure.value
        if not self._closed and isinstance(error, MatchmakerUnavailable) and self._looks_once_more(topic):
            self._table.failed(topic)
            return
        topic.resolving = False
        self._once_more.discard(topic)
        if self._closed:
            return
        if not isinstance(error, MatchmakerUnavailable):
            self.log.failure("the matchmaker failed otherwise than its interface says", failure=failure)
            error = MatchmakerUnavailable(f"the matchmaker failed: {type(error).__name__}: {error}; see the log")
        self._again(topic, max(RETRY_SECONDS, spread(len(topic.answer))))
        if topic not in self._failing:
            self._failing.add(topic)
            text = "the matchmaker could not be asked about {peer}, it is tried again: {error}"
            self._record("lookup_failed", text, topic.name, error=error)
        self._table.failed(topic)
        self._answered(topic, error)

    # What links find out

    def witnessed(self, key: str, evidence: Evidence, serves: frozenset[Served]) -> None:
        """
        Take what a link shows of its instance; the matchmaker hears when one that it was told to doubt answers.

        :param serves: what the instance says that it serves.
        """
        if self._closed:
            return
        self._gone(self._table.witnessed(key, evidence, serves))
        if evidence is Evidence.ALIVE:
            self._hints.answers(key)

    def doubted(self, key: str, reason: str) -> None:
        """Take that the records behind a link do not lead to their instance; the matchmaker hears it."""
        if not self._closed:
            self._hints.doubted(key, reason)

    # What is not used

    def route(self, target: Target | Pool, exchange: str) -> Route:
        """
        Return the route to a target, which counts as used; for a new one past ``max_routes`` an unused one is given up.

        :param exchange: that of a target which names none.
        :raises Overloaded: every route is the last one to a topic that has to stay.
        """
        if self._table.full and target not in self._table.routes:
            self._make_room(target)
        route = self._table.route(target, exchange)
        route.used = True
        return route

    def prepare(self, target: Target, exchange: str) -> None:
        """Look a target up now, and keep the route to it, used or not."""
        route = self._table.route(target, exchange)
        route.holders += 1
        self.resolve(route.topic)

    def _make_room(self, target: Target | Pool) -> None:
        for route in islice(self._table.longest_unused(), _MOST_TRIED):
            topic = route.topic
            if len(topic.routes) > 1:
                self._table.discard(route)
                return
            if self._table.disposable(topic) and not self._in_use(topic):
                self._table.discard(route)
                self._give_up(topic)
                return
        text = f"{len(self._table.routes)} targets are in use, which is the most (max_routes)"
        raise Overloaded(text, Journey(str(target), stage="resolving"))

    def _look(self, now: float) -> None:
        for topic in self._table.look():
            if not self._in_use(topic):
                self._give_up(topic)
        self._look_at = NEVER
        if self._table.topics():
            self._look_by(now)

    def _look_by(self, now: float) -> None:
        self._look_at = now + self._table.look_seconds
        self._wake_by(self._look_at)

    def _give_up(self, topic: Topic) -> None:
        """Forget a topic, its watch and its lookups, and let go of the links that only it leads to."""
        self._polled.pop(topic.key, None)
        self._failing.discard(topic)
        self._malformed.discard(topic.key)
        stop = self._watches.pop(topic.key, None)
        if stop is not None:
            stop()
        self._gone(self._table.give_up(topic))
