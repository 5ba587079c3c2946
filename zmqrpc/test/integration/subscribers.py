"""
A process with many subscribers, as a program without zmqrpc would write them: bare SUB sockets.

It prints ``ready`` when each has its subscription confirmed, and later as JSON how many have got every message, how
many messages were missed by the counters, and how many came that were not expected.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time

import zmq

from zmqrpc.core.keys import decode_counter, token_key
from zmqrpc.test.publishing import KEY

PATIENCE = 30_000
_CONTEXTS = 4


def subscribe(
    contexts: list[zmq.Context[zmq.Socket[bytes]]], number: int, addresses: list[str]
) -> list[zmq.Socket[bytes]]:
    """Make the sockets, each with its connection, its filter, and a token that was answered."""
    sockets, tokens = [], []
    for each in range(number):
        sock = contexts[each % len(contexts)].socket(zmq.SUB)
        sock.set(zmq.RCVTIMEO, PATIENCE)
        sock.set(zmq.LINGER, 0)
        sock.connect(addresses[each % len(addresses)])
        sock.subscribe(KEY)
        tokens.append(token_key(os.urandom(16)))
        sock.subscribe(tokens[-1])
        sockets.append(sock)
    for sock, token in zip(sockets, tokens, strict=True):
        while sock.recv_multipart()[0] != token:
            pass
        sock.unsubscribe(token)
    return sockets


def receive(sockets: list[zmq.Socket[bytes]], messages: int) -> dict[str, int]:
    """Read until each has all messages."""
    complete = missed = wrong = 0
    for sock in sockets:
        seen, received = None, 0
        while received < messages:
            try:
                key, frame, *payload = sock.recv_multipart()
            except zmq.Again:
                break
            if key != KEY:
                continue
            count = decode_counter(frame).count
            if payload:
                wrong += payload[0] != b"%d" % received
                received += 1
            if seen is not None:
                missed += count - seen - len(payload)
            seen = count
        complete += received == messages
    return {"complete": complete, "missed": missed, "wrong": wrong}


def main() -> None:
    """Run; the arguments are how many subscribers, how many messages, and the addresses of publishers."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    number, messages = map(int, sys.argv[1:3])
    contexts = [zmq.Context() for _ in range(_CONTEXTS)]
    for context in contexts:
        context.set(zmq.MAX_SOCKETS, number + 1)
    began = time.monotonic()
    sockets = subscribe(contexts, number, sys.argv[3:])
    print("ready", round(time.monotonic() - began, 3), flush=True)  # noqa: T201
    print(json.dumps(receive(sockets, messages)), flush=True)  # noqa: T201
    os._exit(0)


if __name__ == "__main__":
    main()
