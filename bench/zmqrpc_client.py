"""zmqrpc's client: one function for each way of measuring, all through `RPCClient` as any user has it."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

import zmqrpc
from bench.work import DATA, Figures, Lap, Order, answer, latencies, order_of, percentile, run
from bench.zmqrpc_server import url
from zmqrpc import Node, Target, errors
from zmqrpc.cli._alarm import Alarm

TARGET = Target("bench", server="bench-1")
TIMEOUT = 30.0
DEADLINE = 0.050

_Part = Callable[[Order], Coroutine[Any, Any, None]]


async def window(client: Any, order: Order, target: Target = TARGET) -> Figures:
    """Keep so many calls outstanding; each reply's callback makes the next call."""
    lap = Lap(order)
    finished: Deferred[None] = Deferred()
    made = done = 0

    def call() -> None:
        nonlocal made
        made += 1
        waiting = client.call(target, "echo", {"id": made, "data": DATA}, timeout=TIMEOUT)
        waiting.addCallbacks(received, failed, callbackArgs=(made,))

    def received(result: dict[str, Any], number: int) -> None:
        nonlocal done
        try:  # what a callback raises nobody sees, and its place in the window would stay empty
            if result["id"] != number:
                raise AssertionError("somebody else's reply")
            done += 1
            if not done & 63:
                lap.more(done)
            if lap.running:
                call()
            elif done == made:
                finished.callback(None)
        except Exception:
            failed(Failure())

    def failed(reason: Failure) -> None:
        lap.running = False
        if not finished.called:
            finished.errback(reason)

    for _ in range(order.window):
        call()
    await finished
    return lap.figures


async def at_random(make: Callable[[float], Deferred[None]], rate: float, seconds: float) -> tuple[int, int]:
    """
    Make calls at random moments, so many a second on average, whether or not those before were answered.

    :param make: is given the moment that a call is meant for, and returns what fires when it was answered.
    :return: how many were made, and how many of them over a millisecond late.
    """
    chance = random.Random(1)
    due = time.monotonic()
    end = due + seconds
    made = late = outstanding = 0
    finished: Deferred[None] = Deferred()

    def answered(_: None) -> None:
        nonlocal outstanding
        outstanding -= 1
        if due >= end and not outstanding:
            finished.callback(None)

    def turn() -> None:
        nonlocal due, made, late, outstanding
        now = time.monotonic()
        while due <= now and due < end:
            made += 1
            outstanding += 1
            late += now - due > 0.001
            meant, due = due, due + chance.expovariate(rate)
            make(meant).addCallbacks(answered, finished.errback)
        if due < end:
            alarm.set(due - time.monotonic())

    alarm = Alarm(reactor, turn)
    turn()
    await finished
    alarm.close()
    return made, late


