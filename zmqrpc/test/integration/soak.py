"""
Calls under kills and stops: ``python -m zmqrpc.test.integration.soak SECONDS SEED``.

Eight servers are killed, stopped (SIGSTOP) for up to four seconds, told to end, and started anew, or their connections
are cut, one of them every 50 to 300 ms, while one client makes a thousand calls a second with deadlines of 0.1 to 2 s.
What the client saw and what the servers wrote down is judged by `zmqrpc.test.integration.outcomes`; figures and faults
are printed as JSON.
"""

import glob
import os
import random
import signal
import socket
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import attrs
from twisted.internet import reactor as _reactor
from twisted.internet.task import LoopingCall, deferLater

from zmqrpc import Node, Settings, Target
from zmqrpc.errors import ZmqRpcError
from zmqrpc.matchmaker import make_matchmaker
from zmqrpc.record import Record, Role
from zmqrpc.test.integration.nursery import Nursery
from zmqrpc.test.integration.outcomes import Run, Sent, judge, summary
from zmqrpc.test.integration.soak_server import LINE, TOPIC
from zmqrpc.test.integration.support import print_outcome
from zmqrpc.test.ports import free_port

reactor: Any = _reactor

SERVERS = 8
CALLS = 10
TICK = 0.01


@attrs.define
class Member:
    """
    One member, whose process comes and goes, always on the same port.

    :ivar child: the present process, by its nursery's number; None between two.
    """

    name: str
    port: int
    child: int | None = None
    stopped: bool = False
    records: list[Record] = attrs.Factory(list)


class Chaos:
    """Kills, stops and starts the members, and keeps the matchmaker told, late or wrongly as in life."""

    def __init__(self, chance, directory, matchmaker):
        self._chance = chance
        self._directory = directory
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
                    member.child = None
                    reactor.callLater(self._chance.choice([0, 0, self._chance.uniform(0, 0.5)]), self._start, member)
                else:
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
        self.nursery.signal(member.child, signal.SIGSTOP)
        reactor.callLater(
            self._chance.choice([self._chance.uniform(0, 1), self._chance.uniform(0, 4)]), self._go_on, member
        )

    def _go_on(self, member):
        member.stopped = False
        if member.child is not None:
            self.nursery.signal(member.child, signal.SIGCONT)


class Load:
    """Makes calls and casts, and keeps what became of each."""

    def __init__(self, chance, client, members):
        self._chance = chance
        self._client = client
        self._members = members
        self.sent: list[Sent] = []
        self.open = 0
        self.strange: list[str] = []

    def tick(self, count):
        """Make the calls of so many ticks: of more than one when the machine was busy."""
        for _ in range(CALLS * count):
            self.send(self._chance.choice([None, None, self._chance.choice(self._members).name]))

    def send(self, member, timeout=None):
        chance = self._chance
        timeout = timeout or chance.uniform(0.1, 2)
        is_call = chance.random() < 0.9
        method, args = "work", {"number": len(self.sent)}
        if is_call and chance.random() < 0.2:
            method, args["seconds"] = "slow", chance.uniform(0, 0.1)
        one = Sent(len(self.sent), is_call, time.monotonic() + timeout)
        self.sent.append(one)
        self.open += 1
        make = self._client.call if is_call else self._client.cast
        waiting = make(Target(TOPIC, server=member), method, args, timeout=timeout)
        waiting.addCallbacks(self._answered, self._failed, callbackArgs=(one,), errbackArgs=(one,))
        return one

    def _ended(self, one):
        one.ends.append(time.monotonic())
        self.open -= len(one.ends) == 1

    def _answered(self, result, one):
        self._ended(one)
        one.result = result

    def _failed(self, failure, one):
        self._ended(one)
        error = failure.value
        one.error = type(error).__name__
        if not isinstance(error, ZmqRpcError):
            self.strange.append(failure.getTraceback())
            return
        one.maybe_executed = error.maybe_executed
        journey = getattr(error, "journey", None)
        if journey is not None and journey.message_id:
            one.addressed = journey.message_id.split("/")[1]


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


def runs_in(directory):
    for path in glob.glob(os.path.join(directory, "*")):
        with open(path, "rb") as lines:
            for number, at, instance in LINE.iter_unpack(lines.read()):
                yield Run(number, at, instance.hex())


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
    chaos = Chaos(chance, directory, matchmaker)
    faults: list[str] = []
    try:
        if not await until(lambda: chaos.calm, 20):
            raise AssertionError("the servers did not start")
        node = Node(reactor, settings)
        gaps = Gaps()
        load = Load(chance, node.client([Target(TOPIC)]), chaos.members)
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
    runs = list(runs_in(directory))
    return {
        **summary(load.sent, runs),
        **chaos.counts,
        "seed": seed,
        "worst_gap_ms": round(gaps.worst * 1e3, 1),
        "notices": dict(node.notices.counts),
        "faults": (judge(load.sent, runs) + load.strange + faults)[:20],
    }


async def recovery(load, members):
    """When all is calm again, every member is reached within seconds."""
    for _ in range(100):
        tried = [load.send(member.name, 2.0) for member in members for _ in range(3)]
        await until(lambda: load.open == 0, 4)
        if not any(one.error for one in tried):
            return []
        await deferLater(reactor, 0.1)
    return [f"after the storm: {[one.error for one in tried]}"]


def main(seconds, seed):
    with tempfile.TemporaryDirectory() as directory:
        return print_outcome(lambda: soak(seconds, seed, directory))


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), int(sys.argv[2])))
