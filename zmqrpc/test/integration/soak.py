"""
Calls under kills and stops: ``python -m zmqrpc.test.integration.soak SECONDS SEED``.

Eight servers are killed, stopped (SIGSTOP) for up to four seconds, told to end, and started anew, or their connections
are cut, one of them every 50 to 300 ms, while one client makes a thousand calls a second with deadlines of 0.1 to 2 s.
What the client saw and what the servers wrote down is one `History`, which is judged; figures and faults are printed as
JSON.
"""

import glob
import os
import random
import signal
import socket
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import attrs
from twisted.internet import reactor as _reactor
from twisted.internet.task import LoopingCall, deferLater
from twisted.python.failure import Failure

from zmqrpc import Node, Settings, Target
from zmqrpc.matchmaker import make_matchmaker
from zmqrpc.record import Record, Role
from zmqrpc.test.integration.nursery import Nursery
from zmqrpc.test.integration.soak_server import TOPIC
from zmqrpc.test.integration.support import print_outcome
from zmqrpc.test.ports import free_port
from zmqrpc.testing.history import History

reactor: Any = _reactor

SERVERS = 8
CALLS = 10
TICK = 0.01

BEGUN_WITHIN = 0.15
"""
Seconds after its deadline until which a method may begin.

The server knows how long a message was under way less the way of the fastest one it had from that client; the slowest
HELLO it may begin with took 100 ms. The rest is for a machine that is busy between the look at the clock and the
method.
"""


@attrs.define
class Member:
    """
    One member, whose process comes and goes, always on the same port.

    :ivar child: the present process, by its nursery's number; None between two.
    :ivar instance: of that process, in hex; empty until it has told.
    :ivar killed: whether that process was killed.
    """

    name: str
    port: int
    child: int | None = None
    instance: str = ""
    killed: bool = False
    stopped: bool = False
    records: list[Record] = attrs.Factory(list)


class Chaos:
    """Kills, stops and starts the members, and keeps the matchmaker told, late or wrongly as in life."""

    def __init__(self, chance, directory, matchmaker, history):
        self._chance = chance
        self._directory = directory
        self._history = history
        self._matchmaker = matchmaker
        self.members = [Member(f"member-{number}", free_port()) for number in range(SERVERS)]
        self.counts = dict.fromkeys(("killed", "stopped", "terminated", "started", "cut"), 0)
        self._over = False
        self.nursery = Nursery(reactor, "zmqrpc.test.integration.soak_server", self._told)
        for member in self.members:
            self._start(member)

    def go(self):
        """Do something bad, now and then."""
        if self._over:
            return
        reactor.callLater(self._chance.uniform(0.05, 0.3), self.go)
        member = self._chance.choice(self.members)
        if self._chance.random() < 0.3:
            self._cut(member)
            return
        if member.child is None or member.stopped:
            return
        what = self._chance.random()
        if what < 0.35:
            self._stop(member)
        elif what < 0.5:
            self._terminate(member)
        else:
            self._kill(member)

    def end(self):
        """Do nothing more; what was begun is completed."""
        self._over = True

    @property
    def calm(self):
        return all(member.child is not None and member.records and not member.stopped for member in self.members)

    def _start(self, member):
        self.counts["started"] += 1
        member.instance, member.killed = "", False
        member.child = self.nursery.start(
            name=member.name,
            port=member.port,
            offset=self._chance.uniform(-1e5, 1e6),
            log=os.path.join(self._directory, f"{member.name}-{self.counts['started']}"),
        )

    def _told(self, facts):
        for member in self.members:
            if facts["child"] == member.child:
                if "ended" in facts:
                    if member.killed and member.instance:
                        self._history.died(member.instance, "server")
                    member.child = None
                    reactor.callLater(self._chance.choice([0, 0, self._chance.uniform(0, 0.5)]), self._start, member)
                else:
                    member.instance = facts["instance"]
                    self._withdraw(member)
                    self._record(member, facts["address"], facts["instance"])

    def _record(self, member, address, instance):
        record = Record(Role.SERVER, "openstack", TOPIC, member.name, instance, (address,))
        member.records.append(record)
        self._matchmaker.register(record, 0)

    def _withdraw(self, member):
        """Have the records of dead predecessors go, at once or a little late."""
        for record in member.records:
            late = self._chance.choice([0, self._chance.uniform(0, 1)])
            reactor.callLater(late, self._matchmaker.withdraw, record)
        member.records.clear()

    def _cut(self, member):
        """Break our connections to a process that goes on living, or stays stopped."""
        for path in Path("/proc/self/fd").iterdir():
            with suppress(OSError):
                if not os.readlink(path).startswith("socket:"):
                    continue
                with socket.socket(fileno=os.dup(int(path.name))) as connection:
                    if connection.getpeername()[1:2] == (member.port,):
                        connection.shutdown(socket.SHUT_RDWR)
                        self.counts["cut"] += 1

    def _kill(self, member):
        self.counts["killed"] += 1
        member.killed = True
        self.nursery.signal(member.child, signal.SIGKILL)
        if self._chance.random() < 0.5:
            self._withdraw(member)

    def _terminate(self, member):
        self.counts["terminated"] += 1
        self._withdraw(member)
        self.nursery.signal(member.child, signal.SIGTERM)

    def _stop(self, member):
        self.counts["stopped"] += 1
        member.stopped = True
        seconds = self._chance.choice([self._chance.uniform(0, 1), self._chance.uniform(0, 4)])
        self.nursery.signal(member.child, signal.SIGSTOP)
        self._history.stood(member.instance, seconds)
        reactor.callLater(seconds, self._go_on, member)

    def _go_on(self, member):
        member.stopped = False
        if member.child is not None:
            self.nursery.signal(member.child, signal.SIGCONT)


