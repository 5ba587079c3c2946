"""Rows of servers and proxies that die."""

from __future__ import annotations

import time

from zmqrpc.test.fault.cases import error_of, may_have_run, succeeded
from zmqrpc.test.fault.rows import CALLS, PUBLISHED, ROUTED, proved, row
from zmqrpc.test.fault.sockets import accepted
from zmqrpc.test.fault.world import PROXIES, World
from zmqrpc.test.integration.support import eventually, pause

_SLOW = {"name": "slow", "method": "slow", "args": {"seconds": 5.0}, "count": 1, "rate": 1, "timeout": 20, "after": 1.0}


async def _kill_who_runs_it(world: World, idempotent: bool) -> float:
    await world.begin("one", "two")
    world.caller("caller", {"timeout": 5}, {**_SLOW, "idempotent": idempotent})
    await world.warm()
    ran = await eventually("that the slow call runs", lambda: [c for c in world.cases().of("slow").cases if c.ran])
    instance = ran[0].ran[0].instance
    victim = next(child for child in world.children if instance in child.instances.values())
    await pause(0.3)
    return world.kill(victim)


@row("T1", "two servers, the one that runs a call of 5 s is killed", CALLS, 3.0)
async def killed(world: World) -> None:
    at = await _kill_who_runs_it(world, idempotent=False)
    await pause(world.seconds + 1)
    story = await world.end()
    (case,) = story.of("slow").cases
    world.exactly("the call ends with", "ServerLost", error_of(case))
    world.exactly("it says that the method may have run", True, may_have_run(case))
    # Behind a proxy nobody sees the connection end: that the instance is gone is known within a second.
    world.at_most("s until it ends", 1.0 if world.topology == ROUTED else 0.5, case.ended[0].at - at)
    world.none("calls that fail, asked 1 s after", story.of("load").asked(at + 1).failed)
    world.at_least("calls after that", 20 * world.seconds, len(story.of("load").asked(at + 1).cases))


@row("T2", "the same, and the call is idempotent", CALLS, 6.0)
async def killed_and_moved(world: World) -> None:
    at = await _kill_who_runs_it(world, idempotent=True)
    await pause(6.0)
    story = await world.end()
    (case,) = story.of("slow").cases
    world.exactly("the call ends with its result", True, succeeded(case))
    world.at_most("runs", 2, len(case.ran))
    world.at_most("s until it runs at the other", 1.0, case.ran[-1].at - at if len(case.ran) > 1 else 99.0)


@row("T3", "three router proxies, one is killed under load, and comes back", (ROUTED,), 3.0)
async def proxy_killed(world: World) -> None:
    proxies = await world.begin("one", "two")
    world.caller("caller", {"timeout": 5})
    await world.warm()
    at = world.kill(proxies[0])
    await world.ended(proxies[0])
    await pause(world.seconds)
    begun = time.monotonic()
    again = world.again(proxies[0])
    await world.ready()
    await eventually("that all are connected to it", lambda: accepted(again.pid) >= 3, 15)
    world.at_most("s until all have connected to it again", 10.0, time.monotonic() - begun)
    others = [world.kill(proxy) for proxy in proxies[1:]]
    await pause(world.seconds)
    story = await world.end()
    world.at_most("calls that fail with the first", 50, len(story.asked(0, at + 1).failed.cases))
    world.none("calls that fail, asked 1 s after", story.asked(at + 1, others[0] - 1).failed)
    world.at_most("s without any success", 1.0, story.silence(at, at + world.seconds))
    world.at_most("s without any success, when it is the only one", 1.0, story.silence(others[0], others[0] + 2.0))


@row("T4", "three publisher proxies, 20 subscribers, one is killed during 1,000 fan-outs", (PUBLISHED,), 10.0)
async def publisher_killed(world: World) -> None:
    proxies = await world.begin(hosts=False)
    for process in range(2):
        names = [f"subscriber{process}{number}" for number in range(10)]
        world.member(f"subscribers{process}", "", names, publishers=PROXIES)
    await world.ready()
    # Of several clients some use the proxy that will be killed.
    each = int(world.seconds * 25)
    load = {"kind": "fanout", "rate": 50, "count": each, "timeout": 20}
    for number in range(4):
        world.caller(f"caller{number}", load, host="")
    await world.warm(0.3 * world.seconds)
    world.kill(proxies[0])
    await eventually("all", lambda: len(world.cases().of("load").cases) == 4 * each, 60)
    await pause(1.0)
    story = await world.end()
    fanouts = story.of("load")
    world.exactly("fan-outs", 4 * each, len(fanouts.cases))
    world.none("fan-outs that fail", fanouts.failed)
    members = [child for child in world.children if child.kind == "member"]
    had = [len(fanouts.ran_by(instance).cases) for child in members for instance in child.instances.values()]
    world.exactly("subscribers", 20, len(had))
    world.at_least("had by each subscriber, of all", 0.99, min(had) / (4 * each))
    world.none("had twice", fanouts.where(lambda case: len({run.instance for run in case.ran}) < len(case.ran)))


proved(
    "T4a",
    "the same, as fast as can be",
    "zmqrpc.test.integration.test_faults.FaultTests.test_publisher_proxy_is_killed",
)
