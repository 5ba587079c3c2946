"""A Node: what its user makes of it, and how it starts and stops; `zmqrpc.parts` puts it together."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from time import time
from typing import Any
from uuid import UUID

from twisted.application.service import Service
from twisted.internet.defer import Deferred, fail
from twisted.internet.task import deferLater
from twisted.logger import Logger

from zmqrpc import forks
from zmqrpc.checks import plain_target
from zmqrpc.client import RPCClient
from zmqrpc.connections import check_strategy
from zmqrpc.core.inspected import Inspected
from zmqrpc.core.plan import check_matchmaker, plan_of
from zmqrpc.errors import ConfigError
from zmqrpc.inspection import EVENTS
from zmqrpc.interfaces import IBoundRouter, IMatchmaker, ITransport
from zmqrpc.life import Life
from zmqrpc.listener import Listener
from zmqrpc.notifier import Notifier
from zmqrpc.offers import Offers
from zmqrpc.parts import Parts
from zmqrpc.publishers import Publishers
from zmqrpc.server import RPCServer
from zmqrpc.settings import Settings
from zmqrpc.site import Site
from zmqrpc.site import use_monotonic_clock as use_monotonic_clock
from zmqrpc.target import Target

_log = Logger()


class Node(Service):
    """
    One process's part in zmqrpc, for one transport URL: client, server, or both.

    Nothing is opened before it is started, and it is started once. A start that raised may be tried again; its stop
    gives back what it had opened.

    :param reactor: the reactor.
    :param settings: a `Settings`, or a transport URL.
    :param transport: the sockets; None for ZeroMQ's.
    :param matchmaker: None for the one the URL names.
    :param chance: the source of jitter, ports and instance id; seeded in simulations.
    :param serves: servers that will be made after the start, for endpoints that come later: the node binds for them as
        well; what is not known yet of a target may be missing.
    :ivar instance: its random id, 16 bytes.
    :ivar notices: its counters, a `Notices`; ``notices.counts`` has how often each thing happened.
    :ivar plan: which strategy serves which kind of message, a `DeliveryPlan`.
    :ivar settings: the `Settings` it goes by.
    :raises ConfigError: the URL or a setting is not valid.
    """

    def __init__(
        self,
        reactor: Any,
        settings: Settings | str,
        *,
        transport: ITransport | None = None,
        matchmaker: IMatchmaker | None = None,
        chance: random.Random | None = None,
        serves: Iterable[Target] = (),
    ) -> None:
        self.settings = settings = settings if isinstance(settings, Settings) else Settings.from_url(settings)
        self.plan = plan_of(settings)
        otherwise = check_matchmaker(self.plan, settings.matchmaker) if matchmaker is None else ""
        self._site = site = Site(reactor, settings, transport, matchmaker, chance)
        check_strategy(self.plan.name)
        for text in filter(None, (self.plan.warning, otherwise)):
            _log.warn("{text}", text=text)
        self._reactor = reactor
        self.instance = site.instance
        self.notices = site.notices
        self._chance, self._seconds, self._transport = site.chance, site.seconds, site.transport
        self._sweep, self._registrar, self._binding = site.sweep, site.registrar, site.binding
        parts = Parts(site, self.plan)
        self._links, self._delivery, self._discovery = parts.links, parts.delivery, parts.discovery
        self._hints, self._watches = parts.hints, parts.watches
        self._make_client = parts.client
        self._callers, self._threads, self._proxies = parts.callers, parts.threads, parts.proxies
        self._publishing, self._subscriptions = parts.publishing, parts.subscriptions
        self._inspection, self._tables = site.inspection, parts.tables
        self._inspection.tell_more = self._tell_more

        self._offers = Offers(self.instance, self.plan.subscribes, self._binding)
        self._serves = [self._named(target) for target in serves]
        self._static: list[tuple[RPCClient, Target]] = []
        self._bound: IBoundRouter | None = None
        self._draining: Deferred[None] | None = None
        self._life = Life("Node", self._when_ready, self.notices.record)

    @property
    def address(self) -> str | None:
        """The advertised address, None while nothing is bound."""
        return self._binding.address

    # What its user makes of it

    def client(self, targets: Iterable[Target] = ()) -> RPCClient:
        """
        Make a client.

        :param targets: their servers are connected to at the start, and stay so. Those of others are connected to at
            the first call, until nobody has called for ``route_ttl``.
        """
        self._delivery.check_process()
        client = self._make_client()
        for target in targets:
            self._static.append((client, target))
            if self.running:
                client.prepare(target)
        return client

    def server(
        self, target: Target, endpoints: Iterable[object], make: Callable[..., RPCServer] = RPCServer
    ) -> RPCServer:
        """
        Serve endpoints under a target.

        Two of them may expose a method of the same name in different namespaces or versions.

        :param target: topic and member; the member is this node's host name when it names none.
        :param make: makes the server, with the parameters of `RPCServer`: for one that runs requests in its own way.
        :raises ConfigError: the target has no topic or is served already; there is no endpoint, or one exposes nothing
            or hides a method of another; or the node runs, and cannot listen where it has to: `PortRangeExhausted` when
            no port is free.
        """
        self._delivery.check_process()
        target = self._named(plain_target(target))
        if any(server.target == target for server in self._offers.servers):
            raise ConfigError(f"{target} is served by this node already; give all its endpoints to one server")
        inspect = self._inspection.answer
        server = make(target, endpoints, self._threads, self.settings.send_tracebacks, self._why_not, inspect)
        if self._life.has_opened:
            self._binding.serve(target)
            self._bind()
        self._offers.servers.append(server)
        self._callers.add(server)
        if self._subscriptions is not None:
            self._subscriptions.serve(target)
        if self.running:
            self._subscribe([target])
        self._tell_targets()
        if self.running:
            self._offers.log_server(server)
        return server

    def notifier(self, publisher_id: str, topics: Iterable[Target | str]) -> Notifier:
        """
        Make a notifier.

        :param publisher_id: what listeners are told of who sends: a service and its host, for example.
        :param topics: where each of its notifications goes; a name is a topic of ``control_exchange``, taken literally.
        :raises ConfigError: there is no publisher id or topic, or a topic names a member.
        """
        self._delivery.check_process()
        wall = self._reactor.seconds if self._site.simulated else time
        return Notifier(self._delivery, self.notices, publisher_id, topics, self._message_id, wall)

    def listener(
        self,
        targets: Iterable[Target],
        endpoints: Iterable[object],
        pool: str | None = None,
        *,
        batch_size: int | None = None,
        batch_timeout: float | None = None,
    ) -> Listener:
        """
        Hand notifications to endpoints.

        Each notification goes to one listener of each pool, in turn. The methods of an endpoint are called like the
        priorities: ``info(context, publisher_id, event_type, payload, metadata)``. They need no `expose`, and no other
        method of an endpoint is ever called. They may return a Deferred or be asynchronous; one that blocks is marked
        with ``@expose(thread=True)``. Of several endpoints that have one for the priority, each is called in turn.

        What it returns is acknowledged, unless it returns `REQUEUE`: then another of the pool gets it, or the same one
        again after a pause, until the time of its sender is up. What raises is logged and acknowledged. A notification
        may come twice, when it had not been acknowledged before its listener was lost. One for which no endpoint has a
        method is acknowledged, so all listeners of a pool should have the same.

        :param targets: topics, and the member's name in each; that is this node's host name when it names none.
        :param pool: None for the one pool without a name.
        :param batch_size: how many notifications a batch holds at most; each method then takes one argument, a list
            of `Notification`, all of its priority, and returns for all of them. None for no batches.
        :param batch_timeout: how many seconds the first of a batch waits for the last; None for 1.
        :raises ConfigError: there is no target, or it is listened to already; there is no endpoint, one has no method
            for any priority, or one that cannot be called so; the matchmaker is a fixed table; or as `server`.
        """
        self._delivery.check_process()
        if isinstance(targets, Target) or not isinstance(targets, Iterable):
            raise ConfigError(f"the targets are {targets!r}; give a list of targets")
        listener = Listener(
            [self._named(plain_target(target)) for target in targets],
            endpoints,
            pool,
            batch_size,
            batch_timeout,
            self._threads,
            self.notices,
            self._seconds,
            self._sweep.wake_by,
        )
        for target in listener.targets:
            if any(target in other.targets and other.pool == listener.pool for other in self._offers.listeners):
                raise ConfigError(f"{target} is listened to by this node already; give all endpoints to one listener")
            self._binding.check_listens(target)
        if self._life.has_opened:
            self._bind()
        self._offers.listeners.append(listener)
        self._sweep.parts = (*self._sweep.parts, listener)
        self._callers.listen(listener)
        self._tell_targets()
        if self.running:
            self._offers.log_listener(listener)
        return listener

    def when_ready(self) -> Deferred[None]:
        """
        Return a Deferred that fires when the node runs, and what it serves is registered; a stop cancels it.

        Where fan-outs are published, its servers are then subscribed as well: with every publisher that could be
        connected to within 2 s.
        """
        return self._life.when_ready()

    @property
    def not_ready(self) -> str:
        """
        Why others cannot find what this node serves, a clause; empty when they can, as far as it knows.

        It is told by `watch_ready` and in the log, and is the answer to ``zmqrpc ping``. What is over within 5 s is not
        told; a node that only calls is always ready while it runs.
        """
        if self._life.why_not:
            return self._life.why_not
        return "not subscribed with publishers yet" if self._offers.unregistered else self._registrar.not_ready

    def watch_ready(self, changed: Callable[[str], None]) -> Callable[[], None]:
        """
        Call `changed` with `not_ready` each time that what is served was lost to others, or can be found again.

        :return: ends it.
        """
        return self._registrar.watch_ready(changed)

    def inspect(self, events: int = EVENTS) -> dict[str, Any]:
        """
        Tell what is going on: what is in flight and where it is stuck, links, matchmaker, limits, events.

        It is what ``zmqrpc inspect --json`` prints (:doc:`/howto/what-is-stuck`), and may be asked at any time.

        :param events: how many of the last events are told.
        """
        return self._inspection.tell(events)

    def _tell_more(self, seen: Inspected, most: int, now: float) -> None:
        seen.address = self._binding.address or ""
        seen.stage = self._life.stage
        self._tables.inspect(seen, most, now)

    def _why_not(self) -> str:
        return self.not_ready

    def _when_ready(self) -> Deferred[None]:
        subscriptions = self._subscriptions
        if subscriptions is None or not self._offers.servers:
            return self._registrar.when_current()
        tried = subscriptions.when_tried().addCallback(lambda _: self._registrar.when_current())
        return tried.addCallback(lambda _: subscriptions.when_ready())

    # IService

    def privilegedStartService(self) -> None:
        """
        Bind, while the process may still have the rights to (``twistd --uid``).

        :raises ConfigError: what `Settings` asks for cannot be bound; `PortRangeExhausted` when no port is free.
        """
        super().privilegedStartService()  # type: ignore[no-untyped-call]
        self._open_sockets()

    def startService(self) -> None:
        """
        Start: bind, unless that is done, and register; never waits for a store.

        :raises ConfigError: as `privilegedStartService`, also where that has raised before, unless it can be bound by
            now; or the node was stopped before.
        """
        self._open_sockets()
        super().startService()  # type: ignore[no-untyped-call]
        self._life.run()
        self._inspection.began = self._seconds()
        self._delivery.closed = False
        self._proxies.start()
        for topic in self._watches.topics():
            self._discovery.resolve(topic)
        if self._offers.servers or self._offers.listeners:
            self._subscribe([server.target for server in self._offers.servers])
            self._registrar.publish(self._offers.records())
        for server in self._offers.servers:
            self._offers.log_server(server)
        for listener in self._offers.listeners:
            self._offers.log_listener(listener)
        for client, target in self._static:
            client.prepare(target)
        self._life.tell()

    def drain(self) -> Deferred[None]:
        """
        Withdraw the records, and refuse what is new; what was taken goes on. A stop does this first.

        :return: fires when all that was taken has begun to run, or after `drain_timeout`; never fails, except as
            `stopService`.
        """
        try:
            self._delivery.check_process()
        except ConfigError as error:
            return fail(error)
        if self._draining is None:
            self._draining = Deferred.fromCoroutine(self._drain(self._seconds() + self.settings.drain_timeout))
        drained: Deferred[None] = Deferred()
        self._draining.addBoth(_also, drained)
        return drained

    async def _drain(self, until: float) -> None:
        await self._registrar.stop()
        if self._subscriptions is not None:
            self._subscriptions.close()
        self._callers.drain(f"{self.settings.host} is stopping")
        for listener in self._offers.listeners:
            listener.hurry()
        none_waits = self._callers.requests.when_none_waits()
        timer = self._reactor.callLater(max(0.0, until - self._seconds()), none_waits.cancel)
        await none_waits
        if timer.active():
            timer.cancel()
            # Who waits for this may close everything, and that not within the pass in which the last one has begun.
            await deferLater(self._reactor, 0)

    def rest(self) -> Deferred[None]:
        """
        Say goodbye to all whom it has called, and to whom nothing is under way: they need not remember it any more.

        Whoever is called again is connected anew, and is not kept connected from then on.

        :return: fires when they have read it, or their time for that is up; never fails.
        """
        return self._links.rest()

    def stopService(self) -> Deferred[None]:
        """
        Stop: withdraw the records, refuse what is new, let running calls finish, close.

        :return: fires when that is done, at the latest some seconds after ``drain_timeout``, whatever waits to run,
            runs, or was not delivered; never fails, except with `ConfigError` in a fork of the process that started it.
        """
        try:
            self._delivery.check_process()
        except ConfigError as error:
            return fail(error)
        super().stopService()  # type: ignore[no-untyped-call]
        return self._life.stop(self._stop)

    async def _stop(self) -> None:
        # What a drain has waited for in vain is not waited for again.
        in_vain = self._draining is not None and self._draining.called and self._callers.requests.waiting
        until = self._seconds() + (0.0 if in_vain else self.settings.drain_timeout)
        await self.drain()
        await self._site.drain(lambda: self._callers.drained, until)
        self._threads.abandon()
        self._callers.requests.cancel_running()
        self._callers.end_pass()
        # First, so that nothing that errbacks of the second do opens a link.
        self._discovery.close()
        self._delivery.close()
        self._life.closed()
        await self._site.close(self._close_bound, until)
        forks.stopped(self)

    def _forked(self, why_not: str) -> None:
        """Be of no use: this process is a fork of the one where it was started (`zmqrpc.forks`)."""
        self._delivery.forked(why_not)
        self._callers.requests.forked()
        self._threads.forked()
        self._site.forked()

    # Parts

    def _open_sockets(self) -> None:
        self._delivery.check_process()
        self._life.open(self._begin, self._bind_all)

    def _targets(self) -> list[Target]:
        return [server.target for server in self._offers.servers] + self._serves

    def _begin(self) -> None:
        for target in self._targets():
            self._binding.serve(target)
        self._site.open(self._pass_ended)
        if not self._site.simulated:
            forks.started(self, Node._forked)

    def _bind_all(self) -> None:
        if self._targets() or self._offers.listeners:
            self._bind()

    def _bind(self) -> None:
        if self._bound is not None:
            return
        bound = self._transport.bound_router(self._callers)
        try:
            self._binding.bind(bound)
        except BaseException:
            bound.close(0)
            raise
        self._bound = bound
        if self._subscriptions is None:
            self._proxies.publishers = Publishers(None)
        self._callers.opened(bound)
        self._proxies.serve()
        self._site.watch()

    def _close_bound(self, linger: float) -> None:
        if self._bound is not None:
            self._bound.close(linger)

    def _subscribe(self, targets: list[Target]) -> None:
        """
        Subscribe, and have these servers registered when that is done, or has been tried for long enough.

        Whom a record says to subscribe gets no copy of its own of what is published.
        """
        if self._subscriptions is None:
            return
        self._subscriptions.start()
        if not targets or (tried := self._subscriptions.when_tried()).called:
            return
        self._offers.unregistered += targets

        def register(_: None) -> None:
            self._offers.unregistered = [target for target in self._offers.unregistered if target not in targets]
            if self.running:
                self._registrar.publish(self._offers.records())

        tried.addCallbacks(register, lambda _: None)

    def _tell_targets(self) -> None:
        """Tell proxies and matchmaker what is served now, if they are told already."""
        if self._life.has_opened:
            self._proxies.serve()
        if self.running:
            self._registrar.publish(self._offers.records())

    def _message_id(self) -> str:
        return str(UUID(bytes=self._chance.randbytes(16), version=4))

    def _named(self, target: Target) -> Target:
        """Write down what the target of a server or listener leaves to the settings."""
        return Target(
            topic=target.topic,
            server=target.server or self.settings.host,
            exchange=target.exchange or self.settings.control_exchange,
        )

    def _pass_ended(self) -> None:
        self._proxies.end_pass()
        self._callers.end_pass()
        self._links.end_pass()
        if self._publishing is not None:
            self._publishing.end_pass()
        if self._seconds() >= self._sweep.at:
            self._sweep.run()


def _also(outcome: Any, told: Deferred[None]) -> Any:
    """Tell somebody else as well."""
    told.callback(outcome)
    return outcome


async def connect(reactor: Any, settings: Settings | str) -> RPCClient:
    """
    Start a Node that only calls, and return its client, whose `close` stops it.

    :raises ConfigError: the URL or a setting is not valid.
    """
    node = Node(reactor, settings)
    node.startService()
    client = node.client()
    client.closes_with(node.stopService)
    return client
