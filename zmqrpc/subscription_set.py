"""The subscriptions of one subscriber: one to each publisher that it wants."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from zmqrpc.core.agenda import NEVER
from zmqrpc.core.subscription import SubscriptionPhase, SubscriptionState
from zmqrpc.interfaces import ITransport
from zmqrpc.subscription import Subscribing, Subscription


class SubscriptionSet:
    """
    One subscription to each publisher.

    One that is up stays when it is wanted no more: its record may only be lost, and what it publishes is not.

    :param owner: is told what comes of each; it opens and drops them.
    :param random_bytes: gives 16 random bytes.
    :param jitter: gives a number from 0.5 to 1.
    :param seconds: the monotonic clock.
    :param wake_by: asks that `sweep` is called at a time.
    """

    def __init__(
        self,
        owner: Subscribing,
        transport: ITransport,
        random_bytes: Callable[[], bytes],
        jitter: Callable[[], float],
        seconds: Callable[[], float],
        wake_by: Callable[[float], None],
    ) -> None:
        self._owner = owner
        self._transport = transport
        self._random_bytes = random_bytes
        self._jitter = jitter
        self._seconds = seconds
        self._wake_by = wake_by
        self._wanted: tuple[str, ...] = ()
        self._by_address: dict[str, Subscription] = {}

    def __iter__(self) -> Iterator[Subscription]:
        return iter(list(self._by_address.values()))

    def __len__(self) -> int:
        return len(self._by_address)

    def want(self, addresses: Iterable[str]) -> None:
        """Take which publishers are wanted, as ``tcp://host:port``; nothing is opened or dropped by that."""
        self._wanted = tuple(addresses)

    def is_over(self, subscription: Subscription) -> bool:
        """Tell whether one is neither wanted nor up, and is to be dropped."""
        return subscription.address not in self._wanted and subscription.state.phase is not SubscriptionPhase.UP

    def missing(self) -> Iterator[Subscription]:
        """Make those that are wanted and not there; each is to be opened."""
        for address in self._wanted:
            if address not in self._by_address:
                state = SubscriptionState(self._random_bytes, self._jitter)
                subscription = Subscription(address, state, self._owner, self._transport, self._seconds, self._wake_by)
                self._by_address[address] = subscription
                yield subscription

    def drop(self, subscription: Subscription) -> None:
        """End one."""
        if self._by_address.get(subscription.address) is subscription:
            del self._by_address[subscription.address]
        subscription.close()

    def close(self) -> None:
        """End all."""
        for subscription in self:
            self.drop(subscription)

    @property
    def wake_at(self) -> float:
        """When `sweep` has to be called next; infinity for never."""
        return min((each.wake_at for each in self._by_address.values()), default=NEVER)

    def sweep(self, now: float) -> None:
        """Do what time asks for."""
        for subscription in self:
            if subscription.wake_at <= now:
                subscription.sweep(now)
