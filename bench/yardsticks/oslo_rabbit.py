"""
oslo.messaging on RabbitMQ: one of many processes that call one another, each an RPC server and a client in threads.

Everything is as it comes, but for the executor, of which the faster one is taken. The threads make one blocking call
after the other.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import oslo_messaging
from oslo_config import cfg

from bench.meeting import Meeting, Span, in_turn, others
from bench.work import DATA, Order, ready, run

TOPIC = "mesh"
EXECUTOR = "threading"
TIMEOUT = 30


class Echo:
    def echo(self, context: dict[str, Any], id: int, data: str) -> dict[str, Any]:
        return {"id": id, "data": data}


def _call(client: Any, member: str, number: int) -> None:
    result = client.prepare(server=member).call({}, "echo", id=number, data=DATA)
    if result["id"] != number:
        raise AssertionError("somebody else's reply")


def _loop(client: Any, turn: Any, lock: threading.Lock, span: Span) -> int:
    counted = made = 0
    while (now := time.monotonic()) < span.end:
        with lock:
            member = next(turn)
        made += 1
        _call(client, member, made)
        now = time.monotonic()
        counted += span.count_from <= now < span.count_to
    return counted


def serve(order: Order) -> None:
    # Its tracing and metrics look into the global configuration only.
    cfg.CONF([], project="bench")
    transport = oslo_messaging.get_rpc_transport(cfg.CONF, url=order.address)
    name = f"n-{order.part}"
    server = oslo_messaging.get_rpc_server(
        transport, oslo_messaging.Target(topic=TOPIC, server=name), [Echo()], executor=EXECUTOR
    )
    server.start()
    client = oslo_messaging.get_rpc_client(transport, oslo_messaging.Target(topic=TOPIC), timeout=TIMEOUT)
    ready(order.address)
    meeting = Meeting(order)
    meeting.wait("go")
    with ThreadPoolExecutor(order.window) as threads:
        list(threads.map(lambda member: _call(client, member, 0), others(order)))
        meeting.say(f"warm-{order.part}")
        meeting.wait("begin")
        span = meeting.span()
        time.sleep(max(0.0, span.begin - time.monotonic()))
        turn, lock = in_turn(order), threading.Lock()
        counts = [threads.submit(_loop, client, turn, lock, span) for _ in range(order.window)]
        meeting.say(f"done-{order.part}", sum(count.result() for count in counts))
    threading.Event().wait()


def call(order: Order) -> None:
    raise SystemExit("bench.meeting is the client")


if __name__ == "__main__":
    run(serve, call)
