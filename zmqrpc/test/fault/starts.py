"""Rows of starts: ports that are taken, daemons, forks."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from pathlib import Path
from urllib.parse import urlencode

from zmqrpc.test.fault.member import TOPIC
from zmqrpc.test.fault.numbered import HISTORY
from zmqrpc.test.fault.rows import CALLS, ROUTED, STATIC, proved, row
from zmqrpc.test.fault.sockets import accepted
from zmqrpc.test.fault.world import FRONTEND, World
from zmqrpc.test.integration.support import eventually, pause


@row("T13", "a fourth server in a range of three ports", (STATIC,), 0.0)
async def range_exhausted(world: World) -> None:
    host = world.host("one")
    query = {"rpc_zmq_min_port": 50000, "rpc_zmq_max_port": 50003, "rpc_zmq_bind_address": host.address}
    url = f"{world.url}?{urlencode(query)}"
    words = ["zmq-rpc-server", "--app", "examples.demo.calc:Calc", "--topic", "calc", "--url", url]
    started = [world.start("twistd", f"calc{number}", "one", words=words) for number in range(3)]
    await world.ready()
    begin = time.monotonic()
    fourth = world.start("twistd", "calc3", "one", words=words)
    world.at_most("s until the fourth has ended", 1.0, await world.ended(fourth) - begin)
    world.exactly("its exit status", 2, fourth.status)
    said = fourth.printed()
    told = all(word in said for word in ("3 ports tried", "50000", "50003"))
    world.figure("it names range and tries", "yes", "yes" if told else said[-300:], told)
    world.exactly("the others run", True, all(child.runs for child in started))
    await world.end()


@row(
    "T14",
    "a proxy is killed and started anew at its ports, 20 times, and once while somebody else has one",
    (ROUTED,),
    20.0,
)
async def ports_taken(world: World) -> None:
    proxies = await world.begin("one")
    world.caller("caller", {"timeout": 5})
    await world.warm()
    proxy, bound = proxies[0], 0
    for number in range(max(1, int(world.seconds))):
        world.signal(proxy, signal.SIGTERM if number % 2 else signal.SIGKILL)
        await world.ended(proxy)
        proxy = world.again(proxy)
        await world.ready()
        bound += proxy.runs
        await eventually("a connection", lambda proxy=proxy: accepted(proxy.pid), 15)
    world.kill(proxy)
    await world.ended(proxy)
    place = (proxy.host, FRONTEND)
    holder = world.start("stranger", "holder", proxy.host, what="hold", places=[place], count=1, seconds=2.0)
    await eventually("that somebody else has the port", lambda: "held" in holder.told)
    begin = time.monotonic()
    refused = world.again(proxy)
    refused.told.add("signalled")
    world.at_most("s until a start has ended while the port is taken", 1.0, await world.ended(refused) - begin)
    world.exactly("its exit status", 2, refused.status)
    world.exactly("it names the port", True, f"on port {FRONTEND}" in refused.printed())
    await world.ended(holder)
    proxy = world.again(refused)
    await world.ready()
    await eventually("a connection", lambda: accepted(proxy.pid), 15)
    story = await world.end()
    world.exactly("starts that have bound", max(1, int(world.seconds)), bound)
    world.at_most("calls that fail", 50, len(story.failed.cases))


@row("T32", "the log is moved under load, again and again, and SIGHUP opens it again", CALLS, 3.0)
async def log_moved(world: World) -> None:
    proxies = await world.begin()
    log, history = world.directory / "server.log", str(world.directory / "numbered.history")
    world.use_environment({HISTORY: history})
    words = ["zmq-rpc-server", "--app", "zmqrpc.test.fault.numbered:Numbered", "--topic", TOPIC, "--server", "one"]
    words += ["--url", world.url_of("one"), "-l", str(log)]
    one = world.start("twistd", "one", "one", words=words)
    one.output, one.log = str(log), history
    await world.ready()
    world.caller("caller", {})
    await world.warm()
    pid, latest = one.pid, 0.0
    moves = max(1, int(world.seconds))
    for number in range(moves):
        log.rename(f"{log}.{number}")
        at = time.monotonic()
        os.kill(pid, signal.SIGHUP)
        await eventually("the new log", log.exists)
        latest = max(latest, time.monotonic() - at)
        await pause(1.0)
    world.exactly("the process that it was", True, one.runs and one.pid == pid and not any(p.status for p in proxies))
    story = await world.end()
    world.at_most("s until there is a new log", 1.0, latest)
    files = [*(Path(f"{log}.{number}") for number in range(moves)), log]
    lines = [line for file in files for line in file.read_text().splitlines()]
    called = Counter(line.rpartition("called: ")[2].strip() for line in lines if "called: " in line)
    asked = {str(case.asked.id) for case in story.cases}
    world.exactly("lines, lost or twice", (0, 0), (len(asked - called.keys()), called.total() - len(called)))
    world.at_least("lines", 50 * world.seconds, called.total())
    world.none("calls that fail", story.failed)


proved(
    "T32a",
    "the log is opened again in every way that it can be written in",
    "zmqrpc.test.tap.test_running.LogTests",
    "zmqrpc.test.tap.test_log",
)
proved(
    "T33",
    "daemons, other users, pid files, a second start",
    "zmqrpc.test.tap.test_twistd",
    "zmqrpc.test.tap.test_zmq_proxy",
    "zmqrpc.test.tap.test_running",
)


proved(
    "T35",
    "versions: the frozen vectors, fields that are not known, another version, another implementation",
    "zmqrpc.test.core.test_vectors",
    "zmqrpc.test.test_interop",
)


@row("T34", "methods fork: a program, and a copy of the process", CALLS, 3.0)
async def forks(world: World) -> None:
    await world.begin("one", "two")
    world.in_order = True
    fork = {"name": "fork", "method": "fork", "rate": 3, "timeout": 15}
    world.caller("caller", {}, fork)
    await world.warm()
    await pause(world.seconds)
    story = await world.end()
    world.none("calls that fail", story.failed)
    world.at_least("calls that fork", 3, len(story.of("fork").cases))
