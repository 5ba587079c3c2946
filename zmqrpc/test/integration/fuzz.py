"""
Sockets under everything at once: ``python -m zmqrpc.test.integration.fuzz SECONDS SEED``.

Sixty links connect, send, disconnect and connect again, in every state, to twelve ports whose peers are killed,
stopped and replaced every 10 to 80 ms; a quarter of the peers only pretend. Clients that live and die in the same way
call a bound socket. What must not happen: an answer of another peer than was asked, one under an identity that was
given up, an abort, growth. Figures and faults are printed as JSON.
"""

import ctypes
import gc
import os
import random
import signal
import sys
from pathlib import Path
from typing import Any

import attrs
from twisted.internet import reactor as _reactor
from twisted.internet.task import LoopingCall, deferLater
from zope.interface import implementer

from zmqrpc.interfaces import GONE, SENT, IBoundReceiver, ILinkReceiver
from zmqrpc.reactor_zmq import ZmqTransport
from zmqrpc.test.integration.nursery import Nursery
from zmqrpc.test.integration.support import print_outcome
from zmqrpc.test.ports import free_port

reactor: Any = _reactor

PORTS = 12
LINKS = 60
CALLERS = 6
JUNK = ("close", "reset", "silence", "random", "banner", "half", "half READY", "mid-message", "mid-frame")
WARM_UP = 5.0
"""Seconds until what the process needs is measured; what it grows by afterwards is a leak."""


@attrs.define
class Alive:
    """
    A connection of the fuzz.

    :ivar peer: the process that answered first, None before.
    """

    address: str
    peer: bytes | None = None


@implementer(ILinkReceiver)
class Links:
    """The connecting side, and its judge."""

    def __init__(self, chance, transport, addresses, faults):
        self._chance = chance
        self._addresses = addresses
        self._faults = faults
        self._router = transport.connecting_router(self)
        self._alive: dict[bytes, Alive] = {}
        self._lost: list[bytes] = []
        self._given_up: set[bytes] = set()
        self.counts = dict.fromkeys(("connects", "sent", "full", "gone", "answers", "read ahead", "losses", "late"), 0)

    def keyed_received(self, identity, key, payload):
        self._faults.append(f"{bytes(payload)!r} came with the key {key!r}")
        return 1

    def payload_received(self, identity, payload):
        given_up, self._given_up = self._given_up, set()
        alive = self._alive.get(identity)
        if alive is None:
            # ZeroMQ has read one message ahead when it was asked whether there are any; it comes before all others.
            self.counts["read ahead"] += 1
            if identity not in given_up:
                self._faults.append(f"{bytes(payload)!r} came under {identity!r}, which was given up or never made")
            return 1
        peer, _, rest = bytes(payload).partition(b" ")
        if alive.peer is None:
            alive.peer = peer
        if not rest.startswith(identity + b" ") or alive.peer != peer:
            self._faults.append(f"{bytes(payload)!r} came under {identity!r} of {alive}")
        self.counts["answers"] += 1
        if self._chance.random() < 0.001:
            # In the middle of a pass, and perhaps of what was still to come under it.
            self._disconnect(identity)
        return 1

    def malformed_received(self, identity, reason):
        """Junk may look like messages of several frames."""

    def connection_progressed(self, identity):
        """Nobody waits for that."""

    def connection_lost(self, identity, reason):
        if identity in self._alive:
            self.counts["losses"] += 1
            self._lost.append(identity)
        else:
            self.counts["late"] += 1

    def step(self):
        """Do a few things, each of which may come in any state."""
        chance = self._chance
        lost, self._lost = self._lost, []
        for identity in lost:
            if identity in self._alive:
                self._router.drain()
                self._replace(identity)
                # Nothing is read ahead once everything was read.
                self._given_up.clear()
        while len(self._alive) < LINKS:
            self._connect(chance.choice(self._addresses))
        for identity in chance.sample(list(self._alive), 6):
            what = chance.random()
            if what < 0.8:
                self._send(identity, chance.randrange(1, 40))
            elif what < 0.85:
                self._router.drain()
            elif what < 0.95:
                self._disconnect(identity)
            else:
                self._replace(identity)

    def _send(self, identity, count):
        for number in range(count):
            fate = self._router.send(identity, b"%b %d" % (identity, number))
            self.counts["sent" if fate == SENT else "gone" if fate == GONE else "full"] += 1

    def _connect(self, address):
        self.counts["connects"] += 1
        identity = self._router.connect(address)
        if identity in self._alive:
            self._faults.append(f"{identity!r} was given twice")
        self._alive[identity] = Alive(address)
        if self._chance.random() < 0.7:
            self._send(identity, 3)

    def _disconnect(self, identity):
        if self._alive.pop(identity, None) is not None:
            self._given_up.add(identity)
            self._router.disconnect(identity)
            # FULL may be said of one that was full when it was given up.
            if self._router.send(identity, b"anybody") == SENT:
                self._faults.append(f"{identity!r} took a message after its end")

    def _replace(self, identity):
        """Disconnect and connect to the same port in one go."""
        alive = self._alive.get(identity)
        self._disconnect(identity)
        if alive is not None:
            self._connect(alive.address)

    def close(self):
        self._router.close()


