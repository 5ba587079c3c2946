"""
A churn: proxies, publishers and servers that join and leave under load, all from one seed.

Proxies are killed, or told to stop; servers are told to stop, so that nothing they have is lost. Or proxies are paused
as well and all servers stay, since an answer that a paused proxy holds may outlive its server. One proxy at least is up
that everybody knows. `Churn.verdict` then lists what was lost or came twice: nothing may.
"""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

import attrs
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from zmqrpc import Target, expose
from zmqrpc.errors import ConfigError
from zmqrpc.testing import MemoryNode, Network, Weather
from zmqrpc.testing.proxy import MemoryProxy

SECONDS = 6.0
PROXIES = 3
KNOWN = 2.0
"""Seconds after which everybody is connected to a proxy that has come."""

TIMEOUT = 20.0
_PORTS = ("proxy_frontend_port", "proxy_backend_port", "proxy_publisher_port")
STAY = ("stay-0", "stay-1")
"""The members that subscribe from the beginning to the end."""

COME = ("come-0", "come-1")
CLIENTS = ("router-proxy+pub-sub", "router-proxy+pub-sub", "static-direct+pub-sub")


@attrs.define(eq=False)
class Made:
    """
    One call, cast or fan-out.

    :ivar outcome: what it brought, or its error; `...` before.
    """

    number: int
    kind: str
    at: float
    outcome: Any = ...


class Member:
    """
    One member's methods, which write down what ran.

    :ivar ran: numbers, and how often each ran.
    """

    def __init__(self, churn, node):
        self.ran: Counter[int] = Counter()
        self.node = node
        self._chance = Random(churn.chance.getrandbits(64))

    @expose
    def quick(self, context, number):
        self.ran[number] += 1
        return number

    @expose
    def slow(self, context, number):
        self.ran[number] += 1
        return deferLater(self.node.clock, self._chance.uniform(0, 0.2), lambda: number)


def _ports(proxy):
    router, publisher = proxy.records
    return [int(address.rpartition(":")[2]) for address in (*router.addresses, publisher.addresses[-1])]


