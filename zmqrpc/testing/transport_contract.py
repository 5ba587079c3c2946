"""The contract of `ITransport` as a test suite, which ZeroMQ's and the one in memory both run."""

# The assertions of trial have no types.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

from zmqrpc.errors import ConfigError, PortRangeExhausted
from zmqrpc.interfaces import GONE, SENT
from zmqrpc.testing.connection_contract import ConnectionContract
from zmqrpc.testing.pubsub_contract import PubSubContract
from zmqrpc.testing.transport_case import LIMIT, MOST

__all__ = ["LIMIT", "TransportContract"]


class TransportContract(ConnectionContract, PubSubContract):
    """Mix into a `twisted.trial.unittest.TestCase` that has `make_transport`, `turn` and `knock`."""

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
