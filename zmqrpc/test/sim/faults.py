"""What goes wrong in a simulated system."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from twisted.internet.interfaces import IDelayedCall

from zmqrpc.test.sim.system import Place, System
from zmqrpc.testing import Weather


class Faults:
    """Breaks something, or heals it, at random; at the end it heals everything."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._chance = Random(system.chance.getrandbits(64))
        self._heals: list[IDelayedCall] = []
        everywhere: list[Callable[[], None]] = [self._break_a_way] * 4 + [self._break_a_host, self._break_the_store]
        self._all = [*everywhere, self._heal, self._heal, *[self._end_a_process] * 4, self._let_stand, self._let_stand]

    def fail(self) -> None:
        """Let something fail, or heal."""
        self._chance.choice(self._all)()

    def heal(self) -> None:
        """Take back everything."""
        system = self._system
        network = system.network
        system.note("all heals")
        network.heal()
        for call in self._heals:
            if call.active():
                call.cancel()
        for host in network.refusing():
            network.accept(host)
        network.set_weather(Weather())
        for path in network.paths():
            path.own_weather = None
        network.store.come_back()
        for place in system.of("proxy"):
            if system.little:
                # It may have been told to misbehave.
                system.kill(place)
                system.start(place)

    # The network

    def _break_a_way(self) -> None:
        network, chance = self._system.network, self._chance
        client = chance.choice([place.host for place in self._system.places if place.role != "server"])
        other = chance.choice([place.host for place in self._system.places if place.host != client])
        fault = chance.choice(["partition", "cut", "cut", "break_connections", "break_connections", "weather"])
        ends = chance.sample([client, other], 2)
        self._system.note(f"{fault} {ends}")
        if fault == "weather":
            network.set_weather(self._system.weather(bad=True), *ends)
        else:
            getattr(network, fault)(*ends)

    def _break_a_host(self) -> None:
        host = self._chance.choice(self._system.places).host
        fault = self._chance.choice(["isolate", "refuse", "refuse", "accept"])
        self._system.note(f"{fault} {host}")
        network = self._system.network
        getattr(network, fault)(host)
        if fault == "isolate" and self._system.long:
            self._heals.append(network.clock.callLater(self._chance.uniform(0, 12), network.heal, host))

    def _heal(self) -> None:
        self._system.note("the ways heal")
        self._system.network.heal()

    # The store

    def _break_the_store(self) -> None:
        store, chance = self._system.network.store, self._chance
        fault = chance.choice(["go_down", "come_back", "come_back", "forget", "go_read_only"])
        self._system.note(f"store: {fault}")
        if fault == "go_down":
            store.go_down(chance.uniform(0, 2))
        elif fault == "come_back":
            store.come_back(chance.choice([0, 0, 0.5]))
        else:
            getattr(store, fault)()

    # Processes

    def _pick(self, *roles: str) -> Place | None:
        places = self._system.of(*roles)
        return self._chance.choice(places) if places else None

    def _end_a_process(self) -> None:
        system, chance = self._system, self._chance
        place = self._pick(
            "server", "server", "proxy", *["client", "client"] * (chance.random() < (0.7 if system.long else 0.1))
        )
        if place is None:
            return
        if system.little and place.role == "proxy" and chance.random() < 0.6:
            self._mislead(place)
            return
        if system.stops and chance.random() < 0.1:
            system.kill_in_its_stop(chance.choice(system.stops)[0])
        client = self._pick("client")
        asked = self._asked_of(client) if client is not None else []
        if client is not None and asked and chance.random() < 0.4:
            place = chance.choice(asked)
            self._break_all_ways(client.host)
            since = int(client.process.clock.seconds() * 1000)
            self._kill_when_welcome(place, place.process, client.process.instance, since, system.now + 0.7)
            return
        ports = (system.kill if chance.random() < 0.6 else system.stop)(place)
        again = ports if chance.random() < 0.5 else ()
        system.network.clock.callLater(chance.choice([0, 0.01, 0.3, 1]), system.start, place, again)

    def _break_all_ways(self, host: str) -> None:
        """Break all connections of a host: what it asks again over others is under way when the next fault comes."""
        self._system.note(f"break_connections {host}")
        for place in self._system.places:
            if place.host != host:
                self._system.network.break_connections(host, place.host)

    def _asked_of(self, client: Place) -> list[Place]:
        """List the servers that have something of a client."""
        instances = [link.instance for link in client.process._links.all() if link.pending]
        return [place for place in self._system.of("server") if place.process.instance in instances]

    def _kill_when_welcome(self, place: Place, process: Any, client: bytes, since: int, until: float) -> None:
        """
        Kill a server that has welcomed a client again, which is about to ask once more for what it has there.

        :param client: its instance.
        :param since: after which of its HELLOs, in ms of its clock.
        :param until: when it is killed all the same.
        """
        system, clock = self._system, self._system.network.clock
        if place.process is not process:
            return
        welcome = any(each.instance == client and each.hello_sent >= since for each in process._callers.all())
        if system.is_busy or not (welcome or system.now >= until):
            again = (place, process, client, since, until)
            clock.callLater(0.002, self._kill_when_welcome, *again)
            return
        system.kill(place)
        clock.callLater(self._chance.choice([0.3, 1]), system.start, place)

    def _mislead(self, place: Place) -> None:
        """Let a proxy misbehave as a bad program might."""
        proxy = place.process
        fault = self._chance.choice(["silent", "silent", "forget", "go_away"])
        self._system.note(f"{place.host}: {fault}")
        if fault == "silent":
            proxy.silent = not proxy.silent
        elif fault == "go_away":
            proxy.go_away()
        elif other := self._pick("client", "server"):
            proxy.forget(other.process.instance)

    def _let_stand(self) -> None:
        system, chance = self._system, self._chance
        place = self._pick("client", "server", "proxy")
        seconds = [1.5, 3, 8, 12] if system.long else [0.05, 0.5, 1.5, 3]
        busy = [each for each in system.of("server") if each.process._callers.requests.running]
        if system.long and busy and chance.random() < 0.5:
            # Of who stands with nothing to do, nobody knows.
            place = chance.choice(busy)
        if place is not None:
            system.stand(place, chance.choice(seconds), chance.random() < 0.3)
