"""
The one module that knows treq, and Twisted's client of the web. It is imported by the first question.

Not before, since both take a third of a second to load, and few need them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Self

from hyperlink import EncodedURL
from treq.client import HTTPClient
from twisted.internet.abstract import isIPAddress
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.endpoints import HostnameEndpoint, TCP4ClientEndpoint
from twisted.internet.interfaces import IConsumer, IStreamClientEndpoint
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import Agent, HTTPConnectionPool, ResponseDone
from twisted.web.iweb import IAgentEndpointFactory, IBodyProducer
from zope.interface import implementer

from zmqrpc.matchmaker._etcd.errors import NoAnswer, unreachable
from zmqrpc.matchmaker._etcd.place import EtcdPlace
from zmqrpc.matchmaker._etcd.words import Words
from zmqrpc.matchmaker._tls import StoreTls, tls_fault

ADDRESS_DELAY = 0.1
"""Seconds between tries of the several addresses of a host: where only IPv4 listens, ``localhost`` is ``::1`` first."""

KEPT = 4
"""How many connections to a member are kept for what is asked next."""

HEADERS: dict[bytes | str, bytes | str] = {"Content-Type": "application/json", "Grpc-Metadata-hasleader": "true"}
"""With the second, a member that has no leader says so at once, instead of being silent."""


class EtcdWeb:
    """
    Posting to the members.

    :param limit: seconds that a connection may take.
    """

    def __init__(self, reactor: Any, place: EtcdPlace, limit: float) -> None:
        self._reactor = reactor
        self._pool = HTTPConnectionPool(reactor)
        self._pool.maxPersistentPerHost = KEPT
        self._pool.retryAutomatically = False  # who asks does
        endpoints = _Endpoints(reactor, place, limit)
        self._clients = {}
        for keep, pool in ((True, self._pool), (False, HTTPConnectionPool(reactor, persistent=False))):
            pool._factory.noisy = False  # outages are logged, and not each connection
            self._clients[keep] = HTTPClient(Agent.usingEndpointFactory(reactor, endpoints, pool))
        scheme = "http" if place.tls is None else "https"
        self._roots = [f"{scheme}://{name}" for name in place.names]
        self._urls: dict[tuple[int, str], EncodedURL] = {}

    async def post(
        self, member: int, words: Words, token: str | None, heard: Callable[[int, bytes], None], keep: bool
    ) -> int:
        """
        Post a question.

        :param member: its number in `EtcdPlace.hosts`.
        :param heard: is called with the status of HTTP and a piece of the answer; what it raises ends the connection,
            and is raised.
        :param keep: whether the connection is used for more than this. Where it is, the gateway may not read the whole
            question before it answers, and forgets the rest: what has parts that are answered one by one needs False.
        :return: the status of HTTP, after the last piece.
        :raises Exception: whatever came between; `cause_of` and `error_of` tell what.
        """
        path, body = words
        url = self._urls.get((member, path))
        if url is None:
            url = self._urls[member, path] = _Written.from_text(self._roots[member] + path)
        headers = dict(HEADERS)
        if token is not None:
            headers["Authorization"] = token
        response = await self._clients[keep].post(
            url, data=_Body(body), headers=headers, allow_redirects=False, unbuffered=True, reactor=self._reactor
        )
        await _deliver(response, partial(heard, response.code))
        return int(response.code)

    def close(self) -> Deferred[None]:
        """End the connections that nothing is asked on; fires when they have ended."""
        return self._pool.closeCachedConnections()  # type: ignore[no-any-return]


@implementer(IBodyProducer)
class _Body:
    """A question, written in one go: treq would have the global reactor write it, which may be none that runs."""

    def __init__(self, body: bytes) -> None:
        self.length = len(body)
        self._body = body

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        consumer.write(self._body)
        return succeed(None)

    def pauseProducing(self) -> None:
        """Do nothing: it is written."""

    resumeProducing = stopProducing = pauseProducing


class _Written(EncodedURL):
    """A URL as it is sent: treq would spell it out for each question, and cannot for an address of IPv6."""

    def to_uri(self) -> Self:
        return self


def cause_of(error: BaseException) -> BaseException:
    """Return what is inside of the errors of Twisted's client."""
    reasons = getattr(error, "reasons", None)
    if not reasons:
        return error
    causes = [cause_of(reason.value) for reason in reasons]
    return next((cause for cause in causes if isinstance(cause, CancelledError)), causes[-1])


def error_of(error: BaseException, tls: StoreTls | None) -> NoAnswer:
    """
    Make the error of an answer that did not come.

    :param error: as `cause_of` returns it.
    :param tls: with what it was asked; None for without TLS.
    """
    fault = tls_fault(error, tls)
    if fault is not None:
        what, _, advice = fault.partition("; ")
        return NoAnswer(what, advice)
    kind = type(error)
    if (
        kind.__module__.startswith("twisted.web") and "DataLoss" not in kind.__name__
    ):  # else it ended in the midst of it
        return NoAnswer("does not answer as etcd 3.4 or later does (it is no HTTP)", "correct the transport URL")
    return unreachable(error, encrypted=tls is not None)


@implementer(IAgentEndpointFactory)
class _Endpoints:
    """How a member is connected to: in time, and by TLS where that is wanted."""

    def __init__(self, reactor: Any, place: EtcdPlace, limit: float) -> None:
        self._reactor = reactor
        self._tls = place.tls
        self._limit = limit

    def endpointForURI(self, uri: Any) -> IStreamClientEndpoint:
        host = uri.host.decode()
        endpoint: IStreamClientEndpoint
        # The thread that looks up names would take longer for an address than everything else.
        if isIPAddress(host):
            endpoint = TCP4ClientEndpoint(self._reactor, host, uri.port, timeout=self._limit)
        else:
            endpoint = HostnameEndpoint(self._reactor, host, uri.port, timeout=self._limit, attemptDelay=ADDRESS_DELAY)
        return endpoint if self._tls is None else self._tls.wrap(endpoint, host)


def _deliver(response: Any, heard: Callable[[bytes], None]) -> Deferred[None]:
    gathering = _Gathering(heard)
    response.deliverBody(gathering)
    return gathering.ended


class _Gathering(Protocol):
    """Takes a body."""

    def __init__(self, heard: Callable[[bytes], None]) -> None:
        self._heard = heard
        self._failure: Failure | None = None
        self.ended: Deferred[None] = Deferred(lambda _: self._end())

    def dataReceived(self, data: bytes) -> None:
        if self._failure is None:
            try:
                self._heard(data)
            except Exception:
                self._failure = Failure()
                self._end()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.ended.called:
            return
        if self._failure is None and reason.check(ResponseDone):
            self.ended.callback(None)
        else:
            self.ended.errback(self._failure or reason)

    def _end(self) -> None:
        if self.transport is not None:
            self.transport.loseConnection()
