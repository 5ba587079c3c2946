"""Rows of those who have no business here: junk, floods of connections, replays, doubles."""

from __future__ import annotations

import glob
import re
import resource
import signal
import time
from collections import Counter

from zmqrpc.test.fault.cases import may_have_run
from zmqrpc.test.fault.processes import Child
from zmqrpc.test.fault.rows import ALL, CALLS, DYNAMIC, PUBLISHED, ROUTED, STATIC, row
from zmqrpc.test.fault.world import FRONTEND, PUBLISHER, World
from zmqrpc.test.integration.support import eventually, pause

_REMEMBERED = 2
"""Seconds for which a silent client is remembered (rpc_message_ttl), in T26."""

_HANDSHAKE = 2.0
"""Seconds after which libzmq gives a handshake up, as it is told to."""


async def _bother(
    world: World, what: str, whom: list[Child], count: int, patience: float = 300.0, **order: object
) -> Child:
    """Have a stranger do something to every port of these; return when that is done."""
    places = [place for child in whom for place in world.listening(child)]
    child = world.start("stranger", f"stranger-{what}", "stranger", what=what, places=places, count=count, **order)
    await eventually(f"the end of {what}", lambda: not child.runs, patience)
    world.exactly(f"the stranger's status ({what})", 0, child.status)
    return child


@row("T22", "junk at every port: no ZeroMQ, and ZeroMQ with envelopes that hypothesis made", ALL, 30.0)
async def junk(world: World) -> None:
    world.memory = 100 * 2**20
    proxies = await world.begin("one")
    if world.topology == PUBLISHED:
        proxies = [*proxies, world.local_publisher("local")]
        world.member("two", options={"subscribe_on": f"{world.host('local').address}:{PUBLISHER}"}, publishers=1)
    world.caller("caller", {"rate": 50})
    begin = await world.warm()
    whom = [child for child in world.children if child.kind == "member" or child in proxies]
    before = {child.name: len(child.printed().splitlines()) for child in whom}
    ports = sum(len(world.listening(child)) for child in whom)
    await _bother(world, "junk", whom, int(world.seconds * 333) * ports, 100 + 20 * world.seconds)
    took = time.monotonic() - begin
    lines = {child.name: child.printed().splitlines()[before[child.name] :] for child in whom}
    world.exactly("processes that run", True, all(child.runs for child in whom))
    await pause(1.0)
    story = await world.end()
    world.figure("ports", "", ports, good=True)
    world.none("calls that fail", story.failed)
    # Each connection is a peer of its own, and no more than a hundred have a line of their own at once.
    most = max(lines, key=lambda name: len(lines[name]))
    world.at_most(f"lines in a log, a second ({most})", 110, len(lines[most]) / took)
    # A second of the log may have the end of one second and the begin of the next.
    again = Counter((name, _of_a_peer(line)) for name in lines for line in lines[name])
    world.at_most("lines about one peer in a second of the log", 2, max(again.values(), default=0))


def _of_a_peer(line: str) -> str:
    """Return a line of a log without what differs from one to the next about one peer: its time stays."""
    return re.sub(r" \(\d+ more.*\)$", "", line)


@row("T23", "1,000 handshakes that are begun and not gone on with", CALLS, 4.0)
async def half_open(world: World) -> None:
    proxies = await world.begin("one")
    world.caller("caller", {})
    await world.warm()
    whom = proxies or [world.children_named("one")]
    most = 0

    async def freed() -> float:
        nonlocal most
        begin = time.monotonic()

        def few() -> bool:
            nonlocal most
            opened = [child.open() for child in whom]
            most = max(most, *opened)
            return most > 300 and all(have <= child.descriptors for have, child in zip(opened, whom, strict=True))

        await eventually("the descriptors", few, 30)
        return time.monotonic() - begin

    places = [place for child in whom for place in world.listening(child)]
    order = {"what": "half_open", "places": places, "count": 1000, "seconds": world.seconds}
    stranger = world.start("stranger", "stranger", "stranger", **order)
    took = await freed()
    await world.ended(stranger)
    story = await world.end()
    world.at_least("descriptors at most", 300, most)
    world.at_most("s until they are free, the connecting included", _HANDSHAKE + 1 + 1, took)
    world.none("calls that fail", story.failed)


