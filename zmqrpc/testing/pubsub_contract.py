"""The contract of `ITransport`: what is published, and who gets it."""

# The assertions of trial have no types.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import socket
from collections.abc import Callable, Hashable
from typing import Any

from zope.interface import implementer
from zope.interface.verify import verifyObject

from zmqrpc.core.keys import LONGEST_SUBSCRIPTION
from zmqrpc.errors import ConfigError, PortRangeExhausted
from zmqrpc.interfaces import IPublisher, IPublisherReceiver, ISubscriber, ISubscriberReceiver
from zmqrpc.testing.transport_case import LIMIT, TransportCase

REFUSED = "is refused by a test"


@implementer(IPublisherReceiver)
class Subscribed:
    """
    What a publisher has heard.

    :ivar told: ``+`` or ``-`` and a filter, in order.
    :ivar connections: by which each subscription came, in order.
    :ivar refuses: the filters that it refuses.
    :ivar refusals: address and size of each filter that was refused.
    :ivar faults: what was told to be wrong with them.
    :ivar failures: address and reason of each handshake that failed.
    :ivar act: called after each filter.
    """

    def __init__(self) -> None:
        self.told: list[bytes] = []
        self.connections: list[Hashable] = []
        self.refuses: set[bytes] = set()
        self.refusals: list[tuple[str, int]] = []
        self.faults: set[str] = set()
        self.failures: list[tuple[str, str]] = []
        self.act: Callable[[], None] = lambda: None

    def subscribed(self, filter: bytes, connection: Hashable) -> str:
        self.told.append(b"+" + filter)
        self.connections.append(connection)
        self.act()
        return REFUSED if filter in self.refuses else ""

    def refused(self, peer: str, size: int, fault: str) -> None:
        self.refusals.append((peer, size))
        self.faults.add(fault)

    def unsubscribed(self, filter: bytes) -> None:
        self.told.append(b"-" + filter)

    def malformed_received(self, size: int) -> None:
        raise AssertionError(f"a message of {size} bytes was called malformed")

    def handshake_failed(self, peer: str, reason: str) -> None:
        self.failures.append((peer, reason))


@implementer(ISubscriberReceiver)
class Published:
    """
    What a subscriber has heard.

    :ivar messages: key, counter and payload of each message.
    :ivar malformed: why something was no message, each time.
    :ivar newest: the payload of the last message as it came.
    :ivar ups: how often it was told that it is connected.
    :ivar losses: why the connection was lost.
    """

    def __init__(self) -> None:
        self.messages: list[tuple[bytes, bytes, bytes | None]] = []
        self.malformed: list[str] = []
        self.losses: list[str] = []
        self.ups = 0
        self.newest: Any = None

    def published_received(self, key: bytes, counter: bytes, payload: Any) -> int:
        self.messages.append((key, counter, None if payload is None else bytes(payload)))
        self.newest = payload
        return 1

    def malformed_received(self, reason: str) -> None:
        self.malformed.append(reason)

    def connected(self) -> None:
        self.ups += 1

    def connection_lost(self, reason: str) -> None:
        self.losses.append(reason)


