"""The contract of `ITransport`: what goes over a connection, how it begins and ends."""

# The assertions of trial have no types.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import socket

from zope.interface.verify import verifyObject

from zmqrpc.errors import ConfigError
from zmqrpc.interfaces import FULL, GONE, SENT, IBoundRouter, IConnectingRouter, ITransport
from zmqrpc.testing.transport_case import LIMIT, PATIENCE, TransportCase


class ConnectionContract(TransportCase):
    """Mix into a test case as `TransportContract`, which has these tests too."""

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

    # With a key, as through a proxy.

    async def test_keyed(self) -> None:
        """A message may have a key before its payload, in both directions, and among those that have none."""
        bound, back, at_bound, connecting, there, at_connecting = await self.joined()
        for text in (b"one", b"", bytes(LIMIT)):
            self.assertEqual(connecting.send_keyed(there, b"key " + text[:3], text), SENT)
            connecting.send(there, text)
            self.assertEqual(bound.send_keyed(back, b"", text), SENT)
        await self.eventually("all", lambda: len(at_bound.keyed) == len(at_connecting.keyed) == 3)
        await self.eventually("the others", lambda: len(at_bound.payloads) == 3)
        self.assertEqual(at_bound.keyed[0], (back, b"key one", b"one"))
        self.assertEqual(at_bound.texts(), [b"one", b"", bytes(LIMIT)])
        self.assertEqual([key for _, key, _ in at_connecting.keyed], [b"", b"", b""])
        self.assertEqual({identity for identity, _, _ in at_connecting.keyed}, {there})
        self.assertEqual(bound.send_keyed(b"nobody", b"key", b"x"), GONE)
        self.assertEqual(connecting.send_keyed(b"nobody", b"key", b"x"), GONE)

    async def test_forwarded(self) -> None:
        """What was received with a key can be sent on as it is, once or more often."""
        bound, back, at_bound, connecting, there, at_connecting = await self.joined()
        for size in (5, LIMIT):
            at_connecting.keyed.clear()
            connecting.send_keyed(there, b"key", bytes(size))
            await self.eventually("the message", lambda: at_bound.keyed and len(at_bound.newest) == size)  # noqa: B023
            for _ in range(2):
                self.assertEqual(bound.send_keyed(back, b"key", at_bound.newest), SENT)
            await self.eventually("both", lambda: len(at_connecting.keyed) == 2)
            self.assertEqual(at_connecting.keyed, [(there, b"key", bytes(size))] * 2)

    async def test_path(self) -> None:
        """A socket may be bound to a path beside its port; a second is refused as long as the first is there."""
        path = f"{self.mktemp()}s"
        bound, address, at_bound = self.bound()
        self.assertEqual(bound.bind_path(path), f"ipc://{path}")
        transport, received = self.opened()
        second = transport.bound_router(received)
        self.addCleanup(second.close, 0)
        with self.assertRaises(ConfigError):
            second.bind_path(path)
        connecting, at_connecting = self.connecting()
        for number, where in enumerate((f"ipc://{path}", address, f"ipc://{path}")):
            there = connecting.connect(where)
            connecting.send(there, b"hello")
            await self.eventually("the message", lambda: len(at_bound.payloads) == number + 1)  # noqa: B023
            bound.send(at_bound.payloads[-1][0], b"answer")
            await self.eventually("the answer", lambda: at_connecting.payloads[-1:] == [(there, b"answer")])  # noqa: B023
        bound.close(0)
        await self.eventually("the loss", lambda: len(at_connecting.losses) == 3)
        second.bind_path(path)

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
        self.assertEqual((received.losses, received.progress), ([(identity, "connection refused")], []))
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
