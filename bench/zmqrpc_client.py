"""zmqrpc's client: one function for each way of measuring, all through `RPCClient` as any user has it."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections import Counter
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.python.failure import Failure

import zmqrpc
from bench.work import DATA, Figures, Lap, Order, answer, latencies, order_of, percentile
from zmqrpc import Node, Target, errors

TARGET = Target("bench", server="bench-1")
TIMEOUT = 30.0
DEADLINE = 0.050


async def window(client: Any, order: Order) -> Figures:
    """Keep so many calls outstanding; each reply's callback makes the next call."""
    lap = Lap(order)
    finished: Deferred[None] = Deferred()
    made = done = 0

    def call() -> None:
        nonlocal made
        made += 1
        waiting = client.call(TARGET, "echo", {"id": made, "data": DATA}, timeout=TIMEOUT)
        waiting.addCallbacks(received, failed, callbackArgs=(made,))

    def received(result: dict[str, Any], number: int) -> None:
        nonlocal done
        try:  # what a callback raises nobody sees, and its place in the window would stay empty
            if result["id"] != number:
                raise AssertionError("somebody else's reply")
            done += 1
            if not done & 63 and lap.running and not lap.more(done):
                finished.callback(None)
            if lap.running:
                call()
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


async def casts(client: Any, order: Order) -> Figures:
    """
    Cast, with so many not yet acknowledged.

    The clock stops when the last one is acknowledged and the last method has returned, whichever is later.
    """
    for count in order.count // 10, order.count:  # the first tells nothing: it warms up
        await client.call(TARGET, "reset", {"count": count}, timeout=TIMEOUT)
        started = time.monotonic()
        await _cast(client, count, order.window)
        acknowledged = time.monotonic()
        executed = await client.call(TARGET, "stamp", timeout=TIMEOUT)
    return {
        "rate": count / (max(acknowledged, executed) - started),
        "casts": count,
        "ran_after_ack_ms": (executed - acknowledged) * 1e3,
    }


def _cast(client: Any, count: int, window: int) -> Deferred[None]:
    finished: Deferred[None] = Deferred()
    made = done = 0

    def cast() -> None:
        nonlocal made
        made += 1
        waiting = client.cast(TARGET, "sink", {"id": made, "data": DATA}, timeout=TIMEOUT)
        waiting.addCallbacks(acknowledged, failed)

    def acknowledged(_: Any) -> None:
        nonlocal done
        done += 1
        if made < count:
            cast()
        elif done == count:
            finished.callback(None)

    def failed(reason: Failure) -> None:
        if not finished.called:
            finished.errback(reason)

    for _ in range(min(window, count)):
        cast()
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


async def _lateness(client: Any, method: str, args: dict[str, Any], outcomes: Counter[str]) -> float:
    """Make a call that is not answered; return how long after its deadline it ended."""
    started = time.monotonic()
    try:
        await client.call(TARGET, method, args, timeout=DEADLINE)
        outcomes["answered"] += 1
    except errors.ZmqRpcError as error:
        outcomes[type(error).__name__] += 1
    return time.monotonic() - started - DEADLINE


def _late(late: list[float], outcomes: Counter[str]) -> Figures:
    if set(outcomes) != {"DeadlineExceeded"}:
        raise AssertionError(f"not every call ended with DeadlineExceeded: {dict(outcomes)}")
    return {
        "late_p50_ms": percentile(late, 50) * 1e3,
        "late_max_ms": max(late) * 1e3,
        "late_min_ms": min(late) * 1e3,
        "calls": len(late),
    }


async def silent(client: Any, order: Order) -> Figures:
    """Call a method that never answers; its server lives."""
    outcomes: Counter[str] = Counter()
    late = [await _lateness(client, "never", {}, outcomes) for _ in range(order.count)]
    return _late(late, outcomes)


async def stopped(client: Any, order: Order) -> Figures:
    """Call a server that is stopped (SIGSTOP) for ten calls at a time, half a second, and answers in between."""
    outcomes: Counter[str] = Counter()
    late = []
    for number in range(order.count):
        if number % 10 == 0:
            os.kill(order.pids[0], signal.SIGSTOP)
        late.append(await _lateness(client, "echo", {"id": 0, "data": DATA}, outcomes))
        if number % 10 == 9:
            os.kill(order.pids[0], signal.SIGCONT)
            await client.call(TARGET, "echo", {"id": 0, "data": DATA}, timeout=TIMEOUT)
    return _late(late, outcomes)


MODES = {"window": window, "casts": casts, "one": one, "silent": silent, "stopped": stopped}


async def call(order: Order) -> None:
    node = Node(reactor, f"zmq+sqlite://{order.address}/matchmaker.db")
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


if __name__ == "__main__":
    zmqrpc.use_monotonic_clock(reactor)
    order = order_of(sys.argv)
    reactor.callWhenRunning(lambda: ensureDeferred(call(order)).addBoth(end))
    reactor.run()
