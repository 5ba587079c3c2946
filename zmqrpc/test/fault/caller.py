"""A process that calls, at a rate or as fast as it is answered, and writes down what it asked and was told."""

from __future__ import annotations

import signal
import sys
from collections import Counter
from typing import Any

import attrs
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import LoopingCall, deferLater
from twisted.logger import globalLogBeginner, textFileLogObserver
from twisted.python.failure import Failure

import zmqrpc
from zmqrpc import Node, Settings, Target
from zmqrpc.test.fault.member import TOPIC
from zmqrpc.test.integration import nursery
from zmqrpc.testing.history import History


@attrs.frozen
class Load:
    """
    What is asked again and again.

    :ivar name: the begin of every id.
    :ivar rate: how often a second; 0: as soon as one has ended.
    :ivar in_flight: how many have not ended, at most; what would be one more is left out.
    :ivar size: bytes of each body.
    :ivar args: more arguments.
    :ivar topics: how many topics there are of that name, with a number each, by turns; 0: that one.
    :ivar count: how many at all; 0: until the end.
    :ivar after: seconds from the start until the first.
    """

    name: str = "load"
    kind: str = "call"
    method: str = "quick"
    topic: str = TOPIC
    member: str | None = None
    rate: float = 200.0
    in_flight: int = 50
    size: int = 1024
    timeout: float = 10.0
    idempotent: bool = False
    args: dict[str, Any] = attrs.field(factory=dict)
    topics: int = 0
    count: int = 0
    after: float = 0.0


class Loading:
    """One load of one client."""

    def __init__(self, load: Load, node: Node, name: str, history: History, reactor: Any) -> None:
        self._load = load
        self._client = node.client()
        self._instance = node.instance.hex()
        self._name = f"{name}-{load.name}"
        self._history = history
        self._reactor = reactor
        names = [f"{load.topic}{number}" for number in range(load.topics)] or [load.topic]
        self._targets = [Target(name, server=load.member) for name in names]
        self._body = b"x" * load.size
        self._made = 0
        self._over = False
        self.open = 0
        self._ticking = LoopingCall.withCount(self._tick)

    def begin(self) -> None:
        if self._over:
            return
        if self._load.rate:
            self._ticking.start(1 / self._load.rate).addErrback(lambda failure: failure.printTraceback(sys.stderr))
        else:
            for _ in range(self._load.in_flight):
                self._make()

    def end(self) -> None:
        self._over = True
        if self._ticking.running:
            self._ticking.stop()

    def _tick(self, times: int) -> None:
        for _ in range(min(times, self._load.in_flight - self.open)):
            self._make()

    def _make(self) -> None:
        load = self._load
        if self._over or (load.count and self._made >= load.count):
            self.end()
            return
        self._made += 1
        id = f"{self._name}-{self._made}"
        self.open += 1
        self._history.invoke(
            id, self._instance, load.kind, load.timeout, member=load.member, idempotent=load.idempotent
        )
        make = getattr(self._client, load.kind)
        args = {"id": id, "body": self._body, **load.args}
        target = self._targets[self._made % len(self._targets)]
        made: Deferred[Any] = make(target, load.method, args, timeout=load.timeout, idempotent=load.idempotent)
        made.addBoth(self._ended, id)

    def _ended(self, outcome: Any, id: str) -> None:
        self.open -= 1
        self._history.ended(id, outcome.value if isinstance(outcome, Failure) else outcome)
        if not self._load.rate and not self._over:
            self._reactor.callLater(0, self._make)


def run(child: int, *, url: str, name: str, log: str, loads: list[dict[str, Any]], clients: int = 1) -> None:
    """
    Call until SIGUSR1, then tell when all has ended; stop at SIGTERM.

    :param loads: the fields of each `Load`.
    :param clients: how many nodes there are, with these loads each.
    """
    from twisted.internet import reactor as _reactor

    reactor: Any = _reactor
    zmqrpc.use_monotonic_clock(reactor)
    globalLogBeginner.beginLoggingTo([textFileLogObserver(sys.stderr)], redirectStandardIO=False)
    history = History(log=open(log, "ab", 0), keep=False)  # noqa: SIM115
    nodes: list[Node] = []
    loadings: list[Loading] = []
    for number in range(clients):
        node = Node(reactor, Settings.from_url(url))
        nodes.append(node)
        node.startService()
        for each in loads:
            load = Load(**each)
            loading = Loading(load, node, f"{name}.{child}.{number}", history, reactor)
            loadings.append(loading)
            reactor.callLater(load.after, loading.begin)
    told = {f"{name}.{number}": node.instance.hex() for number, node in enumerate(nodes[:50])}
    nursery.tell(child=child, instances=told, ready=True)

    async def rest() -> None:
        for loading in loadings:
            loading.end()
        while any(loading.open for loading in loadings):
            await deferLater(reactor, 0.02)
        nursery.tell(child=child, idle=True)

    def stop() -> None:
        def stopped(_: object) -> None:
            nursery.tell(child=child, counts=sum((node.notices.counts for node in nodes), Counter()))
            reactor.stop()

        gatherResults([node.stopService() for node in nodes]).addBoth(stopped)

    signal.signal(signal.SIGTERM, lambda *_: reactor.callFromThread(stop))
    signal.signal(signal.SIGUSR1, lambda *_: reactor.callFromThread(lambda: Deferred.fromCoroutine(rest())))
    reactor.run(installSignalHandlers=False)
