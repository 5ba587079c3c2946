"""
Proxies that fail under load, in real processes: ``python -m zmqrpc.test.integration.faults SCENARIO SECONDS SEED``.

``kill``
    Three router proxies; the one that most goes through is killed while one client has 300 calls outstanding.
``stop``
    The same, but it is stopped for three seconds (SIGSTOP), goes on, is killed, and starts anew at the same ports.
``publish``
    Three publisher proxies; one is killed while four clients fan out to 20 members in two processes.
``churn``
    Proxies are killed, told to stop, and come back, half of them at the same ports; servers are told to stop, and come
    back. Three clients call, cast and fan out meanwhile.

What callers saw and what servers wrote down is one `History`, which is judged. Here nothing may be lost either, and who
subscribes all the time has had each fan-out, or has counted exactly those it missed. Figures and faults are printed as
JSON.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import tempfile
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import attrs
from twisted.internet import reactor as _reactor
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure

from zmqrpc import Node, Settings, Target
from zmqrpc.client import RPCClient
from zmqrpc.core.fanouts import LATE
from zmqrpc.core.series import GRACE
from zmqrpc.core.ways import Through
from zmqrpc.matchmaker import make_matchmaker
from zmqrpc.record import PROXIES, Role
from zmqrpc.test.integration.company import TOPIC
from zmqrpc.test.integration.nursery import Nursery
from zmqrpc.test.integration.support import eventually, pause, print_outcome
from zmqrpc.test.ports import free_port
from zmqrpc.testing.events import told_by
from zmqrpc.testing.history import History
from zmqrpc.testing.judge import Case

reactor: Any = _reactor

TIMEOUT = 20.0
PATIENCE = 30.0
OUTSTANDING = 300
WINDOW = 0.1
"""Seconds over which a rate is taken."""

BACK = 0.9
"""The part of the rate before a fault at which it is back."""

_JUDGED = GRACE + 2 * LATE
"""Seconds after which a subscriber has counted what it missed."""

GOOD = ("ok", "published")
"""What callers are told where nothing is lost; see `Told`."""

Figures = dict[str, Any]


@attrs.define(eq=False)
class Proxy:
    """
    One proxy, whose process may come and go.

    :ivar child: the present process, by its nursery's number; None between two.
    :ivar instance: the instance of the last one that was up, in hex.
    """

    host: str
    ports: list[int]
    child: int | None = None
    instance: str = ""
    up_since: float = 0.0


@attrs.define(eq=False)
class Servers:
    """One process that serves, with a node for each name."""

    names: list[str]
    child: int
    log: str
    instances: dict[str, str] = attrs.Factory(dict)
    ended: bool = False


class Company:
    """
    The processes of a scenario, and the nodes of its clients in this one.

    :ivar made: how much was called, cast or fanned out.
    :ivar open: how much of it has not ended.
    :ivar done: when each of what succeeded did.
    """

    def __init__(self, directory: str, topology: str) -> None:
        self.directory = directory
        self._url = self._url_of(topology)
        self._publishes = topology.endswith("+pub-sub")
        self.nursery = Nursery(reactor, "zmqrpc.test.integration.company", self._told)
        self.proxies: list[Proxy] = []
        self.servers: list[Servers] = []
        self.nodes: list[Node] = []
        self._clients: dict[Node, RPCClient] = {}
        self.made = 0
        self.open = 0
        self.done: list[float] = []
        self._log = os.path.join(directory, "clients")
        self._history = History(log=open(self._log, "ab", 0), keep=False)  # noqa: SIM115
        self._sightings: list[Any] = []
        self._matchmaker = make_matchmaker(reactor, Settings.from_url(self._url))
        self._unwatch = self._matchmaker.watch(*PROXIES, self._found)

    def _url_of(self, topology: str) -> str:
        query = urlencode({"zmq_topology": topology, "drain_timeout": 10})
        return f"zmq+sqlite://{self.directory}/matchmaker.db?{query}"

    # Processes

    def start_proxy(self, proxy: Proxy | None = None) -> Proxy:
        """Start a proxy: a new one, or one whose process has ended, at its ports."""
        if proxy is None:
            proxy = Proxy(f"proxy-{len(self.proxies)}", [free_port() for _ in range(3)])
            self.proxies.append(proxy)
        log = os.path.join(self.directory, f"{proxy.host}.log")
        url = f"{self._url.partition('?')[0]}?use_pub_sub={str(self._publishes).lower()}"
        proxy.up_since = 0.0
        # A port for what it does not do is refused.
        ports = proxy.ports if self._publishes else proxy.ports[:2]
        proxy.child = self.nursery.start(kind="proxy", url=url, host=proxy.host, ports=ports, log=log)
        return proxy

    def start_servers(self, *names: str, publishers: int = 0) -> Servers:
        """
        Start a process that serves under these names.

        :param publishers: to how many it is subscribed before it says that it is ready. Readiness itself waits for none
            that comes later, or that a busy machine connects to late.
        """
        log = os.path.join(self.directory, f"runs-{len(self.servers)}")
        child = self.nursery.start(kind="servers", url=self._url, names=names, log=log, publishers=publishers)
        self.servers.append(Servers(list(names), child, log))
        return self.servers[-1]

    def start_client(self, topology: str = "") -> Node:
        """Start a node that only calls."""
        node = Node(reactor, self._url_of(topology) if topology else self._url)
        self._clients[node] = node.client()
        node.startService()
        self.nodes.append(node)
        return node

    def _told(self, facts: dict[str, Any]) -> None:
        for servers in self.servers:
            if facts["child"] == servers.child:
                servers.instances = facts.get("instances", servers.instances)
                servers.ended = servers.ended or "ended" in facts
        for proxy in self.proxies:
            if facts["child"] == proxy.child and "ended" in facts:
                proxy.child = None

    def _found(self, sightings: list[Any]) -> None:
        now = time.monotonic()
        for record in (sighting.record for sighting in sightings):
            if record.role is Role.DOUBT:  # of an instance that may have ended
                continue
            for proxy in self.proxies:
                ours = record.addresses[0].endswith(f":{proxy.ports[0]}")
                if ours and proxy.child is not None and record.instance != proxy.instance:
                    proxy.instance, proxy.up_since = record.instance, now

    async def ready(self) -> None:
        """Wait until all processes are up, and all of them know each other."""
        await eventually("proxies", lambda: all(proxy.up_since for proxy in self.proxies), PATIENCE)
        await eventually("servers", lambda: all(servers.instances for servers in self.servers), PATIENCE)
        await eventually("clients", self.settled, PATIENCE)

    def settled(self) -> bool:
        """Tell whether each client is connected to each proxy that is up."""
        up = {proxy.instance for proxy in self.proxies if proxy.child is not None and proxy.up_since}
        return all(up <= {link.key for link in _proxies(node) if link.up} for node in self.nodes)

    def signal(self, proxy: Proxy, number: int) -> None:
        assert proxy.child is not None
        self.nursery.signal(proxy.child, number)

    def busiest(self, node: Node) -> Proxy:
        """Return the proxy that most links of a node go through."""
        connections = {proxy.connection: proxy.key for proxy in _proxies(node)}
        ways = [link.state.identity for link in node._links.all()]
        carried = Counter(connections.get(way.connection) for way in ways if isinstance(way, Through))
        return self.proxy(carried.most_common(1)[0][0])

    def publishing(self) -> Proxy:
        """Return the proxy that most clients publish by."""
        publishing: list[Any] = [node._publishing for node in self.nodes]
        keys = Counter(key for each in publishing for key in each.describe().publishers.values())
        return self.proxy(keys.most_common(1)[0][0])

    def proxy(self, instance: str | None) -> Proxy:
        return next(proxy for proxy in self.proxies if proxy.instance == instance)

    # Load

    def send(self, node: Node, kind: str, method: str = "quick", member: str | None = None, **args: Any) -> Any:
        """Make a call, cast or fan-out; return what fires when it has ended, whatever became of it."""
        number = self.made
        self.made += 1
        self.open += 1
        self._history.invoke(number, node.instance.hex(), kind, TIMEOUT, member=member)
        make = getattr(self._clients[node], kind)
        waiting = make(Target(TOPIC, server=member), method, {"number": number, **args}, timeout=TIMEOUT)
        return waiting.addBoth(self._ended, number)

    def _ended(self, outcome: Any, number: int) -> None:
        self.open -= 1
        outcome = outcome.value if isinstance(outcome, Failure) else outcome
        self._history.ended(number, outcome)
        if all(told.verdict in GOOD for told in told_by(outcome)):
            self.done.append(time.monotonic())

    def written(self) -> History:
        """Join what clients and servers wrote down."""
        logs = [log for log in (self._log, *(servers.log for servers in self.servers)) if os.path.exists(log)]
        with ExitStack() as stack:
            return History.read(*(stack.enter_context(open(log, "rb")) for log in logs))

    async def end(self) -> None:
        """Wait for what is under way, stop all, and be judged."""
        await eventually("everything that was made", lambda: not self.open, TIMEOUT + 10)
        for servers in self.servers:
            self.nursery.signal(servers.child, signal.SIGTERM)
        await eventually("servers that stop", lambda: all(servers.ended for servers in self.servers), PATIENCE)
        for node in self.nodes:
            await node.stopService()

    def close(self) -> None:
        """Leave nothing behind."""
        self._unwatch()
        self.nursery.close()
        self._matchmaker.close()


def _proxies(node: Node) -> list[Any]:
    return list(node._proxies.there.clients.values())


class Loop:
    """
    Keeps so many calls outstanding.

    :param make: makes the next; returns what fires when that has ended.
    :param most: how many it makes.
    :ivar over: set when it shall make no more.
    """

    def __init__(self, make: Callable[[], Any], outstanding: int, most: float = float("inf")) -> None:
        self.over = False
        self._make = make
        self._outstanding = outstanding
        self._left = most

    def start(self) -> None:
        for _ in range(self._outstanding):
            self._next()

    def _next(self, _: Any = None) -> None:
        if not self.over and self._left:
            self._left -= 1
            self._make().addCallback(self._next)


# The verdict


def judge(company: Company) -> Figures:
    """Compare what callers saw with what servers wrote down."""
    history = company.written()
    cases = history.cases()
    violations = history.violations()
    lost = [f"lost: {case}" for case in cases.values() if not _is_good(case)]
    ran = {(case.asked.id, run.instance) for case in cases.values() for run in case.ran}
    fanouts = [id for id, case in cases.items() if case.asked.kind == "fanout"]
    counted: dict[str, int] = {}
    for servers in company.servers:
        if os.path.exists(f"{servers.log}.missed"):
            counted |= json.loads(Path(f"{servers.log}.missed").read_text())
    unheard, missed = 0, []
    # What came twice is counted with them.
    uncounted = sum(len(case.ran) - len({run.instance for run in case.ran}) for case in map(cases.__getitem__, fanouts))
    for instance in _lasting(company):
        left = [number for number in fanouts if (number, instance) not in ran]
        unheard += len(left)
        uncounted += abs(len(left) - counted[instance])
        if left or counted[instance]:
            missed.append(f"{instance} has not had {left[:20]}, {len(left)} in all, and counted {counted[instance]}")
    kinds = Counter(case.asked.kind for case in cases.values())
    return {
        **{f"{kind}s": kinds[kind] for kind in ("call", "cast", "fanout")},
        "broken": len(lost) + len(violations),
        "missed": unheard,
        "uncounted": uncounted,
        "faults": (missed + violations + lost)[:20],
    }


def _is_good(case: Case) -> bool:
    return bool(case.ended) and all(told.verdict in GOOD for told in case.told)


def _lasting(company: Company) -> list[str]:
    """List the instances that were there from the beginning to the end."""
    stay = [servers for servers in company.servers if servers.names[0].startswith("stay")]
    return [instance for servers in stay for instance in servers.instances.values()]


def rate_of(done: list[float], fault: float) -> Figures:
    """Return how long after a fault the rate of what is done was back, and for how long at most nothing was."""
    done = sorted(done)

    def within(start: float) -> int:
        return bisect_left(done, start + WINDOW) - bisect_left(done, start)

    before = sorted(within(start) for start in _starts(fault - 10 * WINDOW, fault))
    wanted = before[len(before) // 2] * BACK
    after = done[bisect_left(done, fault) :]
    back = float("inf")
    for step in range(int((after[-1] - fault - WINDOW) / 0.005) if after else 0):
        start = fault + step * 0.005
        if within(start) >= wanted:
            back = start - fault
            break
    moments = [fault, *after]
    silence = max((b - a for a, b in pairwise(moments)), default=float("inf"))
    return {"rate": round(wanted / BACK / WINDOW), "back_s": round(back, 3), "silence_s": round(silence, 3)}


def _starts(begin: float, end: float) -> list[float]:
    return [begin + number * WINDOW for number in range(round((end - begin) / WINDOW))]


# The scenarios


async def _routed(company: Company) -> tuple[Node, Loop]:
    """Three router proxies, three servers, and a client with calls outstanding that has them all up."""
    for _ in range(3):
        company.start_proxy()
    for number in range(3):
        company.start_servers(f"stay-{number}")
    node = company.start_client()
    await company.ready()
    for number in range(3):
        await company.send(node, "call", member=f"stay-{number}")
    loop = Loop(lambda: company.send(node, "call"), OUTSTANDING)
    loop.start()
    return node, loop


async def kill(company: Company, seconds: float, chance: random.Random) -> Figures:
    node, loop = await _routed(company)
    await pause(max(seconds / 2, 10 * WINDOW))
    company.signal(company.busiest(node), signal.SIGKILL)
    fault = time.monotonic()
    await pause(seconds / 2 + 2 * WINDOW)
    loop.over = True
    return rate_of(company.done, fault)


async def stop(company: Company, seconds: float, chance: random.Random) -> Figures:
    node, loop = await _routed(company)
    await pause(10 * WINDOW)
    proxy = company.busiest(node)
    company.signal(proxy, signal.SIGSTOP)
    fault = time.monotonic()
    await pause(3.0)
    company.signal(proxy, signal.SIGCONT)
    await eventually("that it is used again", company.settled, PATIENCE)
    await pause(seconds / 4)
    company.signal(proxy, signal.SIGKILL)
    await eventually("its end", lambda: proxy.child is None)
    company.start_proxy(proxy)
    await eventually("that it is back", lambda: proxy.up_since and company.settled(), PATIENCE)
    await pause(seconds / 4)
    loop.over = True
    return rate_of(company.done, fault)


async def publish(company: Company, seconds: float, chance: random.Random) -> Figures:
    for _ in range(3):
        company.start_proxy()
    for process in range(2):
        company.start_servers(*(f"stay-{process}-{number}" for number in range(10)), publishers=3)
    nodes = [company.start_client() for _ in range(4)]
    await company.ready()
    for node in nodes:
        await company.send(node, "fanout")
    for node in nodes:
        Loop(partial(company.send, node, "fanout"), 20, 250).start()
    await eventually("half of them", lambda: len(company.done) >= 500, PATIENCE)
    company.signal(company.publishing(), signal.SIGKILL)
    fault = time.monotonic()
    await eventually("the others", lambda: not company.open, PATIENCE)
    took = time.monotonic() - fault
    for node in nodes:
        await company.send(node, "fanout")
    await pause(_JUDGED)
    return {"second_half_s": round(took, 3)}


class Turns:
    """Has proxies and servers come and go, so that one proxy at least is there which everybody knows."""

    KNOWN = 1.5

    def __init__(self, company: Company, chance: random.Random) -> None:
        self._company = company
        self._chance = chance
        self._names = {"come-0": company.start_servers("come-0"), "come-1": company.start_servers("come-1")}
        self.counts = Counter(dict.fromkeys(("killed", "stopped", "came", "came back", "servers"), 0))
        self.over = False

    def turn(self) -> None:
        """Do something, and something else in a moment."""
        if self.over:
            return
        reactor.callLater(self._chance.uniform(0.1, 0.6), self.turn)
        if self._chance.random() < 0.7:
            self._proxy()
        else:
            self._server()

    def _proxy(self) -> None:
        company, now = self._company, time.monotonic()
        up = [proxy for proxy in company.proxies if proxy.child is not None and proxy.up_since]
        known = [proxy for proxy in up if proxy.up_since + self.KNOWN < now]
        if not up:
            return
        proxy = self._chance.choice(up)
        if not any(other is not proxy for other in known):
            return
        dies = self._chance.random() < 0.5
        self.counts["killed" if dies else "stopped"] += 1
        company.signal(proxy, signal.SIGKILL if dies else signal.SIGTERM)
        proxy.up_since = 0.0
        late = self._chance.choice([0.05, 0.3, 1.0])
        reactor.callLater(late, self._another, proxy, self._chance.random() < 0.5)

    def _another(self, proxy: Proxy, same: bool) -> None:
        if same and proxy.child is not None:
            # It drains yet.
            reactor.callLater(0.1, self._another, proxy, same)
            return
        self.counts["came back" if same else "came"] += 1
        self._company.start_proxy(proxy if same else None)

    def _server(self) -> None:
        name = self._chance.choice(sorted(self._names))
        servers = self._names[name]
        if servers.instances and not servers.ended:
            self.counts["servers"] += 1
            self._company.nursery.signal(servers.child, signal.SIGTERM)
            self._names[name] = self._company.start_servers(name)


async def churn(company: Company, seconds: float, chance: random.Random) -> Figures:
    for _ in range(3):
        company.start_proxy()
    company.start_servers("stay-0", "stay-1", publishers=3)
    turns = Turns(company, chance)
    nodes = [company.start_client(name) for name in ("", "", "static-direct+pub-sub")]
    await company.ready()
    for node in nodes:
        await company.send(node, "fanout")

    def make() -> None:
        for _ in range(chance.choice([1, 1, 1, 5, 30])):
            kind = chance.choice(["call", "call", "cast", "fanout"])
            member = None if kind == "fanout" else chance.choice([None, None, "stay-0"])
            args: dict[str, Any] = (
                {"method": "slow", "seconds": chance.uniform(0, 0.1)} if chance.random() < 0.1 else {}
            )
            company.send(chance.choice(nodes), kind, member=member, **args)

    making = LoopingCall(make)
    making.start(0.015)
    turns.turn()
    await pause(seconds)
    turns.over = True
    making.stop()
    await pause(1.0)
    for node in nodes:
        await company.send(node, "fanout")
    await pause(_JUDGED)
    return dict(turns.counts)


SCENARIOS: dict[str, tuple[str, Callable[[Company, float, random.Random], Awaitable[Figures]]]] = {
    "kill": ("router-proxy", kill),
    "stop": ("router-proxy", stop),
    "publish": ("static-direct+pub-sub", publish),
    "churn": ("router-proxy+pub-sub", churn),
}


async def play(name: str, seconds: float, seed: int, directory: str) -> Figures:
    """Play a scenario; return its figures."""
    topology, scenario = SCENARIOS[name]
    company = Company(directory, topology)
    try:
        figures = await scenario(company, seconds, random.Random(seed))
        await company.end()
    finally:
        company.close()
    return {**judge(company), **figures, "seed": seed}


def main(name: str, seconds: float, seed: int) -> int:
    with tempfile.TemporaryDirectory() as directory:
        return int(print_outcome(lambda: play(name, seconds, seed, directory)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], float(sys.argv[2]), int(sys.argv[3])))
