"""
Proxies that fail under load: how much is lost, what comes twice, and how soon the rate is back.

The scenarios are those of the tests (`zmqrpc.test.integration.faults`), longer. They start their proxies and servers
themselves, since those come and go.
"""

from __future__ import annotations

import os
import sys

from bench.work import Order, answer
from bench.zmqrpc_client import play
from zmqrpc.test.integration import faults


async def call(order: Order) -> None:
    seed = int.from_bytes(os.urandom(4), "big")
    figures = await faults.play(order.mode, order.seconds, seed, order.directory)
    for fault in figures.pop("faults"):
        print(fault, file=sys.stderr)
    answer(figures)


async def serve(order: Order) -> None:
    raise AssertionError("a scenario starts its servers itself")


if __name__ == "__main__":
    play(serve, call)
