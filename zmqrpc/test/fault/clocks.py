"""Rows of clocks on the wall that are set."""

from __future__ import annotations

from zmqrpc.test.fault.rows import ALL, DYNAMIC, row
from zmqrpc.test.fault.sockets import connections
from zmqrpc.test.fault.world import World
from zmqrpc.test.integration.support import pause
from zmqrpc.test.servers import RedisServer
from zmqrpc.test.wall import Wall

_HOURS = 7200.0


@row("T28", "all clocks go back by two hours, forward by four, and drift", ALL, 4.0)
async def set_clocks(world: World) -> None:
    # A file of SQLite would be the store of a machine whose clock is set; but libfaketime breaks how SQLite waits.
    wall = Wall(world)
    world.use_environment(wall.environment)
    world.url = RedisServer(world, environment=wall.environment).url
    world.in_order = True
    await world.begin("one", "two", hosts=False)
    world.caller("caller", {"timeout": 3}, host="")
    begin = await world.warm(2.0)
    before = {child.name: connections(child.pid) for child in world.children}
    for step in (-_HOURS, 2 * _HOURS, -_HOURS):
        wall.step(step)
        await pause(world.seconds)
    for drift in (0.05, -0.05):
        for _ in range(int(world.seconds * 10)):
            wall.step(drift)
            await pause(0.1)
    until = begin + 5 * world.seconds
    lost = [f"{child.name}: {ends}" for child in world.children for ends in before[child.name] - connections(child.pid)]
    story = await world.end()
    if world.topology != DYNAMIC:
        world.exactly("connections that were lost", [], lost)
    world.none("calls that fail", story.failed)
    world.at_most("s without any success", 0.5, story.silence(begin, until))
