"""The one place that builds the node of a proxy: its process without the command line."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from typing import Any

import attrs
from twisted.application.service import Service
from twisted.internet.defer import Deferred, fail
from twisted.logger import Logger

from zmqrpc import forks
from zmqrpc.address import LOOPBACK, numeric
from zmqrpc.core.inspected import Inspected
from zmqrpc.disagreement import Disagreement
from zmqrpc.errors import ConfigError
from zmqrpc.inspection import EVENTS
from zmqrpc.interfaces import IInspected, IMatchmaker, ITransport
from zmqrpc.life import Life
from zmqrpc.proxy import LOCAL_PUBLISHER, find_factory, make_proxy
from zmqrpc.proxy_lines import placed
from zmqrpc.record import PROXIES, Record, Role
from zmqrpc.settings import Settings
from zmqrpc.site import Site, matchmaker_of


class ProxyNode(Service):
    """
    One proxy: a process's part in zmqrpc that neither calls nor serves.

    Nothing is opened before it is started, and it is started once. A start that raised may be tried again; its stop
    gives back what it had opened.

    :param reactor: the reactor.
    :param settings: a `Settings`, or a transport URL; ``proxy_type`` names the kind of proxy.
    :param transport: the sockets; None for ZeroMQ's.
    :param matchmaker: None for the one the URL names.
    :param chance: the source of jitter, ports and instance id; seeded in simulations.
    :param owner: user and group id that the process goes on as once it has bound, None when it stays as it is.
    :ivar instance: its random id, 16 bytes.
    :ivar kind: the name of the kind of proxy.
    :ivar notices: its counters, a `Notices`; ``notices.counts`` has how often each thing happened.
    :ivar settings: the `Settings` it goes by: those it was given, with the host and the ports that follow from them.
    :raises ConfigError: the URL or a setting is not valid, or there is no proxy of that name.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        settings: Settings | str,
        *,
        transport: ITransport | None = None,
        matchmaker: IMatchmaker | None = None,
        chance: random.Random | None = None,
        owner: tuple[int, int] | None = None,
    ) -> None:
        settings = settings if isinstance(settings, Settings) else Settings.from_url(settings)
        if matchmaker is None and settings.matchmaker == "dummy":
            raise ConfigError(
                "the matchmaker dummy is known in one process only, where nobody would find a proxy; write a transport "
                "URL such as zmq+sqlite:///PATH or zmq+redis://HOST:PORT",
                options=("url", "rpc_zmq_matchmaker"),
            )
        settings = _named(settings)
        factory = find_factory(settings)
        local = False
        if matchmaker is None:
            matchmaker, local = matchmaker_of(reactor, settings)
        self._is_open = self._is_fixed = False
        self._why_not = ""
        if factory.name != LOCAL_PUBLISHER:
            settings, self._is_fixed = placed(settings, matchmaker)
        elif settings.rpc_zmq_bind_address is None:
            # It is for its own host, and whoever reaches it reads every fan-out.
            settings = attrs.evolve(settings, rpc_zmq_bind_address=LOOPBACK)
        self.settings = settings
        self._site = site = Site(reactor, settings, transport, matchmaker, chance, owner, local)
        self.instance = site.instance
        self.notices = site.notices
        self.kind = site.inspection.kind = factory.name
        site.inspection.tell_more = self._tell_more
        self._make_proxy = partial(make_proxy, factory, site)
        self._proxy = self._make_proxy()
        self._records: tuple[Record, ...] = ()
        self._disagreement: Disagreement | None = None
        self._unwatch: Callable[[], None] = lambda: None
        self._life = Life("ProxyNode", site.registrar.when_current, self.notices.record)

    @property
    def stage(self) -> str:
        """``not started``, ``failed`` where it could not bind, ``open``, ``running``, ``stopping`` or ``stopped``."""
        return self._life.stage

    @property
    def records(self) -> tuple[Record, ...]:
        """What is registered; empty before it is open, and for a proxy that others find without the matchmaker."""
        return self._records

    def when_ready(self) -> Deferred[None]:
        """Return a Deferred that fires when it runs, and is registered; a stop cancels it."""
        return self._life.when_ready()

    @property
    def not_ready(self) -> str:
        """Why others cannot find this proxy, as `Node.not_ready`; a local publisher is ready while it runs."""
        return self._life.why_not or self._site.registrar.not_ready

    def watch_ready(self, changed: Callable[[str], None]) -> Callable[[], None]:
        """Call `changed` as `Node.watch_ready` does."""
        return self._site.registrar.watch_ready(changed)

    def inspect(self, events: int = EVENTS) -> dict[str, Any]:
        """Tell what is going on, as `Node.inspect`."""
        return self._site.inspection.tell(events)

    def _tell_more(self, seen: Inspected, most: int, now: float) -> None:
        seen.stage = self._life.stage
        proxy = IInspected(self._proxy, None)
        if proxy is not None:
            proxy.inspect(seen, most, now)

    # IService

    def privilegedStartService(self) -> None:
        """Bind, as `Node.privilegedStartService` does."""
        super().privilegedStartService()  # type: ignore[no-untyped-call]
        self._open()

    def startService(self) -> None:
        """Bind, unless that is done, and register, as `Node.startService` does."""
        self._open()
        super().startService()  # type: ignore[no-untyped-call]
        site = self._site
        self._life.run()
        site.inspection.began = site.seconds()
        site.registrar.publish(self._records)
        self._unwatch = site.matchmaker.watch(*PROXIES, self._proxy.found)
        if self._disagreement is not None:
            self._disagreement.begin(site.seconds())
        for record in self._records:
            self._log.info(
                "{kind} {member} is a {role} at {addresses}, instance {instance}",
                kind=self.kind,
                member=record.member,
                role=str(record.role),
                addresses=_placed(record),
                instance=self.instance.hex(),
            )
        self._life.tell()

    def stopService(self) -> Deferred[None]:
        """
        Stop: withdraw the records, tell everybody, go on until nobody needs it any more, close.

        :return: fires as that of `Node.stopService`.
        """
        if self._why_not:
            return fail(ConfigError(self._why_not))
        super().stopService()  # type: ignore[no-untyped-call]
        return self._life.stop(self._stop)

    async def _stop(self) -> None:
        site, proxy, settings = self._site, self._proxy, self.settings
        until = site.seconds() + settings.drain_timeout
        self._unwatch()
        if self._disagreement is not None:
            self._disagreement.stop()
        await site.registrar.stop()
        try:
            if self._is_open:
                proxy.drain(f"{settings.host} is stopping")
                await site.drain(lambda: proxy.drained, until)
        except Exception:
            # Whatever is wrong with a proxy, its process stops.
            self._log.failure("the proxy {kind} failed in its stop", kind=self.kind)
        await site.close(self._close_proxy, until)
        forks.stopped(self)
        self._life.closed()

    def _forked(self, why_not: str) -> None:
        """Be of no use: this process is a fork of the one where it was started (`zmqrpc.forks`)."""
        self._why_not = why_not
        self._site.forked()

    # Parts

    def _open(self) -> None:
        if self._why_not:
            raise ConfigError(self._why_not)
        self._life.open(self._begin, self._bind)

    def _begin(self) -> None:
        self._site.open(self._pass_ended)
        forks.started(self, ProxyNode._forked)

    def _bind(self) -> None:
        try:
            self._proxy.open()
            records = self._proxy.records()
        except BaseException:
            self._proxy.close(0)
            # No proxy need open again what it has closed.
            self._proxy = self._make_proxy()
            raise
        # A fixed table knows no instances.
        self._records = tuple(
            attrs.evolve(record, instance="" if self._is_fixed else record.instance) for record in records
        )
        self._watch_over({record.role for record in records})
        self._is_open = True

    def _watch_over(self, roles: set[Role]) -> None:
        """Begin what goes on while it is open."""
        site = self._site
        if self._is_fixed:
            # Nor does it know who subscribes.
            self._log.warn(
                "nobody who goes by the same fixed table calls or publishes through this proxy, as the table names no "
                "instances and does not tell who subscribes; use another matchmaker, such as zmq+redis or zmq+sqlite"
            )
        elif Role.ROUTER in roles:
            self._disagreement = Disagreement(
                site.matchmaker,
                Role.PUBLISHER in roles,
                self.settings.refresh_interval,
                site.seconds,
                site.jitter,
                site.wake_by,
            )
            site.hear_of_server = self._disagreement.server_came
        parts = (self._proxy, *site.swept())
        site.sweep.parts = parts if self._disagreement is None else (*parts, self._disagreement)
        # The sweep asks each part when it wants to be swept, and knows what to do when a plugin cannot tell.
        site.wake_by(site.seconds())
        site.watch(self._is_fixed)

    def _close_proxy(self, linger: float) -> None:
        if self._is_open:
            self._proxy.close(linger)

    def _pass_ended(self) -> None:
        self._proxy.end_pass()
        site = self._site
        if site.seconds() >= site.sweep.at:
            site.sweep.run()


def _placed(record: Record) -> str:
    """Say where a proxy is, and for whom that is."""
    first, last = record.addresses[0], record.addresses[-1]
    second = "backend" if record.role is Role.ROUTER else "publisher"
    return f"{first} (frontend), {last} ({second})" if first != last else f"{first} (frontend and {second})"


def _named(settings: Settings) -> Settings:
    """Return settings where the host of the proxy is that of the node; one that is loopback is bound alone."""
    host = settings.proxy_host
    if host is None:
        return settings
    address = numeric(LOOPBACK if host == "localhost" else host)
    if settings.rpc_zmq_bind_address is None and address is not None and address.is_loopback:
        return attrs.evolve(settings, rpc_zmq_host=host, rpc_zmq_bind_address=str(address))
    return attrs.evolve(settings, rpc_zmq_host=host)
