"""What carries links: a connection for each, or router proxies; then, which each takes and what comes back from it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from zmqrpc.core.agenda import NEVER
from zmqrpc.core.batch import Batch
from zmqrpc.core.call import Stage
from zmqrpc.core.envelope import WIRE_VERSION, Ack, Hello, Nack, Refusal, Reply
from zmqrpc.core.keys import instance_key
from zmqrpc.core.link import Phase
from zmqrpc.core.ways import Search, Through
from zmqrpc.interfaces import GONE
from zmqrpc.link import Link
from zmqrpc.proxy_link import ProxyLink
from zmqrpc.waiter import Waiter

if TYPE_CHECKING:
    from zmqrpc.links import Links
    from zmqrpc.proxies import Proxies


PREFER_SECONDS = 5.0
"""Seconds between two tries of links that go another way to go through the broker of this host."""

_WHY = {
    Refusal.OVERLOADED: "has no room on its way to it",
    Refusal.TOO_LARGE: "was told by it that it takes none as large",
}


class Carrier(Protocol):
    """What carries a link to its instance: a connection of its own, or router proxies."""

    def connect(self, link: Link) -> None:
        """Find a way; `LinkState.connected` or `LinkState.postponed` is told."""

    @property
    def send(self) -> Callable[[Any, bytes], int]:
        """What writes one payload to an identity, and returns `SENT`, `FULL` or `GONE`."""

    def drop(self, identity: Any) -> None:
        """Read what has arrived, and give the way up."""

    def largest(self, identity: Any) -> int:
        """Return the largest payload that gets through, in bytes."""

    def proxy(self, link: Link) -> str | None:
        """Name the proxy that a link goes through, or went through last, and its address; None for none."""

    @property
    def missing(self) -> str:
        """Why there is no way to anybody, as a clause; empty when there are ways, or nobody can tell."""


class DirectCarrier:
    """
    The `Carrier` of links that have a connection of their own.

    :param links: the links of the node.
    """

    missing = ""

    def __init__(self, links: Links) -> None:
        self._links = links
        self._connector = links.connector

    def connect(self, link: Link) -> None:
        self._connector.connect(link, self._links.by_identity)

    @property
    def send(self) -> Callable[[Any, bytes], int]:
        return self._connector.send

    def drop(self, identity: Any) -> None:
        self._connector.disconnect(identity, self._links.by_identity)

    def largest(self, identity: Any) -> int:
        return self._links.settings.max_message_size

    def proxy(self, link: Link) -> str | None:
        return None


class ProxyCarrier:
    """
    The `Carrier` of links through router proxies.

    A link takes one proxy and keeps it while it lives. When that is lost, silent or stops, the link goes on through
    another at once.

    :param links: the links of the node.
    :param proxies: its proxies.
    """

    def __init__(self, links: Links, proxies: Proxies) -> None:
        self._links = links
        self._proxies = proxies
        self._searching: dict[str, Link] = {}
        self._prefer_at = 0.0

    # Carrier

    def connect(self, link: Link) -> None:
        now = self._links.seconds()
        link.search = Search.begun(link.attempt, now)
        if self._proxies.there.gathering:
            link.state.postponed("the first proxies are being connected to")
        else:
            self._ask_next(link, link.search, now)

    @property
    def send(self) -> Callable[[Any, bytes], int]:
        return self._send

    def _send(self, way: Through, payload: bytes) -> int:
        proxy = self._proxies.behind(way.connection)
        return GONE if proxy is None else proxy.send(instance_key(way.instance), payload)

    def drop(self, way: Through) -> None:
        self._links.connector.read()
        self._links.by_identity.pop(way, None)

    def largest(self, way: Through) -> int:
        proxy = self._proxies.behind(way.connection)
        return self._links.settings.max_message_size if proxy is None else proxy.largest

    def proxy(self, link: Link) -> str | None:
        proxy = self._proxies.there.client(link.search.chosen) if link.search is not None else None
        return f"{proxy.member} at {proxy.address}" if proxy is not None else None

    @property
    def missing(self) -> str:
        return self._proxies.missing

    @property
    def reachable(self) -> bool:
        """Whether clients behind proxies can reach us, by any of these."""
        return self._proxies.serving

    # Which proxy

    def _ask_next(self, link: Link, search: Search, now: float) -> None:
        """Say HELLO through the next proxy that may know the instance of a link."""
        before, instance = link.state.identity, link.instance
        assert instance is not None
        key = search.next(self._links.instance, instance, self._proxies.there.tiers(), now)
        proxy = self._proxies.there.client(key)
        if proxy is not None and proxy.connection is not None:
            way = Through(proxy.connection, instance)
            if before is not None:
                self._links.by_identity.pop(before, None)
            self._links.by_identity[way] = link
            link.perform(link.state.connected(now, way), now)
        elif not (search.refused or search.silent):
            link.state.postponed(self.missing)
            self._links.wake_by(link, link.state.wake_at)
        elif not search.silent and search.again_at == NEVER:
            self._links.connection_lost(before, f"no router proxy is connected to it, {len(search.refused)} are up")
        if search.again_at < NEVER:
            if search.asked is None and _opens(link):
                # It may be a moment, or for good: who can go elsewhere does not wait for that.
                link.give_way()
            self._searching[link.key] = link
            self._proxies.wake_by(search.again_at)

    @property
    def wake_at(self) -> float:
        """When `sweep` has to be called next."""
        searches = (link.search for link in self._searching.values())
        return min((search.again_at for search in searches if search is not None), default=NEVER)

    def sweep(self, now: float) -> None:
        """Ask on where a proxy has not answered, or none knew an instance."""
        for link in list(self._searching.values()):
            search = link.search
            if search is None or search.again_at > now:
                continue
            del self._searching[link.key]
            # One that takes long to answer is asked once more by the link itself, for the age of messages.
            answers = search.asked is not None and link.liveness.heard_at >= search.asked_at
            if _opens(link) and search.attempt == link.attempt and not answers:
                search.go_on()
                self._ask_next(link, search, now)

    def prefer(self, now: float) -> None:
        """Let the links that have nothing under way try a proxy that is preferred, which did not know all instances."""
        preferred, _, _ = self._proxies.there.tiers()
        if preferred and now >= self._prefer_at:
            self._prefer_at = now + PREFER_SECONDS
            for link in self._links.all():
                way = link.state.identity
                proxy = self._proxies.behind(way.connection) if isinstance(way, Through) else None
                if proxy is not None and proxy.key not in preferred and not link.pending:
                    self._move(link, "another router proxy is preferred", now)

    def rearrange(self, now: float) -> None:
        """Move every link whose proxy is of no use any more, or less than another; go on with those that wait."""
        preferred, others, stopping = self._proxies.there.tiers()
        any_up = bool(stopping) and not self._proxies.there.gathering
        for link in self._links.all():
            way = link.state.identity
            if isinstance(way, Through):
                proxy = self._proxies.behind(way.connection)
                if proxy is None:
                    self._move(link, "the router proxy that it went through is gone", now)
                elif proxy.key not in (preferred or others or stopping) and (others or _opens(link)):
                    # A link that is open may as well wait there when there is no other.
                    self._move(link, f"the router proxy that it went through is left: {proxy.describe()}", now)
            elif way is None and link.carrier is self and _opens(link) and any_up:
                self.connect(link)

    def _move(self, link: Link, reason: str, now: float) -> None:
        self._links.guarded(link, link.perform, link.state.moved(now, reason), now)

    # What is asked about it, and what comes back

    def awaits(self, connection: bytes) -> bool:
        """Tell whether answers are to come by a connection."""
        return any(
            isinstance(way, Through) and way.connection == connection and len(link.pending) > 0
            for way, link in self._links.by_identity.items()
        )

    def late_received(self, way: Through, batch: Batch) -> bool:
        """
        Take answers that come by a way that their link has left.

        Its proxy stops perhaps, and is connected yet; by the time its instance is asked again it may have ended.

        :return: whether there is such a link.
        """
        links = self._links
        link = links.get(way.instance.hex())
        ours = (WIRE_VERSION, way.instance, links.instance)
        if link is None or (batch.version, batch.source, batch.destination) != ours:
            return False
        links.gathering = True
        calls: list[Waiter] = []
        results: list[Any] = []
        rest: list[Any] = []
        link.pending.take_results(batch.messages, calls, results, rest)
        for call, result in zip(calls, results, strict=True):
            call.succeed(result)
        now = links.seconds()
        for message in rest:
            if _answers(message):
                links.answers.take(link, message, way, now)
        links.kick()
        return True

    def kept_back(self, proxy: ProxyLink) -> None:
        """Take that a proxy has not forwarded something that is too large: it may be any call that nobody has seen."""
        for way, link in self._links.by_identity.items():
            if isinstance(way, Through) and way.connection == proxy.connection:
                for call in link.pending.outstanding():
                    if call.stage is Stage.SENT:
                        call.trouble = f"the proxy {proxy.member} refused a message as too large, perhaps this one"

    def returned(self, proxy: ProxyLink, batch: Batch, reason: Refusal, now: float) -> None:
        """Take a batch that a proxy gave back."""
        way = Through(proxy.connection or b"", batch.destination or b"")
        link = self._links.by_identity.get(way)
        if link is None or link.state.identity != way:
            # The link has left this proxy, and repeated what was not answered.
            self._links.notices.count("returned_late")
            return
        search = link.search
        if _opens(link) and search is not None:
            if any(type(message) is Hello for message in batch.messages):
                search.refused.add(proxy.key)
                self._ask_next(link, search, now)
            return
        why = _WHY.get(reason, "is not connected to it")
        self._links.answers.returned(
            link, batch, reason, f"the router proxy {proxy.member} at {proxy.address} {why}", now
        )


def _opens(link: Link) -> bool:
    return link.state.phase is Phase.CONNECTING


def _answers(message: Any) -> bool:
    """Tell whether a message is about calls alone, and nothing it says about the link it came by."""
    kind = type(message)
    return kind is Reply or kind is Ack or (kind is Nack and message.reason != Refusal.WRONG_INSTANCE)
