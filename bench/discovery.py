"""
Discovery that fails: how soon what changes is known, and what becomes of calls while the store is away, hangs or lies.

The store and the servers are started here, since they are killed here.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from statistics import median
from typing import Any

from twisted.internet.defer import DeferredList

from bench.failover import failover
from bench.scene import TIMEOUT, TOPOLOGIES, WORK, Load, known, pause, reactor, scene, url_of
from bench.work import Figures, Order, answer, percentile, ready
from bench.worker import Worker
from bench.zmqrpc_client import play
from zmqrpc import Node, Target, expose
from zmqrpc.errors import NoRoute
from zmqrpc.record import Record, Role

CONTROL = Target("control")
TRIP = 0.05
"""Seconds that a round trip to the store takes where round trips are counted."""
STALE_CLIENTS = 5


class Control:
    """Adds members to its process."""

    def __init__(self, url: str) -> None:
        self._url = url

    @expose
    async def add(self, context: Any, name: str) -> float:
        """Start a member, and return when it was registered, by the clock that all processes share."""
        node = Node(reactor, self._url)
        node.server(Target(WORK.topic, server=name), [Worker(name)])
        node.startService()
        await node.when_ready()
        return time.monotonic()


async def serve(order: Order) -> None:
    node = Node(reactor, order.address)
    node.server(Target(CONTROL.topic, server="control"), [Control(order.address)])
    node.server(Target(WORK.topic, server="control"), [Worker("control")])
    node.startService()
    await node.when_ready()
    ready(order.address)


async def new_server(order: Order) -> Figures:
    """From when a server is registered until a client that runs has had an answer from it."""
    with scene(order) as here:
        here.adder()
        client = here.client()
        await known(client, 1)
        took = []
        for number in range(order.count):
            name = f"new-{number}"
            registered: list[float] = []
            client.call(CONTROL, "add", {"name": name}, timeout=TIMEOUT).addCallback(registered.append)
            while await client.call(WORK, "who", timeout=TIMEOUT) != name:
                await pause(0.001)
            answered = time.monotonic()
            while not registered:
                await pause(0.001)
            took.append(max(0.0, answered - registered[0]))
    return {"max_ms": max(took) * 1e3, "p50_ms": percentile(took, 50) * 1e3}


class Rotation:
    """Who has turns at a client, looked at in its memory: nothing is called for that."""

    def __init__(self, client: Any) -> None:
        self._client = client

    @property
    def links(self) -> set[str]:
        """The links that have turns."""
        # What no client tells: a call that goes nowhere looks like a slow one from outside.
        return set(self._client._routes[WORK].choices)


async def killed(order: Order) -> Figures:
    """
    From when a server is killed until it has no turn any more: of clients that call all the time, and of idle ones.

    Servers are processes of twistd. The idle ones have asked once who is there, and make no call.
    """
    away: dict[str, list[float]] = {}
    with scene(order) as here:
        here.server()
        talking = {name: here.client(targets=[WORK], zmq_topology=name) for name in TOPOLOGIES}
        idle = {name: here.client(targets=[WORK] * ("static" in name), zmq_topology=name) for name in TOPOLOGIES}
        for client in talking.values():
            await known(client, 1)
        for client in idle.values():
            await client.members(WORK, timeout=TIMEOUT)
        named = [("talking", talking), ("others", idle)]
        rotations = {f"{who}_{name}": Rotation(client) for who, all_ in named for name, client in all_.items()}
        load = Load(*talking.values())
        for _ in range(order.count):
            before = next(iter(rotations.values())).links
            dying = here.server()
            while any(len(rotation.links) != 2 for rotation in rotations.values()):
                await pause(0.05)
            await pause(1.0)
            (link,) = next(iter(rotations.values())).links - before
            os.kill(dying, signal.SIGKILL)
            at = time.monotonic()
            left = dict(rotations)
            while left and time.monotonic() < at + TIMEOUT:
                for name, rotation in list(left.items()):
                    if link not in rotation.links:
                        away.setdefault(name, []).append(time.monotonic() - at)
                        del left[name]
                await pause(0.001)
            if left:
                raise AssertionError(f"{', '.join(left)} would still call who was killed {TIMEOUT} s ago")
            await pause(0.5)
        figures: Figures = {f"{name.partition('-')[0]}_s": max(times) for name, times in away.items()}
        for who in ("talking", "others"):
            figures[f"{who}_s"] = max(figures[f"{who}_static_s"], figures[f"{who}_dynamic_s"])
        return {**figures, **await load.stop()}


async def down(order: Order) -> Figures:
    """Kill the store for so many seconds under load; it comes back empty."""
    with scene(order) as here:
        for _ in range(order.members):
            here.server()
        client = here.client()
        await known(client, order.members)
        records = here.store.records()
        load = Load(client)
        await pause(0.5)
        here.store.kill()
        await pause(order.seconds)
        here.store.start()
        back = time.monotonic()
        while here.store.records() < records:
            await pause(0.01)
            if time.monotonic() > back + 60:
                raise AssertionError("not all records are back after a minute")
        back_s = time.monotonic() - back
        await pause(1.0)
        return {"back_s": back_s, **await load.stop()}


async def hung(order: Order) -> Figures:
    """Ask a store that hangs: a lookup and a registration each two milliseconds."""
    with scene(order) as here:
        way = here.store.measured()
        matchmaker = here.matchmaker(url_of(way.url))
        record = Record(Role.SERVER, "openstack", "work", "one", f"{1:032x}", ("tcp://127.0.0.1:9",))
        await matchmaker.register(record, 300)
        await matchmaker.lookup("openstack", "work")
        here.store.stop_answering()
        before = way.asked
        took: list[float] = []
        waiting: list[int] = []

        def failed(_: Any, began: float) -> None:
            if not waiting and time.monotonic() - began > 0.1:
                # The first that was not refused at once: until now nothing that was asked has ended.
                waiting.append(way.asked - before)
            took.append(time.monotonic() - began)

        asked = []
        for number in range(order.count):
            now = time.monotonic()
            asked.append(matchmaker.lookup("openstack", f"t-{number}").addBoth(failed, now))
            asked.append(matchmaker.register(record, 300).addBoth(failed, now))
            await pause(0.002)
        await DeferredList(asked)
        here.store.answer_again()
        await matchmaker.close()
    return {"longest_s": max(took), "waiting": waiting[0], "refused": sum(seconds < 0.1 for seconds in took)}


async def stale(order: Order) -> Figures:
    """Call a topic of which most records lead nowhere: several clients that are new, one after the other."""
    figures: Figures = {}
    with scene(order) as here, ExitStack() as stack:
        live = here.server()
        await known(here.client(), 1)
        matchmaker = here.matchmaker()
        for number in range(2 * order.members):
            port = _swallows(stack) if number % 2 else _closed()
            record = Record(Role.SERVER, "openstack", "work", f"dead-{number}", f"{number:032x}", (f"tcp://{port}",))
            await matchmaker.register(record, 300)
        for topology in TOPOLOGIES:
            first, later = [], []
            for _ in range(STALE_CLIENTS):
                # What the others have found out would help this one.
                for sighting in await matchmaker.records():
                    if sighting.record.role is Role.DOUBT:
                        await matchmaker.withdraw(sighting.record)
                client = here.client(zmq_topology=topology)
                took = []
                for _ in range(order.count):
                    began = time.monotonic()
                    if await client.call(WORK, "who", timeout=TIMEOUT) != str(live):
                        raise AssertionError("somebody else has answered")
                    took.append(time.monotonic() - began)
                    await pause(0.005)
                await client.close()
                first.append(took[0])
                later += took[1:]
            name = topology.partition("-")[0]
            figures |= {
                f"first_{name}_s": max(first),
                f"first_{name}_p50_s": median(first),
                f"p99_{name}_ms": percentile(later, 99) * 1e3,
                f"max_{name}_ms": max(later) * 1e3,
            }
    for figure in ("first_{}_s", "p99_{}_ms", "max_{}_ms"):
        figures[figure.replace("{}_", "")] = max(figures[figure.format("static")], figures[figure.format("dynamic")])
    return figures


def _closed() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def _swallows(stack: ExitStack) -> str:
    """Return an address whose queue of connections is full: Linux drops what comes there."""
    listener = stack.enter_context(socket.socket())
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    for _ in range(3):
        filler = stack.enter_context(socket.socket())
        filler.setblocking(False)
        filler.connect_ex(listener.getsockname())
    return f"127.0.0.1:{listener.getsockname()[1]}"


async def unknown(order: Order) -> Figures:
    """Call topics that nobody serves, and look others up, in turn; then again where each round trip takes its time."""
    with scene(order) as here:
        here.server()
        way = here.store.measured()
        client, matchmaker = here.client(way.url), here.matchmaker(url_of(way.url))
        await known(client, 1)
        await matchmaker.lookup("openstack", "nothing")
        calls, lookups = await _unknown(client, matchmaker, order.count, 0.0)
        way.delay = TRIP
        far_calls, far_lookups = await _unknown(client, matchmaker, max(3, order.count // 50), 4 * TRIP)
        await matchmaker.close()
    figures: Figures = {"noroute_ms": median(calls) * 1e3, "lookup_ms": median(lookups) * 1e3}
    return {
        **figures,
        "ratio": median(calls) / median(lookups),
        "trips": median(far_calls) / TRIP,
        "lookup_trips": median(far_lookups) / TRIP,
    }


async def _unknown(client: Any, matchmaker: Any, count: int, rest: float) -> tuple[list[float], list[float]]:
    calls, lookups = [], []
    for number in range(count):
        began = time.monotonic()
        try:
            await client.call(Target(f"nobody-{rest}-{number}"), "who", timeout=TIMEOUT)
        except NoRoute:
            calls.append(time.monotonic() - began)
        await pause(rest)
        began = time.monotonic()
        await matchmaker.lookup("openstack", f"nothing-{rest}-{number}")
        lookups.append(time.monotonic() - began)
        await pause(rest)
    return calls, lookups


MODES: dict[str, Callable[[Order], Coroutine[Any, Any, Figures]]] = {
    "new-server": new_server,
    "killed": killed,
    "down": down,
    "failover": failover,
    "hung": hung,
    "stale": stale,
    "unknown": unknown,
}


async def call(order: Order) -> None:
    answer(await MODES[order.mode](order))


if __name__ == "__main__":
    play(serve, call)
