"""Rows of networks that break, lose and delay."""

from __future__ import annotations

import time
from collections.abc import Callable

from zmqrpc.test.fault.cases import error_of, may_have_run, succeeded
from zmqrpc.test.fault.rows import ALL, CALLS, DYNAMIC, PUBLISHED, ROUTED, STATIC, row
from zmqrpc.test.fault.times import end_of, open_at
from zmqrpc.test.fault.world import PROXIES, World
from zmqrpc.test.integration.support import pause

SILENCE = {STATIC: 2.5, DYNAMIC: 2.5, ROUTED: 4.0, PUBLISHED: 2.5}
"""Seconds after which an instance that answers nothing is gone: mute after 1.5, and then 1 without a link, or 2.5."""

KEEPALIVE = {"zmq_tcp_keepalive_idle": 4, "zmq_tcp_keepalive_intvl": 2, "zmq_tcp_keepalive_cnt": 2}
"""What ends the connections of which one end only knows that they are no more; by default it takes two minutes."""

BACKOFF = 10.0
"""The most seconds between two tries to connect."""


@row("T15", "the host of one of two servers is cut off, and comes back", ALL, seconds=30.0)
async def partition(world: World) -> None:
    world.options |= KEEPALIVE
    silence = SILENCE[world.topology]
    await world.begin("one", "two")
    directed = {"name": "directed", "member": "one", "rate": 100, "in_flight": 25}
    slow = {"name": "slow", "member": "one", "method": "slow", "args": {"seconds": 1.0}, "rate": 10}
    world.caller("caller", {"in_flight": 25}, directed, slow)
    await world.warm(1.5)
    host = world.host("one")
    begin = time.monotonic()
    host.cut()
    await pause(world.seconds)
    host.heal()
    healed = time.monotonic()
    await world.served("directed", healed, BACKOFF + 2)
    story = await world.end()
    to_it = story.of("directed")
    errors = [end for end in map(end_of, to_it.failed.cases) if end >= begin]
    world.at_most("s until the first error", silence + 1, min(errors, default=float("inf")) - begin)
    open_then = story.of("slow").where(open_at(begin)).cases
    world.at_least("calls that were under way", 1, len(open_then))
    world.at_most("s until they have ended", silence + 1, max(map(end_of, open_then), default=float("inf")) - begin)
    world.none("calls to both that fail, asked 2 s after", story.of("load").asked(begin + 2.0).failed)
    world.at_most("s from the end to the first success there", BACKOFF + 1, to_it.first_success(healed))


@row("T16", "what a server answers is lost, and then its connections are reset", CALLS, 8.0)
async def one_way(world: World) -> None:
    world.options |= KEEPALIVE
    await world.begin("one")
    slow = {"name": "slow", "method": "slow", "args": {"seconds": 0.5}, "rate": 20}
    world.caller("caller", {}, slow)
    await world.warm()
    host = world.host("one")
    host.cut(incoming=False)
    await pause(world.seconds)
    host.heal()
    healed = time.monotonic()
    await world.served("load", healed, BACKOFF + 2)
    await pause(2.0)
    reset = time.monotonic()
    host.sever()
    await pause(3.0)
    story = await world.end()
    failed = story.asked(0, reset - 1).failed
    had = failed.where(lambda case: bool(case.ran))
    world.at_least("calls that ran and fail", 1, len(had.cases))
    unknown = set(had.errors()) - {"ServerLost", "DeadlineExceeded"}
    world.figure("their errors", "ServerLost, DeadlineExceeded", ", ".join(had.errors()), not unknown)
    world.none("of these, that say that they did not run", had.where(lambda case: not may_have_run(case)))
    # Who is known to be unreachable is not tried.
    others = failed.where(lambda case: error_of(case) not in ("ServerLost", "DeadlineExceeded"))
    world.figure("other errors", "NoRoute", ", ".join(others.errors()), set(others.errors()) <= {"NoRoute"})
    world.none("of these, that may have run", others.where(may_have_run))
    world.at_most("s from the end to the first success", BACKOFF + 1, story.first_success(healed))
    under_way = story.of("slow").asked(reset - 0.5, reset).where(lambda case: bool(case.ran))
    world.at_least("calls that ran when their connection was reset", 3, len(under_way.cases))
    lost = under_way.where(lambda case: not succeeded(case) or len(case.ran) != 1)
    world.none("of these, without their one result", lost)
    (one,) = (child for child in world.children if child.name == "one")
    world.at_least("answers from memory", 1, one.counts["repeated"])


@row("T17", "a storm of resets at the host of a server", seconds=6.0)
async def resets(world: World) -> None:
    await world.begin("one")
    world.caller("caller", {"timeout": 5})
    await world.warm()
    host = world.host("one")
    host.reset()
    await pause(world.seconds)
    tries = host.tries()
    host.heal()
    healed = time.monotonic()
    await world.served("load", healed, BACKOFF + 2)
    story = await world.end()
    peers = PROXIES if world.topology == ROUTED else 1
    world.at_most("tries to connect, of each peer", 20, tries / peers)
    world.at_most("s from the end to the first success", 1.0, story.first_success(healed))


async def _under(world: World, begin: Callable[[], None], end: Callable[[], None]) -> None:
    world.caller("caller", {})
    await world.warm()
    begin()
    await pause(world.seconds)
    end()
    await pause(2.0)
    story = await world.end()
    world.none("calls that fail", story.failed)
    # Of 200 a second, no more than 50 at once; and with dynamic connections each may wait for one.
    world.at_least("calls", (30 if world.topology == DYNAMIC else 100) * world.seconds, len(story.cases))
    took = f"{story.percentile(0.5):.3f} {story.percentile(0.99):.3f}"
    world.figure("s for the median and 99 % of calls", "", took, good=True)


async def _losing(world: World, percent: int) -> None:
    world.options |= KEEPALIVE
    await world.begin("one")
    host = world.host("one")
    await _under(world, lambda: host.lose(percent), host.heal)


@row("T18a", "5 % of packets are lost at a server's host", ALL, 15.0)
async def loses_five(world: World) -> None:
    await _losing(world, 5)


@row("T18b", "20 % of packets are lost at a server's host", ALL, 15.0)
async def loses_twenty(world: World) -> None:
    await _losing(world, 20)


@row("T18c", "1 Mbit/s to and from a server's host", ALL, 15.0)
async def narrow(world: World) -> None:
    await world.begin("one")
    host = world.host("one")
    await _under(world, lambda: host.narrow("1mbit"), host.widen)


@row("T18d", "100 ms each way to a server, or to each proxy", ALL, 15.0)
async def delayed(world: World) -> None:
    proxies = [f"proxy{number}" for number in range(PROXIES)]
    world.in_order = True
    names = {ROUTED: proxies, PUBLISHED: ["one", *proxies]}.get(world.topology, ["one"])
    await world.delay(0.1, *names)
    await world.begin("one")
    await _under(world, lambda: None, lambda: None)
