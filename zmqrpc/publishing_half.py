"""
The publishing half of a proxy: the **publisher** that a publisher proxy has beside its ROUTER.

What is published, with which counter and when it is repeated is decided in `zmqrpc.core.publications`.
"""

from __future__ import annotations

import os
from collections.abc import Hashable
from functools import partial
from typing import Any

from zope.interface import implementer

from zmqrpc.core.keys import describe
from zmqrpc.core.publications import Publications, Say
from zmqrpc.core.surplus import Fault
from zmqrpc.errors import ConfigError
from zmqrpc.interfaces import IProxySite, IPublisher, IPublisherReceiver
from zmqrpc.notices import Notices


@implementer(IPublisherReceiver)
class PublishingHalf:
    """
    The publisher of one proxy; nothing is opened before `open`.

    Its owner calls `end_pass` and `sweep` as an `IProxy` is called.

    :param site: what the proxy works with.
    :ivar address: what subscribers are told, ``tcp://host:port``; empty before it is open.
    """

    def __init__(self, site: IProxySite) -> None:
        self.address = ""
        self._site = site
        # Nothing depends on what these bytes are, so a simulation need not draw them from its seed.
        self._publications = Publications(
            site.instance, partial(os.urandom, 16), site.jitter, site.settings.max_filters
        )
        self._socket: IPublisher | None = None

    @property
    def filters(self) -> int:
        """How many topics are subscribed to, or were a moment ago."""
        return len(self._publications)

    def open(self) -> None:
        """
        Bind.

        :raises ConfigError: as `IProxySite.bind`.
        """
        self._socket = self._site.transport.publisher(self)
        try:
            self.address = self._site.bind(self._socket, self._site.settings.proxy_publisher_port or 0)
        except ConfigError:
            self.close(0)
            raise

    def publish(self, key: bytes, payload: Any) -> bytes | None:
        """
        Publish, now.

        :param key: a topic-key.
        :param payload: bytes, or what `IRouterReceiver.keyed_received` was given.
        :return: the counter frame that went with it, None when nobody subscribes and nothing was published.
        """
        if self._socket is None:
            return None
        counter = self._publications.publish(key, self._site.seconds())
        if counter is not None:
            self._socket.publish(key, counter, payload)
        return counter

    def end_pass(self) -> None:
        """Answer the subscriptions that have come."""
        self._say(self._publications.end_pass(self._site.seconds()))

    @property
    def wake_at(self) -> float:
        """When `sweep` has to be called next; infinity for never."""
        return self._publications.wake_at

    def sweep(self, now: float) -> None:
        """Repeat the counters of filters that are idle."""
        self._say(self._publications.tick(now))

    def close(self, linger: float) -> None:
        """Close at once; what was published is delivered in the background for up to `linger` seconds."""
        socket, self._socket = self._socket, None
        if socket is not None:
            socket.close(linger)

    # IPublisherReceiver

    def subscribed(self, filter: bytes, connection: Hashable) -> str:
        fault = self._publications.subscribed(filter, connection, self._site.seconds())
        self._site.wake_by(self.wake_at)
        return count_fault(self._site.notices, filter, fault)

    def refused(self, peer: str, size: int, fault: str) -> None:
        count_refused(self._site.notices, peer, size, fault)

    def unsubscribed(self, filter: bytes) -> None:
        self._publications.unsubscribed(filter, self._site.seconds())
        self._site.wake_by(self.wake_at)

    def malformed_received(self, size: int) -> None:
        text = "a message of {size} bytes from a subscriber was dropped: it is no subscription"
        self._site.notices.count("malformed", text, size=size)

    def handshake_failed(self, peer: str, reason: str) -> None:
        count_stranger(self._site.notices, peer, reason)

    def _say(self, said: list[Say]) -> None:
        if self._socket is not None:
            for each in said:
                self._socket.publish(each.key, each.counter)


def count_fault(notices: Notices, filter: bytes, fault: Fault | None) -> str:
    """Return what `IPublisherReceiver.subscribed` does; count a subscription whose connection is let be."""
    if fault is None:
        return ""
    if fault.ends:
        return fault.text
    text = "a subscription to {filter} was refused: it {fault}"
    notices.count("subscription_refused", text, filter=describe(filter), fault=fault.text)
    return ""


def count_refused(notices: Notices, peer: str, size: int, fault: str) -> None:
    """Count a subscription that was refused, and its connection ended."""
    text = "a subscription of {peer} was refused and its connection ended: its filter of {size} bytes {fault}"
    notices.count("subscription_refused", text, peer or "an unknown address", size=size, fault=fault)


def count_stranger(notices: Notices, peer: str, reason: str) -> None:
    """Count a connection that came to nothing."""
    text = "a connection from {peer} was dropped: {reason}"
    notices.count("handshake_failed", text, peer or "an unknown address", reason=reason)
