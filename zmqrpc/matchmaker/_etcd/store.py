"""One prefix in one etcd: what is asked there, what is written, and what is followed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from math import inf
from operator import itemgetter
from random import Random
from typing import Any, TypeAlias, TypeVar

from twisted.internet.defer import Deferred, gatherResults
from twisted.python.failure import Failure

from zmqrpc.core.spread import Crowd
from zmqrpc.errors import ConfigError, MatchmakerUnavailable
from zmqrpc.matchmaker._entry import TopicKey, lookup_order, records_order
from zmqrpc.matchmaker._etcd.access import EtcdAccess
from zmqrpc.matchmaker._etcd.answers import (
    Entry,
    Look,
    OtherFormat,
    read_leases,
    read_left,
    read_looks,
    read_page,
    read_store,
)
from zmqrpc.matchmaker._etcd.asker import EtcdAsker
from zmqrpc.matchmaker._etcd.errors import DENIED, NO_SPACE, EtcdRefusal, other_format
from zmqrpc.matchmaker._etcd.follower import EtcdFollower
from zmqrpc.matchmaker._etcd.place import EtcdPlace
from zmqrpc.matchmaker._etcd.rotation import Rotation
from zmqrpc.matchmaker._etcd.stream import EtcdStream
from zmqrpc.matchmaker._etcd.words import FORMAT, EtcdWords, Words
from zmqrpc.matchmaker._etcd.writer import EtcdWriter
from zmqrpc.matchmaker._gathering import Gathering
from zmqrpc.matchmaker._outage import Outage
from zmqrpc.matchmaker._topic_watches import Show
from zmqrpc.record import Record, Sighting

T = TypeVar("T")

COUNT_SECONDS = 150.0
"""Seconds after which it is asked again how many processes there are: a node that serves has a lease."""

ASKING, HEARING, WRITING, FILLING = "asking", "hearing", "writing", "filling"
"""The parts of what may fail; the last is to write something new where there is no space left."""

FULL_SECONDS = 60.0
"""
Seconds after which it is forgotten that there was no space left: who has something to write tries again within ten, and
who has nothing left to write would never learn that there is.
"""

MOST_READS = 25
"""How many topics are looked at with one question: etcd allows 128 operations, and a topic may have many members."""

LEASES_AT_ONCE, LEASES_SECONDS = 10, 3.0
"""How many leases are asked for their ages at the same time, and for how many seconds: the other ages stay unknown."""

Life: TypeAlias = tuple[float | None, float | None]
"""What `Sighting.age` and `Sighting.lasts` are."""

UNKNOWN: Life = (None, None)
FOR_EVER: Life = (None, inf)


class EtcdStore:
    """
    One Node's part in a prefix. Nothing is connected before something is asked.

    :param reactor: the reactor.
    :param place: the members, and the prefix.
    :param show: is called with a topic and its records whenever they were read, changed or not.
    :param limit: seconds after which a question that no member answers is given up.
    :param chance: the source of jitter.
    :param turned: is called when what `away` returns has changed.
    """

    def __init__(
        self,
        reactor: Any,
        place: EtcdPlace,
        show: Show,
        limit: float,
        chance: Random,
        turned: Callable[[], None] = lambda: None,
    ) -> None:
        self._clock = reactor
        self._name = place.called
        self._source = place.name
        self._words = EtcdWords(place.prefix, self._name)
        self._access = EtcdAccess(reactor, place, limit)
        self._rotation = rotation = Rotation(place.names, chance)
        self._asker = EtcdAsker(reactor, self._access.ask, self._name, rotation, chance, limit)
        self._looks: Gathering[TopicKey, Look] = Gathering(reactor, self._read, MOST_READS)
        self._writer = EtcdWriter(reactor, self._words, self._asker.ask, chance, limit, self._wrote)

        def make_stream(member: int, *callbacks: Any) -> EtcdStream:
            return EtcdStream(reactor, self._access, self._words, member, chance, limit, self._check, *callbacks)

        self._crowd = Crowd(chance.random)
        self._count_at = reactor.seconds() + chance.uniform(0, COUNT_SECONDS)
        self._follower = EtcdFollower(
            *(reactor, rotation, make_stream, self._looks.ask, show, self._hears, chance, self._crowd, self._source)
        )
        self._outage = Outage(reactor, f"the matchmaker in {self._name}", turned)
        self._full_at = -inf
        self._closed = False

    def away(self) -> str:
        """See `IOutages`."""
        return self._outage.reason

    def failing(self) -> list[str]:
        """See `IOutages`; members that fail while others answer are not told."""
        return list(filter(None, [self.away()]))

    def register(self, record: Record, expire: float) -> Deferred[None]:
        """Store a record; see `IMatchmaker.register`. `expire` is rounded up to whole seconds."""

        def refused(failure: Failure) -> Failure:
            error = failure.value
            if isinstance(error, EtcdRefusal) and error.says(DENIED):
                return Failure(ConfigError(error.fault.sentence(self._name)))
            is_full = isinstance(error, EtcdRefusal) and error.says(NO_SPACE)
            if is_full:
                self._full_at = self._clock.seconds()
            return self._fails(self._unavailable(failure), FILLING if is_full else WRITING)

        self._follower.ours(record.instance)
        self._access.load()
        return self._writer.register(record, expire).addCallbacks(self._works, refused, callbackArgs=(WRITING,))

    def withdraw(self, record: Record) -> Deferred[None]:
        """Remove a record; see `IMatchmaker.withdraw`."""
        self._access.load()
        return self._noted(self._writer.withdraw(record), WRITING)

    def lookup(self, topic: TopicKey) -> Deferred[list[Sighting]]:
        """Read a topic, in the order of `IMatchmaker.lookup`; ages are not known."""
        heard = self._follower.asked(topic)

        def found(look: Look) -> list[Sighting]:
            self._follower.looked(topic, look, heard)
            records = (entry.record for entry in look.entries)
            sightings = (Sighting(record, None, self._source) for record in records if record is not None)
            return sorted(sightings, key=lookup_order)

        return self._looks.ask(topic).addCallback(found)

    def records(self) -> Deferred[list[Sighting]]:
        """Read everything, in the order of `IMatchmaker.records`; what never expires has no age."""
        return Deferred.fromCoroutine(self._records()).addCallback(sorted, key=records_order)

    def follow(self, topic: TopicKey) -> None:
        """Show a topic soon and after each change; one that is followed is shown once more."""
        self._follower.add(topic)

    def leave(self, topic: TopicKey) -> None:
        """Follow a topic no longer."""
        self._follower.remove(topic)

    def close(self) -> Deferred[None]:
        """
        End everything; what was asked fails, what was registered stays.

        :return: fires when no connection is left.
        """
        self._closed = True
        self._follower.close()
        self._asker.close()
        self._looks.close()
        self._writer.close()
        return self._access.close()

    # Reading

    async def _records(self) -> list[Sighting]:
        entries: list[Entry] = []
        after, revision, more = "", 0, True
        while more:
            asked = self._words.list(after, revision)
            look = await self._ask(asked, partial(read_page, self._words.names))
            more = look.more and bool(look.entries)
            revision = revision or look.revision
            entries += look.entries
            after = entries[-1].key if entries else ""
        lives = await self._lives({entry.lease for entry in entries if entry.record is not None})
        found = ((entry.record, lives.get(entry.lease, UNKNOWN)) for entry in entries)
        # Where the lease has ended meanwhile, the record has as well.
        return [Sighting(record, life[0], self._source, life[1]) for record, life in found if record and life]

    async def _lives(self, leases: set[int]) -> dict[int, Life | None]:
        """
        Ask for leases, one by one, for as long as it is worth it: thousands must not keep others from asking.

        :return: what is known of each; None for one that has ended. What is not known is left out.
        """
        lives: dict[int, Life | None] = {0: FOR_EVER}
        until = self._clock.seconds() + LEASES_SECONDS
        remaining = iter(leases - {0})

        async def ask() -> None:
            for lease in remaining:
                if self._clock.seconds() >= until:
                    return
                try:
                    lives[lease] = await self._ask(self._words.time_to_live(lease), read_left)
                except MatchmakerUnavailable:
                    return  # what is there is known all the same

        await gatherResults([Deferred.fromCoroutine(ask()) for _ in range(LEASES_AT_ONCE)])
        return lives

    def _read(self, topics: Sequence[TopicKey]) -> Deferred[list[Look | MatchmakerUnavailable]]:
        def failed(failure: Failure) -> Any:
            if len(topics) == 1 or not failure.check(EtcdRefusal, ValueError):
                return self._fails(self._unavailable(failure), ASKING)
            # What one of them is refused for is no reason for the others to fail.
            alone = (self._read([topic]).addCallbacks(itemgetter(0), _fault) for topic in topics)
            return gatherResults(list(alone))

        self._access.load()
        asked = self._asker.ask(self._words.look(topics)).addCallback(partial(read_looks, self._words.names, topics))
        return asked.addCallbacks(self._works, failed, callbackArgs=(ASKING,))

    def _ask(self, words: Words, read: Callable[[bytes], T]) -> Deferred[T]:
        self._access.load()
        return self._noted(self._asker.ask(words).addCallback(read), ASKING)

    async def _check(self) -> tuple[int, str]:
        """
        Ask any member for the id of the store; return who is the current one then, and the id.

        That it fails is no outage yet: nobody waits for it, and the stream that ends with it is begun elsewhere.
        """
        if self._count_at <= self._clock.seconds():
            self._count()
        asked = self._asker.ask(self._words.probe()).addCallback(read_store)
        store = await asked.addErrback(self._unavailable).addCallback(self._works, ASKING)
        return self._rotation.current, store

    def _count(self) -> None:
        """Ask how many there are; who may not ask goes by the topics that are watched alone."""
        self._count_at = self._clock.seconds() + COUNT_SECONDS

        def counted(count: int) -> None:
            self._crowd.seen(count, self._clock.seconds())

        asked = self._asker.ask(self._words.leases()).addCallback(read_leases).addCallback(counted)
        asked.addErrback(lambda failure: failure.trap(MatchmakerUnavailable, EtcdRefusal, ValueError) and None)

    def _wrote(self, keys: Iterable[str], revision: int) -> None:
        self._outage.worked(FILLING)
        for key in keys:
            exchange, topic, *_ = self._words.names.split(key) or ("", "")
            self._follower.wrote((exchange, topic), revision)

    # One outage for looks, for the stream and for what is written: it ends when the stream has begun, or all that
    # failed was asked again, since who only calls may never write again. But where etcd has no space left all that
    # works which adds nothing: refreshes and withdrawals too.

    def _hears(self, reason: str | None) -> None:
        if reason is None:
            self._worked(HEARING, ASKING, WRITING)
        else:
            self._outage.failed(reason, HEARING)

    def _noted(self, answer: Deferred[T], part: str) -> Deferred[T]:
        answer.addErrback(self._unavailable)
        return answer.addCallbacks(self._works, self._fails, callbackArgs=(part,), errbackArgs=(part,))

    def _worked(self, *parts: str) -> None:
        is_over = self._clock.seconds() - self._full_at >= FULL_SECONDS
        self._outage.worked(*parts, *((FILLING,) if is_over else ()))

    def _works(self, result: T, part: str) -> T:
        self._worked(part)
        return result

    def _fails(self, failure: Failure, part: str) -> Failure:
        if failure.check(MatchmakerUnavailable) and not self._closed:
            self._outage.failed(str(failure.value), part)
        return failure

    def _unavailable(self, failure: Failure) -> Failure:
        """Say as `IMatchmaker` has it why something could not be done."""
        error = failure.value
        if isinstance(error, EtcdRefusal):
            return Failure(MatchmakerUnavailable(error.fault.sentence(self._name)))
        if isinstance(error, OtherFormat):
            return Failure(
                MatchmakerUnavailable(other_format(self._name, error.args[0], FORMAT, self._words.names.format))
            )
        if isinstance(error, ValueError):
            return Failure(MatchmakerUnavailable(f"{self._name} answered what is no answer: {error}"))
        return failure


def _fault(failure: Failure) -> MatchmakerUnavailable:
    failure.trap(MatchmakerUnavailable)
    assert isinstance(failure.value, MatchmakerUnavailable)
    return failure.value
