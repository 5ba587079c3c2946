"""Sentinels that make another server the master, while nodes call each other and somebody registers all the time."""

from __future__ import annotations

import operator
import time
from typing import Any

from bench.scene import TIMEOUT, Load, Scene, known, pause, reactor, scene, url_of
from bench.stores import Sentinels
from bench.work import Figures, Order
from bench.worker import Worker
from zmqrpc import Node, Target
from zmqrpc.errors import MatchmakerUnavailable
from zmqrpc.record import Record, Role
from zmqrpc.test.sentinels import GROUP, Sentinel, Switches
from zmqrpc.test.servers import RedisServer

LIMIT = 90.0


async def failover(order: Order) -> Figures:
    """Kill the master of one set, and stop that of another, which goes on later and takes what will be lost."""
    figures: Figures = {}
    for name, fault in (("killed", RedisServer.kill), ("stopped", RedisServer.stop_answering)):
        with scene(order) as here:
            assert isinstance(here.store, Sentinels)
            switches = Switches(here.store.case, here.store.set.sentinels)
            for _ in range(order.members):
                here.server()
            client = here.client()
            await known(client, order.members)
            load = Load(client)
            old = here.store.set.master()
            await pause(0.5)
            began = time.monotonic()
            fault(old)
            registered = await _registered(here, switches)
            new = here.store.set.server(here.store.set.sentinels[0].master_port())
            await _has(here.store, new, order.members + 1)
            complete = time.monotonic()
            figures |= {
                f"{name}_switch_s": switches.told[0] - began,
                f"{name}_registered_s": registered - switches.told[0],
                f"{name}_complete_s": complete - switches.told[0],
            }
            if name == "stopped":
                figures["resumed_s"] = await _resumed(here.store, old, new, order.members + 2)
            await pause(1.0)
            for key, value in (await load.stop()).items():
                figures[key] = (max if "_" in key else operator.add)(value, figures.get(key, 0))
            await client.close()
    return {**figures, "registered_s": max(figures["killed_registered_s"], figures["stopped_registered_s"])}


async def _registered(here: Scene, switches: Switches) -> float:
    """Register all the time; return when it has worked after the switch."""
    matchmaker: Any = here.matchmaker()
    record = Record(Role.SERVER, "openstack", "probe", "one", f"{1:032x}", ("tcp://127.0.0.1:9",))
    give_up = time.monotonic() + LIMIT
    while time.monotonic() < give_up:
        try:
            await matchmaker.register(record, 300)
        except MatchmakerUnavailable:
            pass
        else:
            if switches.told:
                now = time.monotonic()
                await matchmaker.close()
                return now
        await pause(0.01)
    raise AssertionError(f"nothing could be registered within {LIMIT:.0f} s")


async def _has(store: Sentinels, server: RedisServer, count: int) -> None:
    give_up = time.monotonic() + LIMIT
    while (held := store.records_of(server)) < count:
        if time.monotonic() > give_up:
            raise AssertionError(f"the new master has {held} of {count} records after {LIMIT:.0f} s")
        await pause(0.01)


async def _resumed(store: Sentinels, old: RedisServer, new: RedisServer, count: int) -> float:
    """
    Have the old master go on, and somebody register there, who goes by a Sentinel that was cut off.

    :return: the seconds from when that Sentinel hears of the switch until the new master has all records.
    """
    cut_off = Sentinel(store.case, [f"sentinel monitor {GROUP} 127.0.0.1 {old.port} 2"])
    old.answer_again()
    before = store.records_of(old)
    node = Node(reactor, url_of(f"zmq+sentinel://127.0.0.1:{cut_off.port}"))
    node.server(Target("misled", server="misled"), [Worker()])
    node.startService()
    await node.when_ready().addTimeout(TIMEOUT, reactor)
    misled = store.records_of(old) - before, store.records_of(new)
    if misled != (1, count - 1):
        raise AssertionError(f"the old master has taken {misled[0]} records, the new has {misled[1]} of {count}")
    healed = time.monotonic()
    # As it is told by the others: who has said it, in which epoch, and who is the master in which.
    others = f"127.0.0.1,{store.set.sentinels[0].port},{1:040x},1,{GROUP},127.0.0.1,{new.port},1"
    cut_off.ask("PUBLISH", "__sentinel__:hello", others)
    await _has(store, new, count)
    seconds = time.monotonic() - healed
    await node.stopService()
    return seconds
