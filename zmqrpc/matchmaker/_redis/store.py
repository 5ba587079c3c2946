"""One database of one Redis server: two connections to it, what is asked there, and what is followed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from math import inf
from random import Random
from typing import Any, TypeAlias, TypeVar

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from zmqrpc.core.spread import Crowd
from zmqrpc.errors import ConfigError, MatchmakerUnavailable
from zmqrpc.matchmaker._entry import TopicKey, lookup_order, records_order
from zmqrpc.matchmaker._gathering import Gathering
from zmqrpc.matchmaker._outage import Outage
from zmqrpc.matchmaker._redis.answers import Listing, Look, read_list, read_looks, read_written
from zmqrpc.matchmaker._redis.asker import RedisAsker
from zmqrpc.matchmaker._redis.channels import RedisChannels
from zmqrpc.matchmaker._redis.connection import Heard, RedisConnection
from zmqrpc.matchmaker._redis.errors import NO_ANSWER, OF_ALL, RedisRefusal, TooMany, spoiled
from zmqrpc.matchmaker._redis.follower import RedisFollower
from zmqrpc.matchmaker._redis.inquiry import RedisInquiry
from zmqrpc.matchmaker._redis.names import is_doubt, new_channel
from zmqrpc.matchmaker._redis.scripts import Known, RedisScripts, Words, Write
from zmqrpc.record import Record, Role, Sighting
from zmqrpc.spelling import shown

MOST_WRITES = 100
"""How many records one operation writes."""

MOST_READS = 25
"""How many topics one operation reads: the server does nothing else meanwhile, and a topic may have many members."""

MOST_SPOILED = 1000
"""Of how many topics that cannot be used it is remembered that this was logged."""

REFUSED_SECONDS = 60.0
"""
Seconds after which a write that was refused is forgotten where reading works: who has something to write tries again
within ten, and who has nothing left to write would never learn that it works again.
"""

ASKING, READING, WRITING, HEARING = "asking", "reading", "writing", "hearing"
"""What may fail, each for itself: to get any answer, to have what is read or written done, and to hear of changes."""

HINTING = "hinting"
"""To write a doubt, which is a hint: who only calls writes nothing else, so nothing would end an outage of it."""

T = TypeVar("T")
Seen = TypeVar("Seen", Look, Listing)

Connect: TypeAlias = Callable[[Heard], Deferred[RedisConnection]]
"""Makes a connection, given what takes channel and message; fails with `MatchmakerUnavailable`, also in time."""


class RedisStore:
    """
    One Node's part in a database. Two connections to it are made when they are needed: one to ask, one to hear.

    What is asked in one turn of the reactor is one operation, up to `MOST_WRITES` records or `MOST_READS` topics.

    :param reactor: the reactor.
    :param name: the server, for people; to stand after "the matchmaker in".
    :param db: the number of the database.
    :param connect: makes a connection to whichever server it is just now.
    :param show: is called with a topic and its records whenever they were read, changed or not.
    :param limit: seconds after which a server that does not answer is given up.
    :param chance: the source of jitter.
    :param source: returns the server in a few words, for `Sighting.source`.
    :param turned: is called when `trouble` or `spoiled` has changed, or whether it is `up`.
    :param address: returns which server it is just now, where its name does not say it; empty for none yet.
    :ivar begun: the local time from which it may have been told everything: when it was found new or came back; minus
        infinity where it has always been there.
    :ivar emptied: the local time at which it was found new, where somebody has known it before; else minus
        infinity.
    :ivar left: when its last outage began; minus infinity for never.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        name: str,
        db: int,
        connect: Connect,
        show: Callable[[TopicKey, list[Sighting]], None],
        limit: float,
        chance: Random,
        source: Callable[[], str] = str,
        turned: Callable[[], None] = lambda: None,
        address: Callable[[], str] = str,
    ) -> None:
        self.name = name
        self.begun = self.emptied = self.left = -inf
        self._clock = reactor
        self._db = db
        self._source = source
        self._turned = turned
        self._scripts = RedisScripts(db)
        self._crowd = crowd = Crowd(chance.random)
        self._asker = RedisAsker(reactor, lambda: connect(lambda *_: None), name, chance, limit, address=address)
        self._writes: Gathering[Write, None] = Gathering(reactor, self._write, MOST_WRITES)
        self._looks: Gathering[Known, Look] = Gathering(reactor, self._read, MOST_READS)
        self._follower = RedisFollower(reactor, name, db, self._look, show, chance, crowd, source)
        self._channels = RedisChannels(
            reactor, connect, self._heard, self._subscribed, self._hears, chance, limit, crowd
        )
        self._inquiry = RedisInquiry(reactor, self._asker.ask, self._scripts, crowd, chance, self._found_new)
        self._outage = Outage(reactor, f"the matchmaker in {name}", turned)
        self._refused_at = -inf
        self._spoiled: dict[TopicKey, str] = {}  # and logged; the oldest are forgotten
        self._back = -inf
        self._waits: set[Deferred[None]] = set()
        self._closed = False

    @property
    def trouble(self) -> str:
        """Why it does not answer, as far as is known now, with its name; empty while it does."""
        reason = self._outage.reason
        return f"{self.name} fails: {reason}" if reason and self.name not in reason else reason

    @property
    def spoiled(self) -> list[str]:
        """What is wrong with each topic that could not be read or written when it was last asked for."""
        return list(self._spoiled.values())

    @property
    def up(self) -> bool:
        """Whether it can be read, and changes are told, as far as is known."""
        return not self._outage.fails(ASKING, READING, HEARING)

    @property
    def turns(self) -> float:
        """Over how many seconds the turns of all who use it are spread."""
        return self._crowd.seconds

    @property
    def hears(self) -> bool:
        """Whether changes are told, as far as is known."""
        return not self._outage.fails(HEARING)

    def register(self, record: Record, expire: float) -> Deferred[None]:
        """Store a record; see `IMatchmaker.register`."""
        if record.role is not Role.DOUBT:
            self._follower.ours(record.instance)

        def refused(failure: Failure) -> Failure:
            error = failure.value
            is_for_good = isinstance(error, RedisRefusal) and error.is_for_good
            return Failure(ConfigError(str(error))) if is_for_good else _plain(failure)

        return self._writes.ask(self._scripts.registration(record, expire)).addErrback(refused)

    def withdraw(self, record: Record) -> Deferred[None]:
        """Remove a record; see `IMatchmaker.withdraw`."""
        return self._writes.ask(self._scripts.withdrawal(record)).addErrback(_plain)

    def lookup(self, topic: TopicKey) -> Deferred[list[Sighting]]:
        """Read a topic, in the order of `IMatchmaker.lookup`."""
        heard = self._follower.asked(topic)

        def found(look: Look) -> list[Sighting]:
            self._follower.looked(topic, look, heard)
            entries, source = look.entries or {}, self._source()
            return sorted((entry.sighting(look.now, source) for entry in entries.values()), key=lookup_order)

        return self._surely(lambda: self._look(topic)).addCallback(found)

    def records(self) -> Deferred[list[Sighting]]:
        """Read everything, in the order of `IMatchmaker.records`."""

        def found(listing: Listing) -> list[Sighting]:
            self._takes_age(listing)
            source = self._source()
            for topic in self._spoiled.keys() - listing.spoiled.keys():
                self._own(topic, None)
            for topic, error in listing.spoiled.items():
                self._own(topic, error)
            return sorted((entry.sighting(listing.now, source) for entry in listing.entries), key=records_order)

        def ask() -> Deferred[Listing]:
            return self._ask(self._scripts.list(), partial(read_list, self.name), READING)

        return self._surely(ask).addCallbacks(found, _plain)

    def follow(self, topic: TopicKey) -> None:
        """Show a topic soon and after each change; one that is followed is shown once more."""
        if topic in self._follower:
            self._follower.again(topic)
            return
        # First, so that it tells also the first watch of a database that others find empty.
        self._channels.add(new_channel(self._db))
        self._channels.add(self._follower.add(topic))

    def leave(self, topic: TopicKey) -> None:
        """Follow a topic no longer."""
        self._channels.remove(self._follower.remove(topic))

    def moved(self) -> None:
        """Leave the server, which is not the one any more, for the one that it is now, at once."""
        self._follower.forget()
        self._asker.renew()
        self._channels.renew()

    def close(self) -> Deferred[None]:
        """
        End both connections; what was asked fails, what was registered stays.

        :return: fires when they have ended.
        """
        self._closed = True
        self._inquiry.close()
        self._follower.close()
        ended = gatherResults([self._channels.close(), self._asker.close()])
        for wait in list(self._waits):
            wait.cancel()
        for gathering in (self._writes, self._looks):
            gathering.close()
        return ended.addCallback(_nothing)

    def _surely(self, ask: Callable[[], Deferred[Seen]]) -> Deferred[Seen]:
        """Ask, and once more where the answer cannot tell yet whether it is true that nobody is there."""

        def over(result: Any, wait: Deferred[None]) -> Any:
            self._waits.discard(wait)
            return None if self._closed else result

        def answered(answer: Seen) -> Seen | Deferred[Seen]:
            if not answer.unsure:
                return answer
            wait: Deferred[None] = deferLater(self._clock, answer.unsure)
            self._waits.add(wait)
            return wait.addBoth(over, wait).addCallback(lambda _: ask())

        return ask().addCallback(answered)

    def _look(self, topic: TopicKey, version: int = -1, soonest: int = 0) -> Deferred[Look]:
        return self._looks.ask((topic, version, soonest)).addErrback(_plain)

    def _read(self, asked: Sequence[Known]) -> Deferred[list[Look | MatchmakerUnavailable]]:
        topics = [topic for topic, _, _ in asked]

        def found(looks: list[Look | str]) -> list[Look | MatchmakerUnavailable]:
            for look in looks:
                if not isinstance(look, str):
                    self._takes_age(look)
                    break
            return [self._own(topic, look) for topic, look in zip(topics, looks, strict=True)]

        return self._ask(self._scripts.look(asked), partial(read_looks, self.name, topics), READING).addCallback(found)

    def _write(self, writes: Sequence[Write]) -> Deferred[list[MatchmakerUnavailable | None]]:
        def written(errors: list[str | None]) -> list[MatchmakerUnavailable | None]:
            if any(rest for _, _, rest in writes):  # who has no memory left can still remove
                self._works(WRITING)
            return [self._own(topic, error) for (topic, _, _), error in zip(writes, errors, strict=True)]

        # Who may read but not write hears that from whoever registers; for the others the store is there.
        part = HINTING if all(is_doubt(field) for _, field, _ in writes) else WRITING
        return self._ask(self._scripts.write(writes), partial(read_written, len(writes)), part).addCallback(written)

    def _own(self, topic: TopicKey, answer: T | str) -> T | MatchmakerUnavailable:
        """Return the answer about a topic; an error that is its own is logged once, as nobody may be told of it."""
        if not isinstance(answer, str):
            if self._spoiled.pop(topic, None) is not None:
                self._turned()
            return answer
        text, before = spoiled(self.name, answer), self._spoiled.get(topic)
        if before is None and len(self._spoiled) >= MOST_SPOILED:
            del self._spoiled[next(iter(self._spoiled))]
        self._spoiled[topic] = text
        if before is None:
            self._log.warn(
                "the topic {topic} in exchange {exchange}: {text}",
                exchange=shown(topic[0]),
                topic=shown(topic[1]),
                text=text,
            )
        if before != text:
            self._turned()
        return RedisRefusal(text, "WRONGTYPE" if answer.startswith("WRONGTYPE") else "NOPERM")

    def _ask(self, words: Words, read: Callable[[Any], T], part: str) -> Deferred[T]:
        def answered(answer: Any) -> T:
            try:
                found = read(answer)
            except (ValueError, TypeError) as error:
                text = f"{self.name} {NO_ANSWER} ({error})"
                self._fails(ASKING if part == HINTING else part, text)
                raise MatchmakerUnavailable(text) from error
            self._works(ASKING, *(() if part in (WRITING, HINTING) else (part,)))
            return found

        def failed(failure: Failure) -> Failure:
            text, error = str(failure.value), failure.value
            refusal = error if isinstance(error, RedisRefusal) else None
            if isinstance(error, TooMany):
                return failure
            of_all = refusal is None or refusal.code in OF_ALL
            told_elsewhere = part == WRITING and refusal is not None and refusal.is_for_good
            if not self._closed and not told_elsewhere and (of_all or part != HINTING):
                self._fails(ASKING if of_all else part, text)
            return failure

        return self._asker.ask(words).addCallbacks(answered, failed)

    def _takes_age(self, answer: Look | Listing) -> None:
        self._scripts.seen = answer.since
        found = self._clock.seconds() - (answer.now - answer.since) / 1000
        self.begun = max(self._back, found)
        self.emptied = found if answer.before else -inf

    def _heard(self, channel: str, message: bytes) -> None:
        if channel == new_channel(self._db):
            self._inquiry.told()
        else:
            self._follower.heard(channel, message)

    def _found_new(self) -> None:
        if self._scripts.seen:
            # Its topics are looked at when our turn comes. That we have known another one is to be there before that.
            self._read(()).addErrback(lambda _: None)
        self._follower.found_new()

    def _subscribed(self, channel: str) -> None:
        self._asker.is_there()
        self._follower.subscribed(channel)

    def _hears(self, reason: str | None) -> None:
        if reason is None:
            self._inquiry.start()
            if not self.hears:
                self._follower.is_back()
            self._works(HEARING)
        else:
            self._inquiry.stop()
            self._fails(HEARING, reason)

    # One outage for both connections: it ends when nothing fails any more.

    def _fails(self, part: str, reason: str) -> None:
        was_up, now = self.up, self._clock.seconds()
        self._outage.failed(reason, part)
        if was_up and not self.up:
            self.left = now
        if part == WRITING:
            # Of who could not write it may not have been told.
            self._refused_at = self._back = self.begun = now

    def _works(self, *parts: str) -> None:
        was_up, now = self.up, self._clock.seconds()
        forgotten = (WRITING,) if now - self._refused_at > REFUSED_SECONDS else ()
        self._outage.worked(*parts, *forgotten)
        if self.up and not was_up:
            self._back = self.begun = now


def _plain(failure: Failure) -> Failure:
    # What a refusal is for those who asked on a connection is nothing to those who use the matchmaker.
    return Failure(MatchmakerUnavailable(str(failure.value))) if failure.check(RedisRefusal, TooMany) else failure


def _nothing(_: object) -> None:
    return None
