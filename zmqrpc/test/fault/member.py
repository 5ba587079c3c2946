"""A process that serves, and writes down what it runs before it does anything else."""

from __future__ import annotations

import multiprocessing
import signal
import subprocess
import sys
import time
from collections import Counter
from typing import Any

import msgspec
from twisted.internet.defer import gatherResults
from twisted.internet.task import deferLater
from twisted.logger import globalLogBeginner, textFileLogObserver

import zmqrpc
from zmqrpc import Node, Settings, Target, expose
from zmqrpc.core.inspected import Inspected
from zmqrpc.inspection_text import lines
from zmqrpc.test.integration import nursery
from zmqrpc.test.integration.company import subscribed
from zmqrpc.testing.history import History

TOPIC = "work"


class Work:
    """
    One member's methods. Each takes the `id` of its call, and a `body` for its size.

    :ivar pace: seconds by which everything takes longer.
    """

    def __init__(self, reactor: Any, history: History, name: str, node: Node) -> None:
        self._reactor = reactor
        self._history = history
        self._name = name
        self._instance = node.instance.hex()
        self.pace = 0.0

    def _ran(self, id: Any) -> list[Any]:
        return self._history.ran(id, self._name, self._instance)

    @expose
    def quick(self, context: Any, id: Any, body: bytes = b"") -> Any:
        ran = self._ran(id)
        return deferLater(self._reactor, self.pace, lambda: ran) if self.pace else ran

    @expose
    async def slow(self, context: Any, id: Any, seconds: float, body: bytes = b"") -> Any:
        ran = self._ran(id)
        await deferLater(self._reactor, seconds)
        return ran

    @expose
    def block(self, context: Any, id: Any, seconds: float, body: bytes = b"") -> Any:
        ran = self._ran(id)
        time.sleep(seconds)
        return ran

    @expose
    def spin(self, context: Any, id: Any, seconds: float, body: bytes = b"") -> Any:
        ran = self._ran(id)
        until = time.perf_counter() + seconds
        while time.perf_counter() < until:
            pass
        return ran

    @expose
    def fork(self, context: Any, id: Any, body: bytes = b"") -> Any:
        ran = self._ran(id)
        subprocess.run([sys.executable, "-c", "pass"], check=True)
        child = multiprocessing.get_context("fork").Process(target=str)
        child.start()
        child.join()
        return ran


def run(child: int, *, url: str, names: list[str], log: str, publishers: int = 0, topic: str = TOPIC) -> None:
    """
    Serve under each name, with a node for each, until SIGTERM; SIGUSR1 makes everything slower by 50 ms, and so on;
    SIGUSR2 prints an inspection of each node, as processes of twistd log it.

    :param publishers: to how many each has to be subscribed before it says that it is ready.
    """
    from twisted.internet import reactor as _reactor

    reactor: Any = _reactor
    zmqrpc.use_monotonic_clock(reactor)
    globalLogBeginner.beginLoggingTo([textFileLogObserver(sys.stderr)], redirectStandardIO=False)
    history = History(log=open(log, "ab", 0), keep=False)  # noqa: SIM115
    nodes, works = {}, []
    for name in names:
        nodes[name] = node = Node(reactor, Settings.from_url(url))
        works.append(Work(reactor, history, name, node))
        node.server(Target(topic, server=name), [works[-1]])
        node.startService()
    instances = {name: node.instance.hex() for name, node in nodes.items()}
    nursery.tell(child=child, instances=instances, addresses={name: node.address for name, node in nodes.items()})

    def look(_: object = None) -> None:
        if all(subscribed(node) >= publishers for node in nodes.values()):
            nursery.tell(child=child, ready=True)
        else:
            reactor.callLater(0.05, look)

    gatherResults([node.when_ready() for node in nodes.values()]).addCallback(look)

    def stop() -> None:
        def stopped(_: object) -> None:
            nursery.tell(child=child, counts=sum((node.notices.counts for node in nodes.values()), Counter()))
            reactor.stop()

        gatherResults([node.stopService() for node in nodes.values()]).addBoth(stopped)

    def slower() -> None:
        for work in works:
            work.pace = 0.0 if work.pace else 0.05

    def inspect() -> None:
        for node in nodes.values():
            seen = msgspec.convert(node.inspect(), Inspected)
            sys.stderr.write("\n".join(["SIGUSR2:", *lines(seen), ""]))

    for number, then in ((signal.SIGTERM, stop), (signal.SIGUSR1, slower), (signal.SIGUSR2, inspect)):
        signal.signal(number, lambda *_, then=then: reactor.callFromThread(then))
    reactor.run(installSignalHandlers=False)
