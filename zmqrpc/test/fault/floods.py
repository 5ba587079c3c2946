"""Rows of more than can be taken: floods, slow servers, subscribers that sleep."""

from __future__ import annotations

import signal
import time

from zmqrpc.test.fault.cases import error_of, succeeded
from zmqrpc.test.fault.rows import CALLS, PUBLISHED, row
from zmqrpc.test.fault.world import World
from zmqrpc.test.integration.support import eventually, pause

_LIMIT, _TAKES = 25, 0.05
_CAPACITY = _LIMIT / _TAKES


@row("T19", "a subscriber sleeps while 200,000 fan-outs are published", (PUBLISHED,), 100.0)
async def sleeper(world: World) -> None:
    world.memory = 50 * 2**20
    await world.begin("awake", "asleep", publishers=3)
    count = int(world.seconds * 2000)
    load = {"kind": "fanout", "rate": 0, "in_flight": 50, "timeout": 60, "count": count, "after": 1.0}
    # Of each client one more fan-out has to come, for the count to be exact.
    caller = world.caller("caller", load, {"name": "trickle", "kind": "fanout", "rate": 2, "timeout": 60})
    await world.warm(2.0)
    asleep = world.children_named("asleep")
    begin = world.signal(asleep, signal.SIGSTOP)
    await eventually("all of them", lambda: _lines(caller.log) >= 2 * count, 400)
    end = time.monotonic()
    world.stood(asleep, end - begin)
    world.signal(asleep, signal.SIGCONT)
    await pause(15.0)
    story = await world.end()
    load_of = story.of("load")
    before, during = load_of.asked(0, begin), load_of.asked(begin, end)
    world.none("fan-outs that fail", story.failed)
    mine = {child.name: child.instances[child.name] for child in world.children if child.kind == "member"}
    world.exactly("had by who is awake", len(story.cases), len(story.ran_by(mine["awake"]).cases))
    lost = len(story.cases) - len(story.ran_by(mine["asleep"]).cases)
    world.exactly("counted as missed by who slept", lost, asleep.counts["fanout_missed"])
    world.at_least("of these, lost at all", 1, lost)
    slower = during.percentile(0.99) / before.percentile(0.99)
    world.at_most("times as long for 99 %", 1.2, slower)


def _lines(path: str) -> int:
    with open(path, "rb") as file:
        return sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(1 << 20), b""))


@row("T20", "50 clients ask for ten times as much as a server can do", CALLS, 60.0)
async def flood(world: World) -> None:
    await world.begin("one", options={"max_running_calls": _LIMIT})
    usual = {"name": "usual", "rate": 20, "timeout": 5}
    flooding = {"method": "slow", "args": {"seconds": _TAKES}, "rate": _CAPACITY * 10 / 50, "size": 1024, "timeout": 5}
    world.caller("caller", usual)
    await world.warm()
    floods = [world.caller(f"flood{number}", flooding, clients=25) for number in range(2)]
    await world.ready()
    begin = time.monotonic()
    await pause(world.seconds)
    for each in floods:
        world.signal(each, signal.SIGUSR1)
    end = time.monotonic()
    await pause(5.0)
    await world.dismiss(*floods)
    story = await world.end()
    load = story.of("load").asked(begin, end)
    done = sum(succeeded(case) and case.ended[0].at <= end for case in load.cases)
    world.at_least("done, of what could be", 0.8, done / (_CAPACITY * (end - begin)))
    world.at_least("asked, times what could be", 3.0, len(load.cases) / (_CAPACITY * (end - begin)))
    refused = load.where(lambda case: error_of(case) == "Overloaded")
    world.exactly("errors", ["Overloaded"], load.errors())
    world.at_most("s for 99 % of the refusals", 0.1, refused.percentile(0.99))
    world.none("usual calls that fail, 2 s after", story.of("usual").asked(end + 2.0).failed)


@row("T21", "all servers are five times as slow for a while, and refuse what is too much", CALLS, 10.0)
async def slow_servers(world: World) -> None:
    names = ("one", "two", "three")
    await world.begin(*names, options={"max_running_calls": 4})
    world.caller("caller", {"timeout": 5, "idempotent": True})
    await world.warm()
    slowed = [world.children_named(name) for name in names]
    for child in slowed:
        world.signal(child, signal.SIGUSR1)
    begin = time.monotonic()
    await pause(world.seconds)
    for child in slowed:
        world.signal(child, signal.SIGUSR1)
    end = time.monotonic()
    await pause(3.0)
    story = await world.end()
    attempts = sum(len(case.ran) for case in story.cases)
    attempts += sum(child.counts["overloaded"] + child.counts["repeated"] for child in slowed)
    world.at_most("attempts, times the calls", 1.1, attempts / len(story.cases))
    world.at_least("refusals", 1, sum(child.counts["overloaded"] for child in slowed))
    errors = set(story.asked(begin, end).errors())
    world.figure("errors meanwhile", "Overloaded", sorted(errors), errors <= {"Overloaded"})
    world.none("calls that fail, 2 s after", story.asked(end + 2.0).failed)
