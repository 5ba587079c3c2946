"""The one place that puts the parts of a Node together: what each is given, and who knows whom."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from zmqrpc.broker import HostBroker
from zmqrpc.callers import Callers
from zmqrpc.client import RPCClient
from zmqrpc.connections import make_strategy
from zmqrpc.core.balance import BalancedRoute
from zmqrpc.core.plan import ROUTED, DeliveryPlan
from zmqrpc.core.quarantine import Quarantine
from zmqrpc.core.route import Route
from zmqrpc.core.routing import RoutingTable
from zmqrpc.core.topic import Topic
from zmqrpc.delivery import Delivery
from zmqrpc.discovery import Discovery
from zmqrpc.hedging import Hedging, HedgingClient
from zmqrpc.hints import Hints
from zmqrpc.links import Links
from zmqrpc.proxies import Proxies
from zmqrpc.publishers import Publishers
from zmqrpc.publishing import Publishing
from zmqrpc.settings import ROUND_ROBIN
from zmqrpc.site import Site
from zmqrpc.strategy_links import StrategyLinks
from zmqrpc.subscriptions import Subscriptions
from zmqrpc.sweep import Swept
from zmqrpc.tables import Tables
from zmqrpc.threads import Threads
from zmqrpc.watches import Watches


class Parts:
    """
    The parts of one Node: all of them but what its user makes of it.

    :param site: what the node stands on; its sweep gets the parts.
    :param plan: which strategy serves which kind.
    :ivar publishing: publishes fan-outs; None where none are published, as is `subscriptions`.
    :ivar subscriptions: takes those that are published.
    """

    def __init__(self, site: Site, plan: DeliveryPlan) -> None:
        instance, settings, notices = site.instance, site.settings, site.notices
        seconds, jitter, wake_by = site.seconds, site.jitter, site.wake_by
        matchmaker, transport, chance = site.matchmaker, site.transport, site.chance

        # What goes out, and who is where.
        table = RoutingTable(
            lambda: chance.randrange(2**16), settings.max_routes, settings.route_ttl, self._route_maker(site)
        )
        quarantine = Quarantine(settings.quarantine_time, settings.quarantine_time_max, jitter)
        self.watches = Watches(seconds, wake_by)
        self.delivery = Delivery(instance, settings, table, self.watches, seconds, jitter, wake_by, notices.record)
        self.links = Links(instance, settings, transport, self.delivery, notices, seconds, wake_by)
        strategy_links = StrategyLinks(self.links, jitter)
        self.hints = Hints(matchmaker, table, quarantine, strategy_links.look, notices, seconds, wake_by)
        strategy = make_strategy(plan.calls, strategy_links, settings, seconds, wake_by)
        self.links.wire(strategy)
        self.discovery = Discovery(
            matchmaker,
            self.hints,
            table,
            strategy,
            strategy_links.hold,
            self.delivery.answered,
            self.delivery.in_use,
            seconds,
            jitter,
            wake_by,
            notices.record,
        )
        self.delivery.wire(self.links, self.discovery)

        # What comes in.
        self.callers = Callers(instance, settings, notices, seconds, transport.kick, wake_by)
        # Simulated time cannot be blocked: methods run in place there.
        call_from_thread = None if site.simulated else site.reactor.callFromThread
        self.threads = Threads(call_from_thread, settings.rpc_thread_pool_size)

        # What a simulated host has at its paths is no business of this machine's files.
        broker: Callable[[], str | None] = (
            (lambda: None) if site.simulated else HostBroker(settings.rpc_zmq_ipc_dir, notices).address
        )
        routed = ROUTED in (plan.calls, plan.fanouts)
        self.proxies = Proxies(routed, matchmaker, self.links, self.callers, broker, jitter, transport.kick, wake_by)
        self.links.carrier, self.links.proxies = self.proxies.carrier, self.proxies
        self.callers.wire(self.proxies.carrier, site.inspection.answer)
        self.publishing: Publishing | None = None
        self.subscriptions: Subscriptions | None = None
        swept: list[Swept] = [self.links, self.delivery, self.callers, *site.swept(), self.discovery]
        swept += [self.hints, self.watches, self.proxies, strategy]
        self._hedging = Hedging(self.delivery, wake_by) if settings.hedge_calls else None
        if self._hedging is not None:
            swept.append(self._hedging)
        if plan.subscribes:
            swept += self._publish_and_subscribe(site)
        site.sweep.parts = swept
        self.tables = Tables(
            settings,
            self.delivery,
            self.links,
            self.callers,
            self.threads,
            self.proxies,
            self.publishing,
            self.subscriptions,
            site.inspection.away,
        )

    def client(self) -> RPCClient:
        """Make a client."""
        if self._hedging is None:
            return RPCClient(self.delivery, self.hints)
        return HedgingClient(self.delivery, self.hints, self._hedging)

    def _route_maker(self, site: Site) -> Callable[[Any, Topic, int], Route]:
        """Return what makes a route: chosen once, so that no call pays for the choice."""
        if site.settings.balance == ROUND_ROBIN:
            return Route

        def peer(key: str) -> Any:
            # The links are made later.
            return self.links.get(key)

        return lambda target, topic, first_turn: BalancedRoute(target, topic, first_turn, site.chance.random, peer)

    def _publish_and_subscribe(self, site: Site) -> list[Swept]:
        """Make what publishes fan-outs, and what takes those that are published."""
        settings, notices, transport, seconds = site.settings, site.notices, site.transport, site.seconds
        self.subscriptions = Subscriptions(
            settings,
            transport,
            self.callers.requests,
            notices,
            lambda: site.chance.randbytes(16),
            site.jitter,
            seconds,
            site.wake_by,
        )
        publishers = Publishers(self.subscriptions.found)
        self.publishing = self.delivery.publishing = Publishing(
            site.instance,
            settings,
            self.delivery.outcomes,
            notices,
            publishers,
            seconds,
            transport.kick,
            site.wake_by,
            self.delivery.look_again,
        )
        self.proxies.publishing = self.publishing
        self.proxies.publishers = publishers
        return [self.publishing, self.subscriptions]
