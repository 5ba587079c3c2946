"""The contract of `ITransport` as a test suite, which ZeroMQ's and the one in memory both run."""

# The assertions of trial have no types.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from zope.interface import implementer
from zope.interface.verify import verifyObject

from zmqrpc.errors import ConfigError, PortRangeExhausted
from zmqrpc.interfaces import (
    FULL,
    GONE,
    SENT,
    IBoundReceiver,
    IBoundRouter,
    IConnectingRouter,
    ILinkReceiver,
    ITransport,
)

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
    :ivar losses: routing id and reason of each loss.
    :ivar failures: address and reason of each handshake that failed.
    :ivar passes: how many messages each pass has delivered.
    :ivar act: called after each message.
    """

    def __init__(self) -> None:
        self.payloads: list[tuple[bytes, bytes]] = []
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

    def malformed_received(self, identity: bytes, reason: str) -> None:
        raise AssertionError(f"a message was called malformed: {reason}")

    def handshake_failed(self, peer: str, reason: str) -> None:
        self.failures.append((peer, reason))
        self.act()

    def connection_lost(self, identity: bytes, reason: str) -> None:
        self.losses.append((identity, reason))

    def pass_ended(self) -> None:
        """Take that a pass has ended."""
        self.passes.append(len(self.payloads) - self._before)
        self._before = len(self.payloads)

    def texts(self, identity: bytes | None = None) -> list[bytes]:
        """List the payloads, of one connection or of all."""
        return [payload for origin, payload in self.payloads if identity in (None, origin)]


class TransportContract(_Case):
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

    # What goes over a connection.

    async def test_provides_interfaces(self) -> None:
        """It and its sockets have every method of their interfaces."""
        transport, received = self.opened()
        bound, connecting = transport.bound_router(received), transport.connecting_router(received)
        self.assertTrue(verifyObject(ITransport, transport))
        self.assertTrue(verifyObject(IBoundRouter, bound))
        self.assertTrue(verifyObject(IConnectingRouter, connecting))
        bound.close(0)
        connecting.close()

    async def test_there_and_back(self) -> None:
        """A message goes to the bound side before the connection stands, and an answer comes back by its id."""
        bound, back, _, _, there, at_connecting = await self.joined()
        self.assertEqual(bound.send(back, b"answer"), SENT)
        await self.eventually("the answer", lambda: at_connecting.payloads)
        self.assertEqual(at_connecting.payloads, [(there, b"answer")])

    async def test_order(self) -> None:
        """The order within a connection is kept, in both directions."""
        bound, back, at_bound, connecting, there, at_connecting = await self.joined()
        texts = [b"%d" % number for number in range(400)]
        for text in texts:
            self.assertEqual(connecting.send(there, text), SENT)
            self.assertEqual(bound.send(back, text), SENT)
        await self.eventually("all", lambda: len(at_bound.payloads) == len(at_connecting.payloads) == 400)
        self.assertEqual(at_bound.texts(back), texts)
        self.assertEqual(at_connecting.texts(there), texts)

    async def test_unknown_identity(self) -> None:
        """A message for nobody is not swallowed."""
        bound, _, _, connecting, _, _ = await self.joined()
        self.assertEqual(bound.send(b"nobody", b"x"), GONE)
        self.assertEqual(connecting.send(b"nobody", b"x"), GONE)

    async def test_bounded(self) -> None:
        """What a peer does not read fills up the connection; what was taken arrives, and then there is room again."""
        _, _, at_bound, connecting, there, _ = await self.joined()
        texts = []
        for number in range(LIMIT):
            text = b"%d" % number + bytes(1000)
            if connecting.send(there, text) == FULL:
                break
            texts.append(text)
        else:
            self.fail("it is never full")
        await self.eventually("what was taken", lambda: len(at_bound.payloads) == len(texts))
        self.assertEqual(at_bound.texts(), texts)
        await self.eventually("room", lambda: connecting.send(there, b"more") == SENT)
        await self.eventually("what found room", lambda: at_bound.texts()[-1] == b"more")

    async def test_too_large(self) -> None:
        """A message over the limit ends its connection, with what is behind it, and not what is before it."""
        _, _, at_bound, connecting, there, at_connecting = await self.joined()
        for text in (b"before", bytes(LIMIT + 1), b"behind"):
            connecting.send(there, text)
        await self.eventually("the loss", lambda: at_connecting.losses)
        self.assertEqual(at_connecting.losses, [(there, "the connection ended")])
        await self.eventually("what was before", lambda: at_bound.payloads)
        self.assertEqual(at_bound.texts(), [b"before"])

    # How it begins and ends.

    async def test_refused(self) -> None:
        """That nobody is bound is told, once."""
        nobody = socket.socket()
        self.addCleanup(nobody.close)
        nobody.bind(("127.0.0.1", 0))
        connecting, received = self.connecting()
        identity = connecting.connect(f"tcp://127.0.0.1:{nobody.getsockname()[1]}")
        self.assertEqual(connecting.send(identity, b"x"), SENT)
        await self.eventually("the refusal", lambda: received.losses)
        self.assertEqual(received.losses, [(identity, "connection refused")])
        self.assertEqual(connecting.send(identity, b"x"), SENT)
        connecting.disconnect(identity)
        self.assertEqual(connecting.send(identity, b"x"), GONE)

    async def test_peer_closes(self) -> None:
        """That the peer closes is told, and what it has written before can be read until we disconnect."""
        bound, back, _, connecting, there, received = await self.joined()
        for number in range(50):
            bound.send(back, b"%d" % number)
        bound.close(PATIENCE)
        await self.eventually("the loss", lambda: received.losses)
        self.assertEqual(received.losses, [(there, "the connection ended")])
        connecting.drain()
        self.assertEqual(len(received.texts(there)), 50)
        self.assertEqual(connecting.send(there, b"x"), SENT)
        connecting.disconnect(there)
        self.assertEqual(connecting.send(there, b"x"), GONE)

    async def test_loss_is_forgotten_by_disconnect(self) -> None:
        """Nothing is told of a connection that we have ended ourselves."""
        bound, _, _, connecting, there, received = await self.joined()
        connecting.disconnect(there)
        connecting.disconnect(there)
        bound.close(0)
        for _ in range(20):
            await self.turn()
        self.assertEqual(received.losses, [])

    async def test_disconnect_is_seen(self) -> None:
        """The bound side learns that a connection has ended by writing to it."""
        bound, back, _, connecting, there, _ = await self.joined()
        connecting.disconnect(there)
        await self.eventually("its end", lambda: bound.send(back, b"x") == GONE)

    async def test_disconnect_drops(self) -> None:
        """What was not read from a connection is gone with it, though it has arrived."""
        bound, back, _, connecting, there, received = await self.joined()
        received.act = lambda: connecting.disconnect(there)
        for number in range(50):
            bound.send(back, b"%d" % number)
        await self.eventually("its end", lambda: bound.send(back, b"x") == GONE)
        self.assertEqual(received.payloads, [(there, b"0")])

    async def test_one_of_two(self) -> None:
        """Two connections to one address have ids, fates and messages of their own."""
        bound, address, at_bound = self.bound()
        connecting, received = self.connecting()
        first, second = connecting.connect(address), connecting.connect(address)
        connecting.send(first, b"first")
        connecting.send(second, b"second")
        await self.eventually("both", lambda: len(at_bound.payloads) == 2)
        origins = {payload: identity for identity, payload in at_bound.payloads}
        connecting.disconnect(first)
        await self.eventually("the end of one", lambda: bound.send(origins[b"first"], b"x") == GONE)
        self.assertEqual(bound.send(origins[b"second"], b"still here"), SENT)
        await self.eventually("the message of the other", lambda: received.payloads)
        self.assertEqual(received.payloads, [(second, b"still here")])

    async def test_identities_are_new(self) -> None:
        """No routing id is ever used again, on either side."""
        bound, address, at_bound = self.bound()
        connecting, _ = self.connecting()
        identities = []
        for number in range(20):
            identity = connecting.connect(address)
            connecting.send(identity, b"%d" % number)
            await self.eventually("a message", lambda: len(at_bound.payloads) == number + 1)  # noqa: B023
            connecting.disconnect(identity)
            identities.append(identity)
        self.assertEqual(len(set(identities)), 20)
        self.assertEqual(len({identity for identity, _ in at_bound.payloads}), 20)
        self.assertEqual(bound.send(at_bound.payloads[0][0], b"x"), GONE)

    async def test_closed(self) -> None:
        """A socket that is closed takes nothing, and closing it again is no error."""
        bound, back, _, connecting, there, _ = await self.joined()
        bound.close(0)
        connecting.close()
        self.assertEqual(bound.send(back, b"x"), GONE)
        self.assertEqual(connecting.send(there, b"x"), GONE)
        bound.close(0)
        connecting.close()

    # Who is no peer.

    async def test_knock(self) -> None:
        """Somebody who does not speak ZMTP is told of once, and disturbs nobody."""
        bound, address, at_bound = self.bound()
        connecting, at_connecting = self.connecting()
        there = connecting.connect(address)
        connecting.send(there, b"hello")
        await self.eventually("the first message", lambda: at_bound.payloads)
        expected = []
        for number in range(3):
            expected.append(self.knock(address))
            await self.eventually("that it is told", lambda: len(at_bound.failures) == number + 1)  # noqa: B023
        connecting.send(there, b"still here")
        await self.eventually("the next message", lambda: len(at_bound.payloads) == 2)
        for (peer, reason), origin in zip(at_bound.failures, expected, strict=True):
            self.assertIn(peer, ("", origin))
            self.assertTrue(reason)
        self.assertEqual((at_bound.texts(), at_connecting.losses), ([b"hello", b"still here"], []))
        self.assertEqual(bound.send(at_bound.payloads[0][0], b"welcome"), SENT)

    async def test_peers_are_none_of_those(self) -> None:
        """Nothing is told of a connection that has opened, however it ends."""
        bound, address, at_bound = self.bound()
        connecting, _ = self.connecting()
        for number in range(10):
            identity = connecting.connect(address)
            connecting.send(identity, b"%d" % number)
            await self.eventually("a message", lambda: len(at_bound.payloads) == number + 1)  # noqa: B023
            connecting.disconnect(identity)
            back = at_bound.payloads[-1][0]
            await self.eventually("its end", lambda: bound.send(back, b"x") == GONE)  # noqa: B023
        for _ in range(20):
            await self.turn()
        self.assertEqual(at_bound.failures, [])

    async def test_knock_and_close(self) -> None:
        """A socket may be closed by what it tells, or before it could tell."""
        for closes_itself in (True, False):
            bound, address, at_bound = self.bound()
            if closes_itself:
                at_bound.act = lambda: bound.close(0)  # noqa: B023
            for _ in range(3):
                self.knock(address)
            if closes_itself:
                await self.eventually("that it is told", lambda: at_bound.failures)  # noqa: B023
            else:
                bound.close(0)
            for _ in range(20):
                await self.turn()
            self.assertEqual(len(at_bound.failures), int(closes_itself))

    # Passes.

    async def test_passes(self) -> None:
        """A pass is bounded by the envelopes it delivers, and each ends with `pass_ended`."""
        _, _, received, connecting, there, _ = await self.joined()
        received.passes.clear()
        received.envelopes = 100
        for number in range(300):
            connecting.send(there, b"%d" % number)
        await self.eventually("all", lambda: sum(received.passes) == 300)
        self.assertLessEqual(max(received.passes), MOST // 100 + 1)

    async def test_kick(self) -> None:
        """A pass that is asked for comes soon and once, and not at once."""
        transport, received = self.opened()
        for _ in range(3):
            transport.kick()
        self.assertEqual(received.passes, [])
        await self.eventually("the pass", lambda: received.passes)
        for _ in range(5):
            await self.turn()
        self.assertEqual(received.passes, [0])
        await self.eventually("one more", lambda: received.passes == [0, 0])

    async def test_receiver_raises(self) -> None:
        """What a receiver raises is logged, and the next message is delivered."""
        _, _, received, connecting, there, _ = await self.joined()

        def act() -> None:
            if received.payloads[-1][1] == b"bad":
                raise ZeroDivisionError("a receiver of the test")

        received.act = act
        connecting.send(there, b"bad")
        connecting.send(there, b"good")
        await self.eventually("the next message", lambda: received.texts()[-1:] == [b"good"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    async def test_receiver_raises_of_a_knock(self) -> None:
        """The same is true of what is told of others."""
        _, address, received = self.bound()
        received.act = lambda: 1 / 0  # type: ignore[assignment]
        for number in range(2):
            self.knock(address)
            await self.eventually("that it is told", lambda: len(received.failures) == number + 1)  # noqa: B023
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    # Addresses.

    async def test_bind(self) -> None:
        """The first free port is taken, and the bound address says which; a closed socket frees it."""
        first, address, _ = self.bound()
        port = int(address.rpartition(":")[2])
        self.assertEqual(address, f"tcp://127.0.0.1:{port}")
        transport, received = self.opened()
        second = transport.bound_router(received)
        self.addCleanup(second.close, 0)
        with self.assertRaises(PortRangeExhausted):
            second.bind("127.0.0.1", [port])
        with self.assertRaises(PortRangeExhausted):
            second.bind("127.0.0.1", [])
        with self.assertRaises(ConfigError):
            second.bind("no such adapter", [port])
        self.assertNotEqual(second.bind("127.0.0.1", [port, *range(49153, 65536)]), address)
        first.close(0)
        third = transport.bound_router(received)
        self.addCleanup(third.close, 0)
        again = []

        def bind() -> bool:
            try:
                again.append(third.bind("127.0.0.1", [port]))
            except PortRangeExhausted:
                return False
            return True

        await self.eventually("the port", bind)
        self.assertEqual(again, [address])

    async def test_bad_address(self) -> None:
        """An address that cannot be one is refused at once."""
        connecting, _ = self.connecting()
        for address in ("tcp://127.0.0.1", "nonsense", "xyz://127.0.0.1:1"):
            with self.assertRaises(ConfigError, msg=address):
                connecting.connect(address)

    async def test_resolve(self) -> None:
        """Numeric addresses are returned as they are, IPv6 in brackets; a name that is none fails."""
        transport, _ = self.opened()
        self.assertEqual(await transport.resolve("10.1.2.3"), "10.1.2.3")
        self.assertEqual(await transport.resolve("::1"), "[::1]")
        self.assertEqual(await transport.resolve("[::1]"), "[::1]")
        failed: list[object] = []
        transport.resolve("no-such-host.invalid").addErrback(failed.append)
        await self.eventually("that there is no such host", lambda: failed)
        self.assertIsInstance(getattr(failed[0], "value", None), OSError)
