"""Rows of stores that are away or hang, and of records that lie."""

from __future__ import annotations

import json
import os
import time

from zmqrpc.errors import MatchmakerUnavailable
from zmqrpc.record import Record
from zmqrpc.test.fault.cases import error_of, may_have_run, succeeded
from zmqrpc.test.fault.member import TOPIC
from zmqrpc.test.fault.rows import ALL, CALLS, DIRECT, proved, row
from zmqrpc.test.fault.sockets import unread
from zmqrpc.test.fault.times import most_open
from zmqrpc.test.fault.world import World
from zmqrpc.test.integration.support import eventually, pause
from zmqrpc.test.sentinels import SentinelSet
from zmqrpc.test.servers import RedisServer

_ANSWER = 2.0
"""Seconds within which a question to a store has its answer or its error."""


def _redis(world: World) -> RedisServer:
    server = RedisServer(world)
    world.url = server.url
    return server


def _stored(server: RedisServer) -> int:
    return max(0, int(server.ask("HLEN", f"zmqrpc:topic:openstack:{TOPIC}")) - 1)


def _asked(server: RedisServer) -> tuple[int, int]:
    """Return how many questions it has read, each of which is a script, and how many bytes in all."""
    (line,) = [line for line in server.ask("INFO", "stats").splitlines() if line.startswith(b"total_net_input_bytes:")]
    asked = sum(number for name, number in server.calls().items() if name.startswith("eval"))
    return asked, int(line.partition(b":")[2])


@row("T7", "Redis is absent at the start", CALLS, 3.0)
async def absent(world: World) -> None:
    redis = _redis(world)
    redis.kill()
    one = world.member("one", "")
    proxies = [world.proxy(f"proxy{number}", "") for number in range(3)] if world.topology == "router-proxy" else []
    world.caller("caller", {"timeout": 3, "rate": 20, "in_flight": 100}, host="")
    await pause(world.seconds)
    world.exactly("processes that run", True, all(child.runs for child in world.children))
    world.exactly("ready", False, "ready" in one.told)
    redis.start()
    begin = time.monotonic()
    await eventually("the registration", lambda: _stored(redis) == 1, 15)
    world.at_most("s until it is registered", 2.0, time.monotonic() - begin)
    await world.warm()
    await pause(2.0)
    story = await world.end()
    world.at_most("processes that ended by themselves", 0, sum(not child.told & {"signalled"} for child in proxies))
    # What was asked while Redis was away ends with it, or waits for its return.
    world.none("calls that fail, asked 3 s after", story.asked(begin + 3.0).failed)
    world.at_least("calls after that", 1, len(story.asked(begin + 3.0).cases))


@row("T8", "Redis is killed under load, and comes back empty", ALL, 60.0)
async def killed(world: World) -> None:
    redis = _redis(world)
    await world.begin("one", "two", hosts=False)
    unknown = {"name": "unknown", "topic": "unknown", "rate": 2, "after": 2.0, "timeout": 10}
    world.caller("caller", {}, unknown, host="")
    await world.warm()
    begin = time.monotonic()
    redis.kill()
    await pause(world.seconds)
    redis.lose()
    redis.start()
    back = time.monotonic()
    await eventually("the records", lambda: _stored(redis) == 2, 20)
    world.at_most("s until the records are back", 5.0, time.monotonic() - back)
    await pause(2.0)
    story = await world.end()
    world.none("calls that fail", story.of("load").failed)
    strange = story.of("unknown").asked(begin + 1, back - _ANSWER)
    world.exactly("of an unknown topic, errors", ["MatchmakerUnavailable"], strange.errors())
    world.at_most("s until these", _ANSWER, strange.slowest())


_DOWN_AFTER = 2.0


async def _writes_again(world: World, since: float, patience: float = 60.0) -> float:
    """Register all the time; return how many seconds after a moment that first worked."""
    record = Record("server", "openstack", "probe", "probe", os.urandom(16).hex(), ["tcp://127.0.0.1:1"])
    while time.monotonic() < since + patience:
        try:
            await world.matchmaker.register(record, 300)
        except MatchmakerUnavailable:
            await pause(0.01)
        else:
            return time.monotonic() - since
    return float("inf")


@row("T9", "a Redis master with Sentinels is killed; the next one hangs, and goes on as an old one", CALLS, 5.0)
async def failover(world: World) -> None:
    group = SentinelSet(world, _DOWN_AFTER)
    world.url = group.url
    update = 15
    world.options["zmq_target_update"] = update
    await world.begin("one", "two", hosts=False)
    world.caller("caller", {}, host="")
    await world.warm(2.0)
    first = group.master()
    killed = time.monotonic()
    first.kill()
    world.at_most("s from the kill until there are writes", _DOWN_AFTER + 3, await _writes_again(world, killed))
    await eventually("the next master", lambda: group.has_left(first), 30)
    second = group.master()
    first.start()
    await eventually("that all know each other", group.is_complete, 60)
    hung = time.monotonic()
    second.stop_answering()
    world.at_most("s from the stop until there are writes", _DOWN_AFTER + 3, await _writes_again(world, hung))
    await eventually("the one after that", lambda: group.has_left(second), 30)
    third = group.master()
    second.answer_again()
    resumed = time.monotonic()
    await eventually("the records", lambda: _stored(third) == 2, 2 * update)
    world.at_most(
        "s from when the old master is back until all records are in the new one", update, time.monotonic() - resumed
    )
    await pause(world.seconds)
    world.exactly("records there, later", 2, _stored(third))
    story = await world.end()
    world.none("calls that fail", story.failed)


