"""
Raw pyzmq at its best: ROUTER/DEALER echo of one frame of 200 bytes, no Twisted, no codec, no ids.

The sugar of `zmq.Socket` is left out: the methods of the compiled backend are bound once and take plain int flags. Both
ends block in C when there is nothing to read, so neither a poll nor an exception is ever paid for.
"""

from __future__ import annotations

import zmq
import zmq.backend

from bench.work import OPAQUE, Lap, Order, answer, ready, run

SNDMORE = int(zmq.SNDMORE)


def serve(order: Order) -> None:
    socket = zmq.Context().socket(zmq.ROUTER)
    socket.set_hwm(0)
    port = socket.bind_to_random_port("tcp://127.0.0.1")
    recv = zmq.backend.Socket.recv.__get__(socket)
    send = zmq.backend.Socket.send.__get__(socket)
    ready(f"tcp://127.0.0.1:{port}")
    while True:
        peer = recv(0)
        payload = recv(0)
        send(peer, SNDMORE)
        send(payload, 0)


def call(order: Order) -> None:
    socket = zmq.Context().socket(zmq.DEALER)
    socket.set_hwm(0)
    socket.connect(order.address)
    recv = zmq.backend.Socket.recv.__get__(socket)
    send = zmq.backend.Socket.send.__get__(socket)
    for _ in range(order.window):
        send(OPAQUE, 0)
    lap = Lap(order)
    done = 0
    while lap.more(done):
        for _ in range(500):
            recv(0)
            send(OPAQUE, 0)
        done += 500
    answer(lap.figures)


if __name__ == "__main__":
    run(serve, call)
