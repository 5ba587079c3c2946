"""Rows of promises that no row of the catalogue shows from outside."""

from __future__ import annotations

import signal

from zmqrpc.test.fault.cases import may_have_run
from zmqrpc.test.fault.rows import ALL, CALLS, proved, row
from zmqrpc.test.fault.times import end_of
from zmqrpc.test.fault.world import World
from zmqrpc.test.integration.support import pause

_IDLE = 0.02
"""Seconds after its deadline within which a call ends, on a machine that does nothing else."""

_LOST = {"ServerLost", "DeadlineExceeded"}


@row("P1", "nothing else goes on, and calls take longer than they may", ALL, 5.0)
async def on_time(world: World) -> None:
    await world.begin("one")
    # One at a time: what is measured is the call.
    late = {"name": "late", "method": "slow", "args": {"seconds": 3.0}, "rate": 2, "timeout": 0.4, "in_flight": 1}
    world.caller("caller", late)
    await world.warm()
    await pause(world.seconds)
    story = await world.end()
    calls = story.of("late")
    world.at_least("calls", world.seconds, len(calls.cases))
    world.exactly("errors", ["DeadlineExceeded"], calls.errors())
    world.none("of these, that say that they did not run", calls.where(lambda case: not may_have_run(case)))
    world.at_most(
        "s after its deadline, at most", _IDLE, max(end_of(each) - each.asked.deadline for each in calls.cases)
    )


@row("P2", "hedged and balanced calls, while servers are slow, killed and stopped", CALLS, 3.0)
async def hedged(world: World) -> None:
    names = ("one", "two", "three")
    world.options |= {"hedge_calls": "true", "balance": "least-outstanding", "rpc_retry_budget": 1}
    await world.begin(*names)
    usual = {"rate": 100, "timeout": 5}
    slow = {"method": "slow", "args": {"seconds": 0.3}, "rate": 10, "timeout": 5}
    caller = world.caller(
        "caller",
        {**usual, "idempotent": True},
        {**usual, "name": "once"},
        {**slow, "name": "long", "idempotent": True},
    )
    await world.warm(2.0)
    one, two, three = (world.children_named(name) for name in names)
    world.signal(three, signal.SIGUSR1)
    await pause(world.seconds)
    killed = world.kill(one)
    await world.ended(one)
    world.again(one)
    await pause(world.seconds)
    await world.ready()
    stopped = await world.stand(two, world.seconds)
    await pause(2.0)
    world.signal(three, signal.SIGUSR1)
    story = await world.end()
    again = story.of("load").cases + story.of("long").cases
    world.at_least("calls that ran at two members", 1, sum(len({run.instance for run in c.ran}) > 1 for c in again))
    world.at_least("calls that were hedged, as is counted", 1, caller.counts["hedged"])
    once = story.of("once")
    world.none("that are not idempotent, and ran twice", once.where(lambda case: len(case.ran) > 1))
    errors = set(once.errors())
    world.figure("their errors", "ServerLost, DeadlineExceeded", sorted(errors), errors <= _LOST)
    calm = story.where(lambda case: case.asked.at < killed - 5 or case.asked.at > stopped + world.seconds + 1)
    world.none("calls that fail, asked before and after", calm.failed)
    failed = story.of("load").failed
    world.none("idempotent calls that fail, though others could run them", failed)


proved(
    "P7",
    "what is pickled, and errors of types that would be imported: nothing of it is executed",
    "zmqrpc.test.integration.test_nothing_executable",
)
