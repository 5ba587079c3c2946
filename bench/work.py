"""What every contender's process shares: the message, the order it was given, the clocks, the answer it prints."""

from __future__ import annotations

import gc
import json
import math
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from operator import sub
from typing import Any

DATA = "x" * 100
"""The argument that fills a message; with an id and an envelope around it about 200 bytes travel."""

OPAQUE = bytes(200)
"""The whole message of the contenders that have no envelope and decode nothing."""

Figures = dict[str, Any]


@dataclass
class Order:
    """What the harness asks one process to do; it travels as JSON in the command line."""

    mode: str = ""
    address: str = ""
    window: int = 1
    seconds: float = 1.0
    """How long a closed loop is measured, after a warm-up of a quarter of it."""
    count: int = 1
    """How many messages, where a number is measured and not a time."""
    pids: list[int] = field(default_factory=list)
    """The servers of this contender."""
    servers: int = 1
    """How many processes serve."""
    part: int = 0
    """Which of these this one is."""
    members: int = 1
    """How many subscribers, or services, all servers hold together."""
    brokers: list[int] = field(default_factory=list)
    """The processes of this contender that stand between servers and clients."""
    directory: str = ""
    """What all processes of this contender can write to; it is removed afterwards. Empty is `address`."""
    topology: str = ""
    """zmqrpc's ``zmq_topology``; empty is what it has by default."""
    locals: list[int] = field(default_factory=list)
    """The ports where local publishers publish."""
    store: str = ""
    """What the matchmaker is made of, by its name in `bench.stores`."""

    def to_json(self) -> str:
        # What is as usual is left out: an earlier checkout knows fewer fields (bench.against).
        usual = {**asdict(Order()), "directory": self.address}
        return json.dumps({name: value for name, value in asdict(self).items() if value != usual[name]})


def cpu_seconds(pids: Sequence[int]) -> float:
    """Return the processor time, user and system, that these processes have used, all their threads included."""
    # The CPU clock of another process (clock_getcpuclockid(3)): /proc/PID/stat has it only in steps of 10 ms.
    return sum(time.clock_gettime(~pid << 3 | 2) for pid in pids)


class Used:
    """The processor time that a contender has used since this was made: its client, which is here, and the others."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._before = self._now()

    def _now(self) -> list[float]:
        return [cpu_seconds(pids) for pids in ([os.getpid()], self._order.pids, self._order.brokers)]

    def figures(self, count: int) -> Figures:
        """Return microseconds for each of so many messages, and what brokers used over what servers did."""
        client, servers, brokers = map(sub, self._now(), self._before)
        figures: Figures = {"cpu_us": (client + servers + brokers) / count * 1e6}
        if self._order.brokers:
            figures |= {"servers_us": servers / count * 1e6, "broker_share": brokers / servers}
        return figures


class Lap:
    """
    The measured part of a closed loop: starts itself after the warm-up, ends itself after the time asked for.

    The loop calls `more` now and then with the number of calls completed so far, and stops when that is false.
    """

    def __init__(self, order: Order) -> None:
        self.running = True
        self._seconds = order.seconds
        self._order = order
        self._until = time.monotonic() + order.seconds / 4
        self._started = 0.0
        self._done = 0
        self._used: Used | None = None
        self.figures: Figures = {}

    def more(self, done: int) -> bool:
        now = time.monotonic()
        if now < self._until:
            return True
        if not self._started:
            self._started, self._done, self._used = now, done, Used(self._order)
            self._until = now + self._seconds
            return True
        if self.running and self._used:
            self.running = False
            calls, elapsed = done - self._done, now - self._started
            self.figures = {"rate": calls / elapsed, "calls": calls, **self._used.figures(calls)}
        return False


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the smallest of `values` that `percent` of them do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def latencies(seconds: Sequence[float]) -> Figures:
    """Return the figures of calls made one at a time, without the first tenth, which warms up."""
    measured = seconds[len(seconds) // 10 :]
    return {"p50_us": percentile(measured, 50) * 1e6, "p99_us": percentile(measured, 99) * 1e6, "calls": len(measured)}


def ready(address: str) -> None:
    """Tell the harness that this server can be called, and where."""
    print(json.dumps({"address": address}), flush=True)


def answer(figures: Figures) -> None:
    """Tell the harness what this client measured."""
    print(json.dumps(figures), flush=True)


def order_of(argv: Sequence[str]) -> Order:
    """Return the order in the last word of the command line."""
    gc.freeze()  # what the imports made is nobody's work; the same for every contender
    order = Order(**json.loads(argv[-1]))
    order.directory = order.directory or order.address
    return order


def run(serve: Callable[[Order], None], call: Callable[[Order], None]) -> None:
    """Be the server or the client of a contender that lives in one module."""
    {"server": serve, "client": call}[sys.argv[1]](order_of(sys.argv))
