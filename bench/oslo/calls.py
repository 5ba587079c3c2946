"""
Plain threads that make one blocking call after the other to one RPC server process with the executor ``threading``.

    python -m bench.oslo.calls server|client|both ORDER

``both`` has the server in the process of the client, which ``fake://`` needs.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from operator import sub
from typing import Any

import oslo_messaging
from oslo_config import cfg

from bench.oslo.woken import wake
from bench.work import Figures, Order, answer, cpu_seconds, order_of, percentile, ready

DATA = "x" * 64
TIMEOUT = 30
TOPIC = "bench-calls"
"""Of all processes of one run; the next run has a bus of its own."""


class Echo:
    """The method that is called, and how often it was."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls = 0

    def echo(self, context: dict[str, Any], data: str) -> str:
        with self._lock:
            self._calls += 1
        return data

    def calls(self, context: dict[str, Any]) -> int:
        return self._calls


def transport_of(order: Order) -> Any:
    # Its tracing and metrics look into the global configuration only.
    cfg.CONF([], project="bench")
    wake(order.address)
    return oslo_messaging.get_rpc_transport(cfg.CONF, url=order.address)


def serve(transport: Any) -> None:
    target = oslo_messaging.Target(topic=TOPIC, server="bench")
    oslo_messaging.get_rpc_server(transport, target, [Echo()], executor="threading").start()


class Caller:
    """The threads of one client, and what became of their calls."""

    def __init__(self, client: Any, seconds: float) -> None:
        self._client = client
        self._from = time.monotonic() + seconds / 4
        self._until = self._from + seconds
        self._took: list[list[float]] = []
        self.made = self.wrong = 0
        self.errors: Counter[str] = Counter()
        self._lock = threading.Lock()

    def _loop(self) -> None:
        took: list[float] = []
        made = wrong = 0
        errors: Counter[str] = Counter()
        ended = time.monotonic()
        while ended < self._until:
            began = time.monotonic()
            made += 1
            try:
                wrong += self._client.call({}, "echo", data=DATA) != DATA
            except Exception as error:
                errors[type(error).__name__] += 1
                ended = time.monotonic()
                continue
            ended = time.monotonic()
            if self._from <= ended < self._until:
                took.append(ended - began)
        with self._lock:
            self._took.append(took)
            self.made += made
            self.wrong += wrong
            self.errors += errors

    def run(self, count: int) -> list[float]:
        """Return the seconds of all calls that ended in the time that counts."""
        threads = [threading.Thread(target=self._loop) for _ in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return [seconds for took in self._took for seconds in took]


def call(transport: Any, order: Order) -> Figures:
    client = oslo_messaging.get_rpc_client(transport, oslo_messaging.Target(topic=TOPIC), timeout=TIMEOUT)
    caller = Caller(client, order.seconds)
    before = [time.process_time(), cpu_seconds(order.pids)]
    took = caller.run(order.window)
    used = map(sub, [time.process_time(), cpu_seconds(order.pids)], before)
    client_us, server_us = (seconds / caller.made * 1e6 for seconds in used)
    ran = client.call({}, "calls")
    lost = sum(caller.errors.values()) + caller.wrong
    for error, count in caller.errors.items():
        print(f"{count} calls ended with {error}", file=sys.stderr)
    return {
        "rate": len(took) / order.seconds,
        "p50_ms": percentile(took, 50) * 1e3 if took else None,
        "p99_ms": percentile(took, 99) * 1e3 if took else None,
        "max_ms": max(took) * 1e3 if took else None,
        "client_us": client_us,
        "server_us": server_us,
        "calls": caller.made,
        "lost": lost,
        "twice": max(0, ran - caller.made),
    }


def main(argv: list[str]) -> None:
    order = order_of(argv)
    transport = transport_of(order)
    if argv[1] != "client":
        serve(transport)
    if argv[1] == "server":
        ready(order.address)
        threading.Event().wait()
    answer(call(transport, order))


if __name__ == "__main__":
    main(sys.argv)
