"""A router proxy of few lines, by docs/spec/wire alone: a second reading of it, which can also be told to misbehave."""

from __future__ import annotations

from typing import Any

from zope.interface import implementer

from zmqrpc.core.batch import decode_batch, encode_batch
from zmqrpc.core.envelope import Goaway, Hello, Nack, Ping, Pong, Refusal, Welcome, encode_message
from zmqrpc.core.keys import SELF_KEY, read_instance, read_topic
from zmqrpc.interfaces import GONE, SENT, IBoundReceiver
from zmqrpc.record import PROXIES, Record
from zmqrpc.testing.clock import ProcessClock


@implementer(IBoundReceiver)
class _Side:
    def __init__(self, proxy, transport):
        self.proxy = proxy
        self.router = transport.bound_router(self)

    def keyed_received(self, identity, key, payload):
        if not self.proxy.silent:
            self.proxy.take(self, identity, key, bytes(payload))
        return 1

    def payload_received(self, identity, payload):
        raise AssertionError("a payload without a key")

    def malformed_received(self, identity, reason):
        raise AssertionError(reason)

    def handshake_failed(self, peer, reason):
        pass


class LittleProxy:
    """
    A proxy on a host of a `Network`.

    :param one_socket: whether clients and servers connect to the same address.
    :param path: of an IPC socket beside the frontend.
    :ivar silent: whether it takes nothing in, as a stopped process does.
    :ivar deny: a function of a payload that says whether it is given back: with UNROUTABLE, or with what it returns.
    :ivar keeps: whether it keeps what it gives back, and says only that it does not forward it.
    :ivar forwarded: how many payloads it has forwarded.
    :ivar publishes: whether it says that it publishes, to nobody: it counts what it is given.
    """

    def __init__(self, network, host, one_socket=False, path=None, registers=True, store=None, publishes=False):
        self.network = network
        self.host = host
        self.clock = ProcessClock(network.clock)
        self.instance = network.chance.randbytes(16)
        self.silent = self.keeps = False
        self.deny = lambda payload: None
        self.forwarded = self.published = 0
        self.publishes = publishes
        self.left = set()
        self._newest: dict[str, Any] = {"client": {}, "server": {}}
        self._behind: dict[Any, Any] = {}
        self._transport = network.transport(host, self.clock)
        self._transport.open(lambda: None)
        self._matchmaker = (store or network.store).matchmaker(self.clock)
        self._sides = [_Side(self, self._transport) for _ in range(1 if one_socket else 2)]
        numeric = network.add_host(host)
        addresses = [side.router.bind(numeric, [0]) for side in self._sides]
        if path is not None:
            self._sides[0].router.bind_path(path)
        self.record = Record("router", *PROXIES, host, self.instance.hex(), addresses)
        if registers:
            self.register()

    def register(self):
        """Register, and again when it was not taken."""
        stored = self._matchmaker.register(self.record, 300)
        stored.addErrback(lambda _: self.clock.callLater(1, self.register))

    def withdraw(self):
        self._matchmaker.withdraw(self.record).addErrback(lambda _: None)

    def go_away(self):
        """Say GOAWAY to everybody, as often as it is called."""
        self.withdraw()
        for side, identity in list(self._behind):
            self.say(side, identity, Goaway("the proxy stops"))

    def kill(self):
        self.clock.stop()
        self._transport.kill()
        self._matchmaker.kill()

    def knows(self, role, instance):
        return instance in self._newest[role]

    def forget(self, instance):
        """Know a connection no more that is still there."""
        for role in ("client", "server"):
            way = self._newest[role].pop(instance, None)
            self._behind.pop(way, None)

    # What comes in

    def take(self, side, identity, key, payload):
        if key == SELF_KEY:
            self.take_own(side, identity, decode_batch(payload))
            return
        role, _ = self._behind.get((side, identity), (None, None))
        if role is None:
            self.say(side, identity, Nack(Refusal.WRONG_INSTANCE, []))
            return
        if read_topic(key) is not None and self.publishes:
            self.published += 1
            side.router.send_keyed(identity, key, b"%d" % self.published)
            return
        reason = self.deny(payload)
        way = self._newest["client" if role == "server" else "server"].get(read_instance(key) or b"")
        if reason is None:
            fate = GONE if way is None else way[0].router.send_keyed(way[1], key, payload)
            if fate == SENT:
                self.forwarded += 1
                return
            reason = Refusal.UNROUTABLE if fate == GONE else Refusal.OVERLOADED
        self.say(side, identity, Nack(reason, [], "", None if self.keeps else payload))

    def take_own(self, side, identity, batch):
        for message in batch.messages:
            if type(message) is Hello:
                self._behind[side, identity] = (message.role, batch.source)
                self._newest[message.role][batch.source] = (side, identity)
                limits = {"message": self._transport.max_message_size}
                self.say(side, identity, Welcome(1, batch.sent, "router", ["publish"] * self.publishes, limits, []))
            elif type(message) is Ping:
                if (side, identity) in self._behind:
                    self.say(side, identity, Pong(message.token))
                else:
                    self.say(side, identity, Nack(Refusal.WRONG_INSTANCE, []))
            elif type(message) is Goaway:
                self.left.add(batch.source)

    def say(self, side, identity, message):
        _, instance = self._behind.get((side, identity), (None, None))
        now = int(self.clock.seconds() * 1000)
        payload = encode_batch(self.instance, instance, now, (), [encode_message(message)])
        side.router.send_keyed(identity, SELF_KEY, payload)
