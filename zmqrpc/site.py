"""What every node stands on, whether it calls, serves or is a proxy: identity, clock, sockets, matchmaker, records."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterable
from time import monotonic
from typing import Any

from twisted.internet.base import ReactorBase
from twisted.internet.task import deferLater
from twisted.logger import Logger
from zope.interface import implementer

from zmqrpc.address import split_host
from zmqrpc.binding import Binding
from zmqrpc.core.registration import Registration
from zmqrpc.descriptors import DescriptorWatch
from zmqrpc.errors import ConfigError
from zmqrpc.forks import leave, leaving
from zmqrpc.inspection import Inspection
from zmqrpc.interfaces import IMatchmaker, IProxySite, ITransport
from zmqrpc.matchmaker import find_factory, make_matchmaker
from zmqrpc.notices import Notices
from zmqrpc.registrar import Registrar
from zmqrpc.settings import Settings
from zmqrpc.stall import StallWatch
from zmqrpc.sweep import Sweep, Swept

_DRAIN_POLL = 0.01
_LEAST_LINGER = 1.0
"""Seconds for which what was written may be delivered at a stop that has used up its drain timeout."""

_log = Logger()


def use_monotonic_clock(reactor: Any) -> None:
    """
    Make a reactor keep its timers by the monotonic clock; call it before anything is scheduled.

    Twisted's reactors follow the wall clock (its issue 2424): set back, timers stop; set forward, all fire at once.
    """
    reactor.seconds = monotonic


@implementer(IProxySite)
class Site:
    """
    The ground of one node. Nothing is opened before `open`.

    :param transport: the sockets; None for ZeroMQ's.
    :param matchmaker: None for the one the URL names.
    :param chance: the source of jitter, ports and instance id; seeded in simulations.
    :param owner: user and group id that the process goes on as once everything is bound, None when it stays as it is.
    :param local: of a matchmaker that is given, whether its records never leave this machine.
    :ivar hear_of_server: what `server_came` tells.
    :ivar inspection: tells what is going on.
    :ivar simulated: whether time is simulated: then it cannot be blocked, and no thread is used.
    :raises ConfigError: the URL or a setting is not valid.
    """

    def __init__(
        self,
        reactor: Any,
        settings: Settings,
        transport: ITransport | None = None,
        matchmaker: IMatchmaker | None = None,
        chance: random.Random | None = None,
        owner: tuple[int, int] | None = None,
        local: bool = False,
    ) -> None:
        self.reactor = reactor
        self.settings = settings
        self.owner = owner
        self.chance = chance or random.Random(os.urandom(16))
        self.instance = self.chance.randbytes(16)
        if matchmaker is None:
            matchmaker, local = matchmaker_of(reactor, settings)
        self.matchmaker = matchmaker
        self.transport = transport or sockets(reactor, settings)
        self.simulated = not isinstance(reactor, ReactorBase)
        self.seconds = seconds = reactor.seconds if self.simulated else monotonic
        self.notices = Notices(seconds, settings.flight_recorder_events)
        self.sweep = Sweep(reactor, seconds)
        self.wake_by = self.sweep.wake_by
        registration = Registration(settings.zmq_target_expire, settings.refresh_interval, self.jitter)
        self.registrar = Registrar(registration, matchmaker, seconds, self.wake_by, self.notices.record)
        self.binding = Binding(settings, matchmaker.bind_address, local, self.chance)
        self.hear_of_server: Callable[[Iterable[tuple[str, str]]], None] = lambda topics: None
        self.inspection = Inspection(settings, self.instance, self.notices, matchmaker, lambda: self.not_ready, seconds)
        self.descriptors = DescriptorWatch(self.notices)
        self._stalls = StallWatch()
        self._bound = 0

    @property
    def not_ready(self) -> str:
        """See `IProxySite`."""
        return self.registrar.not_ready

    def inspect(self, events: int, most_bytes: float) -> dict[str, Any]:
        """See `IProxySite`."""
        return self.inspection.answer(events, most_bytes)

    def jitter(self) -> float:
        """Return a number from 0.5 to 1."""
        return self.chance.uniform(0.5, 1)

    def open(self, pass_ended: Callable[[], None]) -> None:
        """
        Get ready to bind.

        :param pass_ended: called after each pass over a socket.
        :raises ConfigError: as `ITransport.open`.
        """
        if not self.simulated and self.reactor.seconds is not monotonic:
            _log.warn(
                "the reactor follows the wall clock, a step of it stops or fires every timer; "
                "call zmqrpc.use_monotonic_clock(reactor) before anything is scheduled"
            )
        self.transport.open(pass_ended)
        if not self.simulated:
            self.wake_by(self.seconds())

    def bind(self, socket: Any, port: int) -> str:
        """See `IProxySite`."""
        told = self.settings.rpc_zmq_advertised_address
        if told is not None and split_host(told)[1] is not None and self._bound:
            raise ConfigError(
                f"option rpc_zmq_advertised_address is {told!r}, with a port, and a proxy has several; give the host "
                "alone",
                options=("rpc_zmq_advertised_address",),
            )
        address = self.binding.bind_one(socket, port)
        # What was tried in vain, and may be tried again, is none of several.
        self._bound += 1
        return address

    def server_came(self, topics: Iterable[tuple[str, str]]) -> None:
        """See `IProxySite`."""
        self.hear_of_server(topics)

    def swept(self) -> list[Swept]:
        """List what time asks things of here: of simulated hosts, nothing of the process that they are simulated in."""
        return [self.registrar] if self.simulated else [self.registrar, self.descriptors]

    def watch(self, fixed: bool = False) -> None:
        """
        Begin to look after what is bound.

        :param fixed: whether a fixed table says where that is.
        """
        if not self.simulated:
            # Simulated time cannot be blocked, and a thread for each simulated node would be real.
            worker = (lambda: self.reactor.worker) if hasattr(self.reactor, "worker") else None
            self._stalls.start(self.reactor.callFromThread, self._blocked, worker)
            if not fixed:
                # The names of simulated hosts are those of no machine.
                self.binding.check_told(self.transport.resolve)

    def forked(self) -> None:
        """Take that this process is a fork: nothing that was opened is touched any more."""
        self.sweep.parts = ()
        self.transport.forked(leave)
        if not self.simulated:
            leaving(self.reactor)

    def _blocked(self, seconds: float) -> None:
        text = "the reactor was blocked for {seconds:.1f} s or longer; the log says where"
        self.notices.record("blocked", text, seconds=seconds)

    async def drain(self, drained: Callable[[], bool], until: float) -> None:
        """
        Wait until nobody is waited for any more, or a time has come.

        :param drained: tells whether that is so; asked every 10 ms.
        """
        while not drained() and self.seconds() < until:
            await deferLater(self.reactor, _DRAIN_POLL)
        self.notices.record("drained", "nobody is waited for any more, or the time for that is up")

    async def close(self, close_bound: Callable[[float], None], until: float) -> None:
        """
        Sweep no more, look after nothing, and give back everything.

        :param close_bound: closes the sockets that others connect to; it is given the seconds for which what was
            written there may still be delivered.
        :param until: when the drain timeout is over.
        """
        linger = self.settings.linger
        if self.settings.zmq_linger < 0:
            linger = min(linger, max(until - self.seconds(), _LEAST_LINGER))
        self.sweep.stop()
        self._stalls.stop()
        close_bound(linger)
        await self.transport.close(linger)
        await self.matchmaker.close()


def matchmaker_of(reactor: Any, settings: Settings) -> tuple[IMatchmaker, bool]:
    """
    Make the matchmaker of a transport URL, and tell whether its records never leave this machine.

    :raises ConfigError: as `make_matchmaker`.
    """
    factory = find_factory(settings.matchmaker)
    return make_matchmaker(reactor, settings, factory), factory.local


def sockets(reactor: Any, settings: Settings) -> ITransport:
    """Make ZeroMQ's sockets; it is loaded only now, since a test in memory does without."""
    from zmqrpc.reactor_zmq import ZmqTransport

    return ZmqTransport(reactor, settings.max_message_size, settings.keepalive, settings.max_queued_bytes)