@row("T24", "400 clients at a process that may have 256 descriptors", CALLS, 4.0)
async def descriptors(world: World) -> None:
    proxies = await world.begin("one")
    world.caller("caller", {})
    await world.warm()
    whom = proxies[:1] or [world.children_named("one")]
    for child in whom:
        resource.prlimit(child.pid, resource.RLIMIT_NOFILE, (256, 256))
    most = 0
    places = [place for child in whom for place in world.listening(child)[:1]]
    order = {"what": "many", "places": places, "count": 400, "seconds": world.seconds}
    stranger = world.start("stranger", "stranger", "stranger", **order)

    def look() -> bool:
        nonlocal most
        most = max(most, *(child.open() for child in whom))
        return not stranger.runs

    await eventually("that none are left", lambda: look() or most >= 250, 60)
    for child in whom:
        world.signal(child, signal.SIGUSR2)
    await eventually("the end of the stranger", look, 60)
    told = [re.search(r"LimitNOFILE +(\d+) +256", child.printed()) for child in whom]
    world.at_least("told by SIGUSR2", 250, min(int(each[1]) if each else 0 for each in told))
    world.exactly("processes that run", True, all(child.runs for child in whom))
    world.at_least("descriptors at most", 250, most)
    after = time.monotonic()
    newcomer = world.caller("newcomer", {"name": "new", "rate": 20})
    await world.ready()
    await pause(2.0)
    await world.dismiss(newcomer)
    story = await world.end()
    # Where each call connects anew there may be no descriptor for it meanwhile.
    world.none("calls that fail, asked 2 s after", story.asked(after + 2.0).failed)
    world.none("calls that may have run, of those that fail", story.failed.where(may_have_run))
    world.at_most("s until a new client is served", 2.0, story.of("new").first_success(after))


@row("T26", "what clients say is captured, and said again, also when the server has forgotten them", CALLS, 3.0)
async def replayed(world: World) -> None:
    capture = str(world.directory / "captured")
    world.options["rpc_message_ttl"] = _REMEMBERED
    where = "proxy0" if world.topology == ROUTED else "one"
    await world.delay(0.001, where, capture=capture)
    await world.begin("one")
    caller = world.caller("caller", {"rate": 50, "timeout": 2})
    # Who goes on, when the other has been forgotten.
    world.caller("other", {"rate": 20})
    await world.warm()
    await pause(world.seconds)
    place = ("127.0.0.1", FRONTEND if world.topology == ROUTED else world.listening(world.children_named("one"))[0][1])

    async def say_again(which: str) -> None:
        order = {"what": "replay", "places": [place], "count": 2, "seconds": world.seconds, "path": capture}
        stranger = world.start("stranger", which, where, **order)
        await eventually("the end of the replay", lambda: not stranger.runs, 60)
        world.exactly(f"the stranger's status ({which})", 0, stranger.status)

    ran = len(world.cases().of("load").where(lambda case: bool(case.ran)).cases)
    await say_again("within the window")
    await world.dismiss(caller)
    await pause(2 * _REMEMBERED + 1)
    since = time.monotonic()
    await say_again("after it")
    world.at_least("connections that were captured", 1, len(glob.glob(f"{capture}-*")))
    world.at_least("calls that are said again", 50, ran)
    story = await world.end()
    world.none("calls that ran more than once", story.where(lambda case: len(case.ran) > 1))
    mine = caller.instances[next(iter(caller.instances))]
    old = story.where(lambda case: case.asked.client == mine and any(each.at >= since for each in case.ran))
    world.none("calls of who is forgotten, that ran", old)
    world.none("calls that fail", story.failed)


@row("T27", "proxies that forward everything twice, 10,000 casts or fan-outs", (ROUTED, PUBLISHED), 10.0)
async def doubled(world: World) -> None:
    world.doubles = True
    await world.begin("one", "two")
    count = int(world.seconds * 1000)
    kind, each = ("fanout", 2) if world.topology == PUBLISHED else ("cast", 1)
    world.caller("caller", {"kind": kind, "rate": 2000, "count": count, "in_flight": 500, "timeout": 30})
    await world.warm(0.5)
    await eventually("all of them", lambda: len(world.cases().of("load").cases) >= count, 120)
    await pause(1.0)
    story = await world.end()
    load = story.of("load")
    world.exactly(f"{kind}s", count, len(load.cases))
    world.exactly("runs", each * count, sum(len(case.ran) for case in load.cases))
    world.none(f"{kind}s that fail", story.failed)
    repeated = sum(child.counts["repeated"] for child in world.children)
    world.at_least("repetitions that were noticed", 1, repeated)


@row(
    "T29",
    "10,000 connections that come and go, and 10,000 calls with dynamic connections",
    (STATIC, DYNAMIC, ROUTED),
    10.0,
)
async def churn(world: World) -> None:
    world.memory = 10 * 2**20
    proxies = await world.begin("one", "two")
    count = int(world.seconds * 1000)
    world.caller("caller", {"rate": 1000, "count": count, "in_flight": 50, "size": 100})
    await world.warm(3.0)
    threads = [child.threads() for child in world.children]
    whom = proxies or [world.children_named("one")]
    cycled = await _bother(world, "cycles", whom, count)
    await eventually("the calls", lambda: len(world.cases().cases) >= count, 120)
    world.at_least("connections a second", 500, count / (cycled.counts["ms"] / 1000))
    now = [child.threads() for child in world.children if child is not cycled]
    world.exactly("threads", threads, now)
    story = await world.end()
    world.none("calls that fail", story.failed)
    world.exactly("calls", count, len(story.cases))
