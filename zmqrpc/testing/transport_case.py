"""What the tests of the contract of `ITransport` share: sockets that are closed after the test, and what they got."""

# The assertions of trial have no types.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

from zope.interface import implementer

from zmqrpc.interfaces import IBoundReceiver, IBoundRouter, IConnectingRouter, ILinkReceiver, ITransport

if TYPE_CHECKING:
    from twisted.trial.unittest import TestCase as _Case
else:
    _Case = object

PATIENCE = 10.0
"""Seconds after which what should happen soon counts as not happening."""

MOST = 256
"""Envelopes that a pass may deliver."""

LIMIT = 200_000
"""The `max_message_size` of the transports that the suite runs on."""


@implementer(IBoundReceiver, ILinkReceiver)
class Received:
    """
    What a socket has delivered.

    :ivar payloads: routing id and payload of each message.
    :ivar keyed: routing id, key and payload of each message that has a key.
    :ivar newest: the payload of the last of these as it came.
    :ivar progress: the routing id of each connection that has come a step nearer.
    :ivar losses: routing id and reason of each loss.
    :ivar failures: address and reason of each handshake that failed.
    :ivar passes: how many messages each pass has delivered.
    :ivar envelopes: as how many envelopes it says that each message counts.
    :ivar act: called after each message.
    """

    def __init__(self) -> None:
        self.payloads: list[tuple[bytes, bytes]] = []
        self.keyed: list[tuple[bytes, bytes, bytes]] = []
        self.newest: Any = None
        self.progress: list[bytes] = []
        self.losses: list[tuple[bytes, str]] = []
        self.failures: list[tuple[str, str]] = []
        self.passes: list[int] = []
        self.envelopes = 1
        self.act: Callable[[], None] = lambda: None
        self._before = 0

    def payload_received(self, identity: bytes, payload: memoryview | bytes) -> int:
        self.payloads.append((identity, bytes(payload)))
        self.act()
        return self.envelopes

    def keyed_received(self, identity: bytes, key: bytes, payload: Any) -> int:
        self.keyed.append((identity, key, bytes(payload)))
        self.newest = payload
        self.act()
        return self.envelopes

    def malformed_received(self, identity: bytes, reason: str) -> None:
        raise AssertionError(f"a message was called malformed: {reason}")

    def handshake_failed(self, peer: str, reason: str) -> None:
        self.failures.append((peer, reason))
        self.act()

    def connection_progressed(self, identity: bytes) -> None:
        self.progress.append(identity)

    def connection_lost(self, identity: bytes, reason: str) -> None:
        self.losses.append((identity, reason))

    def pass_ended(self) -> None:
        """Take that a pass has ended."""
        self.passes.append(len(self.payloads) - self._before)
        self._before = len(self.payloads)

    def texts(self, identity: bytes | None = None) -> list[bytes]:
        """List the payloads, of one connection or of all."""
        return [payload for origin, payload in self.payloads if identity in (None, origin)]


class TransportCase(_Case):
    """Mix into a `twisted.trial.unittest.TestCase` that has `make_transport`, `turn` and `knock`."""

    _opened: Sequence[ITransport] = ()

    def make_transport(self) -> ITransport:
        """Make a transport whose `max_message_size` is `LIMIT`; it can connect to what another one has bound."""
        raise NotImplementedError

    def turn(self) -> Awaitable[None]:
        """Let the sockets work for a moment."""
        raise NotImplementedError

    def knock(self, address: str) -> str:
        """Connect to a bound address as somebody who does not speak ZMTP; return the numeric address of that one."""
        raise NotImplementedError

    async def eventually(self, what: str, holds: Callable[[], object]) -> None:
        """
        Wait until something holds; fail, saying what, when it does not in `PATIENCE`.

        Tests write outside of passes, and who does that has to ask for one.
        """
        deadline = time.monotonic() + PATIENCE
        for transport in self._opened:
            transport.kick()
        while not holds():
            if time.monotonic() > deadline:
                self.fail(f"waited {PATIENCE} s for this: {what}")
            await self.turn()

    def opened(self) -> tuple[ITransport, Received]:
        """Open a transport, which is closed after the test."""
        transport, received = self.make_transport(), Received()
        self._opened = [*self._opened, transport]
        transport.open(received.pass_ended)
        self.addCleanup(transport.close, 0)
        return transport, received

    def bound(self) -> tuple[IBoundRouter, str, Received]:
        """Bind a ROUTER."""
        transport, received = self.opened()
        router = transport.bound_router(received)
        self.addCleanup(router.close, 0)
        return router, router.bind("127.0.0.1", range(49153, 65536)), received

    def connecting(self) -> tuple[IConnectingRouter, Received]:
        """Make a ROUTER that can connect."""
        transport, received = self.opened()
        router = transport.connecting_router(received)
        self.addCleanup(router.close)
        return router, received

    async def joined(self) -> tuple[IBoundRouter, bytes, Received, IConnectingRouter, bytes, Received]:
        """Connect two ROUTERs; each knows the routing id of the other, and has read nothing else."""
        bound, address, at_bound = self.bound()
        connecting, at_connecting = self.connecting()
        there = connecting.connect(address)
        connecting.send(there, b"hello")
        await self.eventually("the first message", lambda: at_bound.payloads)
        back = at_bound.payloads.pop()[0]
        at_bound.pass_ended()
        return bound, back, at_bound, connecting, there, at_connecting
