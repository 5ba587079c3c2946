"""All Sentinels of a group asked once who the master is (docs/adr/0034)."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from twisted.internet.defer import Deferred, FirstError, gatherResults
from twisted.internet.interfaces import IDelayedCall

from zmqrpc.errors import MatchmakerUnavailable
from zmqrpc.matchmaker._redis.connection import RedisConnection, connect
from zmqrpc.matchmaker._redis.errors import RedisRefusal
from zmqrpc.matchmaker._redis.master import Answer, is_enough, read_answer, unknown_group
from zmqrpc.matchmaker._redis.place import RedisPlace

FIRST_COUNTS = 0.5
"""Seconds after the first answer in which others may come and be newer."""


class Round:
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


async def ask_sentinel(reactor: Any, place: RedisPlace, group: str, master: RedisPlace, limit: float) -> Answer:
    """
    Ask one Sentinel who the master is.

    :param group: what Sentinels call the master.
    :param master: who we are there.
    :param limit: seconds that it may take.
    """
    answer = Answer(place)

    async def ask(connection: RedisConnection) -> None:
        nonlocal answer
        await greet(place, master, connection)
        answer = await _ask(place, group, connection)

    try:
        connection = await connect(reactor, place, limit, greet=ask)
    except MatchmakerUnavailable as error:
        return Answer(place, fault=str(error))
    await connection.abort()
    return answer


async def greet(place: RedisPlace, master: RedisPlace, connection: RedisConnection) -> None:
    """Say who we are at the master to a Sentinel that asks, where nothing else was said."""
    if place.password is not None or master.password is None:
        return
    try:
        await connection.ask("PING")
    except RedisRefusal as refused:
        if refused.code != "NOAUTH":
            raise
        await connection.ask("AUTH", *([master.user] if master.user else []), master.password)


async def _ask(place: RedisPlace, group: str, connection: RedisConnection) -> Answer:
    try:
        address, fields = await gatherResults(
            # At once, so that nothing changes between the two.
            [
                connection.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", group),
                connection.ask("SENTINEL", "MASTER", group),
            ],
            consumeErrors=True,
        )
        return read_answer(place, address, fields)
    except FirstError as error:
        refused = error.subFailure.value
        match refused.code if isinstance(refused, RedisRefusal) else None:
            case "No":  # such master with that name
                return Answer(place, fault=unknown_group(place, await _masters(connection)))
            case "unknown":  # command
                return Answer(place, fault=f"{place.called} is no Sentinel; name one, which mostly has port 26379")
        error.subFailure.raiseException()
    except ValueError as error:
        return Answer(place, fault=f"{place.called} answered what is no answer of a Sentinel: {error}")


async def _masters(connection: RedisConnection) -> Any:
    try:
        return await connection.ask("SENTINEL", "MASTERS")
    except MatchmakerUnavailable:
        return None
