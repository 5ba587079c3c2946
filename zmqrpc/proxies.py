"""
The proxies of a node: those that its calls go through, and those that others reach its servers by.

They share the connecting socket with the links (`zmqrpc.links`), which hands on what is not its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.logger import Logger

from zmqrpc.callers import Callers
from zmqrpc.carrier import ProxyCarrier
from zmqrpc.core.agenda import NEVER
from zmqrpc.core.batch import Batch, decode_batch
from zmqrpc.core.envelope import Goaway, Nack, Refusal, Served
from zmqrpc.core.keys import SELF_KEY, instance_key, read_topic
from zmqrpc.core.roles import CLIENT, SERVER
from zmqrpc.core.ways import Through
from zmqrpc.errors import RemoteProtocolError
from zmqrpc.hints import tell
from zmqrpc.interfaces import GONE, IMatchmaker
from zmqrpc.links import Links
from zmqrpc.proxy_link import ProxyLink
from zmqrpc.proxy_set import ProxySet
from zmqrpc.proxy_watch import ProxyWatch
from zmqrpc.publishers import Publishers
from zmqrpc.publishing import Publishing
from zmqrpc.record import Sighting


class Proxies:
    """
    Every proxy that a node is connected to.

    :param calls: whether the node is known to call through router proxies, before it has a link that does.
    :param broker: returns the address of the broker of this host, None while there is none.
    :param jitter: gives a number from 0.5 to 1.
    :param kick: asks for a pass soon.
    :param wake_by: asks that `sweep` is called at a time.
    :ivar instance: our own instance.
    :ivar seconds: the monotonic clock.
    :ivar there: which proxies there are.
    :ivar carrier: what carries the links that go through router proxies.
    :ivar publishing: who has something published; None for nobody. Set before the start.
    :ivar publishers: who hears which proxies are recorded; None for nobody. Set before the start.
    """

    log = Logger()

    def __init__(
        self,
        calls: bool,
        matchmaker: IMatchmaker,
        links: Links,
        callers: Callers,
        broker: Callable[[], str | None],
        jitter: Callable[[], float],
        kick: Callable[[], None],
        wake_by: Callable[[float], None],
    ) -> None:
        self.instance = links.instance
        self._own_key = instance_key(links.instance)
        self.settings = links.settings
        self.notices = links.notices
        self.seconds = links.seconds
        self.wake_by = wake_by
        self.served: Callable[[], list[Served]] = callers.served
        self.carrier = ProxyCarrier(links, self)
        self.there = ProxySet(self, broker, jitter)
        self.publishing: Publishing | None = None
        self.publishers: Publishers | None = None
        self._calls = calls
        self._serves = False
        self._matchmaker = matchmaker
        self._links = links
        self._callers = callers
        self._kick = kick
        self._watch = ProxyWatch(matchmaker, self._found, self.seconds, jitter, wake_by)
        self._by_connection: dict[bytes, ProxyLink] = {}
        self._up: set[ProxyLink] = set()
        self._doubted: set[str] = set()
        self._news: list[tuple[ProxyLink, bytes, Batch, float]] = []
        self._losses: list[tuple[bytes, str]] = []
        self._unsettled = False
        self._started = self._closed = False

    # What the node does with it

    def start(self) -> None:
        """Find the proxies, when the node needs them."""
        self._started = True
        self._find()

    def needed(self) -> None:
        """Take that a link is to go through proxies: any strategy may want that, and says so with its first one."""
        if not self._calls:
            self._calls = True
            self._unsettle()
            if self._started:
                self._find()

    def _find(self) -> None:
        sends = self._calls or self.publishing is not None
        if sends and not self._closed:
            self.there.look_at = self.seconds()
            self.wake_by(self.there.look_at)
        if sends or self._serves:
            self._watch.start()

    def serve(self) -> None:
        """Take that the node serves; again, when it serves more than before."""
        now = self.seconds()
        for proxy in self.there.servers.values():
            if proxy.up:
                proxy.say_hello(now)
        if not self._serves:
            self._serves = True
            self._unsettle()
            if self._started:
                self._watch.start()

    def close(self) -> list[bytes]:
        """Say goodbye to all, the socket is closed next; return the connections that need not be waited for."""
        now = self.seconds()
        self._watch.close()
        deaf = [connection for connection, proxy in self._by_connection.items() if self._links.is_deaf(proxy.state)]
        for proxy in self.there.all():
            if proxy.connected:
                proxy.say(Goaway(), now)
            proxy.state.identity = None
        self._closed = True
        self.there.clear()
        self._by_connection.clear()
        self._news.clear()
        self._losses.clear()
        return deaf

    # Which proxies there are

    @property
    def serving(self) -> bool:
        """Whether any proxy is up that our clients come by."""
        return any(proxy.up for proxy in self.there.servers.values())

    def _found(self, sightings: list[Sighting]) -> None:
        if self._closed or not self.there.found([sighting.record for sighting in sightings]):
            return
        self._unsettle()
        if self.publishers is not None:
            self.publishers.found(sightings, self.seconds())
            self.wake_by(self.publishers.wake_at)

    @property
    def missing(self) -> str:
        """Why there is no way through a router proxy, as a clause."""
        return self.there.missing(self._watch.answered)

    # For links to proxies

    def behind(self, connection: bytes) -> ProxyLink | None:
        """Return the proxy at the other end of a connection, None when it has ended."""
        return self._by_connection.get(connection)

    def connect(self, proxy: ProxyLink) -> None:
        """Connect to a proxy."""
        self._links.connector.connect(proxy, self._by_connection)

    def write(self, connection: bytes, key: bytes, payload: bytes) -> int:
        """Write one message with its key; return `SENT`, `FULL` or `GONE`."""
        return GONE if self._closed else int(self._links.connector.router.send_keyed(connection, key, payload))

    def disconnect(self, connection: bytes) -> None:
        """Read what has come by a connection, and end it."""
        proxy = self._by_connection.get(connection)
        self._links.connector.disconnect(connection, self._by_connection)
        if proxy is not None and proxy.role == SERVER:
            self._callers.given_back.way_ended(connection)
        self._unsettle()

    def changed(self, proxy: ProxyLink) -> None:
        """Take that something may have changed about a proxy."""
        self.wake_by(proxy.state.wake_at)
        if proxy.up != (proxy in self._up):
            self._unsettle()

    def awaits(self, proxy: ProxyLink) -> bool:
        """Tell whether answers are to come through a proxy."""
        connection = proxy.connection
        return proxy.role == CLIENT and connection is not None and self.carrier.awaits(connection)

    def doubted(self, proxy: ProxyLink, reason: str) -> None:
        """Tell the matchmaker that a record does not lead to its proxy."""
        self._doubted.add(proxy.key)
        for record in proxy.known.records:
            tell(self._links.notices, self._matchmaker.neg_acknowledge, record, reason)

    # Others of Links

    def connection_lost(self, identity: bytes | None, reason: str) -> None:
        """Take that a connection has ended; what follows is done at the end of the pass."""
        if identity is not None and identity in self._by_connection:
            self._losses.append((identity, reason))
            self._kick()

    def malformed_received(self, identity: bytes, reason: str) -> None:
        """Hear of a message that was dropped whole."""
        proxy = self._by_connection.get(identity)
        peer = "nowhere" if proxy is None else proxy.address
        self.notices.count("malformed", "a message from {peer} was dropped: {reason}", peer, reason=reason)

    def keyed_received(self, identity: bytes, key: bytes, payload: Any) -> int:
        """Take what comes from a proxy: for a link, for a server, or for us ourselves."""
        proxy = self._by_connection.get(identity)
        if proxy is None:
            self.notices.count("stray")
            return 1
        now = self.seconds()
        liveness = proxy.liveness
        liveness.heard_at = now
        if liveness.mute:
            liveness.mute = False
            self.changed(proxy)
        if key != self._own_key and key != SELF_KEY:
            return self._published(proxy, identity, key, payload)
        try:
            batch = decode_batch(payload)
        except RemoteProtocolError as error:
            self.malformed_received(identity, str(error))
            return 1
        if key == SELF_KEY:
            if self.publishing is not None and proxy.role == CLIENT:
                # Now: each of these is an answer like those above, and they count in the order in which they come.
                for message in batch.messages:
                    if isinstance(message, Nack) and message.returned is not None:
                        self.publishing.returned(proxy, identity, message.returned, Refusal(message.reason))
            self._news.append((proxy, identity, batch, now))
            return len(batch.messages) or 1
        way = Through(identity, batch.source)
        receiver = self._links if proxy.role == CLIENT else self._callers
        return receiver.payload_received(way, payload, batch)

    def _published(self, proxy: ProxyLink, identity: bytes, key: bytes, payload: Any) -> int:
        """Take what is neither for a link, for a server nor for us: it is about something published, or astray."""
        if read_topic(key) is None:
            self.malformed_received(identity, "its routing key is for somebody else")
        elif self.publishing is None or proxy.role != CLIENT:
            self.malformed_received(identity, "it is about something published, and nothing was")
        else:
            self.publishing.published(proxy, identity, key, bytes(payload))
        return 1

    def late_received(self, way: Through, batch: Batch) -> bool:
        """Take what came by a way that no link has; tell whether it was of use."""
        return self.carrier.late_received(way, batch)

    # The end of a pass, and time

    def end_pass(self) -> None:
        """Take what proxies said of themselves, and their losses: in a pass no connection may be dropped."""
        while self._news or self._losses or self._unsettled:
            news, self._news = self._news, []
            for proxy, connection, batch, now in news:
                if proxy.connection == connection:
                    self._guarded(proxy, proxy.take, batch, now, self._given_back)
            losses, self._losses = self._losses, []
            now = self.seconds()
            for connection, reason in losses:
                lost = self._by_connection.get(connection)
                if lost is not None and lost.connection == connection:
                    self._guarded(lost, lost.perform, lost.state.lost(now, reason), now)
            if self._unsettled:
                self._unsettled = False
                self._settle(now)

    def _unsettle(self) -> None:
        self._unsettled = True
        self._kick()

    def _settle(self, now: float) -> None:
        """Do what follows when proxies come and go."""
        if self._closed:
            return
        before, self._up = self._up, {proxy for proxy in self.there.all() if proxy.up}
        self.there.arrange(self._calls, self._serves, now)
        for proxy in before - self._up:
            self._went(proxy)
        for proxy in self._up - before:
            self._came(proxy)
        self.carrier.rearrange(now)

    def _came(self, proxy: ProxyLink) -> None:
        self.log.info("connected to {proxy}", proxy=proxy.name)
        self.notices.record("proxy_up", "connected to {proxy}", proxy.address, proxy=proxy.name)
        if proxy.key in self._doubted:
            self._doubted.discard(proxy.key)
            for record in proxy.known.records:
                tell(self._links.notices, self._matchmaker.acknowledge, record)
        if proxy.role == CLIENT and proxy.publishes and self.publishing is not None:
            self.publishing.publisher_up(proxy)

    def _went(self, proxy: ProxyLink) -> None:
        self.log.info("{proxy} is used no more: {why}", proxy=proxy.name, why=proxy.why_not)
        text = "{proxy} is used no more: {why}"
        self.notices.record("proxy_down", text, proxy.address, proxy=proxy.name, why=proxy.why_not)
        if proxy.role == CLIENT and proxy.publishes and self.publishing is not None:
            self.publishing.publisher_lost(proxy)

    def _given_back(self, proxy: ProxyLink, nack: Nack) -> None:
        """Take a NACK with a payload of ours."""
        returned = nack.returned or b""
        try:
            batch = decode_batch(returned)
        except RemoteProtocolError as error:
            self.notices.count("malformed", "{peer} gives back what is not ours: {error}", proxy.address, error=error)
            return
        reason = Refusal(nack.reason)
        if proxy.role == SERVER:
            way = Through(proxy.connection or b"", batch.destination or b"")
            self._callers.given_back.returned(way, returned, reason)
        elif batch.destination is not None:
            self.carrier.returned(proxy, batch, reason, self.seconds())

    def _guarded(self, proxy: ProxyLink, act: Callable[..., None], *arguments: Any) -> None:
        """Do something with one proxy: whatever is wrong with it, the others have their turn."""
        try:
            act(*arguments)
        except Exception:
            self.log.failure("the link to the proxy {address} failed", address=proxy.address)

    @property
    def wake_at(self) -> float:
        """When `sweep` has to be called next."""
        times = (proxy.state.wake_at for proxy in self.there.all())
        own = (self._watch.wake_at, self.there.wake_at, self.carrier.wake_at)
        return min(*own, NEVER if self.publishers is None else self.publishers.wake_at, *times)

    def sweep(self, now: float) -> None:
        """Do what time asks for."""
        for proxy in self.there.all():
            if proxy.state.wake_at <= now:
                self._guarded(proxy, proxy.tick, now, self.awaits(proxy))
        self._watch.sweep(now)
        if self.publishers is not None:
            self.publishers.sweep(now)
        if self.there.has_gathered(now):
            self._unsettled = True
        if now >= self.there.look_at:
            self.there.look_for_broker(now)
            self.carrier.prefer(now)
        self.carrier.sweep(now)
        self.end_pass()
