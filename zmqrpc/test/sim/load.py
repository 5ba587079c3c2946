"""What the clients of a simulated system ask."""

from __future__ import annotations

from itertools import count
from random import Random
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from zmqrpc import Target
from zmqrpc.test.sim.system import TOPIC, Place, System

KINDS = ("call", "call", "call", "call", "cast", "cast", "fanout", "fanout", "call_each", "notify")
TIMEOUTS = (0.02, 0.3, 0.3, 1, 1, 3)
BALLAST = (None, None, None, bytes(100), bytes(700))


class Load:
    """
    Asks at random, and writes down what is told.

    :ivar faults: what only the caller sees.
    :ivar until: when the last of all that was asked has to have ended.
    """

    def __init__(self, system: System) -> None:
        self.faults: list[str] = []
        self.until = 0.0
        self._open: dict[int, Any] = {}
        self._system = system
        self._chance = Random(system.chance.getrandbits(64))
        self._numbers = count()

    @property
    def waits(self) -> bool:
        """Whether anything has not ended whose client lives."""
        return any(not process.clock.stopped for process in self._open.values())

    def ask(self) -> None:
        """Ask one thing, or several at once."""
        clients = self._system.of("client")
        if clients:
            place = self._chance.choice(clients)
            for _ in range(self._chance.choice([1, 1, 1, 1, 6])):
                self._ask(place)

    def _ask(self, place: Place) -> None:
        chance, system = self._chance, self._system
        kind, timeout, idempotent = chance.choice(KINDS), chance.choice(TIMEOUTS), chance.random() < 0.3
        member = chance.choice([None, None, *(each.host for each in system.places if each.role == "server")])
        if kind in ("call_each", "notify", "fanout") and chance.random() < 0.9:
            member = None
        if kind == "notify":
            self.notify(place, timeout)
            return
        method = chance.choice(["quick", "quick", "slow", "broken"])
        options = {"idempotent": idempotent, "wait_for_ready": chance.random() < 0.2}
        deferred, number = self.send(place, kind, timeout, member, method, **options)
        if chance.random() < 0.08:
            system.network.clock.callLater(chance.uniform(0, timeout), self._cancel, deferred, number)

    def send(
        self, place: Place, kind: str, timeout: float, member: str | None, method: str = "quick", **options: Any
    ) -> tuple[Deferred[Any], int]:
        """Call, cast or fan out; return what fires, and the id."""
        number = self._invoke(place, kind, timeout, member=member, idempotent=options.get("idempotent", False))
        send = getattr(place.client, kind)
        arguments = {"number": number, "ballast": self._chance.choice(BALLAST)}
        deferred = send(Target(TOPIC, server=member), method, arguments, timeout=timeout, **options)
        return deferred.addBoth(self._ended, number), number

    def notify(self, place: Place, timeout: float) -> Deferred[Any]:
        """Notify; return what fires."""
        number = self._invoke(place, "notify", timeout)
        notify = getattr(place.notifier, self._chance.choice(["info", "warn"]))
        deferred: Deferred[Any] = notify(None, "event", {"number": number}, timeout=timeout)
        return deferred.addBoth(self._ended, number)

    def _invoke(self, place: Place, kind: str, timeout: float, **facts: Any) -> int:
        number = next(self._numbers)
        self._open[number] = place.process
        self.until = max(self.until, self._system.now + timeout)
        self._system.history.invoke(number, place.process.instance.hex(), kind, timeout, **facts)
        return number

    def _ended(self, outcome: Any, number: int) -> Any:
        del self._open[number]
        outcome = outcome.value if isinstance(outcome, Failure) else outcome
        self._system.history.ended(number, outcome)
        return outcome

    def _cancel(self, deferred: Deferred[Any], number: int) -> None:
        ended = deferred.called and not isinstance(deferred.result, Deferred)
        deferred.cancel()
        if not ended and not deferred.called:
            self.faults.append(f"{number} was cancelled at {self._system.now:.3f} s and has not ended")
