"""The command line: what one ``zmqrpc call`` takes, from its start to its end, when a server listens on SQLite."""

from __future__ import annotations

import os
import subprocess
import sys
import time

from bench.work import Figures, Order, answer, order_of, percentile

_WORDS = ["call", "bench.bench-1", "echo", "id=1", "data=x"]


def _times(words: list[str], count: int) -> Figures:
    """Run a command so many times; return the median of its seconds, by the clock and of the processor."""
    walls, cpus = [], []
    for _ in range(count):
        began = time.monotonic()
        quiet = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
        child = os.posix_spawn(sys.executable, words, os.environ, file_actions=quiet)
        _, status, usage = os.wait4(child, 0)
        if status:
            raise AssertionError(f"{words} ended with {status}")
        walls.append(time.monotonic() - began)
        cpus.append(usage.ru_utime + usage.ru_stime)
    return {"wall_s": percentile(walls, 50), "cpu_s": percentile(cpus, 50)}


def call(order: Order) -> None:
    zmqrpc = [sys.executable, "-m", "zmqrpc.cli"]
    url = f"zmq+sqlite://{order.address}/matchmaker.db"
    subprocess.run([*zmqrpc, *_WORDS, "--url", url], check=True, stdout=subprocess.DEVNULL)
    called = _times([*zmqrpc, *_WORDS, "--url", url], order.count)
    started = _times([*zmqrpc, "--version"], order.count)
    answer({**called, "start_cpu_s": started["cpu_s"]})


if __name__ == "__main__":
    call(order_of(sys.argv))
