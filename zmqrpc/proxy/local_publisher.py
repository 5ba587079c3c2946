"""
The **local publisher**: one on each node, which subscribes to the publisher proxies once for all subscribers there.

Central publishers then have as many connections as there are nodes, and not as many as there are servers. It counts and
changes nothing of what it hands on. What it takes and repeats is decided in `zmqrpc.core.local_publications`, and the
state of each subscription in `zmqrpc.core.subscription`.
"""

from __future__ import annotations

import os
from collections.abc import Hashable
from functools import partial
from typing import Any

from twisted.logger import Logger
from twisted.plugin import IPlugin
from zope.interface import implementer

from zmqrpc.address import LOOPBACK
from zmqrpc.core.inspected import ConnectionSeen, Inspected, LimitSeen
from zmqrpc.core.local_publications import Heard, LocalPublications
from zmqrpc.core.outage import Outage
from zmqrpc.core.subscription import SubscriptionPhase
from zmqrpc.errors import ConfigError, RemoteProtocolError
from zmqrpc.interfaces import IInspected, IProxy, IProxyFactory, IProxySite, IPublisher, IPublisherReceiver
from zmqrpc.proxy import LOCAL_PUBLISHER, ROUTERS_ONLY
from zmqrpc.publishing_half import count_fault, count_refused, count_stranger
from zmqrpc.record import Record, Role, Sighting
from zmqrpc.settings import FIELDS
from zmqrpc.spelling import first_of
from zmqrpc.subscription import Subscription
from zmqrpc.subscription_set import SubscriptionSet

_PATIENCE = 2.0
"""Seconds without a publisher after which that is an outage: longer than it takes to connect anew."""

_THIS_HOST = ("localhost", LOOPBACK, "[::1]")