class Churn:
    """
    Four members, three clients, and three proxies that publish, in a network.

    :param seed: what everything is drawn from.
    :ivar events: who came and went, for the search of a fault.
    """

    def __init__(self, seed):
        chance = self.chance = Random(seed)
        rough = chance.choice([0.001, 0.005, 0.03])
        self.seed = seed
        self._pauses = chance.random() < 0.4
        self.network = Network(seed, Weather(delay=(rough / 5, rough)))
        self.made: list[Made] = []
        self.members: list[Member] = []
        self.events: list[str] = []
        self._stops: list[Deferred[None]] = []
        self._proxies: list[tuple[float, MemoryProxy]] = []
        for _ in range(PROXIES):
            self._add_proxy()
        self.serving: dict[str, Any] = {}
        for name in STAY + COME:
            self._serve(name)
        self.network.result_of(gatherResults([member.node.when_ready() for member in self.members]))
        self.clients = [self.network.client(zmq_topology=name, host=f"client-{n}") for n, name in enumerate(CLIENTS)]
        self.nodes = self.network.nodes[-len(CLIENTS) :]
        # Numbers that come before the first are not missed, so each client begins with one that comes.
        for client in self.clients:
            self._make("fanout", client)
        self.network.run_until(lambda: all(made.outcome is not ... for made in self.made), 10)
        self.network.run(KNOWN)

    # Who comes and goes

    @property
    def _now(self):
        return self.network.clock.seconds()

    def _note(self, what):
        self.events.append(f"{self._now:.4f} {what}")

    def _add_proxy(self, host=None, ports=None):
        """Start a proxy; at ports of its own, or at those of one that has gone."""
        fixed = dict(zip(_PORTS, ports or (), strict=False))
        node = MemoryProxy(self.network, host=host, use_pub_sub=True, drain_timeout=5.0, **fixed)
        try:
            node.startService()
        except ConfigError:
            # The one before it drains yet.
            self.network.proxies.remove(node)
            self.network.clock.callLater(0.1, self._add_proxy, host, ports)
            return
        self._note(f"{node.host} comes, {node.instance.hex()}")
        self._proxies.append((self._now, node))

    def _serve(self, name):
        node = MemoryNode(self.network, host=name, use_pub_sub=True, drain_timeout=10.0)
        member = Member(self, node)
        node.server(Target("work", server=name), [member])
        node.startService()
        self._note(f"{name} comes, {node.instance.hex()}")
        self.members.append(member)
        self.serving[name] = member

    def lose_proxy(self):
        """Kill or stop a proxy, unless no other would be left that everybody knows; another comes at some time."""
        since, proxy = self.chance.choice(self._proxies)
        if any(other is not proxy and at + KNOWN < self._now for at, other in self._proxies):
            self._proxies.remove((since, proxy))
            what = self.chance.choice(["is killed", "is told to stop", *["is paused"] * self._pauses])
            self._note(f"{proxy.host} {what}")
            if what == "is paused":
                seconds = self.chance.choice([0.5, 3.0])
                proxy.clock.pause(seconds)
                self.network.clock.callLater(seconds, self._go_on, proxy)
                return
            if what == "is killed":
                proxy.kill()
            elif self.chance.random() < 0.3:
                proxy.stopService()
                self.network.clock.callLater(self.chance.uniform(0, 0.1), self._kill, proxy)
            else:
                self._stops.append(proxy.stopService())
            ports = self.chance.choice([None, _ports(proxy)])
            self.network.clock.callLater(self.chance.choice([0, 0.05, 0.5, 2]), self._add_proxy, proxy.host, ports)

    def _kill(self, proxy):
        """Kill it in the midst of its stop."""
        self._note(f"{proxy.host} is killed")
        proxy.kill()

    def _go_on(self, proxy):
        self._note(f"{proxy.host} goes on")
        self._proxies.append((self._now, proxy))

    def lose_server(self):
        """Have a member stop; another of its name comes at some time, while it perhaps drains yet."""
        name = self.chance.choice(COME)
        member = self.serving[name]
        if member is not None and not self._pauses:
            self._note(f"{name} is told to stop")
            self._stops.append(member.node.stopService())
            self.serving[name] = None
            self.network.clock.callLater(self.chance.choice([0, 0.05, 0.5, 2]), self._serve, name)

    # The load

    def make(self):
        """Make some calls, casts or fan-outs at once, at random."""
        for _ in range(self.chance.choice([1, 1, 1, 5, 30])):
            self._make(self.chance.choice(["call", "call", "cast", "fanout"]), self.chance.choice(self.clients))

    def _make(self, kind, client):
        made = Made(len(self.made), kind, self._now)
        self.made.append(made)
        member = None if kind == "fanout" else self.chance.choice([None, None, *STAY])
        method = self.chance.choice(["quick", "quick", "slow"])
        send = getattr(client, kind)
        deferred = send(Target("work", server=member), method, {"number": made.number}, timeout=TIMEOUT)
        deferred.addBoth(self._ended, made)

    def _ended(self, outcome, made):
        made.outcome = outcome.value if isinstance(outcome, Failure) else outcome

    # The run

    def run(self, makes=60, losses=10):
        """Let it pass, and stop all."""
        network, chance = self.network, self.chance
        acts = [self.make] * makes + [self.lose_proxy] * losses + [self.lose_server] * (losses // 2)
        start = self._now
        plan = sorted(((start + chance.uniform(0, SECONDS), act) for act in acts), key=lambda planned: planned[0])
        for at, act in plan:
            network.run(max(0.0, at - self._now))
            act()
        network.run(2)
        # What a dead publisher had swallowed shows at the next one.
        for client in self.clients:
            self._make("fanout", client)
        network.run(0.5)
        network.run_until(lambda: all(made.outcome is not ... for made in self.made), TIMEOUT + 1, "that all ends")
        # For so long a subscriber waits for what may still come by another publisher.
        network.run(2)
        self.missed = {name: self.serving[name].node.notices.counts["fanout_missed"] for name in STAY}
        self._stops += [node.stopService() for node in (*self.nodes, *(m.node for m in self.serving.values() if m))]
        network.result_of(gatherResults(self._stops), 60)
        network.result_of(gatherResults([proxy.stopService() for _, proxy in self._proxies]), 60)

    # The verdict

    def verdict(self):
        """List what was lost, or came twice."""
        broken = []
        for made in self.made:
            runs = [(member.node.host, member.ran[made.number]) for member in self.members if member.ran[made.number]]
            for problem in self._judge(made, runs):
                broken.append(f"{problem}: {made}, {runs}")
        for name in STAY:
            lost = [
                made.number for made in self.made if made.kind == "fanout" and not self.serving[name].ran[made.number]
            ]
            if len(lost) != self.missed[name]:
                broken.append(f"{name} has counted {self.missed[name]} missed, and misses {lost}")
            elif lost:
                broken.append(f"{name} has missed {lost}, and counted that")
        return broken

    @staticmethod
    def _judge(made, runs):
        if made.outcome is ... or isinstance(made.outcome, Exception):
            yield "lost"
        elif made.kind != "fanout" and sum(often for _, often in runs) != 1:
            yield "acknowledged, and did not run once"
        if any(often > 1 for _, often in runs):
            yield "ran twice"
        if made.kind == "fanout" and not isinstance(made.outcome, Exception) and made.outcome.missing:
            yield "not had by all"
