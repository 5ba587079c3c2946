"""The world of a row: hosts, processes, faults; and the figures by which it is judged."""

from __future__ import annotations

import os
import signal
import time
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from twisted.internet.task import LoopingCall

from zmqrpc import Settings
from zmqrpc.matchmaker import make_matchmaker
from zmqrpc.test.fault.cases import Cases
from zmqrpc.test.fault.delay import PORT
from zmqrpc.test.fault.figures import Figures
from zmqrpc.test.fault.hosts import Host, Lan
from zmqrpc.test.fault.nurseries import NurseryOfWorlds, reactor
from zmqrpc.test.fault.processes import Child
from zmqrpc.test.fault.sockets import listening
from zmqrpc.test.integration.nursery import Nursery
from zmqrpc.test.integration.support import eventually, pause
from zmqrpc.testing.history import History
from zmqrpc.testing.judge import Case

PATIENCE = 30.0
_COUNTED = 2.5
"""Seconds after the last fan-out within which whoever subscribes knows what it has missed."""


MEMORY = 64 * 2**20
"""Bytes by which no process may grow, where a row says nothing else."""

LATENESS = "s by which the bench itself was late, at most"
"""The figure that says how much was to be had of the machine: what takes longer by more than that takes too long."""

_LOOKS = 0.1

PROXIES = 3
FRONTEND, _BACKEND, PUBLISHER = 50001, 50002, 50003

FANOUTS = {"name": "all", "kind": "fanout", "rate": 20, "timeout": 30, "size": 100}
"""A load that is published, where the topology has publishers; with more time than any fault takes away."""


