"""
How long replies take through a proxy whose frontend another process floods: with junk, and with calls that are right.

A reply's time begins when its method returns, by the clock that all processes share. The calls are made at random
moments, few enough that nothing waits for long while nobody floods.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import zmq
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from bench.brokers import proxies
from bench.work import OPAQUE, Figures, Lap, Order, answer, order_of, percentile, ready
from bench.zmqrpc_client import TARGET, TIMEOUT, at_random, play, window
from bench.zmqrpc_server import url
from zmqrpc import Node
from zmqrpc.client import RPCClient
from zmqrpc.core.batch import encode_batch
from zmqrpc.core.envelope import Hello, encode_message
from zmqrpc.core.keys import SELF_KEY, instance_key

RATE = 1000.0
"""Calls per second whose replies are measured."""
SETTLE = 0.5
"""Seconds from the start of a flood to the first call that is measured."""


async def _replies(client: RPCClient, seconds: float) -> list[float]:
    took: list[float] = []

    def answered(returned: float) -> None:
        took.append(time.monotonic() - returned)

    def make(meant: float) -> Deferred[None]:
        waiting: Deferred[Any] = client.call(TARGET, "now", timeout=TIMEOUT)
        return waiting.addCallback(answered)

    await at_random(make, RATE, seconds)
    return took


@contextlib.contextmanager
def _flooding(order: Order) -> Iterator[subprocess.Popen[str]]:
    # It stands for another machine: the scheduler is to take no processor from those that are measured to give it.
    aside = ["nice", "-n", "19", "setpriv", "--pdeathsig", "KILL"]
    words = [*aside, sys.executable, "-m", "bench.flood", "client", order.to_json()]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as child:
        try:
            yield child
        finally:
            child.kill()


async def _flooded(client: RPCClient, order: Order) -> tuple[float, float]:
    """Return the 99th percentile of the replies while somebody floods, and how often a second it wrote."""
    with _flooding(order) as child:
        assert child.stdout is not None
        line = child.stdout.readline
        await deferToThread(line)
        started = Deferred[None]()
        reactor.callLater(SETTLE, started.callback, None)
        await started
        took = await _replies(client, order.seconds)
        figures = json.loads(await deferToThread(line))
    return percentile(took, 99), figures["rate"]


async def _measure(client: RPCClient, order: Order) -> Figures:
    before = percentile(await _replies(client, order.seconds), 99)
    junk, junk_rate = await _flooded(client, replace(order, mode="junk"))
    calls, calls_rate = await _flooded(client, replace(order, mode="calls"))
    return {
        "flooded_over_before": max(junk, calls) / before,
        "before_p99_us": before * 1e6,
        "junk_p99_us": junk * 1e6,
        "calls_p99_us": calls * 1e6,
        "junk_rate": junk_rate,
        "calls_rate": calls_rate,
    }


async def _flood_with_calls(client: RPCClient, order: Order) -> None:
    """Call as fast as a full window allows, and say how fast; then go on until somebody makes an end."""
    ready("")
    figures = await window(client, order)
    answer({"rate": figures["rate"]})
    while True:
        await window(client, order)


def flood_with_junk(order: Order) -> None:
    """Be a client of the proxy that writes to an instance nobody has, as fast as it can; then the same."""
    frontend = proxies(order.directory, "router")[0][0]
    socket = zmq.Context().socket(zmq.DEALER)
    socket.connect(frontend)
    hello = encode_message(Hello(1, 1, "client", [], {"message": 1 << 26}, []))
    now = int(time.monotonic() * 1000)
    socket.send_multipart([SELF_KEY, encode_batch(os.urandom(16), None, now, (), [hello])])
    socket.recv_multipart()
    ready("")
    junk = [instance_key(os.urandom(16)), OPAQUE]
    lap = Lap(order)
    written, told = 0, False
    while True:
        try:
            for _ in range(100):
                socket.send_multipart(junk, zmq.NOBLOCK)
                written += 1
        except zmq.Again:
            socket.poll(10, zmq.POLLIN | zmq.POLLOUT)
        with contextlib.suppress(zmq.Again):
            while True:  # what the proxy gives back
                socket.recv_multipart(zmq.NOBLOCK)
        if not lap.more(written) and not told:
            told = True
            answer({"rate": lap.figures["rate"]})


async def call(order: Order) -> None:
    node = Node(reactor, url(order))
    client = node.client()
    node.startService()
    await node.when_ready()
    await client.call(TARGET, "now", timeout=TIMEOUT)
    if order.mode == "calls":
        await _flood_with_calls(client, order)
    answer(await _measure(client, order))


async def serve(order: Order) -> None:
    raise AssertionError("bench.zmqrpc_server serves")


if __name__ == "__main__":
    order = order_of(sys.argv)
    if order.mode == "junk":
        flood_with_junk(order)
    else:
        play(serve, call)
