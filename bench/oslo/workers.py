"""
Forked workers that serve one topic, as services have them, and clients that call it.

    python -m bench.oslo.workers server|client ORDER
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import Any

import oslo_messaging

from bench.oslo.calls import DATA, TIMEOUT, transport_of
from bench.oslo.slots import BEGIN, COUNTS, LOOK, Slots
from bench.work import Order, answer, order_of, ready

TOPIC = "bench-workers"


class Echo:
    def __init__(self, slots: Slots, number: int) -> None:
        self._slots, self._number = slots, number
        self._lock = threading.Lock()
        self._calls = 0

    def echo(self, context: dict[str, Any], data: str) -> str:
        with self._lock:
            self._calls += 1
            self._slots.put(self._number, self._calls)
        return data


def _work(transport: Any, slots: Slots, number: int) -> None:
    # PR_SET_PDEATHSIG: Linux kills the worker when its parent is gone.
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    # As workers of one service on one host, all have the same name.
    target = oslo_messaging.Target(topic=TOPIC, server="bench")
    oslo_messaging.get_rpc_server(transport, target, [Echo(slots, number)], executor="threading").start()
    slots.put(number, 0)
    threading.Event().wait()


def serve(order: Order) -> None:
    slots = Slots(Path(order.directory, COUNTS))
    slots.make(order.members)
    transport = transport_of(order)
    for number in range(order.members):
        if not os.fork():
            try:
                _work(transport, slots, number)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(1)
    while not slots.all_serve():
        if os.waitpid(-1, os.WNOHANG)[0]:
            raise SystemExit("a worker died while it started")
        time.sleep(LOOK)
    ready(order.address)
    threading.Event().wait()


def call(order: Order) -> None:
    client = oslo_messaging.get_rpc_client(transport_of(order), oslo_messaging.Target(topic=TOPIC), timeout=TIMEOUT)
    ready(order.address)
    begin = Path(order.directory, BEGIN)
    while not begin.exists():
        time.sleep(LOOK)
    answered, errors = 0, Counter[str]()
    began = time.monotonic()
    for _ in range(order.count):
        try:
            answered += client.call({}, "echo", data=DATA) == DATA
        except Exception as error:
            errors[type(error).__name__] += 1
    for name, count in errors.items():
        print(f"{count} calls ended with {name}", file=sys.stderr)
    answer({"answered": answered, "seconds": time.monotonic() - began})


if __name__ == "__main__":
    {"server": serve, "client": call}[sys.argv[1]](order_of(sys.argv))
