"""What carries the messages: a URL of oslo.messaging, and the processes that have to run for it."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from urllib.parse import urlencode

from bench.brokers import BROKERS, free_port, program, wait
from bench.oslo.rows import FAKE, RABBIT
from bench.oslo.woken import WOKEN
from bench.processes import process
from bench.rows import Contender
from bench.work import Order

_HERE = {"rpc_zmq_bind_address": "127.0.0.1", "rpc_zmq_host": "127.0.0.1"}


@dataclass(frozen=True)
class Bus:
    """A transport of oslo.messaging."""

    scheme: str
    options: dict[str, str] = field(default_factory=dict)
    """Of zmqrpc, for its URL."""
    proxy: bool = False
    """Whether a proxy of zmqrpc's is started."""
    woken: bool = False
    """Whether ``fake://`` does not look for messages each 50 ms only."""


def _zmq() -> Iterator[tuple[str, Bus]]:
    for store in ("redis", "sqlite"):
        yield f"zmq+{store}", Bus(store)
        yield f"zmq+{store}:dynamic", Bus(store, {"use_dynamic_connections": "true"})
        yield f"zmq+{store}:router-proxy", Bus(store, {"use_router_proxy": "true"}, proxy=True)
        yield f"zmq+{store}:pub-sub", Bus(store, {"use_pub_sub": "true"}, proxy=True)


BUSES = {RABBIT: Bus("rabbit"), FAKE: Bus("fake"), f"{FAKE}:woken": Bus("fake", woken=True), **dict(_zmq())}
"""
By the name that a person gives. What stands behind the colon is the topology, static and direct without it; or it says
that the listener of ``fake://`` is woken by each message (`bench.oslo.woken`).
"""
USUAL = (RABBIT, FAKE, "zmq+redis")


@contextlib.contextmanager
def running(bus: Bus, directory: str) -> Iterator[str]:
    """
    Start what a bus needs, for as long as the context lasts; give its URL.

    :raises ContenderFailed: something did not start.
    """
    with ExitStack() as stack:
        yield _START[bus.scheme](bus, directory, stack)


def _rabbit(bus: Bus, directory: str, stack: ExitStack) -> str:
    order = Order(directory=directory)
    broker = BROKERS["rabbit"]
    for command in broker.commands(Contender("", ""), order):
        stack.enter_context(process(command, directory, talks=False))
    return broker.address(order)


def _fake(bus: Bus, directory: str, stack: ExitStack) -> str:
    return "fake://" + WOKEN * bus.woken


def _redis(bus: Bus, directory: str, stack: ExitStack) -> str:
    port = free_port()
    words = [program("redis-server", "redis-server"), "--port", str(port), "--bind", "127.0.0.1"]
    stack.enter_context(process([*words, "--save", "", "--dir", directory], directory, talks=False))

    def found() -> str | None:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            return None
        return f"zmq+redis://127.0.0.1:{port}/?{urlencode({**_HERE, **bus.options})}"

    url = wait(10, found, "redis-server")
    return _with_proxy(url, bus, directory, stack)


def _sqlite(bus: Bus, directory: str, stack: ExitStack) -> str:
    url = f"zmq+sqlite://{directory}/matchmaker.db?{urlencode({**_HERE, **bus.options})}"
    return _with_proxy(url, bus, directory, stack)


def _with_proxy(url: str, bus: Bus, directory: str, stack: ExitStack) -> str:
    if bus.proxy:
        words = [sys.executable, "-m", "twisted", "--log-format=text", "zmq-proxy", "--host", "127.0.0.1"]
        stack.enter_context(process([*words, "--url", url], directory, talks=False))
        wait(20, lambda: url if _registered(url) else None, "zmq-proxy")
    return url


def _registered(url: str) -> Sequence[object]:
    """Return what the matchmaker has; only the proxy is there to be in it."""
    words = [sys.executable, "-m", "zmqrpc.cli", "ls", "--json", "--url", url]
    done = subprocess.run(words, check=False, capture_output=True, text=True)
    listed: list[object] = json.loads(done.stdout) if not done.returncode and done.stdout else []
    return listed


_START = {"rabbit": _rabbit, "fake": _fake, "redis": _redis, "sqlite": _sqlite}
