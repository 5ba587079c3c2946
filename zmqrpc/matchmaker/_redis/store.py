"""One database of one Redis server: two connections to it, what is asked there, and what is followed."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from random import Random
from typing import Any, TypeAlias, TypeVar

from twisted.internet.defer import Deferred, gatherResults
from twisted.python.failure import Failure

from zmqrpc.errors import MatchmakerUnavailable
from zmqrpc.matchmaker._entry import TopicKey, lookup_order
from zmqrpc.matchmaker._outage import Outage
from zmqrpc.matchmaker._redis.answers import Look, read_list, read_look
from zmqrpc.matchmaker._redis.asker import RedisAsker
from zmqrpc.matchmaker._redis.channels import RedisChannels
from zmqrpc.matchmaker._redis.connection import Heard, RedisConnection
from zmqrpc.matchmaker._redis.follower import RedisFollower
from zmqrpc.matchmaker._redis.names import new_channel
from zmqrpc.matchmaker._redis.scripts import RedisScripts, Words
from zmqrpc.record import Record, Sighting

T = TypeVar("T")

Connect: TypeAlias = Callable[[Heard], Deferred[RedisConnection]]
"""Makes a connection, given what takes channel and message; fails with `MatchmakerUnavailable`, also in time."""


class RedisStore:
    """
    One Node's part in a database. Two connections to it are made when they are needed: one to ask, one to hear.

    :param reactor: the reactor.
    :param name: the server, for people; to stand after "the matchmaker in".
    :param db: the number of the database.
    :param connect: makes a connection to whichever server it is just now.
    :param show: is called with a topic and its records whenever they were read, changed or not.
    :param limit: seconds after which a server that does not answer is given up.
    :param chance: the source of jitter.
    """

    def __init__(
        self,
        reactor: Any,
        name: str,
        db: int,
        connect: Connect,
        show: Callable[[TopicKey, list[Sighting]], None],
        limit: float,
        chance: Random,
    ) -> None:
        self._name = name
        self._db = db
        self._scripts = RedisScripts(db)
        self._asker = RedisAsker(reactor, lambda: connect(lambda *_: None), name, chance, limit)
        self._follower = RedisFollower(reactor, db, self._look, show, chance)
        self._channels = RedisChannels(
            reactor, connect, self._follower.heard, self._follower.subscribed, self._hears, chance, limit
        )
        self._outage = Outage(reactor, f"the matchmaker in {name}")
        self._failing: set[str] = set()
        self._closed = False

    @property
    def trouble(self) -> str:
        """Why it does not answer, as far as is known now, with its name; empty while it does."""
        reason = self._outage.reason
        return f"{self._name} fails: {reason}" if reason and self._name not in reason else reason

    def register(self, record: Record, expire: float) -> Deferred[None]:
        """Store a record; see `IMatchmaker.register`."""
        return self._ask(self._scripts.register(record, expire), _nothing)

    def withdraw(self, record: Record) -> Deferred[None]:
        """Remove a record; see `IMatchmaker.withdraw`."""
        return self._ask(self._scripts.withdraw(record), _nothing)

    def lookup(self, topic: TopicKey) -> Deferred[list[Sighting]]:
        """Read a topic, in the order of `IMatchmaker.lookup`."""
        heard = self._follower.asked(topic)

        def found(look: Look) -> list[Sighting]:
            self._follower.looked(topic, look, heard)
            entries = look.entries or {}
            return sorted((entry.sighting(look.now) for entry in entries.values()), key=lookup_order)

        return self._ask(self._scripts.look(topic), partial(read_look, topic)).addCallback(found)

    def records(self) -> Deferred[list[Sighting]]:
        """Read everything, in no order."""
        return self._ask(self._scripts.list(), read_list)

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

    def close(self) -> Deferred[None]:
        """
        End both connections; what was asked fails, what was registered stays.

        :return: fires when they have ended.
        """
        self._closed = True
        self._follower.close()
        return gatherResults([self._channels.close(), self._asker.close()]).addCallback(_nothing)

    def _look(self, topic: TopicKey, version: int, soonest: int) -> Deferred[Look]:
        return self._ask(self._scripts.look(topic, version, soonest), partial(read_look, topic))

    def _ask(self, words: Words, read: Callable[[Any], T]) -> Deferred[T]:
        def answered(answer: Any) -> T:
            self._works("asking")
            try:
                return read(answer)
            except (ValueError, TypeError) as error:
                raise MatchmakerUnavailable(f"{self._name} answered what is no answer: {error}") from error

        def failed(failure: Failure) -> Failure:
            if not self._closed:
                self._fails("asking", str(failure.value))
            return failure

        return self._asker.ask(words).addCallbacks(answered, failed)

    def _hears(self, reason: str | None) -> None:
        if reason is None:
            self._works("hearing")
        else:
            self._fails("hearing", reason)

    # One outage for both connections: it ends when neither fails any more.

    def _fails(self, what: str, reason: str) -> None:
        self._failing.add(what)
        self._outage.failed(reason)

    def _works(self, what: str) -> None:
        self._failing.discard(what)
        if not self._failing:
            self._outage.worked()


def _nothing(_: object) -> None:
    return None