@implementer(IBoundReceiver)
class Bound:
    """The bound side: echoes."""

    def __init__(self, transport, faults):
        self._faults = faults
        self.router = transport.bound_router(self)
        self.counts = {"requests": 0, "malformed": 0, "handshakes": 0}

    def keyed_received(self, identity, key, payload):
        self.counts["malformed"] += 1
        return 1

    def payload_received(self, identity, payload):
        self.counts["requests"] += 1
        if len(identity) != 5 or identity[0] != 0:
            self._faults.append(f"{identity!r} is no identity that ZeroMQ gives; a frame was taken for one")
        self.router.send(identity, bytes(payload))
        return 1

    def malformed_received(self, identity, reason):
        self.counts["malformed"] += 1

    def handshake_failed(self, peer, reason):
        self.counts["handshakes"] += 1


class Peers:
    """Kills, stops and replaces the peers."""

    def __init__(self, chance, addresses, bound, faults):
        self._chance = chance
        self._faults = faults
        self._over = False
        self.counts = {"peers": 0, "stopped": 0}
        self.nursery = Nursery(reactor, "zmqrpc.test.integration.fuzz_peer", self._told)
        self._places = [(address, self._serving) for address in addresses]
        self._places += [(bound, self._calling)] * CALLERS
        self._present = [self._start(place) for place in range(len(self._places))]

    def _serving(self):
        return self._chance.choice(JUNK) if self._chance.random() < 0.25 else "echo"

    def _calling(self):
        return self._chance.choice(["caller", "caller", "rude caller"])

    def _start(self, place):
        self.counts["peers"] += 1
        address, kind = self._places[place]
        return self.nursery.start(kind=kind(), address=address)

    def _told(self, facts):
        if "fault" in facts:
            self._faults.append(facts["fault"])

    def go(self):
        """Do something to one of them, again and again."""
        if self._over:
            return
        reactor.callLater(self._chance.uniform(0.01, 0.08), self.go)
        place = self._chance.randrange(len(self._places))
        child = self._present[place]
        if self._chance.random() < 0.3:
            self.counts["stopped"] += 1
            self.nursery.signal(child, signal.SIGSTOP)
            reactor.callLater(self._chance.uniform(0, 0.3), self.nursery.signal, child, signal.SIGCONT)
        else:
            self.nursery.signal(child, signal.SIGKILL)
            self._present[place] = self._start(place)

    def end(self):
        self._over = True


def resident():
    """Return how much memory the process uses, in MB; what a burst has left free is given back first."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def descriptors():
    return len(os.listdir("/proc/self/fd"))


async def fuzz(seconds, seed):
    chance = random.Random(seed)
    faults: list[str] = []
    transport = ZmqTransport(reactor, 2**20)
    transport.open(lambda: None)
    bound = Bound(transport, faults)
    bound_address = bound.router.bind("127.0.0.1", [free_port()])
    addresses = [f"tcp://127.0.0.1:{free_port()}" for _ in range(PORTS)]
    peers = Peers(chance, addresses, bound_address, faults)
    before = descriptors()
    links = Links(chance, transport, addresses, faults)
    stepping = LoopingCall(links.step)
    stepping.start(0.002).addErrback(lambda failure: faults.append(failure.getTraceback()))
    peers.go()
    await deferLater(reactor, min(WARM_UP, seconds / 2))
    warm = resident()
    await deferLater(reactor, seconds - min(WARM_UP, seconds / 2))
    if stepping.running:
        stepping.stop()
    peers.end()
    hot = resident()
    links.close()
    await deferLater(reactor, 0.5)
    peers.nursery.close()
    await deferLater(reactor, 0.5)
    bound.router.close(0)
    await transport.close(0)
    return {
        **links.counts,
        **bound.counts,
        **peers.counts,
        "seed": seed,
        "grown_mb": round(hot - warm, 1),
        "resident_mb": round(hot, 1),
        "descriptors": [before, descriptors()],
        "faults": faults[:20],
    }


def main(seconds, seed):
    return print_outcome(lambda: fuzz(seconds, seed))


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), int(sys.argv[2])))
