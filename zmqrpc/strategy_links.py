"""The links of a node as its connection strategy sees them: by their keys."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from zope.interface import implementer

from zmqrpc.carrier import Carrier
from zmqrpc.core.link import LinkState, Phase
from zmqrpc.core.link_timers import through_proxies
from zmqrpc.interfaces import ILinks
from zmqrpc.link import Link
from zmqrpc.links import Links
from zmqrpc.record import Record


@implementer(ILinks)
class StrategyLinks:
    """
    The links of a node, for its strategy.

    :param links: the links.
    :param jitter: gives a number from 0.5 to 1.
    """

    def __init__(self, links: Links, jitter: Callable[[], float]) -> None:
        self._links = links
        self._jitter = jitter

    def open(self, key: str, record: Record, proxied: bool = False) -> Link:
        links = self._links
        link = links.get(key)
        address = record.addresses[0]
        if link is None:
            instance = bytes.fromhex(record.instance) if record.instance else None
            timers = links.timers
            carrier: Carrier = links.direct
            # Proxies go by instances: who is recorded without one, in a fixed table, is connected to directly.
            if proxied and instance is not None:
                timers, carrier = through_proxies(timers), links.carrier
                if links.proxies is not None:
                    links.proxies.needed()
            state = LinkState(instance, self._jitter, timers)
            link = Link(links, carrier, key, address, record.member, state)
            links.add(link)
        link.address = address
        link.state.found(links.seconds())
        # The routing table knows nothing of a link that nothing led to, or what one of the past has left there.
        links.user.availability_changed(link)
        return link

    def connect_now(self, key: str) -> bool:
        link = self._links.get(key)
        if link is None:
            return False
        now = self._links.seconds()
        link.perform(link.state.wanted(now), now)
        return link.state.phase is Phase.CONNECTING

    def release(self, key: str) -> None:
        link = self._links.get(key)
        if link is not None:
            link.release(self._links.seconds())

    def hold(self, key: str, held: bool) -> None:
        """
        Have a link stay connected while it alone shows that its instance lives, whatever the strategy does.

        :param held: whether that is so, or no more.
        """
        link = self._links.get(key)
        if link is None:
            return
        link.state.held = held
        if held:
            self.connect_now(key)
        else:
            # It may have been idle all the time.
            link.rested_at = 0
            self._links.at_rest(link)

    def look(self, key: str) -> None:
        """Have a link find out now whether its instance answers, since somebody else doubts that."""
        link = self._links.get(key)
        if link is not None:
            now = self._links.seconds()
            link.perform(link.state.look(now), now)

    def pass_on(self, key: str, others: Iterable[str]) -> bool:
        link = self._links.get(key)
        if link is None:
            return False
        others = list(others)
        known = map(self._links.get, others)
        up = [other for other in known if other is not None and other.state.phase is Phase.UP]
        for other in sorted(up, key=lambda other: other.state.up_since):
            for call in link.queue.waiting_for_any(other.key):
                # Without room it would be given to whoever has some, which may be the one where it waits. And what is
                # told to the caller of one may take another away.
                if call.link is link and other.has_room(call):
                    link.queue.remove(call)
                    self._links.user.passed_on([call], other)
        return any(link.queue.waiting_for_any(other) for other in others)

    def withdraw(self, key: str, reason: str) -> None:
        link = self._links.get(key)
        if link is not None:
            now = self._links.seconds()
            link.perform(link.state.withdrawn(now, reason), now)
