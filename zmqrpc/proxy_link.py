"""The link to one proxy: what is said to it itself, and how it stands."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from zmqrpc.core.batch import RETURN_OVERHEAD, Batch, encode_batch
from zmqrpc.core.envelope import (
    WIRE_VERSION,
    Goaway,
    Hello,
    Message,
    Nack,
    Ping,
    Pong,
    Refusal,
    Welcome,
    encode_message,
)
from zmqrpc.core.keys import SELF_KEY
from zmqrpc.core.known_proxies import KnownProxy
from zmqrpc.core.link import LinkState, Phase
from zmqrpc.core.link_effects import Connect, Doubt, Drop, Effect, SayHello, SayPing
from zmqrpc.core.link_timers import USED_SECONDS
from zmqrpc.core.roles import CLIENT, PUBLISH, SERVER
from zmqrpc.core.welcome import misfit_of
from zmqrpc.interfaces import FULL, GONE, SENT
from zmqrpc.record import Role

if TYPE_CHECKING:
    from zmqrpc.proxies import Proxies

_PROXIES = (Role.ROUTER, Role.PUBLISHER)
_LOSSES = (Refusal.WRONG_INSTANCE, Refusal.UNROUTABLE, Refusal.OVERLOADED)


class ProxyLink:
    """
    The link to one side of one proxy.

    It opens, keeps itself alive and ends like a link to an instance (`zmqrpc.core.link`), and carries what is for
    others.

    :param proxies: those of the node.
    :param role: `CLIENT` or `SERVER`: as what we are connected to it.
    :param told: what is made of messages of the proxy that are about others.
    :ivar key: its instance in hex, or its address where its record names none.
    :ivar address: the address it connects to.
    :ivar member: the name of its host.
    :ivar liveness: that of its state, nearer for what comes in.
    :ivar known: what is recorded of it; records may be missing, of the broker of this host, which is known by its path.
    :ivar recorded: whether the matchmaker has its record.
    :ivar preferred: whether it is preferred to others.
    :ivar largest: the largest payload it takes and can give back, bytes.
    :ivar publishes: whether it says that it publishes.
    """

    def __init__(
        self, proxies: Proxies, known: KnownProxy, role: str, address: str, state: LinkState, preferred: bool = False
    ) -> None:
        self.key = known.key
        self.member = known.member
        self.address = address
        self.known = known
        self.role = role
        self.preferred = preferred
        self.recorded = True
        self.state = state
        self.liveness = state.liveness
        self.attempt = 0
        self.largest = self._returnable = proxies.settings.max_message_size - RETURN_OVERHEAD
        self.publishes = False
        self._routes = False
        self._proxies = proxies
        self._used_at = 0.0

    @property
    def up(self) -> bool:
        """Whether it can be used: connected, and neither silent nor stopping."""
        return self.state.phase is Phase.UP and not self.state.mute

    @property
    def routes(self) -> bool:
        """Whether it routes, if only until it has stopped."""
        return self._routes and self.connected and not self.state.mute

    @property
    def connected(self) -> bool:
        """Whether the proxy has said WELCOME and the connection stands."""
        return self.state.phase in (Phase.UP, Phase.DRAINING)

    @property
    def connection(self) -> bytes | None:
        """The routing id of the present connection, None when there is none."""
        identity = self.state.identity
        return identity if isinstance(identity, bytes) else None

    @property
    def name(self) -> str:
        """Which side of which proxy it leads to, for the log."""
        side = "frontend" if self.role == CLIENT else "backend"
        return f"the {side} of proxy {self.member} at {self.address}"

    @property
    def why_not(self) -> str:
        """Why it cannot be used, for the log."""
        if self.state.mute:
            return "it does not answer, and is taken again when it does"
        return self.state.trouble or ("it is stopping" if self.state.stopping else "it is not recorded any more")

    def describe(self) -> str:
        """Say which it is and how it stands, for the text of an error."""
        state = self.state
        trouble = f": {state.trouble}" if state.trouble else ""
        return f"{self.member} at {self.address}, {state.standing}{trouble}"

    # What is said to it

    def publish(self, key: bytes, payload: bytes) -> int:
        """Have a payload published under a topic-key; return `SENT`, `GONE`, or `FULL`: also when it is too large."""
        if not self.up:
            return GONE
        return self.send(key, payload) if len(payload) <= self.largest else FULL

    def send(self, key: bytes, payload: bytes) -> int:
        """Write a payload for whom a key names; return `SENT`, `FULL` or `GONE`."""
        connection = self.connection
        if connection is None:
            return GONE
        now = self._proxies.seconds()
        if now - self._used_at > USED_SECONDS:
            self._used_at = now
            self.liveness.used(now)
            self._proxies.wake_by(self.state.wake_at)
        return self._proxies.write(connection, key, payload)

    def say(self, message: Message, now: float) -> bool:
        """Say something to the proxy itself; False when it could not be written."""
        connection = self.connection
        instance = None if self.state.learns else self.state.instance
        payload = encode_batch(self._proxies.instance, instance, int(now * 1000), (), [encode_message(message)])
        return connection is not None and self._proxies.write(connection, SELF_KEY, payload) == SENT

    def say_hello(self, now: float) -> None:
        """Say who we are, and what we serve; also on an open link, when that has changed."""
        limits = {"message": self._proxies.settings.max_message_size}
        features = [PUBLISH] if self.role == CLIENT and self._proxies.publishing is not None else []
        targets = self._proxies.served() if self.role == SERVER else []
        hello = Hello(WIRE_VERSION, WIRE_VERSION, self.role, features, limits, targets)
        if not self.say(hello, now):
            self._proxies.connection_lost(self.connection, "HELLO could not be written")

    def perform(self, effects: list[Effect], now: float) -> None:
        """Do what the state machine asks for."""
        for effect in effects:
            match effect:
                case Connect(attempt=attempt):
                    self.attempt = attempt
                    self._proxies.connect(self)
                case SayHello():
                    self.say_hello(now)
                case SayPing(last_round_trip=last_round_trip):
                    self.say(Ping(int(now * 1000), last_round_trip), now)
                case Drop(identity=bytes() as identity):
                    self._proxies.disconnect(identity)
                case Doubt(reason=reason):
                    self._proxies.doubted(self, reason)
        self._proxies.changed(self)

    # What it says

    def take(self, batch: Batch, now: float, told: Callable[[ProxyLink, Nack], None]) -> None:
        """
        Take what the proxy says itself; not from within a pass.

        :param told: takes what it gives back.
        """
        for message in batch.messages:
            match message:
                case Welcome():
                    self._welcomed(message, batch.source, now)
                case Pong(token=token):
                    self.state.ponged(now, token)
                case Goaway():
                    self.perform(self.state.going_away(now, message.text or "it stops"), now)
                    if not self._proxies.awaits(self):
                        # It is told again and again until we say so, and then need not wait for us.
                        self.say(Goaway(), now)
                case Nack(returned=bytes()):
                    told(self, message)
                case Nack():
                    self._refused(message)
                case _:
                    kind = type(message).__name__
                    self._proxies.notices.count("unexpected", "{peer} sent a {kind}", self.address, kind=kind)

    def _welcomed(self, welcome: Welcome, source: bytes, now: float) -> None:
        misfit = misfit_of(welcome, self.known.records, by_target=False)
        if not misfit and welcome.role not in _PROXIES:
            misfit = f"it is a {welcome.role[:100]!r}, and no proxy"
        self.largest = min(welcome.limits.get("message", self._returnable), self._returnable)
        self.publishes = PUBLISH in welcome.features
        self._routes = welcome.role == Role.ROUTER
        self.perform(self.state.welcome(now, source, now - welcome.echoed / 1000, misfit), now)

    def _refused(self, nack: Nack) -> None:
        """
        Take a refusal of the connection: of HELLO, or because the proxy has forgotten it.

        Or of a message that it does not give back, so that nobody knows which one that was. Of what is too large, to
        ask for everything again would have it come again.
        """
        reason = Refusal(nack.reason)
        if self.state.phase is Phase.CONNECTING or reason in _LOSSES:
            self._proxies.connection_lost(self.connection, nack.text or reason.words)
        elif reason is Refusal.TOO_LARGE:
            text = "the proxy at {peer} did not take a message that is too large, and does not say which"
            self._proxies.notices.count("too_large", text, self.address)
            self._proxies.carrier.kept_back(self)

    def tick(self, now: float, outstanding: bool) -> None:
        """
        Do what time asks for.

        :param outstanding: whether answers are awaited that it carries.
        """
        effects = self.state.tick(now, outstanding)
        if effects:
            self.perform(effects, now)
        else:
            self._proxies.changed(self)
