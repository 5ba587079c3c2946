"""The subscriptions of a node that serves: to which publishers, and when it is ready."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from zmqrpc.core.agenda import NEVER
from zmqrpc.core.outage import Outage
from zmqrpc.core.subscription import SubscriptionPhase
from zmqrpc.interfaces import ITransport
from zmqrpc.notices import Notices
from zmqrpc.published import PublishedFanouts
from zmqrpc.requests import Requests
from zmqrpc.settings import Settings
from zmqrpc.spelling import first_of
from zmqrpc.subscription import Subscription
from zmqrpc.subscription_set import SubscriptionSet
from zmqrpc.target import Target

READY_SECONDS = 2.0
"""
How long readiness waits for a publisher to be connected; one that is then has to confirm. One that has refused twice is
not waited for where another has confirmed: it is no other case than one that starts later, and clients publish by one
that is new only where they have no other (`zmqrpc.core.publishing`). Where none has confirmed it may be starting again.
"""

ALONE_SECONDS = 10.0
"""Seconds without any publisher after which that is said."""

_SILENT = "not connected yet"


class Subscriptions:
    """
    One subscription to each publisher, to the topics that this node serves.

    :param random_bytes: gives 16 random bytes.
    :param jitter: gives a number from 0.5 to 1.
    :param seconds: the monotonic clock.
    :param wake_by: asks that `sweep` is called at a time.
    """

    log = Logger()

    def __init__(
        self,
        settings: Settings,
        transport: ITransport,
        requests: Requests,
        notices: Notices,
        random_bytes: Callable[[], bytes],
        jitter: Callable[[], float],
        seconds: Callable[[], float],
        wake_by: Callable[[float], None],
    ) -> None:
        self._settings = settings
        self._notices = notices
        self._seconds = seconds
        self._wake_by = wake_by
        self._published = PublishedFanouts(requests, notices, settings.max_clients, settings.rpc_message_ttl)
        self._subscriptions = SubscriptionSet(self, transport, random_bytes, jitter, seconds, wake_by)
        self._wanted: tuple[str, ...] | None = None
        self._started = self._closed = False
        self._waiting: list[Deferred[None]] = []
        self._tries: deque[tuple[float, Deferred[None]]] = deque()
        self._wait_until = NEVER
        self._awaited: set[Subscription] | None = None
        self._outage = Outage(ALONE_SECONDS)

    def all(self) -> list[Subscription]:
        """List every subscription."""
        return list(self._subscriptions)

    # What the node does with it

    def serve(self, target: Target) -> None:
        """Subscribe to what is published for a server too."""
        key = self._published.serve(target)
        if key is not None:
            for subscription in self._subscriptions:
                subscription.subscribe([key])
            self._begin_waiting()
            self._note()

    def start(self) -> None:
        """Subscribe, now or as soon as it is known where."""
        self._started = True
        if self._settings.subscribe_on:
            self._wanted = tuple(f"tcp://{address}" for address in self._settings.subscribe_on)
        self._arrange()
        self._note()

    def found(self, addresses: Iterable[str]) -> None:
        """Hear where all publishers are that are recorded; nothing follows where ``subscribe_on`` says where."""
        if not self._settings.subscribe_on:
            self._wanted = tuple(addresses)
            self._arrange()

    def when_ready(self) -> Deferred[None]:
        """
        Return a Deferred that fires when everything is subscribed to; `close` cancels it.

        That is when every publisher has confirmed it that could be connected to in time. Where none is known there is
        nothing to wait for.
        """
        if self._is_ready():
            return succeed(None)
        waiter: Deferred[None] = Deferred()
        self._waiting.append(waiter)
        return waiter

    def when_tried(self) -> Deferred[None]:
        """Return a Deferred that fires like that of `when_ready`, or after `READY_SECONDS`; `close` cancels it."""
        waiter = self.when_ready()
        if not waiter.called:
            until = self._seconds() + READY_SECONDS
            self._tries.append((until, waiter))
            self._wake_by(until)
        return waiter

    def close(self) -> None:
        """Hear nothing more; what came runs on."""
        self._closed = True
        self._outage.ends(self._seconds())
        self._subscriptions.close()
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            waiter.cancel()

    # Which subscriptions there are

    def _arrange(self) -> None:
        """Have a subscription to each publisher that is wanted; one that is not any more stays while it is up."""
        if not self._started or self._closed or self._wanted is None:
            return
        if self._published.keys and self._wait_until == NEVER and self._awaited is None:
            self._begin_waiting()
        self._subscriptions.want(self._wanted)
        for subscription in self._subscriptions:
            if self._subscriptions.is_over(subscription):
                self._subscriptions.drop(subscription)
        for subscription in self._subscriptions.missing():
            subscription.subscribe(self._published.keys)
            subscription.open()
        self._look()

    # Readiness

    def _begin_waiting(self) -> None:
        if self._started and self._wanted is not None:
            self._awaited = None
            self._wait_until = self._seconds() + READY_SECONDS
            self._wake_by(self._wait_until)

    def _is_ready(self) -> bool:
        if self._wanted is None or not self._started:
            return False
        if self._awaited is not None:
            return all(subscription.state.current for subscription in self._awaited)
        late = self._late()
        return not late or (len(late) < len(self._subscriptions) and all(each.state.refused for each in late))

    def _late(self) -> list[Subscription]:
        return [subscription for subscription in self._subscriptions if not subscription.state.current]

    def _look(self) -> None:
        """Tell who waits when it is ready."""
        if not self._is_ready():
            return
        if self._wait_until < NEVER and self._late():
            self._wait_no_longer()
        elif self._waiting:
            waiting, self._waiting = self._waiting, []
            for waiter in waiting:
                waiter.callback(None)

    def _wait_no_longer(self) -> None:
        """Go on without the publishers that could not be connected to in time."""
        self._wait_until = NEVER
        late = self._late()
        self._awaited = {each for each in late if each.state.phase is SubscriptionPhase.UP}
        for subscription in late:
            if subscription not in self._awaited:
                self._warn_of(subscription)
        self._look()

    def _warn_of(self, subscription: Subscription) -> None:
        """Say that readiness does not wait for a publisher."""
        self.log.warn(
            "not subscribed yet at the publisher {address}, it is tried on: {trouble}",
            address=subscription.address,
            trouble=subscription.state.trouble or _SILENT,
        )

    def _note(self) -> None:
        """Note whether any publisher has confirmed something: without one nothing that is published arrives."""
        if self._closed or not self._published.keys or not self._started:
            return
        now = self._seconds()
        if all(subscription.state.confirmed < 0 for subscription in self._subscriptions):
            self._outage.begins(now)
            self._wake_by(self._outage.wake_at)
        elif (seconds := self._outage.ends(now)) is not None:
            self.log.info("what is published arrives again, after {seconds:.0f} s without a publisher", seconds=seconds)

    def _tell_alone(self) -> None:
        if self._wanted is None:
            why = "the matchmaker has not said yet which publishers there are"
        elif not self._wanted:
            why = "none is recorded in the matchmaker, start one (zmq-proxy with use_pub_sub)"
        else:
            of = "subscribe_on" if self._settings.subscribe_on else "the matchmaker"
            troubles = [f"{each.address}, {each.state.trouble or _SILENT}" for each in self._subscriptions]
            why = f"look after those that {of} names: {first_of(troubles, '; ', 3)}"
        self.log.warn(
            "no publisher has confirmed what the servers here subscribe to, so that they miss every fan-out that is "
            "published: {why}",
            why=why,
        )

    # Subscribing

    def confirmed(self, subscription: Subscription) -> None:
        self._note()
        if subscription.state.current:
            self._notices.record("subscribed", "subscribed at the publisher {peer}", subscription.address)
            self.log.info("subscribed at the publisher {address}", address=subscription.address)
            self._look()

    def lost(self, subscription: Subscription, reason: str) -> None:
        if subscription.state.fails == 1:
            text = "the publisher {peer} is lost: {reason}"
            self._notices.record("publisher_lost", text, subscription.address, reason=reason)
            self.log.info("the publisher {address} is lost: {reason}", address=subscription.address, reason=reason)
        if self._awaited is not None and subscription in self._awaited:
            self._awaited.discard(subscription)
            self._warn_of(subscription)
        if self._subscriptions.is_over(subscription):
            self._subscriptions.drop(subscription)
        self._note()
        self._look()

    def malformed(self, subscription: Subscription, reason: str) -> None:
        self._published.malformed(subscription.address, reason)

    def published(self, subscription: Subscription, key: bytes, counter: bytes, payload: Any) -> int:
        published = self._published
        envelopes = published.take(subscription.address, key, counter, payload, self._seconds())
        if published.wake_at < NEVER:
            self._wake_by(published.wake_at)
        return envelopes

    # Time

    @property
    def wake_at(self) -> float:
        """When `sweep` has to be called next."""
        try_until = self._tries[0][0] if self._tries else NEVER
        return min(
            self._subscriptions.wake_at, self._published.wake_at, self._wait_until, try_until, self._outage.wake_at
        )

    def sweep(self, now: float) -> None:
        """Look after the publishers, and tell what was missed."""
        self._subscriptions.sweep(now)
        if now >= self._wait_until:
            self._wait_no_longer()
        if self._outage.tick(now):
            self._tell_alone()
        while self._tries and self._tries[0][0] <= now:
            _, waiter = self._tries.popleft()
            if waiter in self._waiting:
                self._waiting.remove(waiter)
                waiter.callback(None)
        self._published.sweep(now)
