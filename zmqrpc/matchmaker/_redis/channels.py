"""Hearing what one Redis server tells on channels."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from random import Random
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from zmqrpc.core.spread import Crowd
from zmqrpc.matchmaker._redis.connection import Heard, RedisConnection
from zmqrpc.matchmaker._redis.errors import NO_ANSWER

PING_SECONDS = 15.0
"""Seconds between two looks whether the other side still answers: who only listens would not notice otherwise."""

STEADY_SECONDS = 1.0
"""Seconds that a connection has to last to count as one that works, when the one before did not last that long."""


class RedisChannels:
    """
    The channels that are wanted, and a connection for them: made with the first, and made again when it is lost.

    What is told while it is lost is not heard: `subscribed` is called for each channel whenever it begins to be heard.
    A server that confirms everything and hangs up at once fails all the time: that is one outage, not many.

    :param connect: makes a connection, given what takes channel and message.
    :param heard: is called with channel and message.
    :param subscribed: is called with a channel from which on everything is heard.
    :param state: is called with the reason whenever nothing can be heard, and with None when everything wanted can.
    :param limit: seconds that an answer may take.
    :param crowd: says when a connection that was lost is made again.
    """

    def __init__(
        self,
        clock: IReactorTime,
        connect: Callable[[Heard], Deferred[RedisConnection]],
        heard: Callable[[str, bytes], None],
        subscribed: Callable[[str], None],
        state: Callable[[str | None], None],
        chance: Random,
        limit: float,
        crowd: Crowd,
    ) -> None:
        self._clock = clock
        self._connect = connect
        self._heard = heard
        self._subscribed = subscribed
        self._state = state
        self._chance = chance
        self._limit = limit
        self._crowd = crowd
        self._wanted: dict[str, None] = {}
        self._unconfirmed: set[str] = set()
        self._connection: RedisConnection | None = None
        self._connecting: Deferred[RedisConnection] | None = None
        self._timer: IDelayedCall | None = None
        self._silence: IDelayedCall | None = None
        self._steady: IDelayedCall | None = None
        self._heard_at = -inf  # since when the connection hears everything; minus infinity while it does not
        self._brief = False  # whether the last that did has ended soon
        self._reason = ""
        self._closed = False

    def add(self, channel: str) -> None:
        """Hear a channel, from soon on; one that is wanted already is no matter."""
        if channel in self._wanted:
            return
        self._wanted[channel] = None
        if self._connection is not None:
            self._subscribe(self._connection, channel)
        elif self._connecting is None and self._timer is None and not self._closed:
            self._begin()

    def remove(self, channel: str) -> None:
        """Hear it no longer."""
        if self._wanted.pop(channel, "") is None and self._connection is not None:
            self._ask(self._connection, "UNSUBSCRIBE", channel)

    def renew(self) -> None:
        """Give up the connection that there is, or that is being made, for another one, when our turn comes."""
        begin = self._connecting is not None or self._timer is not None or self._connection is not None
        self._stop_timers()
        if self._connecting is not None:
            connecting, self._connecting = self._connecting, None
            connecting.cancel()
        if self._connection is not None:
            connection, self._connection = self._connection, None
            connection.abort()
        if begin and not self._closed:
            self._crowd.worked()
            now = self._clock.seconds()
            self._timer = self._clock.callLater(self._crowd.turn(now) - now, self._begin)

    def close(self) -> Deferred[None]:
        """End everything; fires when the connection has ended."""
        self._closed = True
        self._wanted.clear()
        self._stop_timers()
        if self._connecting is not None:
            self._connecting.cancel()
        return succeed(None) if self._connection is None else self._connection.abort()

    def _begin(self) -> None:
        self._timer = None
        self._connecting = self._connect(lambda channel, message: self._heard(channel.decode(), message))
        self._connecting.addCallbacks(self._connected, self._refused)

    def _connected(self, connection: RedisConnection) -> None:
        self._connecting = None
        self._connection = connection
        self._unconfirmed.clear()
        self._heard_at = -inf
        connection.ended.addCallback(lambda _: self._lost(connection))
        for channel in list(self._wanted):
            self._subscribe(connection, channel)
        self._rest(connection)

    def _refused(self, failure: Failure) -> None:
        if self._connecting is None or self._closed:
            return  # it was cancelled
        self._connecting = None
        self._later(str(failure.value))

    def _subscribe(self, connection: RedisConnection, channel: str) -> None:
        self._unconfirmed.add(channel)
        # One at a time: txredisapi takes the second answer to one command for that to the next.
        self._ask(connection, "SUBSCRIBE", channel).addCallback(self._now_subscribed, channel)

    def _now_subscribed(self, answered: bool, channel: str) -> None:
        if not answered:
            return
        self._unconfirmed.discard(channel)
        if not self._unconfirmed:
            if self._heard_at == -inf:
                self._heard_at = self._clock.seconds()
            if not self._brief:
                self._works()
            elif self._steady is None:
                self._steady = self._clock.callLater(STEADY_SECONDS, self._lasts)
        if channel in self._wanted:
            self._subscribed(channel)

    def _lasts(self) -> None:
        self._steady = None
        self._brief = False
        if not self._unconfirmed:
            self._works()

    def _works(self) -> None:
        self._crowd.worked()
        self._state(None)

    def _ask(self, connection: RedisConnection, *words: str) -> Deferred[bool]:
        """Ask, and end the connection unless it answers in time; fires with whether it did, never fails."""

        def answered(answer: Any) -> bool:
            # Who says yes to whatever it is asked does not tell anything.
            if words[0] == "SUBSCRIBE" and not _confirms(answer, words[1]):
                self._reason = NO_ANSWER
                connection.abort()
                return False
            return True

        def failed(failure: Failure) -> bool:
            if not failure.check(ConnectionLost):
                self._reason = str(failure.value)
            connection.abort()
            return False

        def late() -> None:
            self._reason = f"no answer to {words[0]} within {self._limit:g} s"
            connection.abort()

        # What has arrived while the process could not run is read before the second of these.
        timers = [self._clock.callLater(self._limit, lambda: timers.append(self._clock.callLater(0, late)))]

        def over(answer: bool) -> bool:
            for timer in timers:
                if timer.active():
                    timer.cancel()
            return answer

        return connection.ask(*words).addCallbacks(answered, failed).addCallback(over)

    def _rest(self, connection: RedisConnection) -> None:
        """Look after a while whether the other side is still there."""
        self._silence = self._clock.callLater(PING_SECONDS * self._chance.uniform(0.5, 1), self._ping, connection)

    def _ping(self, connection: RedisConnection) -> None:
        self._silence = None
        self._ask(connection, "PING").addCallback(self._still_there, connection)

    def _still_there(self, answered: bool, connection: RedisConnection) -> None:
        if answered:
            self._rest(connection)

    def _lost(self, connection: RedisConnection) -> None:
        if self._connection is not connection:
            return
        self._connection = None
        self._stop_timers()
        if self._heard_at > -inf:
            self._brief = self._clock.seconds() - self._heard_at < STEADY_SECONDS
        if not self._closed:
            self._later(self._reason or connection.reason)

    def _later(self, reason: str) -> None:
        self._reason = ""
        self._state(reason)
        now = self._clock.seconds()
        self._timer = self._clock.callLater(self._crowd.again(now) - now, self._begin)

    def _stop_timers(self) -> None:
        for timer in (self._timer, self._silence, self._steady):
            if timer is not None and timer.active():
                timer.cancel()
        self._timer = self._silence = self._steady = None


def _confirms(answer: Any, channel: str) -> bool:
    return isinstance(answer, list) and answer[:2] == [b"subscribe", channel.encode()]