proved("T9a", "the same, and what logs say of it", "zmqrpc.test.integration.test_sentinel")


@row("T10", "Redis hangs", CALLS, 10.0)
async def hangs(world: World) -> None:
    redis = _redis(world)
    await world.begin("one", "two", hosts=False)
    # Each topic is a question of its own.
    many = {"name": "many", "topic": "unknown", "topics": 500, "rate": 200, "after": 2.0, "timeout": 10}
    world.caller("caller", {}, {**many, "in_flight": 500}, host="")
    await world.warm()
    world.in_order = True
    asked_before, read_before = _asked(redis)
    redis.stop_answering()
    begin = time.monotonic()
    await pause(world.seconds)
    waiting = unread(redis.pid)
    redis.answer_again()
    back = time.monotonic()
    await pause(2.0)
    # Nearly all that was asked since is such questions.
    asked, read = _asked(redis)
    size = (read - read_before) / (asked - asked_before)
    story = await world.end()
    world.none("calls that fail", story.of("load").failed)
    # From when it is known: a second without any answer.
    strange = story.of("many").asked(begin + 2, back - _ANSWER)
    world.exactly("of unknown topics, errors", ["MatchmakerUnavailable"], strange.errors())
    world.at_least("of these, calls", 100 * (world.seconds - 4), len(strange.cases))
    world.at_most("s until these", _ANSWER, strange.slowest())
    world.at_least("calls that wait at once", 150, most_open(strange.cases))
    world.at_most("questions that Redis finds", 100, waiting / size)
    world.at_least("of these", 1, waiting / size)


async def _record(world: World, member: str, address: str) -> None:
    record = Record("server", "openstack", TOPIC, member, os.urandom(16).hex(), [address])
    await world.matchmaker.register(record, 300)


@row("T11", "50 records of closed ports, and one of a server", DIRECT, 3.0)
async def stale(world: World) -> None:
    for number in range(50):
        await _record(world, f"dead{number}", f"tcp://{world.host('grave').address}:{20000 + number}")
    await world.begin("one")
    world.caller("caller", {"timeout": 5}, {"name": "all", "kind": "fanout", "count": 1, "rate": 1, "after": 2.0})
    await world.warm()
    await pause(world.seconds)
    story = await world.end()
    first = story.of("load").cases[0]
    world.exactly("the first call ends with", "", error_of(first))
    world.at_most("s until then", 1.0, first.ended[0].at - first.asked.at)
    later = story.of("load").asked(first.ended[0].at)
    world.none("calls that fail", story.of("load").failed)
    world.at_most("s for 99 % of the next", 0.05, later.percentile(0.99))
    (fanout,) = story.of("all").cases
    missed = [told for told in fanout.ended[0].told if told.verdict != "ok"] if fanout.ended else []
    world.exactly("members that the fan-out did not reach", 50, len(missed))


@row("T12", "a record leads to another service: of an instance that is gone, and of a fixed table", DIRECT, 2.0)
async def another(world: World) -> None:
    other = world.member("other", topic="elsewhere")
    await world.ready()
    there = other.addresses["other"]
    await _record(world, "one", there)
    usual = {"timeout": 3, "rate": 20}
    world.caller("caller", {**usual, "name": "record"}, {**usual, "name": "cast", "kind": "cast"})
    # A line of a table has no instance: what is there is known by what it serves alone.
    table = world.directory / "table.json"
    table.write_text(json.dumps({TOPIC: {"one": there.removeprefix("tcp://")}}))
    shared, world.url = world.url, f"zmq+file://{table}"
    world.caller("reader", {**usual, "name": "table"}, host="caller")
    world.url = shared
    await world.warm()
    place = [world.listening(other)[0]]
    # Who believes the record, and asks who is there no more than the record does.
    pushy = world.start("stranger", "stranger", "stranger", what="pushy", places=place, count=10)
    await eventually("its end", lambda: not pushy.runs, 20)
    world.exactly("the stranger's status", 0, pushy.status)
    await pause(world.seconds)
    story = await world.end()
    world.none("calls that ran", story.where(lambda case: bool(case.ran)))
    world.none("calls that say that they may have", story.where(may_have_run))
    for load in ("record", "table", "cast"):
        refused = story.of(load)
        world.at_least(f"of {load}, refused", 5, len(refused.failed.cases))
        world.none(f"of {load}, not refused", refused.where(succeeded))
        world.exactly("their errors", ["NoRoute"], refused.errors())
    world.at_least("requests for a topic that is not served, counted", 10, other.counts["not_served"])
    world.at_least("requests for an instance that is gone, counted", 10, other.counts["wrong_instance"])