class World(Figures):
    """
    What a row has.

    :param directory: of its files.
    :param topology: as ``zmq_topology`` names it.
    :param seconds: how long the row's fault lasts where that is open.
    :param url: of the store; empty for a file that all hosts share.
    :ivar lan: where hosts are added; None until there is the first.
    :ivar options: of all processes that are started from now on.
    :ivar doubles: whether proxies that are started forward everything twice.
    :ivar warmed: when the load had run for long enough to be held against.
    :ivar memory: bytes by which no process may grow.
    :ivar in_order: whether nothing is lost, refused or repeated here, so that calls have to run in order.
    """

    def __init__(self, nursery: NurseryOfWorlds, directory: Path, topology: str, seconds: float, url: str = "") -> None:
        super().__init__()
        self.directory = directory
        self.topology = topology
        self.seconds = seconds
        self.url = url or f"zmq+sqlite://{directory}/matchmaker.db"
        self.lan: Lan | None = None
        self.children: list[Child] = []
        self.memory = MEMORY
        self.options: dict[str, Any] = {}
        self.doubles = False
        self.in_order = False
        self.warmed = 0.0
        self._cleanups: list[Any] = []
        self._nursery = nursery
        self._own: Nursery | None = None
        self._log = str(directory / "bench.history")
        self._history = History(log=open(self._log, "ab", 0), keep=False)  # noqa: SIM115
        self._looking = LoopingCall(self._look)
        self._late, self._looked_at = 0.0, time.monotonic()
        self._looking.start(_LOOKS)

    # As programs of tests take it, which call this a case

    def addCleanup(self, call: Any, *arguments: Any) -> None:
        self._cleanups.append((call, arguments))

    def mktemp(self) -> str:
        return str(self.directory / f"program-{time.monotonic_ns()}")

    @cached_property
    def matchmaker(self) -> Any:
        """The store, as this process sees it."""
        made = make_matchmaker(reactor, Settings.from_url(self.url))
        self.addCleanup(made.close)
        return made

    @property
    def publishes(self) -> bool:
        """Whether fan-outs are published."""
        return "pub-sub" in self.topology

    # Processes

    def host(self, name: str) -> Host:
        """Return a host; it is made when it is named first."""
        if self.lan is None:
            self.lan = Lan()
        return self.lan.hosts.get(name) or self.lan.host(name)

    def url_of(self, host: str, **options: Any) -> str:
        """Return the transport URL of a process on a host."""
        query = {"zmq_topology": self.topology, "drain_timeout": 5, **self.options, **options}
        if host:
            query |= {"rpc_zmq_bind_address": "*", "rpc_zmq_host": self.host(host).address}
        else:
            query |= {"rpc_zmq_bind_address": "127.0.0.1"}
        return f"{self.url}?{urlencode(query)}"

    def use_environment(self, environment: dict[str, str]) -> None:
        """Have every process that is started from now on have another environment."""
        self._own = self._nursery.another(environment)

    def children_named(self, name: str) -> Child:
        """Return the newest process of a name."""
        return [child for child in self.children if child.name == name][-1]

    def start(self, kind: str, name: str, host: str, /, **order: Any) -> Child:
        """Start a process of any kind; see `children`."""
        if host:
            self.host(host)
        path = self.directory / f"{name}-{len(self.children)}"
        log = f"{path}.history" if kind in ("member", "caller") else ""
        if log:
            order["log"] = log
        child = Child(0, kind, name, host, order, f"{path}.output", log)
        return self._nursery.start(child, self._own, self.children)

    def again(self, child: Child) -> Child:
        """Start one that has ended once more, with the same order."""
        order = {key: value for key, value in child.order.items() if key != "log"}
        again = self.start(child.kind, child.name, child.host, **order)
        again.descriptors = child.descriptors
        return again

    def member(self, name: str, host: str | None = None, names: list[str] | None = None, **more: Any) -> Child:
        """Start one that serves, on a host of its own name."""
        host = name if host is None else host
        options = more.pop("options", {})
        url = self.url_of(host, **options)
        more.setdefault("publishers", PROXIES if self.publishes else 0)
        return self.start("member", name, host, url=url, names=names or [name], **more)

    def caller(self, name: str, *loads: dict[str, Any], host: str | None = None, **more: Any) -> Child:
        """
        Start one that calls; the loads say how (`caller.Load`), and one that says nothing is the usual one.

        Where the topology has publishers it publishes as well, so that `end` has something to count.
        """
        host = name if host is None else host
        options = more.pop("options", {})
        url = self.url_of(host, **options)
        orders = [*(loads or [{}]), *([FANOUTS] if self.publishes else [])]
        return self.start("caller", name, host, url=url, name=name, loads=orders, **more)

    def proxy(self, name: str, host: str | None = None) -> Child:
        """Start a proxy."""
        host = name if host is None else host
        query: dict[str, Any] = {"use_pub_sub": str(self.publishes).lower(), "drain_timeout": 5, **self.options}
        query["rpc_zmq_bind_address"] = "*" if host else "127.0.0.1"
        words = ["zmq-proxy", "--url", f"{self.url}?{urlencode(query)}"]
        words += ["--host", self.host(host).address if host else "127.0.0.1"]
        if host:
            words += ["--frontend-port", str(FRONTEND), "--backend-port", str(_BACKEND)]
            words += ["--publisher-port", str(PUBLISHER)] if self.publishes else []
        return self.start("twistd", name, host, words=words, doubles=self.doubles)

    def local_publisher(self, name: str) -> Child:
        """Start a local publisher, on a host of its own name."""
        query = {"drain_timeout": 5, **self.options, "rpc_zmq_bind_address": "*"}
        words = ["zmq-proxy", "--local-publisher", "--url", f"{self.url}?{urlencode(query)}"]
        words += ["--host", self.host(name).address, "--publisher-port", str(PUBLISHER)]
        return self.start("twistd", name, name, words=words)

    async def begin(self, *members: str, hosts: bool = True, **more: Any) -> list[Child]:
        """
        Start these members, and the proxies that the topology has; wait until they are ready.

        :return: the proxies.
        """
        place: dict[str, Any] = {} if hosts else {"host": ""}
        routed = self.topology != "static-direct" and self.topology != "dynamic-direct"
        proxies = [self.proxy(f"proxy{number}", **place) for number in range(PROXIES)] if routed else []
        for name in members:
            self.member(name, **place, **more)
        await self.ready()
        return proxies

    async def ready(self) -> None:
        """Wait until all that runs is ready."""

        def are_ready() -> bool:
            for child in self.children:
                if not child.runs and not child.told & {"ready", "signalled"}:
                    raise AssertionError(f"{child.name} has ended at once: {child.printed()[-2000:]}")
                if child.runs and not child.is_ready():
                    return False
            return True

        await eventually("that all are ready", are_ready, PATIENCE)

    async def warm(self, seconds: float = 1.0) -> float:
        """Let the load run, and take what processes use then for what they may use; return when that was."""
        await self.ready()
        await pause(seconds)
        for child in self.children:
            if child.runs:
                child.begin()
        self.warmed = time.monotonic()
        return self.warmed

    async def delay(self, seconds: float, *names: str, capture: str = "") -> None:
        """Have whatever connects to these hosts take so long, each way; to be called before anything does."""
        for name in names:
            self.start("delay", f"delay-{name}", name, seconds=seconds, capture=capture)
            self.host(name).divert(PORT)
        await self.ready()

    def kill(self, child: Child) -> float:
        """End it as a crash does; return when that was."""
        return self.signal(child, signal.SIGKILL)

    def signal(self, child: Child, number: int) -> float:
        """Signal it; return when that was."""
        now = time.monotonic()
        child.told.add("signalled")
        os.kill(child.pid, number)
        if number == signal.SIGKILL:
            for instance in child.instances.values():
                self._history.died(instance, "server" if child.kind == "member" else "client")
        return now

    async def stand(self, child: Child, seconds: float) -> float:
        """Have it stand still for so long; return when that began."""
        begin = self.signal(child, signal.SIGSTOP)
        self.stood(child, seconds)
        await pause(seconds)
        self.signal(child, signal.SIGCONT)
        return begin

    def stood(self, child: Child, seconds: float) -> None:
        """Note that it stands from now on."""
        for instance in child.instances.values():
            self._history.stood(instance, seconds)

    async def rest(self, *callers: Child) -> None:
        """Have these make no more, and wait until all that they made has ended."""
        for child in callers:
            self.signal(child, signal.SIGUSR1)
        await eventually("that they rest", lambda: all("idle" in child.told for child in callers), 90)

    async def dismiss(self, *callers: Child) -> None:
        """Have these rest, and end."""
        await self.rest(*callers)
        for child in callers:
            self.signal(child, signal.SIGTERM)
            await self.ended(child)

    async def ended(self, child: Child, patience: float = PATIENCE) -> float:
        """Wait for its end; return when that was."""
        await eventually(f"the end of {child.name}", lambda: not child.runs, patience)
        return child.ended_at

    def cases(self) -> Cases:
        """Return what is written down by now."""
        logs = {child.log for child in self.children if child.log} | {self._log}
        return Cases.read(log for log in sorted(logs) if os.path.exists(log))

    def listening(self, child: Child) -> list[tuple[str, int]]:
        """Return host and port of whatever a process listens at, on a host of its own; found from outside."""
        ports = listening(child.pid)
        assert ports, f"{child.name} listens nowhere"
        return [(self.host(child.host).address, port) for port in ports]

    async def served(self, load: str, since: float, patience: float) -> None:
        """Wait until something of a load that was asked since then has succeeded, or for so long."""
        while time.monotonic() < since + patience:
            if self.cases().of(load).first_success(since) < patience:
                return
            await pause(0.3)

    # The end

    async def end(self, settle: float = 10.0) -> Cases:
        """
        End the faults and the load, look for what was left over, and stop everything.

        :param settle: seconds within which descriptors have to be given back.
        """
        if self.lan is not None:
            self.lan.heal()
        callers = [child for child in self.children if child.kind == "caller" and child.runs]
        for child in callers:
            self.signal(child, signal.SIGUSR1)
        longest = max((load.get("timeout", 10.0) for child in callers for load in child.order["loads"]), default=0.0)
        await self._wait("every call ends", lambda: all("idle" in child.told for child in callers), longest + 10)
        if self.publishes:
            # A publisher says once a second how many there were.
            await pause(_COUNTED)
        lasting = [child for child in self.children if child.runs and child.resident[0]]
        left: list[str] = []

        def over() -> bool:
            left[:] = [
                f"{child.name} {child.descriptors} -> {child.open()}"
                for child in lasting
                if child.runs and child.open() > child.descriptors
            ]
            return not left

        await self._wait("descriptors are given back", over, settle, lambda: ", ".join(left))
        there = [child for child in self.children if child.kind == "member" and child.runs]
        for kind in ("caller", "member", "twistd", ""):
            going = [child for child in self.children if child.runs and kind in ("", child.kind)]
            for child in going:
                self.signal(child, signal.SIGTERM if kind else signal.SIGKILL)
            if kind:
                await self._wait(f"each {kind} stops", lambda going=going: not any(c.runs for c in going), 15)
        self._looking.stop()
        self.figure(LATENESS, "", f"{self._late:.3f}", good=True)
        # Of one name there may be several, one after the other.
        grown = max(self.children, key=Child.grown, default=None)
        if grown is not None:
            self.at_most(f"MB that a process grows by ({grown.name})", self.memory / 2**20, grown.grown() / 2**20)
        story = self.judge()
        self._judge_fanouts(story, there)
        return story

    def _judge_fanouts(self, story: Cases, there: list[Child]) -> None:
        """Hold what was published, and did not run where it could, against what was counted as missed there."""
        fanouts = story.where(lambda case: case.asked.kind == "fanout" and case.asked.member is None).cases
        if not self.publishes or not fanouts:
            return
        first = min(case.asked.at for case in fanouts)
        for child in there:
            if child.ready_at > first:
                continue
            mine = child.instances.values()
            # Where its client was not told that it was published for this one, it may have been or not.
            most = sum(len(_lost(fanouts, instance)) for instance in mine)
            least = sum(_is_published(case, instance) for instance in mine for case in _lost(fanouts, instance))
            counted = child.counts["fanout_missed"] + child.counts["fanout_refused"]
            expected = str(most) if least == most else f"{least} to {most}"
            what = f"fan-outs lost at {child.name}, as it counts"
            self.figure(what, expected, counted, least <= counted <= most)

    def judge(self) -> Cases:
        """Hold what was told against what ran."""
        cases = self.cases()
        violations = cases.history.violations(in_order=self.in_order)
        late = (ran.at - case.asked.deadline for case in cases.cases for ran in case.ran if case.asked.kind != "fanout")
        self.figure("s after its deadline that anything began, at most", "", f"{max(late, default=0.0):.3f}", good=True)
        self.figure("promises kept", f"all of {len(cases.cases)}", "; ".join(violations[:3]) or "all", not violations)
        return cases

    async def _wait(self, what: str, happened: Any, patience: float, seen: Any = None) -> None:
        try:
            await eventually(what, happened, patience)
        except AssertionError:
            self.figure(what, f"within {patience:g} s", seen() if seen else "not", good=False)

    def _look(self) -> None:
        now = time.monotonic()
        self._late = max(self._late, now - self._looked_at - _LOOKS)
        self._looked_at = now
        for child in self.children:
            child.look()

    def close(self) -> None:
        """Leave nothing behind."""
        if self._looking.running:
            self._looking.stop()
        self._nursery.end_all(self.children)
        if self._own is not None:
            self._own.close()
        while self._cleanups:
            call, arguments = self._cleanups.pop()
            call(*arguments)
        if self.lan is not None:
            self.lan.remove()


def _lost(cases: list[Case], instance: str) -> list[Case]:
    """Return those that did not run at an instance."""
    return [case for case in cases if all(ran.instance != instance for ran in case.ran)]


def _is_published(case: Case, instance: str) -> bool:
    """Tell whether its client was told that it was published for an instance."""
    return any(told.instance == instance and told.verdict == "published" for end in case.ended for told in end.told)
