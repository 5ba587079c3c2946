"""Asks who is at an address, without a matchmaker: HELLO and WELCOME (docs/spec/wire), and nothing else."""

from __future__ import annotations

import os
from time import monotonic
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from zope.interface import implementer

from zmqrpc.address import split_address
from zmqrpc.connector import resolve
from zmqrpc.core.batch import Batch, decode_batch, encode_batch
from zmqrpc.core.envelope import WIRE_VERSION, Goaway, Hello, Nack, Refusal, Served, Welcome, encode_message
from zmqrpc.core.inspected import INSPECTION, REFUSED
from zmqrpc.core.roles import CLIENT
from zmqrpc.errors import ConfigError, DeadlineExceeded, NoRoute, Overloaded, RemoteProtocolError, ZmqRpcError
from zmqrpc.interfaces import SENT, IConnectingRouter, ILinkReceiver, ITransport

_SCHEMES = ("tcp://", "ipc://")


@attrs.frozen
class Greeting:
    """
    Who answered.

    :ivar role: as WELCOME says it: ``server``, ``router`` or ``publisher``.
    :ivar instance: 32 hex digits.
    :ivar targets: what it serves.
    :ivar seconds: from HELLO to WELCOME, and what connecting took.
    :ivar extensions: what else it tells, as docs/spec/wire has it.
    """

    role: str
    instance: str
    targets: tuple[Served, ...]
    seconds: float
    extensions: dict[str, Any] = attrs.field(factory=dict)


def is_address(text: str) -> bool:
    """Tell whether somebody wrote an address where a topic may stand."""
    return text.startswith(_SCHEMES)


def check_address(text: str) -> str:
    """
    Return an address.

    :raises ConfigError: it is none that one can connect to.
    """
    scheme, _, rest = text.partition("://")
    if scheme == "tcp":
        try:
            split_address(rest)
        except ValueError as error:
            raise ConfigError(f"the address {text!r} {error}") from None
    elif not rest.startswith("/"):
        raise ConfigError(f"the address {text!r} has no absolute path; write for example ipc:///run/zmqrpc/zmq-broker")
    return text


async def greet(
    reactor: Any, transport: ITransport, address: str, limit: float, extensions: dict[str, Any] | None = None
) -> Greeting:
    """
    Say HELLO at an address, and hear who is there.

    :param transport: open.
    :param limit: seconds that it may take.
    :param extensions: those of HELLO.
    :raises NoRoute: nobody listens there.
    :raises DeadlineExceeded: nothing was answered in time.
    :raises Overloaded: it remembers as many clients as it may.
    :raises RemoteProtocolError: what answers is nobody of ours, or takes no clients, as the backend of a proxy.
    """
    greeter = _Greeter(transport, address, limit, extensions)
    timer = reactor.callLater(limit, greeter.late)
    try:
        greeter.begin()
        return await greeter.heard
    finally:
        if timer.active():
            timer.cancel()
        greeter.end()


@implementer(ILinkReceiver)
class _Greeter:
    def __init__(self, transport: ITransport, address: str, limit: float, extensions: dict[str, Any] | None) -> None:
        self.heard: Deferred[Greeting] = Deferred()
        self._transport = transport
        self._address = address
        self._limit = limit
        self._extensions = extensions
        self._instance = os.urandom(16)
        self._router: IConnectingRouter = transport.connecting_router(self)
        self._identity: bytes | None = None
        self._peer: bytes | None = None
        self._begun = monotonic()

    def begin(self) -> None:
        resolve(self._transport, self._address, 0, self._connect, self._fail)

    def end(self) -> None:
        if self._identity is not None and self._peer is not None:
            self._say(encode_message(Goaway()))
        self._router.close(self._limit)

    def late(self) -> None:
        self._settle(DeadlineExceeded(f"nobody at {self._address} has answered within {self._limit:g} s"))

    def _connect(self, numeric: str) -> None:
        if not self.heard.called:
            self._identity = self._router.connect(numeric)
            self._hello()

    def _fail(self, reason: str) -> None:
        self._settle(NoRoute(reason))

    def _hello(self) -> None:
        self._begun = monotonic()
        self._say(encode_message(Hello(WIRE_VERSION, WIRE_VERSION, CLIENT, [], {}, [], self._extensions)))

    def _say(self, message: bytes) -> None:
        assert self._identity is not None
        payload = encode_batch(self._instance, self._peer, int(monotonic() * 1000), (), [message])
        if self._router.send(self._identity, payload) != SENT:
            self._settle(NoRoute(f"nothing can be written to {self._address}"))
        self._transport.kick()

    def _settle(self, outcome: Greeting | ZmqRpcError) -> None:
        if self.heard.called:
            return
        if isinstance(outcome, Greeting):
            self.heard.callback(outcome)
        else:
            self.heard.errback(outcome)

    # ILinkReceiver

    def payload_received(self, identity: bytes, payload: Any) -> int:
        return self._hear(payload, is_known=True)

    def keyed_received(self, identity: bytes, key: bytes, payload: Any) -> int:
        # A proxy, which learns nothing of who asks without a key.
        return self._hear(payload, is_known=False)

    def malformed_received(self, identity: bytes, reason: str) -> None:
        self._settle(RemoteProtocolError(f"what {self._address} answers is no message of ours: {reason}"))

    def connection_progressed(self, identity: bytes) -> None:
        """Go on: only what it says counts."""

    def connection_lost(self, identity: bytes, reason: str) -> None:
        # Who is stopped has his kernel take the connection.
        does = "listens" if "refused" in reason else "answers"
        self._settle(NoRoute(f"nobody {does} at {self._address}: {reason}"))

    def _hear(self, payload: Any, is_known: bool) -> int:
        """
        Take what was answered.

        :param is_known: whether we are remembered there, so that GOAWAY is owed.
        """
        try:
            self._take(decode_batch(payload), is_known)
        except RemoteProtocolError as error:
            self._settle(error)
        return 1

    def _take(self, batch: Batch, is_known: bool) -> None:
        for message in batch.messages:
            if isinstance(message, Welcome):
                extensions = message.extensions or {}
                # Who tells what is going on learns nothing of who asks.
                told = INSPECTION in extensions or REFUSED in extensions
                self._peer = batch.source if is_known and not told else None
                targets = tuple(message.targets)
                seconds = monotonic() - self._begun
                self._settle(Greeting(message.role[:100], batch.source.hex(), targets, seconds, extensions))
            elif isinstance(message, Nack):
                text = f"{self._address} refuses HELLO: {message.text or Refusal(message.reason).words}"
                overloaded = message.reason == Refusal.OVERLOADED
                self._settle(Overloaded(text) if overloaded else RemoteProtocolError(text))
