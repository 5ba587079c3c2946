"""What the clients of a simulated system ask."""

from __future__ import annotations

from random import Random
from typing import Any

from twisted.internet.defer import Deferred

from zmqrpc import Target
from zmqrpc.core.envelope import Flag, Kind, encode_message
from zmqrpc.test.sim.system import TOPIC, Place, System
from zmqrpc.waiter import Waiter

KINDS = ("call", "call", "call", "call", "cast", "cast", "fanout", "fanout", "call_each", "notify")
TIMEOUTS = (0.02, 0.3, 0.3, 1, 1, 3)
LONG_TIMEOUTS = (0.3, 1, 3, 8, 20, 20)
METHODS = (*["quick"] * 7, *["slow"] * 4, *["broken"] * 3, "busy", "busy", "relay", "start")
BALLAST = (None, None, None, bytes(100), bytes(700))
ENOUGH = 21
"""Calls after which a client knows how long most take."""


class Load:
    """Asks at random."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._chance = Random(system.chance.getrandbits(64))
        self._timeouts = LONG_TIMEOUTS if system.long else TIMEOUTS

    def ask(self) -> None:
        """Ask one thing, or several at once."""
        clients = self._system.of("client")
        if clients:
            place = self._chance.choice(clients)
            for _ in range(self._chance.choice([1, 1, 1, 1, 6])):
                self._ask(place)

    def warm_up(self) -> None:
        """Have those that hedge know how long calls take."""
        for place in self._system.of("client"):
            if self._system.hedges:
                for _ in range(ENOUGH):
                    self.send(place, "call", 1.0, None, idempotent=True)

    def fan_out(self) -> None:
        """Have each client fan out once."""
        for place in self._system.of("client"):
            self.send(place, "fanout", 3.0, None)

    def _ask(self, place: Place) -> None:
        chance, system = self._chance, self._system
        kind, timeout, idempotent = chance.choice(KINDS), chance.choice(self._timeouts), chance.random() < 0.3
        member = chance.choice([None, None, *(each.host for each in system.places if each.role == "server")])
        if kind in ("call_each", "notify", "fanout") and chance.random() < 0.9:
            member = None
        hedged = system.hedges and chance.random() < 0.7
        if hedged:
            kind, member, idempotent = "call", None, True
        if kind == "notify":
            self.notify(place, timeout)
            return
        if kind in ("call", "cast") and chance.random() < 0.05:
            self.send_damaged(place, kind, timeout, member)
            return
        method = chance.choice(METHODS)
        if chance.random() < 0.02:
            method = "block"
        elif (hedged and chance.random() < 0.5) or (system.long and chance.random() < 0.4):
            method = "slow"
        options = {"idempotent": idempotent, "wait_for_ready": chance.random() < 0.2}
        deferred, number = self.send(place, kind, timeout, member, method, **options)
        if chance.random() < 0.08:
            system.network.clock.callLater(chance.uniform(0, min(timeout, 3)), self._cancel, deferred, number)

    def send(
        self, place: Place, kind: str, timeout: float, member: str | None, method: str = "quick", **options: Any
    ) -> tuple[Deferred[Any], int]:
        """Call, cast or fan out; return what fires, and the id."""
        asked = self._system.asked
        number = asked.begin(place.process, kind, timeout, member=member, idempotent=options.get("idempotent", False))
        send = getattr(place.client, kind)
        arguments: dict[str, Any] = {"number": number, "ballast": self._chance.choice(BALLAST)}
        if method in ("relay", "start"):
            arguments["until"] = self._system.now + timeout if kind in ("call", "call_each") else None
        deferred = send(Target(TOPIC, server=member), method, arguments, timeout=timeout, **options)
        return deferred.addBoth(asked.ended, number), number

    def send_damaged(self, place: Place, kind: str, timeout: float, member: str | None) -> None:
        """Call or cast so that no server can read it, as a client with a fault might: its context is no map."""
        asked, delivery = self._system.asked, place.client._delivery
        number = asked.begin(place.process, kind, timeout, member=member)
        target, code, flags = Target(TOPIC, server=member), int(Kind[kind.upper()]), int(Flag.ACK_WANTED)
        to = (delivery.settings.control_exchange, TOPIC, member, None, None, "quick")
        request = (code, 0, 1, flags, 0, *to, {"number": number}, 7, None, None, None)
        now = delivery.seconds()
        call = Waiter(delivery.cancel)
        call.begin(code, target, encode_message(request), now + timeout, flags)
        call.route = place.client._route(target)
        call.addBoth(asked.ended, number)
        delivery.deliver(call, now)

    def notify(self, place: Place, timeout: float) -> Deferred[Any]:
        """Notify; return what fires."""
        asked = self._system.asked
        number = asked.begin(place.process, "notify", timeout)
        notify = getattr(place.notifier, self._chance.choice(["info", "warn"]))
        deferred: Deferred[Any] = notify(None, "event", {"number": number}, timeout=timeout)
        return deferred.addBoth(asked.ended, number)

    def _cancel(self, deferred: Deferred[Any], number: int) -> None:
        ended = deferred.called and not isinstance(deferred.result, Deferred)
        deferred.cancel()
        if not ended and not deferred.called:
            text = f"{number} was cancelled at {self._system.now:.3f} s and has not ended"
            self._system.asked.faults.append(text)