class Load:
    """Makes calls and casts, and writes down what became of each."""

    def __init__(self, chance, node, members, history):
        self._chance = chance
        self._client = node.client([Target(TOPIC)])
        self._instance = node.instance.hex()
        self._members = members
        self._history = history
        self.sent = 0
        self.open = 0

    def tick(self, count):
        """Make the calls of so many ticks: of more than one when the machine was busy."""
        for _ in range(CALLS * count):
            self.send(self._chance.choice([None, None, self._chance.choice(self._members).name]))

    def send(self, member, timeout=None):
        """Make one; return what fires with what became of it."""
        chance = self._chance
        timeout = timeout or chance.uniform(0.1, 2)
        kind = "call" if chance.random() < 0.9 else "cast"
        method, args = "work", {"number": self.sent}
        if kind == "call" and chance.random() < 0.2:
            method, args["seconds"] = "slow", chance.uniform(0, 0.1)
        self._history.invoke(self.sent, self._instance, kind, timeout, member=member)
        self.open += 1
        make = getattr(self._client, kind)
        waiting = make(Target(TOPIC, server=member), method, args, timeout=timeout)
        waiting.addBoth(self._ended, self.sent)
        self.sent += 1
        return waiting

    def _ended(self, outcome, number):
        self.open -= 1
        outcome = outcome.value if isinstance(outcome, Failure) else outcome
        self._history.ended(number, outcome)
        return outcome


class Gaps:
    """Measures for how long this process itself had no turn: so much later may a call end."""

    def __init__(self):
        self.worst = 0.0
        self._last = time.monotonic()
        self._looking = LoopingCall(self._look)
        self._looking.start(TICK)

    def _look(self):
        now = time.monotonic()
        self.worst = max(self.worst, now - self._last - TICK)
        self._last = now

    def stop(self):
        self._looking.stop()


def read(directory):
    """Join what the client and the servers wrote down."""
    with ExitStack() as stack:
        return History.read(*(stack.enter_context(open(path, "rb")) for path in glob.glob(f"{directory}/*")))


def summary(cases):
    """Return the figures worth printing."""
    ended = [case for case in cases if case.ended]
    late = [ran.at - case.asked.deadline for case in cases for ran in case.ran if ran.at > case.asked.deadline]
    overruns = [case.ended[0].at - case.asked.deadline for case in ended]
    return {
        "sent": len(cases),
        "ran": sum(len(case.ran) for case in cases),
        "ends": dict(Counter(case.told[0].text.partition(":")[0] or "answered" for case in ended)),
        "worst_overrun_ms": round(max(overruns, default=0) * 1e3, 1),
        "ran_late": len(late),
        "worst_late_run_ms": round(max(late, default=0) * 1e3, 1),
    }


async def until(happened, patience):
    give_up = time.monotonic() + patience
    while not happened() and time.monotonic() < give_up:
        await deferLater(reactor, 0.02)
    return happened()


async def soak(seconds, seed, directory):
    chance = random.Random(seed)
    # Impatient, so that much is repeated.
    settings = Settings(drain_timeout=1, rpc_ack_timeout_base=0.2)
    matchmaker = make_matchmaker(reactor, settings)
    history = History(log=open(os.path.join(directory, "client"), "ab", 0), keep=False)  # noqa: SIM115
    chaos = Chaos(chance, directory, matchmaker, history)
    faults: list[str] = []
    try:
        if not await until(lambda: chaos.calm, 20):
            raise AssertionError("the servers did not start")
        node = Node(reactor, settings)
        gaps = Gaps()
        load = Load(chance, node, chaos.members, history)
        node.startService()
        chaos.go()
        loading = LoopingCall.withCount(load.tick)
        loading.start(TICK)
        await deferLater(reactor, seconds)
        loading.stop()
        chaos.end()
        if not await until(lambda: load.open == 0, 4):
            faults.append(f"{load.open} calls did not end")
        if not await until(lambda: chaos.calm, 10):
            faults.append(f"the members did not come back: {chaos.members}")
        faults += await recovery(load, chaos.members)
        gaps.stop()
        await node.stopService()
    finally:
        chaos.nursery.close()
    written = read(directory)
    return {
        **summary(list(written.cases().values())),
        **chaos.counts,
        "seed": seed,
        "worst_gap_ms": round(gaps.worst * 1e3, 1),
        "notices": dict(node.notices.counts),
        "faults": (written.violations(begun_within=BEGUN_WITHIN) + faults)[:20],
    }


async def recovery(load, members):
    """When all is calm again, every member is reached within seconds."""
    for _ in range(100):
        tried = [load.send(member.name, 2.0) for member in members for _ in range(3)]
        await until(lambda: load.open == 0, 4)
        failed = [str(one.result) for one in tried if not one.called or isinstance(one.result, Exception)]
        if not failed:
            return []
        await deferLater(reactor, 0.1)
    return [f"after the storm: {failed}"]


def main(seconds, seed):
    with tempfile.TemporaryDirectory() as directory:
        return print_outcome(lambda: soak(seconds, seed, directory))


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), int(sys.argv[2])))
