"""
The **router proxy**: forwards between clients and servers, by routing keys (docs/spec/wire, Through a router proxy).

Hot path: what is forwarded takes two dicts and one `send_keyed`. A pass over a socket ends after `_MOST_FORWARDED`
messages, a quarter of what a node takes: then the other side has its turn, so that replies do not wait behind a flood
of requests for longer than it takes to forward that many (0.2 ms), where the costs of a turn are still small.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from twisted.logger import Logger
from twisted.plugin import IPlugin
from zope.interface import implementer

from zmqrpc.broker import BROKER
from zmqrpc.core.agenda import NEVER
from zmqrpc.core.batch import encode_batch
from zmqrpc.core.envelope import Hello, Nack, Refusal, encode_message
from zmqrpc.core.inspected import ConnectionSeen, Inspected, LimitSeen
from zmqrpc.core.keys import SELF_KEY, describe
from zmqrpc.core.link_timers import REMIND_SECONDS
from zmqrpc.core.plan import plan_of
from zmqrpc.core.relay import Answer, Came, Connection, Discard, Effect, Publish, Relay
from zmqrpc.errors import ConfigError
from zmqrpc.inspection import inspected
from zmqrpc.interfaces import (
    GONE,
    SENT,
    IBoundReceiver,
    IBoundRouter,
    IInspected,
    IProxy,
    IProxyFactory,
    IProxySite,
)
from zmqrpc.proxy import ROUTER_PROXY
from zmqrpc.proxy._answers import Answers
from zmqrpc.proxy._ipc import IpcSocket
from zmqrpc.publishing_half import PublishingHalf
from zmqrpc.record import PROXIES, Record, Role, Sighting

FRONTEND, BACKEND = 0, 1
"""The sides; a proxy with one socket has only the first."""

_WEIGHT = 4
"""As how many envelopes a message counts that is forwarded unread: a pass takes 256 of them (`reactor_zmq`)."""

_WHY = {
    Refusal.UNROUTABLE: "nobody is connected here for it",
    Refusal.OVERLOADED: "its connection takes no more now",
    Refusal.TOO_LARGE: "it takes none as large",
    Refusal.WRONG_INSTANCE: "the connection has not said who it is",
}
"""What the log says of a refusal whose message says nothing."""

_WHAT = {
    "came": "{role} {peer} has said HELLO",
    "left": "{role} {peer} has said GOAWAY",
    "forgotten": "a connection of {role} {peer} is known no more: it has ended, or was silent",
}
"""What the flight recorder is told of connections."""


@implementer(IProxy, IInspected)
class RouterProxy:
    """
    A router proxy, and a publisher proxy as well where it is given a publisher.

    :param site: what it works with.
    :param publisher: who publishes; None for nobody.
    :raises ConfigError: a backend without a frontend, a port to publish at without a publisher, or one port for two
        sockets.
    """

    _log = Logger()

    def __init__(self, site: IProxySite, publisher: PublishingHalf | None = None) -> None:
        _check_ports(site.settings, publisher is not None)
        self._site = site
        self._publisher = publisher
        settings = site.settings
        self._relay = Relay(site.instance, settings.max_message_size, settings.max_clients, publisher is not None)
        self._relay.told = self._record_connection
        self._relay.inspect = self._tell
        self._answers = Answers(site.instance, site.seconds, self._write_own)
        self._routers: list[IBoundRouter] = []
        self._addresses: list[str] = []
        self._ipc: IpcSocket | None = None
        self._remind_at = NEVER
        self._forgotten = 0

    # IProxy

    def open(self) -> None:
        settings = self._site.settings
        ports = [settings.proxy_frontend_port or 0]
        # A frontend alone is both sides.
        if settings.proxy_frontend_port is None or settings.proxy_backend_port is not None:
            ports.append(settings.proxy_backend_port or 0)
        sides = [_Side(self, self._relay, side) for side in range(len(ports))]
        for side in sides:
            self._routers.append(self._site.transport.bound_router(side))
        for router, side in zip(self._routers, sides, strict=True):
            side.opened([router.send_keyed for router in self._routers])
            self._addresses.append(self._site.bind(router, ports[side.number]))
        if len(self._addresses) > 1:
            self._relay.part(*self._addresses)
        if settings.proxy_ipc:
            path = os.path.join(settings.rpc_zmq_ipc_dir, BROKER)
            self._ipc = IpcSocket(path)
            self._ipc.bind(self._routers[FRONTEND], self._site.owner)
            self._log.info("clients of this host reach it at ipc://{path}", path=path)
        if self._publisher is not None:
            self._publisher.open()

    def records(self) -> tuple[Record, ...]:
        addresses = {Role.ROUTER: tuple(self._addresses)}
        if self._publisher is not None:
            addresses[Role.PUBLISHER] = (self._addresses[FRONTEND], self._publisher.address)
        member, instance = self._site.settings.host, self._site.instance.hex()
        return tuple(Record(role, *PROXIES, member, instance, where) for role, where in addresses.items())

    def found(self, sightings: list[Sighting]) -> None:
        """Do nothing: no proxy needs another."""

    def end_pass(self) -> None:
        self._answers.end_pass()
        if self._publisher is not None:
            self._publisher.end_pass()

    @property
    def wake_at(self) -> float:
        """When `sweep` has to be called next."""
        publisher = NEVER if self._publisher is None else self._publisher.wake_at
        return min(self._relay.wake_at, self._remind_at, publisher)

    def sweep(self, now: float) -> None:
        relay = self._relay
        relay.sweep(now)
        if relay.forgotten > self._forgotten:
            number, self._forgotten = relay.forgotten - self._forgotten, relay.forgotten
            text = "{number} connections were forgotten to make room, {known} are known (max_clients)"
            self._site.notices.count("forgotten", text, known=len(relay), number=number)
        if now >= self._remind_at:
            self._say_goaway(now)
        if self._publisher is not None and now >= self._publisher.wake_at:
            self._publisher.sweep(now)

    def drain(self, text: str) -> None:
        now = self._site.seconds()
        self._relay.drain(text, now)
        self._say_goaway(now)

    @property
    def drained(self) -> bool:
        """Whether no client needs it any more."""
        return self._relay.drained(self._site.seconds())

    def close(self, linger: float) -> None:
        for router in self._routers:
            router.close(linger)
        self._routers = []
        if self._ipc is not None:
            self._ipc.remove()
        if self._publisher is not None:
            self._publisher.close(linger)

    def inspect(self, seen: Inspected, most: int, now: float) -> None:
        """See `IInspected`."""
        relay, settings = self._relay, self._site.settings
        seen.address = " ".join(self._addresses)
        seen.connections = [
            ConnectionSeen(
                role="server" if each.serves else "client",
                peer=each.instance.hex(),
                phase="leaving" if each.leaving else "up",
                silent=now - each.heard,
            )
            for each in seen.first("connections", relay.connections(), most)
        ]
        seen.limits = [LimitSeen(option="max_clients", used=len(relay), most=settings.max_clients)]
        if self._publisher is not None:
            filters = self._publisher.filters
            seen.limits.append(LimitSeen(option="max_filters", used=filters, most=settings.max_filters))

    def _tell(self, hello: Hello) -> dict[str, Any]:
        return inspected(hello, self._site.settings.max_message_size, self._site.inspect)

    # For its sides

    def other(self, side: int, identity: bytes, key: bytes, payload: Any) -> int:
        """Take what is not to be forwarded."""
        if key == SELF_KEY:
            self._relay.not_ready = self._site.not_ready
        for effect in self._relay.dispatch(side, identity, key, payload, self._site.seconds()):
            self._perform(side, identity, key, effect, payload)
        self._site.wake_by(self.wake_at)
        return _WEIGHT

    def not_sent(self, side: int, identity: bytes, to: Connection, fate: int, payload: Any) -> None:
        """Take that a message could not be written to where it was to go."""
        while fate == GONE and (heir := self._relay.heir(to)) is not None:
            to = heir
            if len(payload) > to.largest:
                self.too_large(side, identity, to, payload)
                return
            fate = self._routers[to.side].send_keyed(to.identity, to.key, payload)
        if fate == SENT:
            return
        self._answer(self._relay.undeliverable(side, identity, to, fate == GONE, payload), to.key)

    def too_large(self, side: int, identity: bytes, to: Connection, payload: Any) -> None:
        """Take that a message is larger than who it is for accepts: ZeroMQ would end that connection."""
        self._answer(self._relay.give_back(side, identity, Refusal.TOO_LARGE, payload), to.key)

    def keyless(self, side: int, identity: bytes, payload: Any) -> None:
        """Take a message without a key."""
        self._relay.not_ready = self._site.not_ready
        effect = self._relay.keyless(side, identity, payload)
        if isinstance(effect, Answer):
            self._answer(effect)
        else:
            self.malformed(identity, effect.text)

    def malformed(self, identity: bytes, reason: str) -> None:
        """Take that a message was dropped."""
        text = "a message of connection {peer} was dropped: {reason}"
        self._site.notices.count("malformed", text, identity, reason=reason)

    def handshake_failed(self, peer: str, reason: str) -> None:
        """Take that a connection came to nothing."""
        text = "a connection from {peer} was dropped: {reason}"
        self._site.notices.count("handshake_failed", text, peer or "an unknown address", reason=reason)

    def _record_connection(self, what: str, connection: Connection) -> None:
        role = "server" if connection.serves else "client"
        self._site.notices.record(f"{role}_{what}", _WHAT[what], connection.instance, role=role)

    # Effects

    def _perform(self, side: int, identity: bytes, key: bytes, effect: Effect, payload: Any) -> None:
        if isinstance(effect, Answer):
            self._answer(effect, key)
        elif isinstance(effect, Publish):
            assert self._publisher is not None
            counter = self._publisher.publish(effect.key, payload)
            if counter is None:
                self._answer(self._relay.give_back(side, identity, Refusal.UNROUTABLE, payload), key)
            else:
                # What is published and what is given back is answered in the order in which it came.
                self._answers.flush(side, identity)
                self._write(side, identity, effect.key, counter, owed=True)
        elif isinstance(effect, Came):
            self._site.server_came((target.exchange, target.topic) for target in effect.targets)
        else:
            assert isinstance(effect, Discard)
            text = "connection {peer}: {reason}"
            self._site.notices.count(effect.name, text, identity, reason=effect.text)

    def _answer(self, answer: Answer, key: bytes = SELF_KEY) -> None:
        """
        Have an answer of the proxy itself written at the end of the pass.

        :param key: of the message that is answered.
        """
        for message in answer.messages:
            if isinstance(message, Nack):
                reason = Refusal(message.reason)
                self._site.notices.count(
                    reason.name.lower(),
                    "a message of instance {instance}, connection {peer}, for {key} was refused: {why}",
                    answer.identity,
                    instance=answer.instance or "unknown",
                    key=describe(key),
                    why=message.text or _WHY.get(reason, reason.words),
                )
        self._answers.add(answer, self._relay.largest(answer.side, answer.identity))

    def _write_own(self, side: int, identity: bytes, payload: bytes, owed: bool) -> None:
        self._write(side, identity, SELF_KEY, payload, owed)

    def _write(self, side: int, identity: bytes, key: bytes, payload: bytes, owed: bool) -> None:
        """
        Write to a connection.

        :param owed: whether it is the one answer to something, which the connection would take the next answer for.
        """
        if self._sent(side, identity, key, payload) == SENT:
            return
        text = "an answer to connection {peer} was dropped: it has ended, or takes no more now"
        self._site.notices.count("answers_dropped", text, identity)
        # Of other answers it finds out by itself: by its PINGs, and as what it has sent is not answered.
        if owed:
            self._relay.forget_behind(side, identity)

    def _sent(self, side: int, identity: bytes, key: bytes, payload: bytes) -> int:
        return self._routers[side].send_keyed(identity, key, payload) if self._routers else GONE

    def _say_goaway(self, now: float) -> None:
        """Tell who has not answered it yet; saying it again finds out who has gone without a word."""
        for answer in self._relay.goaways():
            messages = [encode_message(message) for message in answer.messages]
            payload = encode_batch(self._site.instance, answer.instance, int(now * 1000), (), messages)
            if self._sent(answer.side, answer.identity, SELF_KEY, payload) == GONE:
                self._relay.forget_behind(answer.side, answer.identity)
        self._remind_at = now + REMIND_SECONDS
        self._site.wake_by(self._remind_at)


@implementer(IBoundReceiver)
class _Side:
    """
    What arrives on one socket of the proxy.

    :param relay: that of the proxy.
    :param number: which.
    """

    def __init__(self, proxy: RouterProxy, relay: Relay, number: int) -> None:
        self.number = number
        self._proxy = proxy
        self._way = relay.way
        self._sends: list[Callable[[bytes, bytes, Any], int]] = []

    def opened(self, sends: list[Callable[[bytes, bytes, Any], int]]) -> None:
        """Take how each side is written to."""
        self._sends = sends

    def keyed_received(self, identity: bytes, key: bytes, payload: Any) -> int:
        to = self._way(self.number, identity, key)
        if to is None:
            return self._proxy.other(self.number, identity, key, payload)
        if len(payload) > to.largest:
            self._proxy.too_large(self.number, identity, to, payload)
            return _WEIGHT
        fate = self._sends[to.side](to.identity, key, payload)
        if fate != SENT:
            self._proxy.not_sent(self.number, identity, to, fate, payload)
        return _WEIGHT

    def payload_received(self, identity: bytes, payload: Any) -> int:
        self._proxy.keyless(self.number, identity, payload)
        return 1

    def malformed_received(self, identity: bytes, reason: str) -> None:
        self._proxy.malformed(identity, reason)

    def handshake_failed(self, peer: str, reason: str) -> None:
        self._proxy.handshake_failed(peer, reason)


@implementer(IPlugin, IProxyFactory)
class _Factory:
    """Makes router proxies, which publish as well when ``use_pub_sub`` says so."""

    name = ROUTER_PROXY

    def make(self, site: IProxySite) -> IProxy:
        return RouterProxy(site, PublishingHalf(site) if plan_of(site.settings).subscribes else None)


factory = _Factory()


def _check_ports(settings: Any, publishes: bool) -> None:
    named = ["proxy_frontend_port", "proxy_backend_port"]
    if publishes:
        named.append("proxy_publisher_port")
    if settings.proxy_backend_port is not None and settings.proxy_frontend_port is None:
        raise ConfigError(
            "a backend port is given and no frontend port, so that no client would find the proxy; give "
            "--frontend-port too (0: a port of the range), or leave out --backend-port",
            options=("proxy_backend_port",),
        )
    if settings.proxy_publisher_port is not None and not publishes:
        raise ConfigError(
            f"option proxy_publisher_port is {settings.proxy_publisher_port}, and without use_pub_sub nothing is "
            "published; set use_pub_sub to true, here and for the services, or take proxy_publisher_port away",
            options=("proxy_publisher_port", "use_pub_sub"),
        )
    given: dict[int, str] = {}
    for name in named:
        port = getattr(settings, name)
        if port and port in given:
            one_socket = ", or leave out --backend-port for one socket that is both sides"
            raise ConfigError(
                f"options {given[port]} and {name} are both {port}; give each its own port"
                f"{one_socket if name == 'proxy_backend_port' else ''}",
                options=(given[port], name),
            )
        given[port or 0] = name
