"""The nursery of the fuzz: peers that answer, and peers that are none."""

import os
import random
import socket
import struct
import time
from contextlib import suppress

import zmq

from zmqrpc.test.integration import nursery

GREETING = b"\xff" + bytes(8) + b"\x7f" + b"\x03\x01" + b"NULL".ljust(20, b"\0") + bytes(32)
READY = b"\x04\x29\x05READY\x0bSocket-Type\x00\x00\x00\x06DEALER\x08Identity\x00\x00\x00\x00"


def echo(peer, address):
    """Answer every message with our own name in front, until killed."""
    context = zmq.Context()
    sock = context.socket(zmq.ROUTER)
    sock.set(zmq.ROUTER_MANDATORY, 1)
    sock.set(zmq.LINGER, 0)
    while True:
        try:
            sock.bind(address)
            break
        except zmq.ZMQError:
            time.sleep(0.002)
    while True:
        sender, payload = sock.recv_multipart()
        with suppress(zmq.ZMQError):
            sock.send_multipart([sender, b"%d %b" % (peer, payload)], zmq.NOBLOCK)


def junk(peer, address, kind):
    """Accept connections and misbehave."""
    host, port = address.removeprefix("tcp://").split(":")
    while True:
        try:
            listening = socket.create_server((host, int(port)), backlog=100)
            break
        except OSError:
            time.sleep(0.002)
    kept = []
    while True:
        accepted, _ = listening.accept()
        try:
            if kind == "close":
                accepted.close()
            elif kind == "reset":
                accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                accepted.close()
            else:
                says = {
                    "silence": b"",
                    "random": os.urandom(random.randrange(1, 500)),
                    "banner": b"SSH-2.0-OpenSSH_9.2p1\r\n",
                    "half": GREETING[: random.randrange(1, 64)],
                    "half READY": GREETING + READY[: random.randrange(0, len(READY))],
                    "mid-message": GREETING + READY + b"\x01\x05hello\x00\x64wor",
                    "mid-frame": GREETING + READY + b"\x00\x64hello",
                }[kind]
                accepted.sendall(says)
                kept.append(accepted)
                if kind.startswith("mid") and random.random() < 0.5:
                    accepted.close()
        except OSError:
            pass


def caller(peer, address):
    """Connect to the bound socket as an honest client does; end with a fault when an answer is not ours."""
    context = zmq.Context()
    while True:
        sock = context.socket(zmq.DEALER)
        sock.set(zmq.LINGER, 0)
        sock.connect(address)
        for number in range(random.randrange(1, 200)):
            sock.send(b"%d %d" % (peer, number))
            if random.random() < 0.1:
                sock.send_multipart([b"%d" % peer, b"two", b"frames"])
        end = time.monotonic() + random.uniform(0, 0.05)
        while time.monotonic() < end:
            if sock.poll(5):
                answer = sock.recv_multipart()
                if len(answer) != 1 or answer[0].split()[0] != b"%d" % peer:
                    nursery.tell(child=peer, fault=f"caller {peer} was answered {answer!r}")
        sock.close()


def rude_caller(peer, address):
    """Connect to the bound socket and misbehave."""
    host, port = address.removeprefix("tcp://").split(":")
    while True:
        with socket.socket() as sock:
            try:
                sock.connect((host, int(port)))
                says = random.choice(
                    [
                        os.urandom(random.randrange(0, 300)),
                        b"GET / HTTP/1.1\r\n\r\n",
                        GREETING[: random.randrange(64)],
                        GREETING + READY + b"\x01\x05hello",
                        GREETING + READY + b"\x00\x64hello",
                        GREETING + READY + b"\x02" + struct.pack(">Q", 2**62),
                    ]
                )
                sock.sendall(says)
                if random.random() < 0.5:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            except OSError:
                pass
            time.sleep(random.uniform(0, 0.02))


def run(child, *, kind, address):
    """Be a peer until killed."""
    random.seed(os.urandom(8))
    if kind == "echo":
        echo(child, address)
    elif kind == "caller":
        caller(child, address)
    elif kind == "rude caller":
        rude_caller(child, address)
    else:
        junk(child, address, kind)


if __name__ == "__main__":
    nursery.serve(run)
