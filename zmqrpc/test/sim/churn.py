"""
A churn: proxies, publishers and servers that join and leave under load, all from one seed.

Proxies are killed, or told to stop; servers are told to stop, so that nothing they have is lost. Or proxies are paused
as well and all servers stay, since an answer that a paused proxy holds may outlive its server. One proxy at least is up
that everybody knows. So nothing may be lost, and a fan-out that a subscriber misses may not even be counted: there is
none.
"""

from __future__ import annotations

from random import Random

from twisted.internet.defer import gatherResults

from zmqrpc.test.sim.load import Load
from zmqrpc.test.sim.story import SLACK
from zmqrpc.test.sim.system import System
from zmqrpc.testing.events import Ended, Invoked, Ran

SECONDS = 6.0
KNOWN = 2.0
"""Seconds after which everybody is connected to a proxy that has come."""

TIMEOUT = 20.0


class Churn:
    """
    Four members, three clients, and three proxies that publish, in a network.

    Two of the members stay from the beginning to the end.

    :param seed: what everything is drawn from.
    :ivar network: the network.
    :ivar events: who came and went.
    """

    def __init__(self, seed: int) -> None:
        self.system = system = System(seed, gentle=True)
        self.network, self.events, self.history = system.network, system.events, system.history
        self._load = Load(system)
        self._chance = Random(system.chance.getrandbits(64))
        self._pauses = self._chance.random() < 0.4
        self._stay, self._come = system.of("server")[:2], system.of("server")[2:]

    def run(self) -> None:
        """Let it pass, and stop all."""
        network, chance, system = self.network, self._chance, self.system
        network.result_of(gatherResults([place.process.when_ready() for place in system.of("server")]))
        # Numbers that come before the first are not missed, so each client begins with one that comes.
        self._load.fan_out()
        network.run_until(lambda: not self.system.asked.waits, 10, "the first fan-outs end")
        network.run(KNOWN)
        acts = [self._make] * 60 + [self._lose_proxy] * 10 + [self._lose_server] * 5
        start = system.now
        plan = sorted(((start + chance.uniform(0, SECONDS), act) for act in acts), key=lambda planned: planned[0])
        for at, act in plan:
            network.run(max(0.0, at - system.now))
            act()
        network.run(2)
        # What a dead publisher had swallowed shows at the next one.
        self._load.fan_out()
        network.run(0.5)
        network.run_until(lambda: not self.system.asked.waits, TIMEOUT + 1, "all ends")
        # For so long a subscriber waits for what may still come by another publisher.
        network.run(2)
        self._missed = [place.process.notices.counts["fanout_missed"] for place in self._stay]
        system.stop_all(60)

    # Who comes and goes

    def _lose_proxy(self) -> None:
        """Kill, stop or pause a proxy, unless no other were left that everybody knows; another comes at some time."""
        system, chance = self.system, self._chance
        standing = [place for place in system.of("proxy") if place.stands_until <= system.now]
        place = chance.choice(standing)
        if not any(other is not place and other.began + KNOWN < system.now for other in standing):
            return
        what = chance.choice(["kill", "stop", *["stand"] * self._pauses])
        if what == "stand":
            system.stand(place, chance.choice([0.5, 3.0]), clock=False)
            # Until then it is a stranger again.
            place.began = place.stands_until
            return
        process = place.process
        ports = system.kill(place) if what == "kill" else system.stop(place)
        if what == "stop" and chance.random() < 0.3:
            self.network.clock.callLater(chance.uniform(0, 0.1), system.kill_in_its_stop, process)
        again = chance.choice([(), ports])
        self.network.clock.callLater(chance.choice([0, 0.05, 0.5, 2]), system.start, place, again)

    def _lose_server(self) -> None:
        """Have a member stop; another of its name comes at some time, while it perhaps drains yet."""
        place = self._chance.choice(self._come)
        if place.process is not None and not self._pauses:
            self.system.stop(place)
            self.network.clock.callLater(self._chance.choice([0, 0.05, 0.5, 2]), self.system.start, place)

    # The load

    def _make(self) -> None:
        """Make some calls, casts or fan-outs at once, at random."""
        chance = self._chance
        for _ in range(chance.choice([1, 1, 1, 5, 30])):
            kind = chance.choice(["call", "call", "cast", "fanout"])
            member = None if kind == "fanout" else chance.choice([None, None, *(place.host for place in self._stay)])
            method = chance.choice(["quick", "quick", "slow"])
            self._load.send(chance.choice(self.system.of("client")), kind, TIMEOUT, member, method)

    # The verdict

    def verdict(self) -> list[str]:
        """List what was lost, or came twice."""
        broken = self.history.violations(ended_within=SLACK)
        fanouts, ran = set(), set()
        for event in self.history.events:
            match event:
                case Invoked(kind="fanout"):
                    fanouts.add(event.id)
                case Ran():
                    ran.add((event.id, event.member))
                case Ended() if any(told.verdict not in ("ok", "published") for told in event.told):
                    broken.append(f"lost: {event}")
        for place, missed in zip(self._stay, self._missed, strict=True):
            lost = sorted(number for number in fanouts if (number, place.host) not in ran)
            if lost or missed:
                broken.append(f"{place.host} has missed the fan-outs {lost}, and counted {missed}")
        return broken + [f"left behind: {left}" for left in self.system.left()]
