"""
A storm: nodes that call each other while the network, the store and their processes fail, all from one seed.

`Storm.run` ends with everything healed and stopped; `Storm.verdict` then lists which promise was broken, and how.
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
from zmqrpc.errors import ConfigError, DeliveryError, RemoteError
from zmqrpc.test.little_proxy import LittleProxy
from zmqrpc.testing import MemoryNode, Network, Store, Weather

PROXY_HOSTS = ("proxy-0", "proxy-1")
SECONDS = 12.0
SLACK = 0.02
LATE = 0.3
"""Seconds after its deadline that a method may still begin: what ages of messages are uncertain by."""

OPTIONS: dict[str, Any] = {
    "rpc_ack_timeout_base": 0.7,
    "zmq_target_expire": 6,
    "zmq_target_update": 1.0,
    "drain_timeout": 3.0,
}


@attrs.define(eq=False)
class Asked:
    """One call, cast or fan-out."""

    number: int
    kind: str
    idempotent: bool
    deadline: float
    cancelled_at: float | None = None
    ended_at: float | None = None
    outcome: object = None


@attrs.frozen
class Ran:
    """One execution."""

    number: int
    instance: str
    at: float


class Endpoint:
    """Does what is asked, and writes it down."""

    def __init__(self, storm, node):
        self._storm = storm
        self._node = node
        self._chance = Random(storm.chance.getrandbits(64))

    def _note(self, number):
        self._storm.executions.append(Ran(number, self._node.instance.hex(), self._node.clock.seconds()))

    @expose
    def quick(self, context, number):
        self._note(number)
        return number * 3

    @expose
    def slow(self, context, number):
        self._note(number)
        return deferLater(self._node.clock, self._chance.uniform(0, 2), lambda: number * 3)

    @expose
    def broken(self, context, number):
        self._note(number)
        raise RemoteError("Broken", str(number))


class Storm:
    """
    Three servers, two clients and a store in a network.

    :param seed: what everything is drawn from.
    :param routed: whether there are two router proxies as well, and one of the clients goes through them.
    :param options: options that differ from `OPTIONS`, of the clients.
    """

    def __init__(self, seed, routed=False, **options):
        chance = self.chance = Random(seed)
        rough = chance.choice([0.001, 0.005, 0.03])
        weather = Weather(
            delay=(rough / 5, rough),
            loss=chance.choice([0, 0, 0.03]),
            duplication=chance.choice([0, 0, 0.1]),
            refusal=chance.choice([0, 0, 0.2]),
            breakage=chance.choice([0, 0, 0.01]),
        )
        self.seed = seed
        self._client_options = OPTIONS | options
        self.network = Network(seed, weather)
        self.store = Store(self.network.clock)
        self.asked: list[Asked] = []
        self.executions: list[Ran] = []
        self._stops: list[Deferred[None]] = []
        self._callers: list[MemoryNode] = []
        self.proxies = {host: LittleProxy(self.network, host, store=self.store) for host in PROXY_HOSTS[: 2 * routed]}
        self.servers: dict[str, Any] = {host: self._serve(host) for host in ("a", "b", "c")}
        topologies = ("router-proxy" if routed else "static-direct", "static-direct")
        self.clients = [self._begin_client(f"client-{number}", name) for number, name in enumerate(topologies)]

    # Who there is

    def _serve(self, host, port=None):
        options: dict[str, Any] = dict(OPTIONS)
        if port is not None:
            options |= {"rpc_zmq_min_port": port, "rpc_zmq_max_port": port + 1}
        node = MemoryNode(self.network, self.store, host, **options)
        node.server(Target("work", server=host), [Endpoint(self, node)])
        node.startService()
        return node

    def _begin_client(self, host, topology):
        node = MemoryNode(self.network, self.store, host, **{"zmq_topology": topology, **self._client_options})
        node.startService()
        self._callers.append(node)
        return node.client()

    # The load

    def ask(self):
        """Call, cast or fan out, at random."""
        chance, now = self.chance, self.network.clock.seconds()
        timeout = chance.choice([0.02, 0.3, 1, 3, 6])
        asked = Asked(
            number=len(self.asked),
            kind=chance.choice(["call", "call", "call", "cast", "fanout"]),
            idempotent=chance.random() < 0.3,
            deadline=now + timeout,
        )
        self.asked.append(asked)
        client = chance.choice(self.clients)
        target = Target("work", server=chance.choice([None, None, *self.servers]))
        deferred = getattr(client, asked.kind)(
            target,
            chance.choice(["quick", "quick", "slow", "broken"]),
            {"number": asked.number},
            timeout=timeout,
            idempotent=asked.idempotent,
            wait_for_ready=chance.random() < 0.2,
        )
        deferred.addBoth(self._ended, asked)
        if chance.random() < 0.05:
            self.network.clock.callLater(chance.uniform(0, timeout), self._cancel, deferred, asked)

    def _ended(self, outcome, asked):
        asked.ended_at = self.network.clock.seconds()
        asked.outcome = outcome.value if isinstance(outcome, Failure) else outcome

    def _cancel(self, deferred, asked):
        if asked.ended_at is None:
            asked.cancelled_at = self.network.clock.seconds()
            deferred.cancel()

    # The faults

    def fail(self):
        """Let something fail, or heal, at random."""
        network, store, chance = self.network, self.store, self.chance
        host = chance.choice(sorted(self.servers))
        client = chance.choice(["client-0", "client-1"])
        if self.proxies and chance.random() < 0.4:
            self._fail_proxy(chance.choice(sorted(self.proxies)), chance.choice([host, "client-0"]))
            return
        fault = chance.choice(
            [
                lambda: network.partition(host, client),
                lambda: network.cut(host, client),
                lambda: network.cut(client, host),
                lambda: network.isolate(host),
                network.heal,
                network.heal,
                network.heal,
                lambda: network.break_connections(host, client),
                lambda: network.refuse(host),
                lambda: network.accept(host),
                lambda: self._kill(host),
                lambda: self._stop(host),
                lambda: store.go_down(chance.uniform(0, 2)),
                lambda: store.come_back(chance.choice([0, 0, 0.5])),
                store.forget,
                store.go_read_only,
            ]
        )
        fault()

    def _fail_proxy(self, host, other):
        network, proxy = self.network, self.proxies[host]
        fault = self.chance.choice(
            [
                lambda: network.partition(host, other),
                lambda: network.cut(host, other),
                lambda: network.cut(other, host),
                lambda: network.isolate(host),
                lambda: network.break_connections(host, other),
                lambda: setattr(proxy, "silent", not proxy.silent),
                lambda: proxy.forget(self.chance.choice(self._callers).instance),
                proxy.go_away,
                lambda: self._replace(host),
                lambda: self._replace(host),
            ]
        )
        fault()

    def _replace(self, host):
        self.proxies[host].kill()
        self.proxies[host] = LittleProxy(self.network, host, store=self.store)

    def _kill(self, host):
        node = self.servers[host]
        if node is not None:
            self.servers[host] = None
            node.kill()
            self._restart(host, node)

    def _stop(self, host):
        node = self.servers[host]
        if node is not None:
            self.servers[host] = None
            self._stops.append(node.stopService())
            self._restart(host, node)

    def _restart(self, host, node):
        port = int(node.address.rpartition(":")[2]) if self.chance.random() < 0.5 else None
        self.network.clock.callLater(self.chance.choice([0, 0.01, 1, 3]), self._start_again, host, port)

    def _start_again(self, host, port):
        try:
            self.servers[host] = self._serve(host, port)
        except ConfigError:
            # Its predecessor still drains on that port.
            self.network.clock.callLater(0.1, self._start_again, host, port)

    # The run

    def run(self, asks=60, faults=25):
        """Let the storm pass, heal everything, see that a call succeeds again, and stop."""
        network, chance, clock = self.network, self.chance, self.network.clock
        network.run(0.1)
        acts = [self.ask] * asks + [self.fail] * faults
        plan = sorted(((chance.uniform(0, SECONDS), act) for act in acts), key=lambda planned: planned[0])
        # One after the other, not all on the clock at once: it sorts what is on it at each call.
        for at, act in plan:
            network.run(max(0.0, 0.1 + at - clock.seconds()))
            act()
        network.heal()
        for host in self.servers:
            network.accept(host)
        for host in self.proxies:
            self._replace(host)
        self.store.come_back()
        network.set_weather(Weather())
        network.run(12)
        for client in self.clients:
            for host in self.servers:
                number = len(self.asked)
                self.asked.append(asked := Asked(number, "call", False, clock.seconds() + 1))
                target = Target("work", server=host)
                client.call(target, "quick", {"number": number}, timeout=1).addBoth(self._ended, asked)
        network.run(2)
        self.last = self.asked[-6:]
        self._stops += [node.stopService() for node in (*self._callers, *self.servers.values())]
        network.result_of(gatherResults(self._stops), 30)
        for proxy in self.proxies.values():
            proxy.kill()

    # The verdict

    def verdict(self):
        """List every broken promise."""
        broken = []
        executions: dict[int, list[Ran]] = {}
        for ran in self.executions:
            executions.setdefault(ran.number, []).append(ran)
        for asked in self.asked:
            for problem in self._judge(asked, executions.get(asked.number, [])):
                broken.append(f"{problem}: {asked}, {executions.get(asked.number)}")
        for asked in self.last:
            if asked.outcome != asked.number * 3:
                broken.append(f"not well again 12 s after everything has healed: {asked}")
        return broken

    @staticmethod
    def _judge(asked, executions):
        outcome = asked.outcome
        if asked.ended_at is None:
            yield "never ended"
            return
        if asked.ended_at > asked.deadline + SLACK:
            yield f"ended {asked.ended_at - asked.deadline:.3f} s after its deadline"
        if any(ran.at > asked.deadline + LATE for ran in executions):
            yield "began to run after its deadline"
        counts = Counter(ran.instance for ran in executions)
        if not asked.idempotent and asked.kind != "fanout" and len(executions) > 1:
            yield "ran twice"
        if not asked.idempotent and max(counts.values(), default=0) > 1:
            yield "ran twice at one instance"
        if isinstance(outcome, RemoteError):
            if (outcome.type_name, outcome.message) != ("RemoteError", str(asked.number)):
                yield "a wrong error"
        elif isinstance(outcome, DeliveryError):
            if executions and not outcome.maybe_executed:
                yield "ran, though its error says that it did not"
        elif isinstance(outcome, Exception):
            yield "an error of no kind"
        elif asked.kind == "call" and outcome != asked.number * 3:
            yield "a wrong result"
        elif asked.kind == "call" and not executions:
            yield "a result of nothing"
        elif asked.kind == "fanout":
            for _, instance, error in outcome.missing:
                if counts[instance] and not error.maybe_executed:
                    yield f"ran at {instance}, though its error says that it did not"
