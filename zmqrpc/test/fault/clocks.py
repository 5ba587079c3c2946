"""Rows of clocks on the wall that are set."""

from __future__ import annotations

from zmqrpc.test.fault.rows import CALLS, row
from zmqrpc.test.fault.world import World
from zmqrpc.test.integration.support import pause
from zmqrpc.test.servers import RedisServer
from zmqrpc.test.wall import Wall

_HOURS = 7200.0


@row("T28", "all clocks go back by two hours, forward by four, and drift", CALLS, 4.0)
async def set_clocks(world: World) -> None:
    # A file of SQLite would be the store of a machine whose clock is set; but libfaketime breaks how SQLite waits.
    world.url = RedisServer(world).url
    wall = Wall(world)
    world.use_environment(wall.environment)
    world.in_order = True
    await world.begin("one", "two", hosts=False)
    world.caller("caller", {"timeout": 3}, host="")
    begin = await world.warm()
    for step in (-_HOURS, 2 * _HOURS, -_HOURS):
        wall.step(step)
        await pause(world.seconds)
    for drift in (0.05, -0.05):
        for _ in range(int(world.seconds * 10)):
            wall.step(drift)
            await pause(0.1)
    until = begin + 5 * world.seconds
    story = await world.end()
    world.none("calls that fail", story.failed)
    world.at_most("s without any success", 0.5, story.silence(begin, until))
