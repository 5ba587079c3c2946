"""The master that Sentinels name: found, connected to, and left when it is another one (docs/adr/0034)."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from random import Random
from typing import Any

import attrs
from twisted.internet.defer import Deferred, FirstError, gatherResults
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from zmqrpc.core.spread import Crowd
from zmqrpc.errors import MatchmakerUnavailable
from zmqrpc.matchmaker._entry import shown
from zmqrpc.matchmaker._outage import Outage
from zmqrpc.matchmaker._redis.channels import RedisChannels
from zmqrpc.matchmaker._redis.connection import Heard, RedisConnection, connect
from zmqrpc.matchmaker._redis.errors import RedisRefusal
from zmqrpc.matchmaker._redis.master import Answer, Master, choose, is_enough, read_answer, read_words
from zmqrpc.matchmaker._redis.place import RedisPlace

SWITCH = "+switch-master"
"""The channel on which Sentinels tell that there is another master."""

FIRST_COUNTS = 0.5
"""Seconds after the first answer in which others may come and be newer."""

FRESH_SECONDS = 0.5
"""Seconds at most for which an answer counts; a switch that is told ends that."""

SHARE = 0.8
"""Which part of the time of a question Sentinels may take, so that who asks hears what is the matter with them."""


class Sentinels:
    """
    The Sentinels of one group.

    :param reactor: the reactor.
    :param places: the Sentinels, and who we are there; where they ask and nothing is said, we are who we are at the
        master.
    :param group: what Sentinels call the master.
    :param master: how the master is talked to; its host and port are not used.
    :param limit: seconds after which a server that does not answer is given up.
    :param patience: seconds that a connection to the master may take.
    :param chance: the source of jitter.
    :ivar group: what Sentinels call the master.
    :ivar db: the number of the database at the master.
    :ivar moved: is called when the master is another than before; has to end what is connected to the old one.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        places: Sequence[RedisPlace],
        group: str,
        master: RedisPlace,
        limit: float,
        patience: float,
        chance: Random,
    ) -> None:
        self.moved: Callable[[], None] = lambda: None
        self._reactor = reactor
        self._places = places
        self.group = group
        self.db = master.db
        self._template = master
        self._limit = limit
        self._patience = patience
        self._chance = chance
        self._master: Master | None = None  # the last that was named
        self._found: Master | Failure | None = None  # what the last question has come to, for as long as it counts
        self._old: IDelayedCall | None = None  # ends that
        self._asking: _Round | None = None
        self._waiting: list[Deferred[Master]] = []
        self._outages: list[tuple[RedisPlace, Outage]] = []
        self._channels = [self._channels_of(place) for place in places]
        self._hearing = False
        self._again = False  # whether to ask once more when what is being asked is over
        self._closed = False

    @property
    def called(self) -> str:
        """What people call the master."""
        return f"the Redis master {self.group}"

    def where(self) -> str:
        """Return who the master is, in a few words: the old one, for as long as nobody has said that it is another."""
        return self.group if self._master is None else f"{self._master.name} ({self.group})"

    def connect(self, heard: Heard) -> Deferred[RedisConnection]:
        """
        Connect to the master.

        :return: fails with `MatchmakerUnavailable`.
        """
        if not self._hearing:
            self._hearing = True
            for channels in self._channels:
                channels.add(SWITCH)
        return Deferred.fromCoroutine(self._connect(heard))

    def silent(self) -> list[str]:
        """Tell for each Sentinel that cannot be heard, why not."""
        return [
            outage.reason if place.name in outage.reason else f"{place.called} fails: {outage.reason}"
            for place, outage in self._outages
            if outage.reason
        ]

    def close(self) -> Deferred[None]:
        """End what is connected to Sentinels; fires when that has ended."""
        self._closed = True
        if self._old is not None:
            self._old.cancel()
            self._old = None
        ended = [channels.close() for channels in self._channels]
        if self._asking is not None:
            ended.append(self._asking.close())
        return gatherResults(ended).addCallback(lambda _: None)

    async def _connect(self, heard: Heard) -> RedisConnection:
        master = await self._find()
        place = attrs.evolve(self._template, host=master.host, port=master.port)
        try:
            return await connect(self._reactor, place, self._patience, heard, partial(_check_role, place))
        except MatchmakerUnavailable as error:
            if not master.doubt:
                raise
            raise MatchmakerUnavailable(f"{str(error).partition(';')[0]}; {master.doubt}") from None

    # Who is the master

    def _find(self) -> Deferred[Master]:
        found: Deferred[Master] = Deferred(self._leave)
        self._waiting.append(found)
        if self._found is not None:
            self._answer(self._found)
        else:
            self._ask()
        return found

    def _leave(self, waiter: Deferred[Master]) -> None:
        if waiter in self._waiting:
            self._waiting.remove(waiter)

    def _ask(self) -> None:
        if self._asking is None and not self._closed:
            self._asking = _Round(self._reactor, self._question, self._asked)
            self._asking.begin(self._places)

    def _told(self) -> None:
        """Ask anew: what is known, and what is being asked, may be what was."""
        self._forget()
        if self._asking is not None:
            self._asking.close()
            self._asking = None
        self._ask()

    def _begins_to_hear(self) -> None:
        """Ask once more: a switch may have been told just before."""
        if self._asking is None:
            self._forget()
            self._ask()
        else:
            self._again = True

    def _asked(self, answers: Sequence[Answer]) -> None:
        self._asking = None
        try:
            found: Master | Failure = self._take(choose(self.group, answers))
        except MatchmakerUnavailable:
            found = Failure()
        self._found = found
        self._old = self._reactor.callLater(FRESH_SECONDS * self._chance.uniform(0.5, 1), self._forget)
        self._answer(found)
        if self._again:
            self._again = False
            self._begins_to_hear()

    def _take(self, master: Master) -> Master:
        before, self._master = self._master, master
        if before is not None and before != master:
            self._log.info(
                "{master} has moved from {before} to {after}",
                master=self.called,
                before=before.name,
                after=master.name,
            )
            self._found = master  # for those who connect anew
            self.moved()
        return master

    def _answer(self, found: Master | Failure) -> None:
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            # A Failure of its own for each, as each is changed by who takes it.
            if not waiter.called:
                waiter.callback(found) if isinstance(found, Master) else waiter.errback(Failure(found.value))

    def _forget(self) -> None:
        self._found = None
        if self._old is not None and self._old.active():
            self._old.cancel()
        self._old = None

    # One Sentinel

    async def _question(self, place: RedisPlace) -> Answer:
        answer = Answer(place)

        async def ask(connection: RedisConnection) -> None:
            nonlocal answer
            await self._greet(place, connection)
            answer = await self._ask_one(place, connection)

        try:
            connection = await connect(self._reactor, place, SHARE * self._limit, greet=ask)
        except MatchmakerUnavailable as error:
            return Answer(place, fault=str(error))
        await connection.abort()
        return answer

    async def _ask_one(self, place: RedisPlace, connection: RedisConnection) -> Answer:
        try:
            address, fields = await gatherResults(
                # At once, so that nothing changes between the two.
                [
                    connection.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.group),
                    connection.ask("SENTINEL", "MASTER", self.group),
                ],
                consumeErrors=True,
            )
            return read_answer(place, address, fields)
        except FirstError as error:
            refused = error.subFailure.value
            match refused.code if isinstance(refused, RedisRefusal) else None:
                case "No":  # such master with that name
                    return Answer(place, fault=await self._unknown(place, connection))
                case "unknown":  # command
                    return Answer(place, fault=f"{place.called} is no Sentinel; name one, which mostly has port 26379")
            error.subFailure.raiseException()
        except ValueError as error:
            return Answer(place, fault=f"{place.called} answered what is no answer of a Sentinel: {error}")

    async def _unknown(self, place: RedisPlace, connection: RedisConnection) -> str:
        try:
            masters = await connection.ask("SENTINEL", "MASTERS")
            names = ", ".join(sorted(read_words(master[1:2], 1)[0] for master in masters))
        except (MatchmakerUnavailable, ValueError, TypeError):
            names = ""
        known = f"knows {shown(names)[:200]}" if names else "does not say which it knows"
        return f"{place.called} knows no master of that name, and {known}; correct the end of the transport URL"

    async def _greet(self, place: RedisPlace, connection: RedisConnection) -> None:
        """Say who we are at the master to a Sentinel that asks, where nothing else was said."""
        if place.password is not None or self._template.password is None:
            return
        try:
            await connection.ask("PING")
        except RedisRefusal as refused:
            if refused.code != "NOAUTH":
                raise
            user = [self._template.user] if self._template.user else []
            await connection.ask("AUTH", *user, self._template.password)

    def _channels_of(self, place: RedisPlace) -> RedisChannels:
        outage = Outage(self._reactor, f"listening to {place.called}")
        self._outages.append((place, outage))

        def state(reason: str | None) -> None:
            outage.worked() if reason is None else outage.failed(reason)

        def heard(_: str, message: bytes) -> None:
            if message.partition(b" ")[0].decode(errors="replace") == self.group:
                self._told()

        return RedisChannels(
            self._reactor,
            lambda hears: connect(self._reactor, place, self._limit, hears, partial(self._greet, place)),
            heard,
            lambda _: self._begins_to_hear(),
            state,
            self._chance,
            self._limit,
            Crowd(self._chance.random),
        )