class PubSubContract(TransportCase):
    """Mix into a test case as `TransportContract`, which has these tests too."""

    def publisher(self) -> tuple[IPublisher, str, Subscribed]:
        """Bind a publisher."""
        transport, _ = self.opened()
        heard = Subscribed()
        publisher = transport.publisher(heard)
        self.addCleanup(publisher.close, 0)
        return publisher, publisher.bind("127.0.0.1", range(49153, 65536)), heard

    def subscriber(self, address: str, *filters: bytes) -> tuple[ISubscriber, Published]:
        """Connect a subscriber."""
        transport, _ = self.opened()
        heard = Published()
        subscriber = transport.subscriber(heard, address)
        self.addCleanup(subscriber.close)
        for filter in filters:
            subscriber.subscribe(filter)
        return subscriber, heard

    async def test_sockets_provide_interfaces(self) -> None:
        """They have every method of their interfaces."""
        publisher, address, _ = self.publisher()
        subscriber, _ = self.subscriber(address)
        self.assertTrue(verifyObject(IPublisher, publisher))
        self.assertTrue(verifyObject(ISubscriber, subscriber))

    async def test_published(self) -> None:
        """Everybody gets what begins with one of his filters, once and in order, with or without a payload."""
        publisher, address, subscribed = self.publisher()
        _, first = self.subscriber(address, b"Ta", b"Tb")
        _, second = self.subscriber(address, b"Tb")
        await self.eventually("the subscriptions", lambda: len(subscribed.told) == 3)
        for number in range(100):
            publisher.publish(b"Ta", b"%d" % number, b"payload")
            publisher.publish(b"Tb", b"%d" % number)
            publisher.publish(b"Tc", b"%d" % number)
        await self.eventually("all", lambda: len(first.messages) == 200 and len(second.messages) == 100)
        self.assertEqual(second.messages, [(b"Tb", b"%d" % number, None) for number in range(100)])
        self.assertEqual(first.messages[::2], [(b"Ta", b"%d" % number, b"payload") for number in range(100)])
        self.assertEqual((first.ups, second.ups), (1, 1))

    async def test_subscriptions(self) -> None:
        """Each subscription is told, in the order they were made, also one that others have; the end of the last is."""
        _, address, subscribed = self.publisher()
        one, _ = self.subscriber(address, b"T1", b"T0", b"K")
        await self.eventually("the subscriptions", lambda: len(subscribed.told) == 3)
        self.assertEqual(subscribed.told, [b"+T1", b"+T0", b"+K"])
        other, _ = self.subscriber(address, b"T0")
        await self.eventually("the one of the other", lambda: subscribed.told[3:] == [b"+T0"])
        one.unsubscribe(b"K")
        one.unsubscribe(b"T0")
        await self.eventually("the end of one", lambda: subscribed.told[4:] == [b"-K"])
        other.close()
        await self.eventually("the end of the other", lambda: subscribed.told[5:] == [b"-T0"])
        one.close()
        await self.eventually("the end of all", lambda: subscribed.told[6:] == [b"-T1"])

    async def test_many_subscriptions(self) -> None:
        """However many are made at once, each arrives: one that was lost would be confirmed by the token after it."""
        _, address, subscribed = self.publisher()
        filters = [b"T%d" % number for number in range(5000)]
        subscriber, heard = self.subscriber(address)
        await self.eventually("the connection", lambda: heard.ups)
        for filter in filters:
            subscriber.subscribe(filter)
        await self.eventually("the subscriptions", lambda: len(subscribed.told) == len(filters))
        self.assertEqual(subscribed.told, [b"+" + filter for filter in filters])

    async def test_refused(self) -> None:
        """Who subscribes to what is refused loses the connection, and gets nothing; others stay."""
        publisher, address, subscribed = self.publisher()
        _, other = self.subscriber(address, b"Ta")
        await self.eventually("the other", lambda: subscribed.told)
        for filter in (b"", b"T", bytes(2000), bytes(LONGEST_SUBSCRIPTION // 2)):
            subscribed.told.clear()
            subscribed.refuses = {filter}
            _, heard = self.subscriber(address, filter, b"Tb")
            await self.eventually("the loss", lambda: heard.losses)  # noqa: B023
            await self.eventually("that nobody is left", lambda: b"-" + filter in subscribed.told)  # noqa: B023
            publisher.publish(b"Ta", b"count", b"payload")
            await self.eventually("the message", lambda: other.messages)
            other.messages.clear()
            self.assertEqual((heard.messages, heard.losses, other.losses), ([], ["the connection ended"], []))
            self.assertEqual(subscribed.refusals.pop(), ("127.0.0.1", len(filter)))
        self.assertEqual((subscribed.refusals, subscribed.faults), ([], {REFUSED}))

    async def test_connections(self) -> None:
        """It is told which subscriptions came by one connection."""
        _, address, subscribed = self.publisher()
        one, _ = self.subscriber(address, b"Ta", b"Tb")
        await self.eventually("the subscriptions", lambda: len(subscribed.told) == 2)
        self.subscriber(address, b"Ta")
        await self.eventually("those of the other", lambda: len(subscribed.told) == 3)
        one.subscribe(b"Tc")
        await self.eventually("one more", lambda: len(subscribed.told) == 4)
        first, again, other, last = subscribed.connections
        self.assertEqual((first, first), (again, last))
        self.assertNotEqual(first, other)

    async def test_stranger(self) -> None:
        """Who connects and speaks no ZMTP is told of."""
        _, address, subscribed = self.publisher()
        origin = self.knock(address)
        await self.eventually("that it is told", lambda: subscribed.failures)
        ((peer, reason),) = subscribed.failures
        self.assertIn(peer, ("", origin))
        self.assertTrue(reason)

    async def test_long_filters(self) -> None:
        """A filter that is too long to be heard of ends the connection of who subscribes to it; others stay."""
        _, address, subscribed = self.publisher()
        _, other = self.subscriber(address, bytes(LONGEST_SUBSCRIPTION // 2))
        await self.eventually("the longest of ours", lambda: subscribed.told)
        _, heard = self.subscriber(address, bytes(LONGEST_SUBSCRIPTION + 1))
        await self.eventually("the loss", lambda: heard.losses)
        self.assertEqual((len(subscribed.told), other.losses), (1, []))

    async def test_forward(self) -> None:
        """What a subscriber was given can be published again as it is."""
        central, address, subscribed = self.publisher()
        _, between = self.subscriber(address, b"T")
        local, near, at_local = self.publisher()
        _, heard = self.subscriber(near, b"T")
        await self.eventually("the subscriptions", lambda: subscribed.told and at_local.told)
        for size in (3, LIMIT):
            central.publish(b"T", b"count", bytes(size))
            await self.eventually("the message", lambda: between.newest is not None and len(between.newest) == size)  # noqa: B023
            local.publish(b"T", b"count", between.newest)
            await self.eventually("it again", lambda: heard.messages[-1:] == [(b"T", b"count", bytes(size))])  # noqa: B023

    async def test_wrong_number_of_frames(self) -> None:
        """A message with too few or too many frames is told, and takes nothing of the next one with it."""
        publisher, address, subscribed = self.publisher()
        _, heard = self.subscriber(address, b"T")
        await self.eventually("the subscription", lambda: subscribed.told)
        for frames in ((b"T",), (b"T", b"", b"", b""), (b"T",) * 50, (b"T", b"good", b"one")):
            publisher.publish(*frames)
        await self.eventually("the good one", lambda: heard.messages)
        self.assertEqual(heard.messages, [(b"T", b"good", b"one")])
        self.assertEqual(len(heard.malformed), 3)

    async def test_full(self) -> None:
        """A subscriber that does not read misses some, and neither the publisher nor another waits for it."""
        publisher, address, subscribed = self.publisher()
        _, heard = self.subscriber(address, b"T")
        await self.eventually("the subscription", lambda: subscribed.told)
        for number in range(20_000):
            publisher.publish(b"T", b"%d" % number, bytes(1000))
        await self.eventually("some", lambda: heard.messages)
        before = 0
        while before < len(heard.messages):
            before = len(heard.messages)
            for _ in range(20):
                await self.turn()
        self.assertLess(before, 20_000)
        publisher.publish(b"T", b"last", b"")
        await self.eventually("the last", lambda: heard.messages[-1] == (b"T", b"last", b""))

    async def test_publisher_goes(self) -> None:
        """That nobody publishes there, or not any more, is told once."""
        publisher, address, subscribed = self.publisher()
        _, heard = self.subscriber(address, b"T")
        await self.eventually("the subscription", lambda: subscribed.told)
        publisher.close(0)
        await self.eventually("the loss", lambda: heard.losses)
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))
            _, refused = self.subscriber(f"tcp://127.0.0.1:{nobody.getsockname()[1]}")
            await self.eventually("the refusal", lambda: refused.losses)
            for _ in range(20):
                await self.turn()
        self.assertEqual((heard.losses, refused.losses), (["the connection ended"], ["connection refused"]))
        self.assertEqual((heard.ups, refused.ups), (1, 0))
        publisher.publish(b"T", b"nobody")
        publisher.close(0)

    async def test_closed_by_what_it_tells(self) -> None:
        """A publisher may be closed by what it tells, and a subscriber at once."""
        publisher, address, subscribed = self.publisher()
        subscribed.act = lambda: publisher.close(0)
        self.subscriber(address, b"T", b"U")
        early, heard = self.subscriber(address)
        early.close()
        early.subscribe(b"T")
        early.unsubscribe(b"T")
        early.close()
        await self.eventually("the subscription", lambda: subscribed.told)
        for _ in range(20):
            await self.turn()
        self.assertEqual((subscribed.told, heard.losses, heard.ups), ([b"+T"], [], 0))

    async def test_bad_addresses(self) -> None:
        """An address that cannot be one is refused at once, and a port that is taken."""
        _, address, _ = self.publisher()
        transport, _ = self.opened()
        with self.assertRaises(ConfigError):
            transport.subscriber(Published(), "nonsense")
        second = transport.publisher(Subscribed())
        self.addCleanup(second.close, 0)
        with self.assertRaises(PortRangeExhausted):
            second.bind("127.0.0.1", [int(address.rpartition(":")[2])])
