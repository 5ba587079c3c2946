"""Random faults of all kinds, from a seed: three servers, three proxies, ten clients, and a store."""

from __future__ import annotations

import resource
import signal
import time
from collections import Counter
from random import Random
from typing import Any

from twisted.internet.defer import Deferred

from zmqrpc import errors
from zmqrpc.test.fault.cases import error_of
from zmqrpc.test.fault.networks import KEEPALIVE
from zmqrpc.test.fault.processes import Child
from zmqrpc.test.fault.world import World
from zmqrpc.test.integration.support import eventually, pause
from zmqrpc.test.servers import RedisServer
from zmqrpc.test.wall import Wall

TOPOLOGY = "router-proxy+pub-sub"
_OTHERS = ("static-direct+pub-sub", "dynamic-direct+pub-sub")
_SERVERS, _CLIENTS = 3, 10
_NETWORK = ("cut", "half", "lose", "reset", "sever", "narrow")
_WHAT = ("kill", "kill", "term", "term", "stand", "stand", *_NETWORK, "descriptors", "wall", "store")
_CALM = 15.0
"""Seconds without faults at the end, within which everything has to be as it was."""

_EVERYTHING = 300.0
"""Seconds in which each of these happens at least once: there are some 0.9 a second."""


class Misfortune:
    """
    Lets things happen, one to each host at a time.

    :ivar counts: what has happened, and how often.
    """

    def __init__(self, world: World, chance: Random, wall: Wall, redis: RedisServer) -> None:
        self._world = world
        self._chance = chance
        self._wall = wall
        self._redis = redis
        self._busy: set[str] = set()
        self._running: list[Deferred[None]] = []
        self.counts: Counter[str] = Counter()

    async def befall(self, seconds: float) -> None:
        """Let things happen for so long, and wait until they are over."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            await pause(self._chance.uniform(0.2, 2.0))
            self._next()
        for running in self._running:
            await running

    def _next(self) -> None:
        chance = self._chance
        what = chance.choice(_WHAT)
        free = [child for child in self._newest() if child.host not in self._busy]
        if what == "store" and "store" not in self._busy:
            self._begin(what, "store", self._store())
        elif what == "wall":
            self.counts[what] += 1
            self._wall.step(chance.choice([-7200, 7200, -1, 1, 0.3]))
        elif free and what != "store":
            child = chance.choice(free)
            self._begin(what, child.host, getattr(self, f"_{what}")(child))

    def _begin(self, what: str, where: str, misfortune: Any) -> None:
        self.counts[what] += 1
        self._busy.add(where)
        running = Deferred.fromCoroutine(misfortune)
        running.addCallback(lambda _: self._busy.discard(where))
        self._running.append(running)

    def _newest(self) -> list[Child]:
        newest = {child.name: child for child in self._world.children}
        return [child for child in newest.values() if child.runs and child.pid]

    async def _kill(self, child: Child) -> None:
        self._world.kill(child)
        await self._anew(child)

    async def _term(self, child: Child) -> None:
        if child.kind == "caller":
            # What it waits for would end with it, as what it is told.
            await self._world.rest(child)
        self._world.signal(child, signal.SIGTERM)
        await self._anew(child)

    async def _anew(self, child: Child) -> None:
        await self._world.ended(child)
        await pause(self._chance.choice([0.0, 0.3, 2.0]))
        again = self._world.again(child)
        await eventually("its start", lambda: again.pid and (again.kind == "twistd" or "ready" in again.told), 60)

    async def _stand(self, child: Child) -> None:
        await self._world.stand(child, self._chance.choice([0.2, 1.0, 2.5, 7.0]))

    async def _cut(self, child: Child) -> None:
        await self._network(child, "cut")

    async def _half(self, child: Child) -> None:
        incoming = self._chance.random() < 0.5
        await self._network(child, "cut", incoming, not incoming)

    async def _lose(self, child: Child) -> None:
        await self._network(child, "lose", self._chance.choice([1, 5, 20, 50]))

    async def _reset(self, child: Child) -> None:
        await self._network(child, "reset")

    async def _sever(self, child: Child) -> None:
        await self._network(child, "sever")

    async def _network(self, child: Child, what: str, *arguments: object) -> None:
        host = self._world.host(child.host)
        getattr(host, what)(*arguments)
        await pause(self._chance.choice([0.2, 1.0, 3.0, 8.0]))
        host.heal()

    async def _narrow(self, child: Child) -> None:
        host = self._world.host(child.host)
        host.narrow(self._chance.choice(["200kbit", "1mbit"]))
        await pause(self._chance.uniform(1.0, 5.0))
        host.widen()

    async def _descriptors(self, child: Child) -> None:
        usual = resource.prlimit(child.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(child.pid, resource.RLIMIT_NOFILE, (child.open(), usual[1]))
        await pause(self._chance.uniform(1.0, 3.0))
        resource.prlimit(child.pid, resource.RLIMIT_NOFILE, usual)

    async def _store(self) -> None:
        if self._chance.random() < 0.5:
            self._redis.stop_answering()
            await pause(self._chance.uniform(0.5, 5.0))
            self._redis.answer_again()
        else:
            self._redis.kill()
            await pause(self._chance.uniform(0.5, 5.0))
            self._redis.lose()
            self._redis.start()


async def play(world: World, chance: Random) -> None:
    """Let things happen for `World.seconds`, and judge."""
    world.host("client0")
    assert world.lan is not None
    redis = RedisServer(world, "--bind", "127.0.0.1", world.lan.address, "--protected-mode", "no")
    world.url = f"zmq+redis://{world.lan.address}:{redis.port}"
    wall = Wall(world)
    world.use_environment(wall.environment)
    world.options |= KEEPALIVE
    await world.begin(*(f"server{number}" for number in range(_SERVERS)), publishers=0)
    usual = {"in_flight": 20, "timeout": 5.0, "size": 500}
    loads = [
        {**usual, "name": "call", "rate": 20},
        {**usual, "name": "idempotent", "rate": 5, "idempotent": True},
        {**usual, "name": "slow", "rate": 4, "method": "slow", "args": {"seconds": 0.5}},
        {**usual, "name": "directed", "rate": 4, "member": "server0"},
        {**usual, "name": "cast", "kind": "cast", "rate": 5},
        {**usual, "name": "fanout", "kind": "fanout", "rate": 2},
    ]
    for number in range(_CLIENTS):
        topology = TOPOLOGY if number % 2 else _OTHERS[number // 2 % 2]
        world.caller(f"client{number}", *loads, options={"zmq_topology": topology})
    await world.warm(3.0)
    misfortune = Misfortune(world, chance, wall, redis)
    await misfortune.befall(world.seconds)
    calm = time.monotonic()
    await pause(_CALM)
    story = await world.end(settle=30.0)
    ended = Counter(error_of(case) or "success" for case in story.cases)
    # In a minute or two not every kind has its turn.
    wanted = set(_WHAT) if world.seconds >= _EVERYTHING else set()
    world.figure("faults", "of every kind", dict(misfortune.counts), wanted <= set(misfortune.counts) != set())
    # "nothing": of a client that was killed, which the history says.
    strange = {name for name in ended if name not in ("success", "nothing") and not hasattr(errors, name)}
    world.figure("ends", "typed", dict(ended), not strange)
    world.none("calls that fail, asked in the last 5 s of calm", story.asked(calm + _CALM - 5).failed)
