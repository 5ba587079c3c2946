"""A router proxy that logs once a minute who has sent how much."""

from __future__ import annotations

from collections import Counter
from typing import Any

from twisted.logger import Logger
from twisted.plugin import IPlugin
from zope.interface import implementer

from zmqrpc.interfaces import IProxy, IProxyFactory, IProxySite
from zmqrpc.proxy.router import RouterProxy
from zmqrpc.record import Record, Sighting

INTERVAL = 60.0
"""Seconds between two lines in the log."""


@implementer(IProxy)
class MeteredProxy:
    """
    Does what a router proxy does, which it leaves to one.

    :ivar sent: bytes of each connection since the last line.
    """

    log = Logger()

    def __init__(self, site: IProxySite) -> None:
        self.sent: Counter[str] = Counter()
        self._site = site
        self._next = float("inf")
        self._router = RouterProxy(_Metered(site, self.sent))

    def open(self) -> None:
        self._router.open()
        self._next = self._site.seconds() + INTERVAL

    def records(self) -> tuple[Record, ...]:
        return self._router.records()

    def found(self, sightings: list[Sighting]) -> None:
        self._router.found(sightings)

    def end_pass(self) -> None:
        self._router.end_pass()

    @property
    def wake_at(self) -> float:
        return min(self._router.wake_at, self._next)

    def sweep(self, now: float) -> None:
        self._router.sweep(now)
        if now >= self._next:
            self._next = now + INTERVAL
            most = ", ".join(f"{peer} {size}" for peer, size in self.sent.most_common(10))
            self.log.info("bytes in the last minute: {most}", most=most or "none")
            self.sent.clear()

    def drain(self, text: str) -> None:
        self._router.drain(text)

    @property
    def drained(self) -> bool:
        return self._router.drained

    def close(self, linger: float) -> None:
        self._router.close(linger)


class _Metered:
    """A site, transport or receiver of which one thing is another."""

    def __init__(self, whole: Any, sent: Counter[str]) -> None:
        self._whole = whole
        self._sent = sent

    def __getattr__(self, name: str) -> Any:
        return getattr(self._whole, name)

    @property
    def transport(self) -> Any:
        return _Metered(self._whole.transport, self._sent)

    def bound_router(self, receiver: Any) -> Any:
        return self._whole.bound_router(_Metered(receiver, self._sent))

    def keyed_received(self, identity: bytes, key: bytes, payload: Any) -> int:
        self._sent[identity.hex()] += len(payload)
        return int(self._whole.keyed_received(identity, key, payload))


@implementer(IPlugin, IProxyFactory)
class MeteredFactory:
    """Makes the proxies of ``zmq-proxy --type metered``."""

    name = "metered"

    def make(self, site: IProxySite) -> MeteredProxy:
        return MeteredProxy(site)