@implementer(IProxy, IInspected, IPublisherReceiver)
class LocalPublisher:
    """
    A local publisher.

    :param site: what it works with; ``subscribe_on`` of its settings names the publishers to subscribe to, in place of
        those that the matchmaker knows.
    :ivar address: what subscribers are told, ``tcp://host:port``; empty before it is open.
    :ivar drained: always true. Nobody waits for it to stop: who subscribes at it notices, and connects anew.
    """

    log = Logger()
    drained = True

    def __init__(self, site: IProxySite) -> None:
        self.address = ""
        self._site = site
        self._publications = LocalPublications(site.instance, site.settings.max_filters)
        # Nothing depends on what a token is, so a simulation need not draw it from its seed.
        self._subscriptions = SubscriptionSet(
            self, site.transport, partial(os.urandom, 16), site.jitter, site.seconds, site.wake_by
        )
        self._named = [f"tcp://{each}" for each in site.settings.subscribe_on]
        self._recorded: list[str] = []
        self._own: set[str] = set()
        self._up: set[str] = set()
        self._outage = Outage(_PATIENCE)
        self._changed = False
        self._socket: IPublisher | None = None

    # IProxy

    def open(self) -> None:
        site = self._site
        self._socket = site.transport.publisher(self)
        try:
            self.address = site.bind(self._socket, site.settings.proxy_publisher_port or 0)
        except ConfigError:
            self.close(0)
            raise
        told, _, port = self.address.removeprefix("tcp://").rpartition(":")
        self._own = {f"tcp://{host}:{port}" for host in (*_THIS_HOST, told, site.settings.host)}
        if self._own.intersection(self._named):
            # One file may configure the services of a node and its local publisher.
            self.log.info("subscribe_on names {address}, which is this local publisher itself", address=self.address)
        self.log.info(
            "local publisher at {address}, instance {instance}", address=self.address, instance=site.instance.hex()
        )
        self._outage.begins(site.seconds())
        self._follow()

    def records(self) -> tuple[Record, ...]:
        """Return none: it is found by ``subscribe_on``."""
        return ()

    def found(self, sightings: list[Sighting]) -> None:
        records = [sighting.record for sighting in sightings]
        self._recorded = [record.addresses[-1] for record in records if record.role is Role.PUBLISHER]
        self._follow()

    def end_pass(self) -> None:
        if not self._changed:
            return
        self._changed = False
        publications, subscriptions = self._publications, self._subscriptions
        new, gone = publications.changes()
        for subscription in subscriptions:
            subscription.subscribe(new)
            subscription.unsubscribe(gone)
        states = {subscription.address: subscription.state for subscription in subscriptions}
        said = publications.answer(
            {address: state.asked for address, state in states.items()},
            {address: state.confirmed for address, state in states.items() if state.phase is SubscriptionPhase.UP},
        )
        for each in said:
            self._publish(each.key, each.counter)

    @property
    def wake_at(self) -> float:
        """When `sweep` has to be called next."""
        return min(self._outage.wake_at, self._subscriptions.wake_at)

    def sweep(self, now: float) -> None:
        self._subscriptions.sweep(now)
        if self._outage.tick(now):
            self.log.warn(
                "no publisher is connected, so that nothing published reaches the subscribers of this node, and their "
                "subscriptions are not confirmed: {why}",
                why=self._why_alone(),
            )

    def drain(self, text: str) -> None:
        """Do nothing: nobody has given it anything."""

    def close(self, linger: float) -> None:
        self._subscriptions.close()
        socket, self._socket = self._socket, None
        if socket is not None:
            socket.close(linger)

    def inspect(self, seen: Inspected, most: int, now: float) -> None:
        """See `IInspected`."""
        seen.address = self.address
        subscriptions = list(self._subscriptions)
        seen.connections = [
            ConnectionSeen(
                role="publisher",
                peer=each.address,
                phase=each.state.phase.value,
                silent=now - each.state.heard_at,
                trouble=each.state.trouble,
            )
            for each in seen.first("connections", subscriptions, most)
        ]
        filters, most_filters = len(list(self._publications.filters)), self._site.settings.max_filters
        seen.limits = [LimitSeen(option="max_filters", used=filters, most=most_filters)]

    # Which publishers there are

    def _wanted(self) -> list[str]:
        named = [address for address in self._named if address not in self._own]
        return [address for address in named or self._recorded if address not in self._own]

    def _follow(self) -> None:
        """Subscribe to the publishers that there are."""
        if self._socket is None:
            return
        self._subscriptions.want(self._wanted())
        for subscription in self._subscriptions.missing():
            self.log.info("subscribing to the publisher at {address}", address=subscription.address)
            subscription.subscribe(self._publications.filters)
            subscription.open()
        for subscription in self._subscriptions:
            self._leave_if_over(subscription)

    def _leave_if_over(self, subscription: Subscription) -> None:
        if self._subscriptions.is_over(subscription):
            self._leave(subscription)

    def _leave(self, subscription: Subscription) -> None:
        self.log.info("no longer subscribing to the publisher at {address}", address=subscription.address)
        self._subscriptions.drop(subscription)
        self._gone(subscription.address)

    def _gone(self, address: str) -> None:
        """Take that nothing is heard over a subscription any more."""
        self._changed = True
        self._publications.lost(address)
        self._up.discard(address)
        if not self._up:
            self._outage.begins(self._site.seconds())
            self._site.wake_by(self._outage.wake_at)

    def _why_alone(self) -> str:
        troubles = [f"{each.address}, {each.state.trouble or 'no answer yet'}" for each in self._subscriptions]
        return first_of(troubles, "; ", 3) or "the matchmaker knows none"

    # What subscriptions tell

    def published(self, subscription: Subscription, key: bytes, counter: bytes, payload: Any) -> int:
        try:
            heard = self._publications.heard(subscription.address, key, counter)
        except RemoteProtocolError as error:
            self.malformed(subscription, str(error))
            return 1
        if heard is Heard.FORWARD:
            self._publish(key, counter) if payload is None else self._publish(key, counter, payload)
        elif heard is Heard.COPY:
            text = (
                "what {peer} publishes has come over another subscription already: one publisher under two addresses, "
                "or local publishers that subscribe to one another; correct subscribe_on"
            )
            self._site.notices.count("published_twice", text, subscription.address)
        return 1

    def confirmed(self, subscription: Subscription) -> None:
        self._changed = True
        if subscription.address in self._up:
            return
        self._up.add(subscription.address)
        seconds = self._outage.ends(self._site.seconds())
        self.log.info(
            "the publisher at {address} is connected{after}",
            address=subscription.address,
            after="" if seconds is None else f", after {seconds:.1f} s without any",
        )

    def lost(self, subscription: Subscription, reason: str) -> None:
        address = subscription.address
        # That it cannot be connected to is said when it is the only one.
        text = "the publisher at {peer} was lost: {reason}" if address in self._up else None
        self._site.notices.count("publisher_lost", text, address, reason=reason)
        self._gone(address)
        self._leave_if_over(subscription)
        self._site.transport.kick()

    def malformed(self, subscription: Subscription, reason: str) -> None:
        text = "a message of the publisher at {peer} was dropped: {reason}"
        self._site.notices.count("malformed", text, subscription.address, reason=reason)

    # IPublisherReceiver

    def subscribed(self, filter: bytes, connection: Hashable) -> str:
        self._changed = True
        for subscription in self._subscriptions:
            if subscription.state.asks_by(filter):
                self._own.add(subscription.address)
                self.log.error("{address} leads to this local publisher itself", address=subscription.address)
                self._leave(subscription)
                self._follow()
                return ""
        return count_fault(self._site.notices, filter, self._publications.subscribed(filter, connection))

    def refused(self, peer: str, size: int, fault: str) -> None:
        count_refused(self._site.notices, peer, size, fault)

    def unsubscribed(self, filter: bytes) -> None:
        self._changed = True
        self._publications.unsubscribed(filter)

    def malformed_received(self, size: int) -> None:
        text = "a message of {size} bytes from a subscriber was dropped: it is no subscription"
        self._site.notices.count("malformed", text, size=size)

    def handshake_failed(self, peer: str, reason: str) -> None:
        count_stranger(self._site.notices, peer, reason)

    def _publish(self, *frames: Any) -> None:
        if self._socket is not None:
            self._socket.publish(*frames)


@implementer(IPlugin, IProxyFactory)
class _Factory:
    """Makes local publishers."""

    name = LOCAL_PUBLISHER

    def make(self, site: IProxySite) -> IProxy:
        for name in ROUTERS_ONLY:
            value = getattr(site.settings, name)
            if value is not None and value is not False:
                raise ConfigError(
                    f"option {name} is {FIELDS[name].write(value)}, and a local publisher has nothing of the kind: it "
                    "listens at proxy_publisher_port alone; take it away",
                    options=(name,),
                )
        return LocalPublisher(site)


factory = _Factory()
