"""
A transport of ZeroMQ on the reactor of a green thread: ``python -m zmqrpc.test.oslo.green DESCRIPTORS``.

It has so many descriptors open already, sends something to a peer that never reads, and closes. How often another green
thread had its turn meanwhile is printed as JSON, with the seconds that the close took.
"""

import json
import os
import socket
import sys
import time
import warnings
from itertools import pairwise
from typing import Any

LINGER = 1.0
TICK = 0.01


def patched():
    """Patch the standard library before anything of it is used, and return eventlet."""
    warnings.simplefilter("ignore")  # it calls itself deprecated
    import eventlet

    eventlet.monkey_patch()
    return eventlet


def main(eventlet, descriptors):
    import resource

    from twisted.internet.defer import succeed

    from zmqrpc.oslo.reactor import reactor_here
    from zmqrpc.oslo.waiting import wait_for
    from zmqrpc.reactor_zmq import ZmqTransport

    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, 4096), most))
    taken = [os.open("/dev/null", os.O_RDONLY) for _ in range(descriptors)]
    # The kernel takes connections to it, and nobody says a word.
    mute = socket.create_server(("127.0.0.1", 0))
    reactor = reactor_here()
    transport = ZmqTransport(reactor, 2**20)

    class Nobody:
        def __getattr__(self, name):
            return lambda *_: 1

    def send():
        transport.open(lambda: None)
        nobody: Any = Nobody()
        router = transport.connecting_router(nobody)
        identity = router.connect(f"tcp://127.0.0.1:{mute.getsockname()[1]}")
        router.send(identity, b"never read")
        return succeed(router)

    router = wait_for(reactor, send, 10)
    ticks = []

    def tick():
        while True:
            ticks.append(time.monotonic())
            eventlet.sleep(TICK)

    ticking = eventlet.spawn(tick)
    eventlet.sleep(0.1)

    def close():
        router.close(LINGER)
        return transport.close(LINGER)

    began = time.monotonic()
    wait_for(reactor, close, 10)
    took = time.monotonic() - began
    ticking.kill()
    longest = max(later - before for before, later in pairwise(ticks))
    json.dump({"took": took, "longest": longest, "descriptors": len(taken)}, sys.stdout)


if __name__ == "__main__":
    main(patched(), int(sys.argv[1]))
