"""
Ordinary blocking pyzmq, one call at a time: DEALER to ROUTER and back, `send_multipart` and `recv_multipart`.

One frame of 200 bytes that nobody decodes; what is measured is the way there and back.
"""

from __future__ import annotations

from time import perf_counter

import zmq

from bench.work import OPAQUE, Order, answer, latencies, ready, run


def serve(order: Order) -> None:
    socket = zmq.Context().socket(zmq.ROUTER)
    port = socket.bind_to_random_port("tcp://127.0.0.1")
    ready(f"tcp://127.0.0.1:{port}")
    while True:
        socket.send_multipart(socket.recv_multipart())


def call(order: Order) -> None:
    socket = zmq.Context().socket(zmq.DEALER)
    socket.connect(order.address)
    seconds = []
    for _ in range(order.count):
        started = perf_counter()
        socket.send_multipart([OPAQUE])
        socket.recv_multipart()
        seconds.append(perf_counter() - started)
    answer(latencies(seconds))


if __name__ == "__main__":
    run(serve, call)
