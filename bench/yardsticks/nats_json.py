"""
nats-py on uvloop, through a nats-server: requests with replies, and publishing to a subscriber that counts.

Arguments and results are JSON, as usual there. A published message is not acknowledged; its clock stops when the
subscriber has parsed the last one, by the subscriber's own reading of the same monotonic clock.

In a fan-out each subscriber has a connection of its own, and those of one process count together.
"""

from __future__ import annotations

import asyncio
import json
import time

import nats
import uvloop
from nats.aio.msg import Msg

from bench.work import DATA, Lap, Order, Used, answer, ready, run


class Sink:
    """Counts messages, and answers `stamp` with the time at which the last of those expected was there."""

    def __init__(self) -> None:
        self._left = 0
        self._stamp = b""
        self._asked: Msg | None = None

    async def reset(self, message: Msg) -> None:
        self._left, self._stamp, self._asked = int(message.data), b"", None
        await message.respond(b"")

    async def cast(self, message: Msg) -> None:
        json.loads(message.data)
        self._left -= 1
        if self._left == 0:
            self._stamp = repr(time.monotonic()).encode()
            if self._asked:
                await self._asked.respond(self._stamp)

    async def stamp(self, message: Msg) -> None:
        self._asked = message
        if self._stamp:
            await message.respond(self._stamp)


async def echo(message: Msg) -> None:
    arguments = json.loads(message.data)
    await message.respond(json.dumps({"id": arguments["id"], "data": arguments["data"]}).encode())


async def serving(order: Order) -> None:
    client = await nats.connect(order.address)
    sink = Sink()
    for subject, callback in ("echo", echo), ("reset", sink.reset), ("sink", sink.cast), ("stamp", sink.stamp):
        await client.subscribe(subject, cb=callback)
    await client.flush()
    ready(order.address)
    await asyncio.Event().wait()


async def subscribing(order: Order) -> None:
    sink = Sink()
    clients = [await nats.connect(order.address) for _ in range(order.part, order.members, order.servers)]
    for client in clients:
        await client.subscribe("sink", cb=sink.cast)
    for subject, callback in ("reset", sink.reset), ("stamp", sink.stamp):
        await clients[0].subscribe(f"{subject}.{order.part}", cb=callback)
    for client in clients:
        await client.flush()
    ready(order.address)
    await asyncio.Event().wait()


async def window(order: Order) -> None:
    client = await nats.connect(order.address)
    lap = Lap(order)
    done = 0

    async def worker(number: int) -> None:
        nonlocal done
        while lap.running:
            reply = await client.request("echo", json.dumps({"id": number, "data": DATA}).encode(), timeout=30)
            if json.loads(reply.data)["id"] != number:
                raise AssertionError("somebody else's reply")
            done += 1
            if not done & 63:
                lap.more(done)

    await asyncio.gather(*map(worker, range(order.window)))
    answer(lap.figures)


async def casts(order: Order) -> None:
    client = await nats.connect(order.address)
    for count in order.count // 10, order.count:  # the first tells nothing: it warms up
        await client.request("reset", str(count).encode())
        started = time.monotonic()
        for number in range(count):
            await client.publish("sink", json.dumps({"id": number, "data": DATA}).encode())
        stamp = await client.request("stamp", timeout=30)
    answer({"rate": count / (float(stamp.data) - started), "casts": count})


async def fanout(order: Order) -> None:
    client = await nats.connect(order.address)
    parts = range(order.servers)
    for count in order.count // 10, order.count:  # the first tells nothing: it warms up
        expected = str(count * order.members // order.servers).encode()
        await asyncio.gather(*(client.request(f"reset.{part}", expected) for part in parts))
        started, used = time.monotonic(), Used(order)
        for number in range(count):
            await client.publish("sink", json.dumps({"id": number, "data": DATA}).encode())
        stamps = await asyncio.gather(*(client.request(f"stamp.{part}", timeout=60) for part in parts))
        figures = used.figures(count * order.members)
    ended = max(float(stamp.data) for stamp in stamps)
    answer({"rate": count * order.members / (ended - started), "fanouts": count / (ended - started), **figures})


def serve(order: Order) -> None:
    uvloop.run(subscribing(order) if order.mode == "fanout" else serving(order))


def call(order: Order) -> None:
    uvloop.run({"window": window, "casts": casts, "fanout": fanout}[order.mode](order))


if __name__ == "__main__":
    run(serve, call)
