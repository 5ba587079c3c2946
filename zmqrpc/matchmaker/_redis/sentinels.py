"""The master that Sentinels name: found, connected to, and left when it is another one (docs/adr/0034)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from math import inf
from random import Random
from typing import Any

import attrs
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from zmqrpc.core.spread import SHORTEST, Crowd
from zmqrpc.errors import MatchmakerUnavailable
from zmqrpc.matchmaker._outage import Outage
from zmqrpc.matchmaker._redis.channels import RedisChannels
from zmqrpc.matchmaker._redis.connection import Heard, RedisConnection, connect
from zmqrpc.matchmaker._redis.errors import RedisRefusal
from zmqrpc.matchmaker._redis.master import Answer, Master, choose, is_majority, newer, read_switch
from zmqrpc.matchmaker._redis.next_round import NextRound
from zmqrpc.matchmaker._redis.place import RedisPlace
from zmqrpc.matchmaker._redis.round import Round, ask_sentinel, greet

SWITCH = "+switch-master"
"""The channel on which Sentinels tell that there is another master."""

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
    :ivar turns: returns over how many seconds the turns of all processes are spread that use the master.
    :ivar turned: is called when `failing` may have changed.
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
        self.turns: Callable[[], float] = lambda: SHORTEST
        self.turned: Callable[[], None] = lambda: None
        self._reactor = reactor
        self._places = places
        self.group = group
        self.db = master.db
        self._template = master
        self._question = lambda place: ask_sentinel(reactor, place, group, master, SHARE * limit)
        self._patience = patience
        self._chance = chance
        self._master: Master | None = None  # the last that was named
        self._found: Master | Failure | None = None  # what the last question has come to, for as long as it counts
        self._old: IDelayedCall | None = None  # ends that
        self._asking: Round | None = None
        self._waiting: list[Deferred[Master]] = []
        self._outages: list[tuple[RedisPlace, Outage]] = []
        self._channels = [self._channels_of(place, limit) for place in places]
        self._hearing = False
        self._next = NextRound(chance.random)
        self._has_left = False  # the master, since another was told of, and nobody who was asked has named one
        self._timer: IDelayedCall | None = None  # until it is time to look
        self._closed = False

    @property
    def called(self) -> str:
        """What people call the master."""
        return f"the Redis master {self.group}"

    def where(self) -> str:
        """Return who the master is, in a few words: the old one, for as long as nobody has said that it is another."""
        return self.group if self._master is None else f"{self._master.name} ({self.group})"

    def address(self) -> str:
        """Return host and port of the master that was named last; empty where none was yet."""
        return "" if self._master is None else self._master.name

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

    def failing(self) -> list[str]:
        """Tell for each Sentinel that cannot be heard, why not."""
        return [
            outage.reason if place.name in outage.reason else f"{place.called} fails: {outage.reason}"
            for place, outage in self._outages
            if outage.reason
        ]

    def close(self) -> Deferred[None]:
        """End what is connected to Sentinels; fires when that has ended."""
        self._closed = True
        self._forget()
        self._wake_later()
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
            self._next.begun(self._reactor.seconds())
            self._wake_later()
            self._asking = Round(self._reactor, self._question, self._asked)
            self._asking.begin(self._places)

    def _told(self, name: str = "") -> None:
        """Ask anew, soon: what is known, and what is being asked, may be what was."""
        self._forget()
        self._next.told(self._reactor.seconds(), self.turns(), name)
        self._wake_later()

    def _wake_later(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
        if self._next.wake_at < inf and not self._closed:
            self._timer = self._reactor.callLater(max(0.0, self._next.wake_at - self._reactor.seconds()), self._wake)

    def _wake(self) -> None:
        self._timer = None
        if self._asking is not None:
            # It was begun before there was a reason to look.
            self._asking.close()
            self._asking = None
        self._ask()

    def _asked(self, answers: Sequence[Answer]) -> None:
        self._asking = None
        majority = is_majority(answers, len(self._places))
        try:
            master = newer(self._master, choose(self.group, answers), majority)
        except MatchmakerUnavailable:
            found: Master | Failure = Failure()
            self._next.over(self._reactor.seconds(), self.turns(), "")
        else:
            self._next.over(self._reactor.seconds(), self.turns(), master.name if majority else "")
            found = self._take(master)
        self._forget()
        self._found = found
        self._old = self._reactor.callLater(FRESH_SECONDS * self._chance.uniform(0.5, 1), self._forget)
        self._answer(found)
        self._wake_later()

    def _take(self, master: Master) -> Master:
        before, self._master = self._master, master
        self._has_left = False
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

    def _channels_of(self, place: RedisPlace, limit: float) -> RedisChannels:
        outage = Outage(self._reactor, f"listening to {place.called}")
        self._outages.append((place, outage))

        def state(reason: str | None) -> None:
            outage.worked() if reason is None else outage.failed(reason)
            self.turned()

        def heard(_: str, message: bytes) -> None:
            words = message.decode(errors="replace").split(" ")
            if words[0] == self.group:
                name = read_switch(words)
                self._told(name)
                if self._master is not None and not self._has_left and name not in ("", self._master.name):
                    # What the old one takes from now on may be destroyed, whoever the new one is.
                    self._has_left = True
                    self.moved()

        return RedisChannels(
            self._reactor,
            lambda hears: connect(self._reactor, place, limit, hears, partial(greet, place, self._template)),
            heard,
            lambda _: self._told(),  # a switch may have been told just before
            state,
            self._chance,
            limit,
            Crowd(self._chance.random),
        )


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
