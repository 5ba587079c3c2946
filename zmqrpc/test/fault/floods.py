"""Rows of more than can be taken: floods, slow servers, subscribers that sleep."""

from __future__ import annotations

import signal
import time

from zmqrpc.core.budget import _MOST_SAVED
from zmqrpc.test.fault.cases import error_of, succeeded
from zmqrpc.test.fault.rows import CALLS, PUBLISHED, row
from zmqrpc.test.fault.times import deliveries, share
from zmqrpc.test.fault.world import World
from zmqrpc.test.integration.support import eventually, pause

_TAKES = 0.001
"""Seconds for which a method of T20 blocks: as code does that computes, and so the server does one after the other."""

_CAPACITY = 1 / _TAKES


@row("T19", "a subscriber sleeps while 200,000 fan-outs are published", (PUBLISHED,), 100.0)
async def sleeper(world: World) -> None:
    world.memory = 50 * 2**20
    await world.begin("awake", "asleep", publishers=3)
    count = int(world.seconds * 2000)
    # At a rate that leaves room: as fast as can be, they would come faster while one subscriber takes no time.
    load = {"kind": "fanout", "rate": 2000, "in_flight": 500, "timeout": 60, "count": count, "after": 1.0}
    caller = world.caller("caller", load)
    await world.warm(2.0)
    # What is usual is seen in a tenth of them.
    await eventually("a tenth", lambda: _lines(caller.log) >= 2 * count / 10, 400)
    asleep = world.children_named("asleep")
    begin = world.signal(asleep, signal.SIGSTOP)
    await eventually("all of them", lambda: _lines(caller.log) >= 2 * count, 400)
    end = time.monotonic()
    world.stood(asleep, end - begin)
    world.signal(asleep, signal.SIGCONT)
    await pause(15.0)
    story = await world.end()
    load_of = story.of("load")
    before, during = load_of.asked(world.warmed, begin), load_of.asked(begin, end)
    world.none("fan-outs that fail", story.failed)
    mine = {child.name: child.instances[child.name] for child in world.children if child.kind == "member"}
    world.exactly("had by who is awake", len(story.cases), len(story.ran_by(mine["awake"]).cases))
    lost = len(story.cases) - len(story.ran_by(mine["asleep"]).cases)
    # What was read of them when their time was over is refused.
    counted = asleep.counts["fanout_missed"] + asleep.counts["fanout_refused"]
    world.exactly("counted as missed by who slept", lost, counted)
    world.at_least("of these, lost at all", 1, lost)
    usual, slowed = (share(deliveries(each.cases, mine["awake"]), 0.99) for each in (before, during))
    world.at_least("fan-outs before", 500, len(before.cases))
    world.at_most("times as long until 99 % are had by who is awake", 1.2, slowed / usual)
    world.figure("s until 99 % are had, before and while one sleeps", "", f"{usual:.4f} {slowed:.4f}", good=True)


def _lines(path: str) -> int:
    with open(path, "rb") as file:
        return sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(1 << 20), b""))


@row("T20", "50 clients ask for ten times as much as a server can do", CALLS, 60.0)
async def flood(world: World) -> None:
    await world.begin("one")
    usual = {"name": "usual", "rate": 20, "timeout": 5}
    flooding = {"method": "block", "args": {"seconds": _TAKES}, "rate": _CAPACITY * 10 / 50, "size": 1024}
    world.caller("caller", usual)
    await world.warm()
    floods = [world.caller(f"flood{number}", {**flooding, "timeout": 20}, clients=25) for number in range(2)]
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
    world.at_least("asked, times what could be", 9.5, len(load.cases) / (_CAPACITY * (end - begin)))
    refused = load.where(lambda case: error_of(case) == "Overloaded")
    world.exactly("errors", ["Overloaded"], load.errors())
    world.at_most("s for the slowest refusal", 0.1, refused.slowest())
    world.figure("s for 99 % of the refusals", "", f"{refused.percentile(0.99):.3f}", good=True)
    world.none("usual calls that fail, 2 s after", story.of("usual").asked(end + 2.0).failed)


@row("T21", "all servers are five times as slow for a while, and refuse what is too much", CALLS, 10.0)
async def slow_servers(world: World) -> None:
    names = ("one", "two", "three")
    await world.begin(*names, options={"max_running_calls": 4})
    # Fifteen at once, while all are slow, where twelve can run.
    world.caller("caller", {"rate": 300, "timeout": 5, "idempotent": True})
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
    # Nobody is refused in calm times, so what was is of those that were asked while all were slow.
    meanwhile = story.asked(begin, end)
    attempts = sum(len(case.ran) for case in meanwhile.cases)
    attempts += sum(child.counts["overloaded"] + child.counts["repeated"] for child in slowed)
    # What calm times have saved may be spent, too (zmqrpc.core.budget).
    saved = _MOST_SAVED / len(meanwhile.cases)
    world.at_most("attempts while they are slow, times the calls", 1.1 + saved, attempts / len(meanwhile.cases))
    more = attempts - len(meanwhile.cases)
    world.at_most("attempts in all, times the calls", 1.1, 1 + more / len(story.cases))
    world.at_least("refusals", 1, sum(child.counts["overloaded"] for child in slowed))
    errors = set(meanwhile.errors())
    world.figure("errors meanwhile", "Overloaded", sorted(errors), errors <= {"Overloaded"})
    world.none("calls that fail, 2 s after", story.asked(end + 2.0).failed)
