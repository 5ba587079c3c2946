"""
Very many subscribers: raw SUB sockets, of which each must receive each message of a fan-out.

They subscribe at one publisher proxy, or spread over local publishers. A SUB socket is ready when it has heard the
counter of its filter, which its publisher repeats when it is subscribed.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from urllib.parse import urlsplit

import zmq
from twisted.internet import reactor

from bench.brokers import proxies
from bench.connections import ends
from bench.work import DATA, Order, answer, ready
from bench.zmqrpc_client import TIMEOUT, play
from bench.zmqrpc_server import Bench, url
from zmqrpc import Node, Target
from zmqrpc.core.keys import topic_key

EXCHANGE, TOPIC = "openstack", "subscribers"
PAUSE = 0.02
"""Seconds between two looks at the sockets."""
AT_ONCE = 250
"""How many connect before the next ones do: those for whom a listening socket has no place try again and again."""


class Subscribers:
    """The SUB sockets of one process, and how many messages each has received."""

    def __init__(self, order: Order) -> None:
        context = zmq.Context()
        context.set(zmq.MAX_SOCKETS, 65535)
        addresses = [f"tcp://127.0.0.1:{port}" for port in order.locals]
        addresses = addresses or [proxies(order.directory, "publisher")[0][1]]
        self._receive: list[Callable[[int], list[bytes]]] = []
        self.heard: list[int] = []
        self.received: list[int] = []
        for number in range(order.part, order.members, order.servers):
            socket = context.socket(zmq.SUB)
            socket.subscribe(topic_key(EXCHANGE, TOPIC))
            socket.connect(addresses[number % len(addresses)])
            self._receive.append(socket.recv_multipart)
            self.heard.append(0)
            self.received.append(0)
            if not len(self.heard) % AT_ONCE:
                self.read_until(self.heard, 1, 20, first=len(self.heard) - AT_ONCE)

    def read(self, first: int = 0) -> None:
        """Read what is there, of every socket from the first one on."""
        for number in range(first, len(self._receive)):
            try:
                while True:
                    frames = self._receive[number](zmq.NOBLOCK)
                    self.heard[number] += 1
                    self.received[number] += len(frames) == 3  # of two is a counter alone
            except zmq.Again:
                continue

    def read_until(self, counts: list[int], least: int, seconds: float, first: int = 0) -> None:
        """Read until each of these counts is so many, or the time is over."""
        until = time.monotonic() + seconds
        while min(counts[first:]) < least and time.monotonic() < until:
            self.read(first)
            time.sleep(PAUSE)


async def serve(order: Order) -> None:
    control = zmq.Context().socket(zmq.REP)
    control.bind(f"ipc://{order.directory}/part-{order.part}")
    subscribers = Subscribers(order)
    subscribers.read_until(subscribers.heard, 1, 100)
    if min(subscribers.heard) < 1:
        raise AssertionError(f"{subscribers.heard.count(0)} of {len(subscribers.heard)} never heard of their filter")
    ready(order.address)
    while not control.poll(0):
        subscribers.read()
        time.sleep(PAUSE)
    expected = json.loads(control.recv())
    subscribers.read_until(subscribers.received, expected, order.seconds)
    subscribers.read()  # what comes twice, and more
    control.send(json.dumps(subscribers.received).encode())


async def call(order: Order) -> None:
    local = [f"127.0.0.1:{port}" for port in order.locals[:1]]
    node = Node(reactor, url(order, **({"subscribe_on": local[0]} if local else {})))
    # A fan-out goes to a publisher when a server that subscribes is recorded.
    node.server(Target(TOPIC, server="n-0", exchange=EXCHANGE), [Bench()])
    client = node.client()
    node.startService()
    await node.when_ready()
    publisher = urlsplit(proxies(order.directory, "publisher")[0][1]).port
    connections = ends(order.brokers[0], publisher)
    target = Target(TOPIC, exchange=EXCHANGE)
    started = time.monotonic()
    for number in range(order.count):
        await client.fanout(target, "sink", {"id": number, "data": DATA}, timeout=TIMEOUT)
    published = time.monotonic()
    context = zmq.Context()
    received: list[int] = []
    for part in range(order.servers):
        control = context.socket(zmq.REQ)
        control.connect(f"ipc://{order.directory}/part-{part}")
        control.send(json.dumps(order.count).encode())
        if not control.poll(int(order.seconds + 20) * 1000):
            raise AssertionError(f"the subscribers of part {part} do not say what they have received")
        received += json.loads(control.recv())
    complete = sum(count == order.count for count in received)
    answer(
        {
            "complete": 100 * complete / order.members,
            "fewest": min(received),
            "most": max(received),
            "connections": connections,
            "fanouts": order.count / (published - started),
        }
    )


if __name__ == "__main__":
    play(serve, call)
