"""Publishers, local publishers and subscribers for tests: each a process of its own, in memory or over real sockets."""

from __future__ import annotations

from random import Random
from typing import Any

from zope.interface import implementer

from zmqrpc.core.keys import topic_key
from zmqrpc.core.subscription import SubscriptionState
from zmqrpc.interfaces import IProxySite, ITransport
from zmqrpc.notices import Notices
from zmqrpc.proxy.local_publisher import LocalPublisher
from zmqrpc.publishing_half import PublishingHalf
from zmqrpc.record import PROXIES, Record, Role, Sighting
from zmqrpc.settings import Settings
from zmqrpc.subscription import Subscription
from zmqrpc.sweep import Sweep
from zmqrpc.test.core.tally import Tally
from zmqrpc.testing import Network
from zmqrpc.testing.clock import ProcessClock

KEY, OTHER_KEY = topic_key("openstack", "compute"), topic_key("openstack", "compute_agent")


@implementer(IProxySite)
class Ground:
    """What a process of these tests stands on."""

    owner = None
    not_ready = ""

    def __init__(
        self, clock: Any, transport: ITransport, host: str, chance: Random, seconds: Any, **options: Any
    ) -> None:
        self.clock = clock
        self.transport = transport
        self.host = host
        self.settings = Settings(rpc_zmq_host=host, **options)
        self.instance = chance.randbytes(16)
        self.seconds = seconds
        self.notices = Notices(seconds)
        self.sweep = Sweep(clock, seconds)
        self.wake_by = self.sweep.wake_by
        self.part: Any = None
        self._chance = chance

    def jitter(self) -> float:
        return self._chance.uniform(0.5, 1)

    def bind(self, socket: Any, port: int) -> str:
        ports = [port] if port else self._chance.sample(range(49153, 65536), 100)
        bound = socket.bind(getattr(self, "interface", "127.0.0.1"), ports)
        return f"tcp://{self.host}:{bound.rpartition(':')[2]}"

    def inspect(self, events: int, most_bytes: float) -> dict[str, Any]:
        return {}

    def server_came(self, topics: Any) -> None:
        """Do nothing."""

    def run(self, part: Any) -> None:
        """Open the one part of this process."""
        self.part = part
        self.sweep.parts = (part,)
        self.transport.open(self._pass_ended)
        part.open()
        self.wake_by(part.wake_at)

    def _pass_ended(self) -> None:
        self.part.end_pass()
        if self.seconds() >= self.sweep.at:
            self.sweep.run()

    def stop(self, linger: float = 0) -> Any:
        """End in good order; return a Deferred."""
        self.sweep.stop()
        self.part.close(linger)
        return self.transport.close(linger)

    def kill(self) -> None:
        """End as by SIGKILL; in memory only."""
        self.clock.stop()
        transport: Any = self.transport
        transport.kill()


def ground(network: Network, host: str, **options: Any) -> Ground:
    """Make the ground of a process in a network in memory."""
    clock = ProcessClock(network.clock)
    site = Ground(
        clock, network.transport(host, clock), host, Random(network.chance.getrandbits(64)), clock.seconds, **options
    )
    site.interface = network.add_host(host)  # type: ignore[attr-defined]
    return site


def central(network: Network, host: str, port: int = 50003, **options: Any) -> tuple[Ground, PublishingHalf]:
    """Start a publisher."""
    site = ground(network, host, proxy_publisher_port=port, **options)
    publisher = PublishingHalf(site)
    site.run(publisher)
    return site, publisher


def local(network: Network, host: str, port: int = 60001, **options: Any) -> tuple[Ground, LocalPublisher]:
    """Start a local publisher."""
    site = ground(network, host, proxy_publisher_port=port, use_pub_sub=True, **options)
    publisher = LocalPublisher(site)
    site.run(publisher)
    return site, publisher


def sighting(site: Ground, address: str, role: Role = Role.PUBLISHER) -> Sighting:
    """Make what the matchmaker tells of a publisher."""
    return Sighting(Record(role, *PROXIES, site.host, site.instance.hex(), ("tcp://nowhere:1", address)))


class Listening:
    """
    A process that subscribes to one publisher.

    :ivar messages: key and payload of what was published.
    :ivar tally: what it counts.
    :ivar confirmations: how often it was told that everything is in place.
    :ivar losses: why connections were lost.
    """

    def __init__(self, site: Ground, address: str, *filters: bytes) -> None:
        self.site = site
        self.messages: list[tuple[bytes, bytes]] = []
        self.tally = Tally()
        self.confirmations = 0
        self.losses: list[str] = []
        self.malformed_reasons: list[str] = []
        state = SubscriptionState(lambda: site._chance.randbytes(16), site.jitter)
        self.subscription = Subscription(address, state, self, site.transport, site.seconds, site.wake_by)
        self.subscription.subscribe(filters)
        site.run(self)

    # What its ground calls.

    def open(self) -> None:
        self.subscription.open()

    def end_pass(self) -> None:
        pass

    @property
    def wake_at(self) -> float:
        return self.subscription.wake_at

    def sweep(self, now: float) -> None:
        self.subscription.sweep(now)

    def close(self, linger: float) -> None:
        self.subscription.close()

    # What its subscription tells.

    def published(self, subscription: Subscription, key: bytes, counter: bytes, payload: Any) -> int:
        self.tally.take(key, counter, payload is None)
        if payload is not None:
            self.messages.append((key, bytes(payload)))
        return 1

    def confirmed(self, subscription: Subscription) -> None:
        self.confirmations += 1

    def lost(self, subscription: Subscription, reason: str) -> None:
        self.losses.append(reason)

    def malformed(self, subscription: Subscription, reason: str) -> None:
        self.malformed_reasons.append(reason)


def listen(network: Network, host: str, address: str, *filters: bytes) -> Listening:
    """Start a process that subscribes."""
    return Listening(ground(network, host), address, *(filters or (KEY,)))