class _Round:
    """
    All Sentinels asked once, at the same time.

    :param question: asks one of them; never fails.
    :param over: is called with the answers when there are enough.
    """

    def __init__(
        self,
        reactor: Any,
        question: Callable[[RedisPlace], Coroutine[Any, Any, Answer]],
        over: Callable[[Sequence[Answer]], None],
    ) -> None:
        self._reactor = reactor
        self._question = question
        self._over = over
        self._answers: list[Answer] = []
        self._timer: IDelayedCall | None = None
        self._closed = False
        self._asked: list[Deferred[Any]] = []

    def begin(self, places: Sequence[RedisPlace]) -> None:
        """Ask."""
        self._asked = [Deferred.fromCoroutine(self._question(place)) for place in places]
        for asking in self._asked:
            asking.addCallbacks(self._answered, lambda _: None)

    def close(self) -> Deferred[None]:
        """Ask no more; fires when that has ended."""
        self._closed = True
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        for asking in self._asked:
            asking.cancel()
        return gatherResults(self._asked).addCallback(lambda _: None)

    def _answered(self, answer: Answer) -> None:
        if self._closed:
            return
        self._answers.append(answer)
        if is_enough(self._answers, len(self._asked)):
            self._end()
        elif answer.host and self._timer is None:
            self._timer = self._reactor.callLater(FIRST_COUNTS, self._end)

    def _end(self) -> None:
        self.close()
        self._over(self._answers)


async def _check_role(place: RedisPlace, connection: RedisConnection) -> None:
    """Leave a server that does not take itself for the master."""
    try:
        role = await connection.ask("ROLE")
    except RedisRefusal as refused:
        if refused.code != "NOPERM":
            raise
        raise MatchmakerUnavailable(
            f"{place.called} does not allow us ROLE; give our user the rights that docs/howto/sentinel lists"
        ) from None
    if not (isinstance(role, list) and role and role[0] == b"master"):
        raise MatchmakerUnavailable(
            f"{place.called}, which Sentinels name as the master, is none; they may be choosing another"
        )
