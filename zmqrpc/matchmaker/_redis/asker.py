"""Asking one Redis server, which need not be there."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from random import Random
from typing import Any

import attrs
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from zmqrpc.errors import MatchmakerUnavailable
from zmqrpc.matchmaker._redis.connection import RedisConnection
from zmqrpc.matchmaker._redis.errors import RedisRefusal, TooMany
from zmqrpc.matchmaker._redis.scripts import Words

PAUSE = 0.1
"""Seconds at most after a connection that failed in which no other is tried: questions fail at once, as that did."""


@attrs.define(eq=False)
class _Question:
    words: Words
    deferred: Deferred[Any]
    timer: IDelayedCall | None = None
    over: bool = False
    connection: RedisConnection | None = None  # the one it was sent on last
    again: bool = False  # whether that is the second


class RedisAsker:
    """
    A connection that is made when something is asked, and again after it was lost.

    Every question is answered or fails within the time limit. When an answer does not come, its connection is ended.
    What was asked on a connection that is lost is asked once more on a new one, as the server may have closed an idle
    connection just then: all that is asked may be done twice.

    :param connect: makes a connection; its Deferred fails with `MatchmakerUnavailable`, also in time.
    :param name: the server, for errors.
    :param limit: seconds a question may take, the connection included.
    :param address: returns who that server is just now, where its name does not say it; empty for nobody yet.
    :param bound: how many questions may wait.
    """

    def __init__(
        self,
        clock: IReactorTime,
        connect: Callable[[], Deferred[RedisConnection]],
        name: str,
        chance: Random,
        limit: float,
        bound: int = 100,
        address: Callable[[], str] = str,
    ) -> None:
        self._clock = clock
        self._connect = connect
        self._name = name
        self._chance = chance
        self._limit = limit
        self._closed_text = f"the connection to {name} is closed; make a new Node"
        self._bound = bound
        self._address = address
        self._count = 0
        self._waiting: deque[_Question] = deque()
        self._connection: RedisConnection | None = None
        self._connecting: Deferred[RedisConnection] | None = None
        self._refusal: tuple[float, str] | None = None
        self._closed = False

    def ask(self, words: Words) -> Deferred[Any]:
        """
        Ask.

        :return: fires with the answer; fails with `MatchmakerUnavailable`.
        """
        if self._closed:
            return fail(MatchmakerUnavailable(self._closed_text))
        if self._count >= self._bound:
            return fail(TooMany(f"{self._bound} questions wait for {self._name} already"))
        question = _Question(words, Deferred(lambda _: self._settle(question)))
        question.timer = self._clock.callLater(self._limit, self._time_is_up, question)
        self._count += 1
        self._put(question)
        return question.deferred

    def renew(self) -> None:
        """Give up the connection that there is, or that is being made; what was asked on it is asked on another."""
        self._refusal = None
        if self._closed:
            return
        waiting, self._waiting = self._waiting, deque()
        if self._connecting is not None:
            self._connecting.cancel()
        if self._connection is not None:
            connection, self._connection = self._connection, None
            connection.abort()
        for question in waiting:
            if not question.over:
                self._put(question)

    def is_there(self) -> None:
        """Take that the server has been reached in another way: nothing fails any more as the last try did."""
        self._refusal = None

    def close(self) -> Deferred[None]:
        """
        Give up everything that waits, and the connection.

        :return: fires when the connection has ended.
        """
        self._closed = True
        self._fail_waiting(self._closed_text)
        if self._connecting is not None:
            self._connecting.cancel()
        return succeed(None) if self._connection is None else self._connection.abort()

    def _put(self, question: _Question) -> None:
        if self._connection is not None:
            self._send(self._connection, question)
            return
        self._waiting.append(question)
        if self._connecting is not None:
            return
        if self._refusal is not None and self._clock.seconds() < self._refusal[0]:
            self._fail_waiting(self._refusal[1])
            return
        self._connecting = self._connect()
        self._connecting.addCallbacks(self._connected, self._refused)

    def _connected(self, connection: RedisConnection) -> None:
        self._connecting = self._refusal = None
        self._connection = connection
        connection.ended.addCallback(lambda _: self._drop(connection))
        waiting, self._waiting = self._waiting, deque()
        for question in waiting:
            if not question.over:
                self._put(question)

    def _refused(self, failure: Failure) -> None:
        self._connecting = None
        if failure.check(MatchmakerUnavailable):  # otherwise it was cancelled
            self._refusal = (self._clock.seconds() + PAUSE * self._chance.uniform(0.5, 1), str(failure.value))
            self._fail_waiting(str(failure.value))

    def _drop(self, connection: RedisConnection) -> None:
        if self._connection is connection:
            self._connection = None

    def _send(self, connection: RedisConnection, question: _Question) -> None:
        question.again = question.connection is not None
        question.connection = connection
        connection.ask(*question.words).addCallbacks(
            lambda answer: self._answered(question, answer), lambda failure: self._failed(question, failure)
        )

    def _answered(self, question: _Question, answer: Any) -> None:
        if not question.over:
            self._settle(question)
            question.deferred.callback(answer)

    def _failed(self, question: _Question, failure: Failure) -> None:
        assert question.connection is not None
        if isinstance(failure.value, RedisRefusal) and failure.value.code == "READONLY":
            # Who is no master any more may have been replaced; so its connections end, as Sentinel would have it.
            self._drop(question.connection)
            question.connection.abort()
        if question.over:
            return
        if not failure.check(ConnectionLost):
            self._settle(question)
            question.deferred.errback(failure)
            return
        self._drop(question.connection)
        if question.again or self._closed:
            self._fail(question, question.connection.reason)
        else:
            self._put(question)

    def _time_is_up(self, question: _Question) -> None:
        # A process that was kept from running finds its timers before what has arrived meanwhile: read that first.
        question.timer = self._clock.callLater(0, self._give_up, question)

    def _give_up(self, question: _Question) -> None:
        connection = question.connection
        # What was asked a second time may just have come too late.
        if connection is not None and not question.again:
            self._drop(connection)
            connection.abort()
        address = self._address()
        name = f"{self._name} ({address})" if address else self._name
        self._fail(question, f"{name} did not answer within {self._limit:g} s")

    def _fail_waiting(self, reason: str) -> None:
        waiting, self._waiting = self._waiting, deque()
        for question in waiting:
            if not question.over:
                self._fail(question, reason)

    def _fail(self, question: _Question, reason: str) -> None:
        self._settle(question)
        question.deferred.errback(MatchmakerUnavailable(reason))

    def _settle(self, question: _Question) -> None:
        question.over = True
        self._count -= 1
        if question.timer is not None and question.timer.active():
            question.timer.cancel()