async def open_loop(client: Any, order: Order) -> Figures:
    """
    Make calls at random moments: half as many as a full window manages.

    A call's time counts from the moment it was meant for, so that a client that is busy hides nothing.
    """
    idle = await one(client, Order(count=order.count))
    peak = await window(client, order)
    seconds: list[float] = []

    def answered(_: Any, meant: float) -> None:
        seconds.append(time.monotonic() - meant)

    def make(meant: float) -> Deferred[None]:
        waiting: Deferred[Any] = client.call(TARGET, "echo", {"id": len(seconds), "data": DATA}, timeout=TIMEOUT)
        return waiting.addCallback(answered, meant)

    made, late = await at_random(make, peak["rate"] / 2, order.seconds)
    measured = seconds[len(seconds) // 10 :]
    p99 = percentile(measured, 99) * 1e6
    return {
        "p99_over_idle": p99 / idle["p50_us"],
        "p99_us": p99,
        "p50_us": percentile(measured, 50) * 1e6,
        "idle_p50_us": idle["p50_us"],
        "rate": made / order.seconds,
        "late_percent": 100 * late / made,
    }


async def casts(client: Any, order: Order) -> Figures:
    """
    Cast, with so many not yet acknowledged.

    The clock stops when the last one is acknowledged and the last method has returned, whichever is later.
    """
    for count in order.count // 10, order.count:  # the first tells nothing: it warms up
        await client.call(TARGET, "reset", {"count": count}, timeout=TIMEOUT)
        started = time.monotonic()
        await all_sent(client.cast, TARGET, count, order.window)
        acknowledged = time.monotonic()
        executed = await client.call(TARGET, "stamp", timeout=TIMEOUT)
    return {
        "rate": count / (max(acknowledged, executed) - started),
        "casts": count,
        "ran_after_ack_ms": (executed - acknowledged) * 1e3,
    }


def all_sent(send: Callable[..., Deferred[Any]], target: Target, count: int, window: int) -> Deferred[None]:
    """Send so many messages, with so many not yet done; fires when all are."""
    finished: Deferred[None] = Deferred()
    made = done = 0

    def make() -> None:
        nonlocal made
        made += 1
        send(target, "sink", {"id": made, "data": DATA}, timeout=TIMEOUT).addCallbacks(sent, failed)

    def sent(_: Any) -> None:
        nonlocal done
        done += 1
        if made < count:
            make()
        elif done == count:
            finished.callback(None)

    def failed(reason: Failure) -> None:
        if not finished.called:
            finished.errback(reason)

    for _ in range(min(window, count)):
        make()
    return finished


async def one(client: Any, order: Order) -> Figures:
    """Make one call at a time."""
    seconds = []
    for number in range(order.count):
        started = time.perf_counter()
        result = await client.call(TARGET, "echo", {"id": number, "data": DATA}, timeout=TIMEOUT)
        seconds.append(time.perf_counter() - started)
        if result["id"] != number:
            raise AssertionError("somebody else's reply")
    return latencies(seconds)


class Lateness:
    """
    Makes calls that are not answered, one at a time, and keeps how long after its deadline each ended.

    After each it keeps how late a bare timer of the same length fires: what the machine alone would cost.
    """

    def __init__(self, client: Any) -> None:
        self._client = client
        self._outcomes: Counter[str] = Counter()
        self._late: list[float] = []
        self._timers: list[float] = []

    async def call(self, method: str, args: dict[str, Any]) -> None:
        started = time.monotonic()
        try:
            await self._client.call(TARGET, method, args, timeout=DEADLINE)
            self._outcomes["answered"] += 1
        except errors.ZmqRpcError as error:
            self._outcomes[type(error).__name__] += 1
        self._late.append(time.monotonic() - started - DEADLINE)
        started = time.monotonic()
        await deferLater(reactor, DEADLINE)
        self._timers.append(time.monotonic() - started - DEADLINE)

    def figures(self) -> Figures:
        if set(self._outcomes) != {"DeadlineExceeded"}:
            raise AssertionError(f"not every call ended with DeadlineExceeded: {dict(self._outcomes)}")
        return {
            "late_max_ms": max(self._late) * 1e3,
            "late_p50_ms": percentile(self._late, 50) * 1e3,
            "late_min_ms": min(self._late) * 1e3,
            "timer_max_ms": max(self._timers) * 1e3,
            "calls": len(self._late),
        }


async def silent(client: Any, order: Order) -> Figures:
    """Call a method that never answers; its server lives."""
    lateness = Lateness(client)
    for _ in range(order.count):
        await lateness.call("never", {})
    return lateness.figures()


async def stopped(client: Any, order: Order) -> Figures:
    """Call a server that is stopped (SIGSTOP) for five calls at a time, half a second, and answers in between."""
    lateness = Lateness(client)
    args = {"id": 0, "data": DATA}
    for _ in range(order.count // 5):
        os.kill(order.pids[0], signal.SIGSTOP)
        for _ in range(5):
            await lateness.call("echo", args)
        os.kill(order.pids[0], signal.SIGCONT)
        await client.call(TARGET, "echo", args, timeout=TIMEOUT)
    return lateness.figures()


MODES = {"window": window, "casts": casts, "one": one, "silent": silent, "stopped": stopped, "open": open_loop}


async def call(order: Order) -> None:
    node = Node(reactor, url(order))
    client = node.client()
    node.startService()
    await node.when_ready()
    await client.call(TARGET, "echo", {"id": 0, "data": DATA}, timeout=TIMEOUT)  # the link is up
    answer(await MODES[order.mode](client, order))


def end(outcome: Failure | None) -> None:
    """Leave at once: how a Node stops is not what is measured."""
    if outcome is not None:
        outcome.printTraceback(sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0 if outcome is None else 1)


def play(serve: _Part, call: _Part) -> None:
    """Be the server or the client of a contender that lives in one module, on the reactor."""
    zmqrpc.use_monotonic_clock(reactor)
    run(
        lambda order: reactor.callWhenRunning(lambda: ensureDeferred(serve(order)).addErrback(end)),
        lambda order: reactor.callWhenRunning(lambda: ensureDeferred(call(order)).addBoth(end)),
    )
    reactor.run()


if __name__ == "__main__":
    zmqrpc.use_monotonic_clock(reactor)
    order = order_of(sys.argv)
    reactor.callWhenRunning(lambda: ensureDeferred(call(order)).addBoth(end))
    reactor.run()
