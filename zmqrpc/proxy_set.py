"""Which proxies a node is connected to: those that are recorded, those that are up, and the broker of its host."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from zmqrpc.core.agenda import NEVER
from zmqrpc.core.envelope import Goaway
from zmqrpc.core.known_proxies import KnownProxy, known_proxies
from zmqrpc.core.link import LinkState, Phase
from zmqrpc.core.link_timers import LinkTimers
from zmqrpc.core.roles import CLIENT, SERVER
from zmqrpc.proxy_link import ProxyLink
from zmqrpc.record import Record
from zmqrpc.spelling import first_of

if TYPE_CHECKING:
    from zmqrpc.proxies import Proxies

LOOK_SECONDS = 1.0
"""Seconds between two looks for the broker of this host."""

_TIMERS = LinkTimers(longest_backoff=0.5)
"""A proxy that comes back is to be found by clients and servers at about the same time: they hardly back off."""

_GATHER_SECONDS = 0.2
"""Seconds that the first proxies are waited for together: the one that is the first to answer would carry all links."""


class ProxySet:
    """
    The links to every side of every proxy.

    :param owner: the proxies of the node.
    :param broker: returns the address of the broker of this host, None while there is none.
    :param jitter: gives a number from 0.5 to 1.
    :ivar clients: those to proxies that we are a client of, by their keys.
    :ivar servers: those to proxies that others reach our servers by.
    :ivar look_at: when `look_for_broker` has to be called next.
    """

    def __init__(self, owner: Proxies, broker: Callable[[], str | None], jitter: Callable[[], float]) -> None:
        self.clients: dict[str, ProxyLink] = {}
        self.servers: dict[str, ProxyLink] = {}
        self.look_at = NEVER
        self._owner = owner
        self._broker = broker
        self._jitter = jitter
        self._records: list[Record] | None = None
        self._known: dict[str, KnownProxy] = {}
        self._broker_key = ""
        self._gather_until = NEVER

    # What there is

    def tiers(self) -> tuple[list[str], list[str], list[str]]:
        """List the router proxies that clients may use: those preferred, the others that are up, those that stop."""
        routers = [proxy for proxy in self.clients.values() if proxy.routes]
        return (
            [proxy.key for proxy in routers if proxy.up and proxy.preferred],
            [proxy.key for proxy in routers if proxy.up],
            [proxy.key for proxy in routers],
        )

    @property
    def gathering(self) -> bool:
        """Whether links shall wait, since more of the first proxies may be up in a moment."""
        if not self._owner.seconds() < self._gather_until < NEVER:
            return False
        # One that is preferred is not waited for: links move there when it is up.
        others = (proxy for proxy in self.clients.values() if not proxy.preferred)
        return any(proxy.state.phase is Phase.CONNECTING and not proxy.state.fails for proxy in others)

    def describe(self) -> dict[str, bytes | None]:
        """Return the proxies that we are a client of: the connection of each by its key, None for none."""
        return {key: proxy.connection for key, proxy in self.clients.items()}

    def client(self, key: str | None) -> ProxyLink | None:
        """Return the proxy with a key that we are a client of, None when there is none."""
        return None if key is None else self.clients.get(key)

    def missing(self, answered: bool) -> str:
        """
        Say why there is no way through a router proxy, as a clause.

        :param answered: whether the matchmaker ever has.
        """
        routers = [proxy for proxy in self.clients.values() if proxy.known.backend is not None or proxy.preferred]
        if any(self.tiers()):
            return ""
        if not routers and not answered:
            return "the matchmaker has not said yet which router proxies there are, look after it"
        if not routers:
            return "no router proxy is recorded in the matchmaker, start one (zmq-proxy)"
        states = first_of([proxy.describe() for proxy in routers], "; ")
        return f"no router proxy is up, look after them: {states}"

    def all(self) -> list[ProxyLink]:
        """List the links to every side of every proxy."""
        return [*self.clients.values(), *self.servers.values()]

    # What there is to be

    @property
    def wake_at(self) -> float:
        """When it has to be looked after next."""
        return min(self.look_at, self._gather_until)

    def has_gathered(self, now: float) -> bool:
        """Tell, once, whether the first proxies are not waited for any more."""
        if now < self._gather_until:
            return False
        self._gather_until = NEVER
        return True

    def found(self, records: list[Record]) -> bool:
        """Take all that are recorded; tell whether these are others than before."""
        if records == self._records:
            return False
        self._records = records
        self._known = known_proxies(records)
        return True

    def clear(self) -> None:
        """Forget them all, and look for none."""
        self.look_at = self._gather_until = NEVER
        self.clients.clear()
        self.servers.clear()

    def arrange(self, calls: bool, serves: bool, now: float) -> None:
        """
        Have a link to each proxy that is recorded, and none to others but those that are up.

        :param calls: whether the node calls through router proxies.
        :param serves: whether it serves.
        """
        broker = self.clients.get(self._broker_key)
        # The same proxy as one that is recorded under its instance: a client has one link to it. Also while it is mute:
        # when it goes on, a second connection would take what comes for us from the first.
        same = broker.state.instance.hex() if broker is not None and broker.connected and broker.state.instance else ""
        routers = {key: known for key, known in self._known.items() if known.backend is not None}
        clients = dict(routers) if calls else {}
        if self._owner.publishing is not None:
            clients.update({key: known for key, known in self._known.items() if known.publishes})
        clients.pop(same, None)
        servers = routers if serves else {}
        for role, wanted, links in ((CLIENT, clients, self.clients), (SERVER, servers, self.servers)):
            for key, proxy in list(links.items()):
                proxy.recorded = key in wanted or key == self._broker_key
                # Whoever is connected is there, whatever the store says; who stops has taken its record back.
                if not proxy.recorded and (not proxy.connected or (role == CLIENT and key == same)):
                    self._part(proxy, now)
            for key, known in wanted.items():
                if key in links:
                    links[key].known = known
                else:
                    address = known.frontend if role == CLIENT else known.backend or known.frontend
                    self._open(links, ProxyLink(self._owner, known, role, address, self._state(known.instance)), now)

    def _state(self, instance: bytes | None) -> LinkState:
        return LinkState(instance, self._jitter, _TIMERS)

    def _open(self, links: dict[str, ProxyLink], proxy: ProxyLink, now: float) -> None:
        links[proxy.key] = proxy
        if self._gather_until == NEVER and not any(self.tiers()):
            self._gather_until = now + _GATHER_SECONDS
            self._owner.wake_by(self._gather_until)
        proxy.perform(proxy.state.wanted(now), now)

    def _part(self, proxy: ProxyLink, now: float) -> None:
        """Give up the link to a proxy."""
        links = self.clients if proxy.role == CLIENT else self.servers
        del links[proxy.key]
        if proxy.connection is not None:
            # Also before its WELCOME: our HELLO may be there, and make this the connection that is written to.
            proxy.say(Goaway(), now)
        proxy.perform(proxy.state.withdrawn(now, "its record is gone"), now)
        if proxy.connection is not None:
            self._owner.disconnect(proxy.connection)
            proxy.state.identity = None

    def look_for_broker(self, now: float) -> None:
        """Connect to the broker of this host while it is there; when it fails, look for it again."""
        self.look_at = now + LOOK_SECONDS * self._jitter()
        broker = self.clients.get(self._broker_key)
        address = self._broker()
        if broker is not None and (address != broker.address or broker.state.fails):
            self._part(broker, now)
            broker = None
        if broker is None and address is not None:
            self._broker_key = address
            known = KnownProxy(address, self._owner.settings.host, address, None, False)
            self._open(self.clients, ProxyLink(self._owner, known, CLIENT, address, self._state(None), True), now)
