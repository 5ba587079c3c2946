"""
Discovery that fails: how soon what changes is known, and what becomes of calls while the store is away, hangs or lies.

The store and the servers are started here, since they are killed here. Servers are told what to do by calls.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.task import LoopingCall, deferLater

from bench.processes import process
from bench.stores import STORES, Store
from bench.work import Figures, Order, answer, percentile, ready
from bench.zmqrpc_client import play
from zmqrpc import Node, Settings, Target, expose
from zmqrpc.errors import NoRoute, ZmqRpcError
from zmqrpc.interfaces import IMatchmaker
from zmqrpc.matchmaker import make_matchmaker
from zmqrpc.record import Record, Role

reactor: Any = _reactor

WORK = Target("work")
CONTROL = Target("control")
TIMEOUT = 30.0
RATE = 200
"""Calls per second while something fails."""


class Worker:
    """One member of the topic that is called."""

    def __init__(self, name: str) -> None:
        self._name = name

    @expose
    def who(self, context: Any) -> str:
        return self._name


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
    name = f"w-{order.part}"
    node = Node(reactor, order.address)
    node.server(Target(CONTROL.topic, server=name), [Control(order.address)])
    node.server(Target(WORK.topic, server=name), [Worker(name)])
    node.startService()
    await node.when_ready()
    ready(order.address)


class Scene:
    """A store, servers as processes of their own, and a client that knows them."""

    def __init__(self, order: Order, store: Store, stack: ExitStack) -> None:
        self.order = order
        self.store = store
        self.url = (
            store.url + ("&" if "?" in store.url else "?") + "rpc_zmq_bind_address=127.0.0.1&rpc_zmq_host=127.0.0.1"
        )
        self._stack = stack
        self._parts = 0

    def matchmaker(self) -> IMatchmaker:
        matchmaker: IMatchmaker = make_matchmaker(reactor, Settings.from_url(self.url))
        return matchmaker

    def client(self, url: str = "") -> Any:
        node = Node(reactor, url or self.url)
        client = node.client()
        node.startService()
        return client

    def server(self) -> int:
        """Start a process that serves; return its id when it is registered."""
        order = replace(self.order, address=self.url, part=self._parts)
        self._parts += 1
        words = [sys.executable, "-m", "bench.discovery", "server", order.to_json()]
        child = self._stack.enter_context(process(words, self.order.directory))
        assert child.stdout is not None
        if not child.stdout.readline():
            raise AssertionError("a server died while it started")
        return child.pid


@contextmanager
def scene(order: Order) -> Iterator[Scene]:
    with ExitStack() as stack:
        store = stack.enter_context(STORES[order.store](order.directory))
        yield Scene(order, store, stack)


def pause(seconds: float) -> Deferred[None]:
    return deferLater(reactor, seconds, lambda: None)


async def known(client: Any, count: int) -> None:
    """Call until so many members have answered."""
    seen: set[str] = set()
    while len(seen) < count:
        seen.add(await client.call(WORK, "who", timeout=TIMEOUT))


class Load:
    """Calls at an even rate, whose ends are kept."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.ended: list[tuple[float, float, str]] = []
        self.open = 0
        self._loop = LoopingCall(self._call)
        self._loop.clock = reactor
        self._loop.start(1 / RATE)

    def _call(self) -> None:
        began = time.monotonic()
        self.open += 1

        def over(outcome: Any) -> None:
            self.open -= 1
            error = "" if isinstance(outcome, str) else outcome.type.__name__
            self.ended.append((began, time.monotonic(), error))

        self._client.call(WORK, "who", timeout=5.0).addBoth(over)

    async def stop(self) -> Figures:
        self._loop.stop()
        while self.open:
            await pause(0.01)
        failed = [error for _, _, error in self.ended if error]
        for error in sorted(set(failed)):
            print(f"{failed.count(error)} calls ended with {error}", file=sys.stderr)
        took = [end - began for began, end, _ in self.ended]
        return {
            "failed": len(failed),
            "calls": len(took),
            "p99_ms": percentile(took, 99) * 1e3,
            "max_ms": max(took) * 1e3,
        }


async def new_server(order: Order) -> Figures:
    """From when a server is registered until a client that runs has had an answer from it."""
    with scene(order) as here:
        here.server()
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


