"""Rows of servers and proxies that are told to stop."""

from __future__ import annotations

import signal
import time

from zmqrpc.test.fault.cases import error_of
from zmqrpc.test.fault.rows import ALL, CALLS, PUBLISHED, row
from zmqrpc.test.fault.world import World
from zmqrpc.test.integration.support import eventually, pause

_DRAIN = 5.0


@row("T30", "five servers and all proxies are restarted one after the other, under load", ALL, 1.0)
async def rolling(world: World) -> None:
    names = [f"server{number}" for number in range(5)]
    # What is published is counted by one that is there all the time.
    witness = ["witness"] if world.topology == PUBLISHED else []
    proxies = await world.begin(*names, *witness)
    slow = {"name": "slow", "method": "slow", "args": {"seconds": 0.3}, "rate": 70}  # some at each, by turns
    world.caller("caller", {}, slow)
    await world.warm()
    longest, statuses, withdrawn = 0.0, set(), {}
    for old in [*(world.children_named(name) for name in names), *proxies]:
        at = world.signal(old, signal.SIGTERM)
        for instance in old.instances.values():
            withdrawn[instance] = await _withdrawn(world, instance)
        longest = max(longest, await world.ended(old) - at)
        statuses.add(old.status)
        world.again(old)
        await world.ready()
        await pause(world.seconds)
    story = await world.end()
    world.none("calls that fail", story.failed)
    world.at_most("s until the slowest has ended", _DRAIN, longest)
    last = {instance: max(story.ran_by(instance).ends()) for instance in withdrawn}
    early = min(last[instance] - at for instance, at in withdrawn.items())
    world.at_least("s that a record is gone before the last reply", 0.0, early)
    world.figure("exit statuses", "0 or SIGTERM", sorted(statuses), statuses <= {0, -signal.SIGTERM})


async def _withdrawn(world: World, instance: str) -> float:
    """Wait until the matchmaker lists nothing of an instance; return when that was."""
    while any(sighting.record.instance == instance for sighting in await world.matchmaker.records()):
        await pause(0.01)
    return time.monotonic()


@row("T31", "SIGTERM, with a call longer than the drain timeout", CALLS, 2.0)
async def too_long(world: World) -> None:
    await world.begin("one", options={"drain_timeout": world.seconds})
    slow = {"name": "slow", "method": "slow", "args": {"seconds": 20.0}, "count": 1, "rate": 1, "timeout": 30}
    world.caller("caller", slow)
    await world.warm(0.5)
    await eventually("that it runs", lambda: [case for case in world.cases().cases if case.ran])
    one = world.children_named("one")
    at = world.signal(one, signal.SIGTERM)
    ended = await world.ended(one)
    await pause(0.5)
    story = await world.end()
    (case,) = story.cases
    world.exactly("the call ends with", "ServerLost", error_of(case))
    world.figure("exit status", "0 or SIGTERM", one.status, one.status in (0, -signal.SIGTERM))
    world.at_most("s until it ends", world.seconds + 1, case.ended[0].at - at if case.ended else 99.0)
    world.at_most("s until the server has ended", world.seconds + 1, ended - at)
