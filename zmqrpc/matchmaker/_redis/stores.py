"""Several stores that know nothing of each other: what is written goes to all, and what one has is there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from math import inf
from random import Random
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, DeferredList, gatherResults
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from zmqrpc.core.restoration import Restoration
from zmqrpc.errors import ConfigError, MatchmakerUnavailable
from zmqrpc.matchmaker._entry import TopicKey, lookup_order, records_order
from zmqrpc.matchmaker._redis.holdings import Holdings
from zmqrpc.matchmaker._redis.poll import Poll
from zmqrpc.matchmaker._redis.sentinels import Sentinels
from zmqrpc.matchmaker._redis.store import RedisStore
from zmqrpc.matchmaker._redis.union import TRUST_SECONDS, Order, Standing, TopicUnion, believed, merge
from zmqrpc.matchmaker._topic_watches import Show
from zmqrpc.record import Record, Role, Sighting

UNITE_SECONDS = 0.01
"""Seconds in which the changes of a topic become one: each comes from every store."""

Answer = TypeVar("Answer")


class RedisStores:
    """
    The stores of one matchmaker.

    :param make: makes the stores, given what each has to call: with a topic and its records, and when what it says of
        outages has changed.
    :param show: is called with a topic and its records whenever they may have changed.
    :param turned: is called when what is said here of outages may have changed.
    :param sentinels: who names the only one of them; None where none do.
    """

    _log = Logger()

    def __init__(
        self,
        clock: Any,
        make: Sequence[Callable[[Show, Callable[[], None]], RedisStore]],
        show: Show,
        chance: Random,
        turned: Callable[[], None] = lambda: None,
        sentinels: Sentinels | None = None,
    ) -> None:
        self._clock = clock
        self._alone = len(make) == 1
        self._show = show
        self._tell_turned = turned
        self._sentinels = sentinels
        self._unions: dict[TopicKey, TopicUnion] = {}
        self._unseen: set[TopicKey] = set()
        self._holdings = Holdings()
        self._refusals: dict[tuple[int, TopicKey], str] = {}
        self._restorations = [Restoration(partial(chance.uniform, 0.5, 1)) for _ in make]
        self._restoring: set[int] = set()
        self._late: set[int] = set()  # whom the last `records` has not waited for
        self._timer: IDelayedCall | None = None
        self._closed = False
        self._stores = [one(partial(self._read, number), self._turned) for number, one in enumerate(make)]

    def register(self, record: Record, expire: float) -> Deferred[None]:
        """See `IMatchmaker`; it has worked when one store has taken it."""
        self._holdings.put(record, expire, self._clock.seconds())
        asked = [store.register(record, expire) for store in self._stores]
        topic = (record.exchange, record.topic)
        return self._write(
            [answer.addErrback(self._not_registered, number, topic) for number, answer in enumerate(asked)], any
        )

    def withdraw(self, record: Record) -> Deferred[None]:
        """See `IMatchmaker`; it has worked when all stores have done it, or one where it is a doubt: that ends."""
        self._holdings.remove(record)
        enough = any if record.role is Role.DOUBT else all
        return self._write([store.withdraw(record) for store in self._stores], enough)

    def lookup(self, topic: TopicKey) -> Deferred[list[Sighting]]:
        """See `IMatchmaker`."""
        return self._united([store.lookup(topic) for store in self._stores], lookup_order)

    def records(self) -> Deferred[list[Sighting]]:
        """See `IMatchmaker`."""
        unanswered = set(range(len(self._stores)))

        def answered(answer: Answer, number: int) -> Answer:
            unanswered.discard(number)
            self._tell_turned()
            return answer

        def over(found: Answer) -> Answer:
            self._late = unanswered
            self._tell_turned()
            return found

        asked = [store.records() for store in self._stores]
        for number, answer in enumerate(asked):
            answer.addBoth(answered, number)
        found = self._united(asked, records_order)
        found.addBoth(over)
        return found

    def follow(self, topic: TopicKey) -> None:
        """Show a topic soon and after each change; one that is followed is shown once more."""
        self._unions.setdefault(topic, TopicUnion(len(self._stores), lookup_order))
        for store in self._stores:
            store.follow(topic)

    def leave(self, topic: TopicKey) -> None:
        """Follow a topic no longer."""
        self._unions.pop(topic, None)
        for store in self._stores:
            store.leave(topic)

    def away(self) -> str:
        """See `IOutages`."""
        troubles = [store.trouble for store in self._stores]
        return "; ".join(troubles) if all(troubles) else ""

    def failing(self) -> list[str]:
        """See `IOutages`; Sentinels too, while there is a master all the same."""
        failing = [store.trouble for store in self._stores if store.trouble]
        # Nobody knows yet what is the matter with those that are only late.
        late = [store for number, store in enumerate(self._stores) if number in self._late and not store.trouble]
        failing += [f"{store.name} has not answered in time" for store in late]
        failing += [text for store in self._stores for text in store.spoiled]
        return failing if failing or self._sentinels is None else self._sentinels.failing()

    def close(self) -> Deferred[None]:
        """End all connections; what was asked fails, what was registered stays. Fires when they have ended."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        ended = [store.close() for store in self._stores]
        if self._sentinels is not None:
            ended.append(self._sentinels.close())
        return gatherResults(ended).addCallback(lambda _: None)

    # What is asked

    def _poll(
        self, asked: Sequence[Deferred[Answer]], will_do: Callable[[list[Answer | Failure | None]], bool]
    ) -> Deferred[list[Answer | Failure | None]]:
        return Poll(self._clock, asked, [store.up for store in self._stores], will_do).over

    def _write(self, asked: Sequence[Deferred[None]], enough: Callable[[Iterable[bool]], bool]) -> Deferred[None]:
        def written(answers: list[bool | Failure | None]) -> None:
            failures = [answer for answer in answers if isinstance(answer, Failure)]
            if failures and (len(failures) == len(answers) or enough is all):
                raise _failure_of(failures)

        def will_do(answers: list[bool | Failure | None]) -> bool:
            return enough(answer is True for answer in answers)

        return self._poll([answer.addCallback(lambda _: True) for answer in asked], will_do).addCallback(written)

    def _not_registered(self, failure: Failure, number: int, topic: TopicKey) -> Failure:
        told, text = self._refusals.get((number, topic)), str(failure.value)
        if not self._alone and failure.check(ConfigError) and told != text:
            # Whoever registers is not told of it where another one has taken the record.
            self._refusals[number, topic] = text
            self._log.warn("a record was refused: {error}", error=failure.value)
        # A store that has refused it but is there shows that in its copy, which may have been read already.
        self._look_soon([topic])
        return failure

    def _united(self, asked: Sequence[Deferred[list[Sighting]]], order: Order) -> Deferred[list[Sighting]]:
        def united(answers: list[list[Sighting] | Failure | None]) -> list[Sighting]:
            given = [answer for answer in answers if isinstance(answer, list)]
            union = merge(given, order) if given else []
            if union or self._believes(answers):
                return union
            raise self._doubt(answers)

        def will_do(answers: list[list[Sighting] | Failure | None]) -> bool:
            return any(isinstance(answer, list) and answer for answer in answers) or self._believes(answers)

        return self._poll(asked, will_do).addCallback(united)

    def _believes(self, answers: list[list[Sighting] | Failure | None]) -> bool:
        """Tell whether it is true that nobody is there, as those say that have answered."""
        silent = [self._standing(number) for number, answer in enumerate(answers) if isinstance(answer, list)]
        return believed(silent, len(self._stores), self._clock.seconds())

    def _doubt(self, answers: list[list[Sighting] | Failure | None]) -> Exception:
        failures = [answer for answer in answers if isinstance(answer, Failure)]
        back = [number for number, answer in enumerate(answers) if isinstance(answer, list)]
        if not back:
            return _failure_of(failures)
        now = self._clock.seconds()
        young = [number for number in back if now < self._standing(number).young_until]
        names = " and ".join(self._stores[number].name for number in young or back)
        came = "came back empty" if young else "came back"
        text = f"{names} {came} less than {TRUST_SECONDS:g} s ago and may not know yet who is there"
        return MatchmakerUnavailable(f"{text}; beside that, {_failure_of(failures)}" if failures else text)

    def _standing(self, number: int) -> Standing:
        store = self._stores[number]
        if self._alone:  # it counts whatever happens, as nobody knows more
            return Standing(begun=store.begun, emptied=store.emptied)
        return Standing(store.up, store.begun, store.left, store.emptied)

    # What is followed, and what a store lacks

    def _read(self, number: int, topic: TopicKey, sightings: list[Sighting]) -> None:
        union = self._unions.get(topic)
        if union is None or self._closed:
            return
        now = self._clock.seconds()
        union.read(number, sightings, now)
        if self._alone:
            self._view(topic, union, now)
            self._wake_again(now)
        else:
            self._look_soon([topic])

    def _turned(self) -> None:
        """Take that a store is there or not as it was."""
        self._look_soon(self._unions)
        self._tell_turned()

    def _look_soon(self, topics: Iterable[TopicKey]) -> None:
        if not self._alone and not self._closed:
            self._unseen.update(topics)
            self._wake_in(UNITE_SECONDS)

    def _wake_in(self, seconds: float) -> None:
        at = self._clock.seconds() + seconds
        if self._timer is not None:
            if self._timer.getTime() <= at:
                return
            self._timer.cancel()
        self._timer = self._clock.callLater(seconds, self._wake)

    def _wake(self) -> None:
        self._timer = None
        now = self._clock.seconds()
        unseen, self._unseen = self._unseen, set()
        for topic, union in list(self._unions.items()):
            if topic in unseen or union.wake_at <= now:
                self._view(topic, union, now)
                self._look_for_lacks(topic, now)
        for number, restoration in enumerate(self._restorations):
            if restoration.wake_at <= now:
                self._restore(number, now)
        self._wake_again(now)

    def _view(self, topic: TopicKey, union: TopicUnion, now: float) -> None:
        standings = [self._standing(number) for number in range(len(self._stores))]
        view = union.view(standings, now, held=bool(self._holdings.of(topic, now)))
        if view is not None:
            self._show(topic, view)

    def _wake_again(self, now: float) -> None:
        wake_at = min(union.wake_at for union in self._unions.values()) if self._unions else inf
        wake_at = min(wake_at, *(restoration.wake_at for restoration in self._restorations))
        if wake_at < inf:
            self._wake_in(max(0.0, wake_at - now))

    def _look_for_lacks(self, topic: TopicKey, now: float) -> None:
        for number, store in enumerate(self._stores):
            # One that answers with refusals alone is there.
            if not store.hears:
                self._restorations[number].rest()
            elif number not in self._restoring and self._lacking(number, topic, now):
                self._restorations[number].lacks(now)

    def _lacking(self, number: int, topic: TopicKey, now: float) -> list[tuple[Record, float]]:
        """List the records of a topic that a store is to have and lacks, with the seconds for which each is stored."""
        union, held = self._unions.get(topic), self._holdings.of(topic, now)
        if union is None or not held:
            return []
        return [(record, held[record]) for record in union.lacking(number, held)]

    def _restore(self, number: int, now: float) -> None:
        restoration, store = self._restorations[number], self._stores[number]
        restoration.cancel()
        lacking = [one for topic in self._holdings.topics for one in self._lacking(number, topic, now)]
        if lacking:
            restoration.begin()
            if restoration.times == 1:
                self._log.info("{name} lacks what was registered here, and gets it again", name=store.name)
        self._restoring.add(number)
        stored: Deferred[Any] = DeferredList(
            [store.register(record, seconds) for record, seconds in lacking], consumeErrors=True
        )
        stored.addCallback(lambda _: self._restored(number))

    def _restored(self, number: int) -> None:
        now = self._clock.seconds()
        self._restoring.discard(number)
        self._restorations[number].over(now)
        if not self._closed:
            for topic in self._holdings.topics:
                self._look_for_lacks(topic, now)
            self._wake_again(now)


def _failure_of(failures: Sequence[Failure]) -> Exception:
    """Make one error of those of all stores."""
    errors = [failure.value for failure in failures]
    for error in errors:
        if len(errors) == 1 or not isinstance(error, (ConfigError, MatchmakerUnavailable)):
            assert isinstance(error, Exception)
            return error
    is_for_good = any(isinstance(error, ConfigError) for error in errors)
    return (ConfigError if is_for_good else MatchmakerUnavailable)("; ".join(map(str, errors)))