async def killed(order: Order) -> Figures:
    """From when a server is killed until no call meets it any more: of who talks to it, and of who only knows it."""
    talking, others, failed = [], [], 0
    for _ in range(order.count):
        with scene(order) as here:
            here.server()
            client, other = here.client(), here.client(f"{here.url}&zmq_topology=dynamic-direct")
            dying = here.server()
            await known(client, 2)
            await known(other, 2)
            load = Load(client)
            await pause(0.5)
            os.kill(dying, signal.SIGKILL)
            at = time.monotonic()
            seen = await _gone(other, at)
            await pause(1.0)
            failed += (await load.stop())["failed"]
            # Calls that wait for it to answer, or fail, took longer than the others: until the last of these has ended.
            slow = [end for began, end, error in load.ended if end > at and (error or end - began > 0.2)]
            talking.append(max([at, *slow]) - at)
            others.append(seen)
    return {"talking_s": max(talking), "others_s": max(others), "failed": failed}


async def _gone(client: Any, at: float) -> float:
    """Return for how many seconds after `at` somebody who calls now and then still meets somebody who is gone."""
    met = at
    while time.monotonic() < at + 3:
        began = time.monotonic()
        try:
            await client.call(WORK, "who", timeout=2.0)
            slow = time.monotonic() - began > 0.1
        except ZmqRpcError:
            slow = True
        if slow:
            met = time.monotonic()
        await pause(0.05)
    return met - at


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
    """Ask a store that hangs."""
    with scene(order) as here:
        matchmaker = here.matchmaker()
        await matchmaker.lookup("openstack", "work")
        here.store.stop_answering()
        began = time.monotonic()
        at_once = 0

        def failed(_: Any) -> None:
            nonlocal at_once
            at_once += time.monotonic() - began < 0.2
            took.append(time.monotonic() - began)

        took: list[float] = []
        asked = [matchmaker.lookup("openstack", f"t-{number}").addErrback(failed) for number in range(order.count)]
        waiting = order.count - len(took)
        await DeferredList(asked)
        here.store.answer_again()
        await matchmaker.close()
    return {"longest_s": max(took), "waiting": waiting}


async def stale(order: Order) -> Figures:
    """Call a topic of which most records lead nowhere."""
    with scene(order) as here, ExitStack() as stack:
        here.server()
        matchmaker = here.matchmaker()
        for number in range(2 * order.members):
            port = _swallows(stack) if number % 2 else _closed()
            record = Record(Role.SERVER, "openstack", "work", f"dead-{number}", f"{number:032x}", (f"tcp://{port}",))
            await matchmaker.register(record, 300)
        client = here.client()
        took = []
        for _ in range(order.count):
            began = time.monotonic()
            await client.call(WORK, "who", timeout=TIMEOUT)
            took.append(time.monotonic() - began)
            await pause(0.005)
    return {"first_s": took[0], "p99_ms": percentile(took[1:], 99) * 1e3, "max_ms": max(took[1:]) * 1e3}


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
    """Call topics that nobody serves, and look others up, in turn."""
    with scene(order) as here:
        here.server()
        client, matchmaker = here.client(), here.matchmaker()
        await known(client, 1)
        calls, lookups = [], []
        for number in range(order.count):
            began = time.monotonic()
            try:
                await client.call(Target(f"nobody-{number}"), "who", timeout=TIMEOUT)
            except NoRoute:
                calls.append(time.monotonic() - began)
            began = time.monotonic()
            await matchmaker.lookup("openstack", f"nothing-{number}")
            lookups.append(time.monotonic() - began)
        await matchmaker.close()
    call, lookup = percentile(calls, 50), percentile(lookups, 50)
    return {"noroute_ms": call * 1e3, "lookup_ms": lookup * 1e3, "ratio": call / lookup}


MODES: dict[str, Callable[[Order], Coroutine[Any, Any, Figures]]] = {
    "new-server": new_server,
    "killed": killed,
    "down": down,
    "hung": hung,
    "stale": stale,
    "unknown": unknown,
}


async def call(order: Order) -> None:
    answer(await MODES[order.mode](order))


if __name__ == "__main__":
    play(serve, call)
