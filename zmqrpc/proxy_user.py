"""Who hears of proxies: of those that publish, and of which are recorded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from zmqrpc.core.envelope import Refusal
from zmqrpc.record import Sighting

if TYPE_CHECKING:
    from zmqrpc.proxy_link import ProxyLink


class Publishing(Protocol):
    """Who has something published by proxies (`zmqrpc.publishing`)."""

    def publisher_up(self, proxy: ProxyLink) -> None:
        """A proxy that publishes can be used."""

    def publisher_lost(self, proxy: ProxyLink, reason: str) -> None:
        """A proxy cannot be used any more."""

    def published(self, proxy: ProxyLink, connection: bytes, key: bytes, counter: bytes) -> None:
        """A proxy has published what it was given next under a key, by this connection to it, which may be lost."""

    def returned(self, proxy: ProxyLink, connection: bytes, payload: bytes, reason: Refusal) -> None:
        """A proxy gave back a payload by this connection; it may be none that was to be published."""


class Subscriptions(Protocol):
    """Who subscribes to publishers (`zmqrpc.subscriptions`)."""

    def found(self, sightings: list[Sighting]) -> None:
        """Hear which proxies are recorded, after each change."""
