"""One connection to one Redis server."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from importlib import import_module
from typing import Any, NoReturn, TypeAlias

from twisted.internet.abstract import isIPAddress
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.endpoints import HostnameEndpoint, TCP4ClientEndpoint
from twisted.internet.error import ConnectError, ConnectionLost, TimeoutError
from twisted.internet.interfaces import IDelayedCall, IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure

from zmqrpc.errors import MatchmakerUnavailable
from zmqrpc.matchmaker._redis.errors import RedisRefusal, no_answer, refusal, unreachable
from zmqrpc.matchmaker._redis.place import RedisPlace
from zmqrpc.matchmaker._redis.scripts import FORMAT

ADDRESS_DELAY = 0.1
"""Seconds between tries of the several addresses of a host: where only IPv4 listens, ``localhost`` is ``::1`` first."""

NEVER = 3600.0
"""Seconds for Twisted's own time limit, which comes after ours."""

Heard = Callable[[bytes, bytes], None]
"""What takes channel and message."""


class RedisConnection:
    """
    A connection that is up, and on which we are known; made by `connect`.

    :ivar up: whether anything can be asked.
    :ivar reason: why it is no longer up, in a sentence.
    :ivar ended: fires when it is no longer up, for whatever reason; never fails.
    """

    def __init__(self, reactor: Any, place: RedisPlace, heard: Heard) -> None:
        self._library = import_module("zmqrpc.matchmaker._redis.protocol")
        self._place = place
        self.ended: Deferred[None] = Deferred()
        self.up = True
        self.reason = unreachable(place, ConnectionLost())
        self.protocol = self._library.RedisProtocol(reactor.callLater, heard, self._lost)

    def ask(self, *words: str | bytes | int) -> Deferred[Any]:
        """
        Send a command.

        :return: fires with the answer; fails with `MatchmakerUnavailable` when it is an error, and with
            `ConnectionLost` when the connection ends before.
        """
        answer: Deferred[Any] = maybeDeferred(self.protocol.execute_command, *words)
        answer.addErrback(self._failed, words[0])
        return answer

    def abort(self) -> Deferred[None]:
        """
        End it, whatever is under way.

        :return: fires when it has ended.
        """
        over: Deferred[None] = Deferred()
        self.ended.addCallback(over.callback)
        if self.protocol.transport is not None:
            self.protocol.transport.abortConnection()
        return over

    def _failed(self, failure: Failure, command: object) -> NoReturn:
        if failure.check(CancelledError):  # by who asked, who knows why: nothing is lost
            failure.raiseException()
        if failure.check(self._library.ResponseError):
            text = " ".join(str(failure.value).split())
            raise refusal(self._place, command, text, FORMAT) from None
        if self.protocol.garbled:
            raise MatchmakerUnavailable(self.reason) from None
        raise ConnectionLost(self.reason) from None

    def _lost(self, reason: Failure) -> None:
        self.up = False
        self.reason = unreachable(self._place, reason.value or ConnectionLost())
        if self.protocol.garbled:
            self.reason = f"{self._place.called} {no_answer(self.protocol.said, self._place)}"
        elif self.protocol.mute and self._place.tls is None:
            self.reason = f"{self.reason}, and whether it expects TLS (option matchmaker_tls)"
        self.ended.callback(None)


Greet: TypeAlias = Callable[[RedisConnection], Awaitable[object]]
"""What more is to be said before a connection can be used; may fail as `connect` does."""


def connect(
    reactor: Any, place: RedisPlace, limit: float, heard: Heard = lambda *_: None, greet: Greet | None = None
) -> Deferred[RedisConnection]:
    """
    Connect, say the password, and choose the database.

    :param limit: seconds that all of this may take, be it more than an answer may; half as much again where this
        process did not run meanwhile.
    :param heard: is called with what is told on channels.
    :return: fails with `MatchmakerUnavailable`, whose text names the server and what to do.
    """
    connection = RedisConnection(reactor, place, heard)
    connecting = Deferred.fromCoroutine(_connect(reactor, place, connection, greet))
    due = reactor.seconds() + limit
    timer: IDelayedCall

    def time_is_up() -> None:
        nonlocal timer
        # A process that was kept from running finds its timers before what has arrived meanwhile: read that first.
        missed = reactor.seconds() - due > limit / 4
        timer = reactor.callLater(limit / 2 if missed else 0, connecting.cancel)

    def ended(result: RedisConnection | Failure) -> RedisConnection | Failure:
        if timer.active():
            timer.cancel()
        elif isinstance(result, Failure):  # be it what became of being cancelled
            if connection.protocol.transport is None:
                raise MatchmakerUnavailable(unreachable(place, TimeoutError()))
            raise MatchmakerUnavailable(f"{place.called} did not answer within {limit:g} s of connecting")
        return result

    timer = reactor.callLater(limit, time_is_up)
    return connecting.addBoth(ended)


def _endpoint(reactor: Any, place: RedisPlace) -> IStreamClientEndpoint:
    # The thread that looks up names would take longer for an address than everything else.
    if isIPAddress(place.host):
        return TCP4ClientEndpoint(reactor, place.host, place.port, timeout=NEVER)
    return HostnameEndpoint(reactor, place.host, place.port, timeout=NEVER, attemptDelay=ADDRESS_DELAY)


async def _connect(
    reactor: Any, place: RedisPlace, connection: RedisConnection, greet: Greet | None
) -> RedisConnection:
    endpoint = _endpoint(reactor, place)
    if place.tls is not None:
        endpoint = place.tls.wrap(endpoint, place.host)
    factory = Factory.forProtocol(lambda: connection.protocol)
    factory.noisy = False  # outages are logged, and not each connection
    try:
        await endpoint.connect(factory)
        if place.password is not None:
            await connection.ask("AUTH", *([place.user] if place.user else []), place.password)
        elif place.tls is not None:
            await _hear_anything(connection)
        if place.db:
            await connection.ask("SELECT", place.db)
        if greet is not None:
            await greet(connection)
    except BaseException as error:
        connection.abort()
        if isinstance(error, ConnectionLost):
            raise MatchmakerUnavailable(connection.reason) from None
        if isinstance(error, (OSError, ConnectError, ValueError)):
            raise MatchmakerUnavailable(unreachable(place, error)) from None
        raise
    return connection


async def _hear_anything(connection: RedisConnection) -> None:
    """Wait until the server has accepted us: that it does not is known only after our side of TLS is done."""
    with suppress(RedisRefusal):  # which whoever asks will be told as well
        await connection.ask("PING")
