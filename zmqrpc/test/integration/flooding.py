"""
A program with many clients that call much more often than their servers can answer; it tells what became of the calls.

``python -m zmqrpc.test.integration.flooding URL CLIENTS RATE SECONDS TIMEOUT``: each of the clients makes RATE calls a
second. One more makes one call after the other all the time, as somebody does who floods nobody.
"""

import json
import sys
import time
from collections import Counter

from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredList, gatherResults
from twisted.internet.task import LoopingCall, deferLater
from twisted.python.failure import Failure

from zmqrpc import Node, Target
from zmqrpc.errors import ZmqRpcError

WORK = Target("work")
TICK = 0.02


class Flood:
    """
    The clients, and what they were told.

    :ivar ends: how often calls ended in which way.
    :ivar refused: the seconds until a call was refused.
    """

    def __init__(self, url, clients, timeout):
        self.nodes = [Node(reactor, url) for _ in range(clients)]
        self.clients = [node.client() for node in self.nodes]
        self.timeout = timeout
        self.ends: Counter[str] = Counter()
        self.refused: list[float] = []
        self.took: list[float] = []
        self.under_way = 0
        self.over = False

    def call(self, client, ends):
        began = time.monotonic()
        self.under_way += 1

        def ended(outcome):
            self.under_way -= 1
            taken = time.monotonic() - began
            if isinstance(outcome, Failure):
                name = type(outcome.value).__name__
                if not isinstance(outcome.value, ZmqRpcError):
                    name = f"untyped {name}"
                elif outcome.value.maybe_executed:
                    name = f"{name}, may have run"
                if name == "Overloaded":
                    self.refused.append(taken)
            else:
                name = "ok"
                self.took.append(taken)
            ends[name] += 1

        return client.call(WORK, "work", timeout=self.timeout).addBoth(ended)

    def tick(self, each):
        for client in self.clients[1:]:
            for _ in range(each):
                self.call(client, self.ends)

    async def one_after_the_other(self, ends):
        while not self.over:
            await self.call(self.clients[0], ends)
            await deferLater(reactor, 0.02)

    async def run(self, rate, seconds):
        for node in self.nodes:
            node.startService()
        # Another may flood it already.
        await DeferredList([client.call(WORK, "work", timeout=20) for client in self.clients], consumeErrors=True)
        modest: Counter[str] = Counter()
        alone = Deferred.fromCoroutine(self.one_after_the_other(modest))
        ticks = LoopingCall(self.tick, max(1, round(rate * TICK)))
        began = time.monotonic()
        ticks.start(TICK)
        await deferLater(reactor, seconds)
        ticks.stop()
        took = time.monotonic() - began
        self.over = True
        await alone
        while self.under_way:
            await deferLater(reactor, 0.05)
        self.refused.sort()
        self.took.sort()
        told = {
            "seconds": took,
            "ended": time.monotonic() - began,
            "ends": self.ends,
            "modest": modest,
            "refused_p50": self.refused[len(self.refused) // 2] if self.refused else None,
            "refused_p99": self.refused[int(len(self.refused) * 0.99)] if self.refused else None,
            "ok_p50": self.took[len(self.took) // 2],
        }
        await gatherResults([node.stopService() for node in self.nodes])
        sys.stdout.write(json.dumps(told) + "\n")


def main(url, clients, rate, seconds, timeout):
    running = Deferred.fromCoroutine(Flood(url, int(clients) + 1, float(timeout)).run(float(rate), float(seconds)))
    running.addErrback(lambda failure: failure.printTraceback())
    running.addBoth(lambda _: reactor.stop())
    reactor.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
