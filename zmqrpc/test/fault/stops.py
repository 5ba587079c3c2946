"""Rows of servers that stand still: stopped, or blocked by their own code."""

from __future__ import annotations

from zmqrpc import Settings
from zmqrpc.test.fault.cases import error_of, may_have_run
from zmqrpc.test.fault.rows import ALL, ROUTED, row
from zmqrpc.test.fault.sockets import connections
from zmqrpc.test.fault.times import end_of
from zmqrpc.test.fault.world import World
from zmqrpc.test.integration.support import eventually, pause

MONITOR = Settings().call_monitor_timeout
"""Seconds of silence after which a link is given up."""

_AWAY = 2.0
"""Seconds within which nothing new goes to who does not answer."""


@row("T5", "one of two servers is stopped (SIGSTOP) and goes on", ALL, seconds=10.0)
async def stopped(world: World) -> None:
    # So that there is something to judge also where there is less time.
    monitor = min(MONITOR, world.seconds - 2.0)
    world.options["call_monitor_timeout"] = monitor
    await world.begin("one", "two")
    slow = {"name": "slow", "method": "slow", "args": {"seconds": 12.0}, "count": 4, "rate": 20, "timeout": 20}
    world.caller("caller", {"timeout": 2}, slow)
    await world.warm()
    await eventually("that the slow calls run", lambda: sum(bool(c.ran) for c in world.cases().of("slow").cases) == 4)
    one = world.children_named("one")
    at = await world.stand(one, world.seconds)
    await pause(3.0)
    story = await world.end()
    instance = one.instances["one"]
    watched = story.of("slow").ran_by(instance)
    world.exactly("calls that ran there end with", ["ServerLost"], watched.errors())
    ends = [end_of(case) - at for case in watched.cases]
    world.at_most("s until they end", monitor + 1, max(ends, default=float("inf")))
    world.none("calls that fail, asked 2 s after", story.of("load").asked(at + _AWAY).failed)
    late = story.ran_by(instance).where(lambda case: any(ran.at > case.asked.deadline for ran in case.ran))
    world.none("calls that run after their deadline", late)
    # What is read of them when it goes on is dropped; where its connection was given up before, nothing is.
    world.at_least(
        "calls that it had been given, and are to be dropped", 1, len(story.of("load").asked(at).failed.cases)
    )


@row("T6", "a method blocks the reactor of one of two servers", seconds=10.0)
async def blocked(world: World) -> None:
    await world.begin("one", "two")
    block = {"name": "block", "method": "block", "args": {"seconds": world.seconds}, "count": 1, "rate": 1}
    world.caller("caller", {"timeout": 5}, {**block, "timeout": world.seconds + 10, "after": 1.0})
    await world.warm()
    ran = await eventually("that it blocks", lambda: [c for c in world.cases().of("block").cases if c.ran])
    at, instance = ran[0].ran[0].at, ran[0].ran[0].instance
    victim = next(child for child in world.children if instance in child.instances.values())
    world.stood(victim, world.seconds)
    others = [child for child in world.children if child is not victim]
    before = {child.name: connections(child.pid) for child in others}
    await pause(world.seconds + 2.0)
    lost = [f"{child.name}: {ends}" for child in others for ends in before[child.name] - connections(child.pid)]
    story = await world.end()
    (case,) = story.of("block").cases
    if world.topology == ROUTED:
        # Neither with the one that is blocked, nor with others.
        world.exactly("connections that proxies, and who uses them, have lost", [], lost)
    if world.seconds > MONITOR + 1:
        world.exactly("the call ends with", "ServerLost", error_of(case))
        world.exactly("it says that the method may have run", True, may_have_run(case))
        world.at_most("s until it ends", MONITOR + 1, case.ended[0].at - at)
    world.none("calls that fail, asked 2 s after", story.of("load").asked(at + _AWAY).failed)
    stall = victim.printed().partition("the reactor has been blocked")[2]
    world.exactly("the log says where it stands", True, "in block" in stall)
