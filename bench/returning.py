"""
A store that comes back: how long until five hundred servers are registered again, and how evenly they do it.

Each of them is a matchmaker of its own and what keeps its records there; several are in one process. Without sockets of
their own they are cheap, and do with the store what a Node does.
"""

from __future__ import annotations

import contextlib
import gc
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from random import Random
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import gatherResults

from bench.processes import process
from bench.stores import STORES, Store
from bench.work import Figures, Order, answer, cpu_seconds, ready
from bench.zmqrpc_client import play
from zmqrpc import Settings
from zmqrpc.core.registration import Registration
from zmqrpc.matchmaker import make_matchmaker
from zmqrpc.notices import Notices
from zmqrpc.record import Record, Role
from zmqrpc.registrar import Registrar
from zmqrpc.sweep import Sweep

reactor: Any = _reactor

PROCESSES = 4
AT_ONCE = 10
"""How many of one process are started at once; what they do then is not measured."""
TOPIC = "crowd"
SAMPLE = 0.1
"""Seconds between two looks at what the store has done."""
GAP = 3.0
"""Seconds for which the store is gone, and in which it rests in between."""
LIMIT = 180.0
"""Seconds that all of them may take."""


def _registrar(settings: Settings, number: int, topics: int) -> Registrar:
    """Make one server's part: what a Node has for its records, and nothing else of it."""
    matchmaker = make_matchmaker(reactor, settings)
    chance = Random(number)
    sweep = Sweep(reactor, time.monotonic)
    registration = Registration(settings.zmq_target_expire, settings.refresh_interval, lambda: chance.uniform(0.5, 1))
    registrar = Registrar(registration, matchmaker, time.monotonic, sweep.wake_by, Notices(time.monotonic).record)
    sweep.parts = [registrar]
    member, instance = f"host-{number:04}.example.org", f"{number:032x}"
    address = f"tcp://10.0.{number >> 8}.{number & 255}:49152"
    registrar.publish(
        tuple(
            Record(Role.SERVER, "openstack", f"{TOPIC}-{topic}", member, instance, (address,))
            for topic in range(topics)
        )
    )
    return registrar


async def serve(order: Order) -> None:
    numbers = range(order.part, order.members, PROCESSES)
    settings = Settings.from_url(f"{order.address}?zmq_target_update=180")
    registrars: list[Registrar] = []
    for at in range(0, len(numbers), AT_ONCE):
        some = [_registrar(settings, number, order.count) for number in numbers[at : at + AT_ONCE]]
        await gatherResults([registrar.when_current() for registrar in some])
        registrars += some  # which would be collected otherwise
    # So many in one process have so many objects that looking through all of them would be most of the work.
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)
    ready(order.address)


def child_words(module: str, order: Order) -> list[str]:
    """Return the command of a process that a row starts itself."""
    return [sys.executable, "-m", module, "server", order.to_json()]


@contextlib.contextmanager
def crowd(order: Order, url: str) -> Iterator[list[int]]:
    """Start the processes of the crowd; give their ids when all are registered."""
    with contextlib.ExitStack() as stack:
        children = []
        for part in range(PROCESSES):
            part_order = replace(order, part=part, address=url)
            children.append(stack.enter_context(process(child_words("bench.returning", part_order), order.directory)))
        for child in children:
            assert child.stdout is not None
            if not child.stdout.readline():
                raise AssertionError("a process of the crowd died while it started")
        yield [child.pid for child in children]


def _watch(store: Store, everybody: int, own: int) -> Figures:
    """
    Look at the store until everybody has been there for a moment, and tell how it went.

    :param own: how many operations it is to be looked at once.
    """
    begin = time.monotonic()
    samples: list[tuple[float, int]] = []
    back = 0.0
    while not back or time.monotonic() < begin + back + 1:
        due = begin + SAMPLE * len(samples)
        time.sleep(max(0.0, due - time.monotonic()))
        samples.append((time.monotonic(), store.operations() - own * len(samples)))
        held = store.records()
        if not back and held >= everybody:
            back = time.monotonic() - begin
        if not back and time.monotonic() > begin + LIMIT:
            raise AssertionError(f"only {held} of {everybody} are registered again after {LIMIT} s")
    return {"back_s": back, **_peaks(samples, begin + back)}


def _own(store: Store) -> int:
    """Return how many operations it is to look at a store once, nobody else doing much."""
    counts = []
    for _ in range(3):
        before = store.operations()
        store.records()
        counts.append(store.operations() - before)
    return min(counts)


def _peaks(samples: list[tuple[float, int]], end: float) -> Figures:
    """Return how the store's work was spread; `blind_s` is the longest time in which nobody looked at it."""
    begin, first = samples[0]
    seen = [*(sample for sample in samples if sample[0] < end), (end, _done(samples, end))]
    total = seen[-1][1] - first
    steps = max(1, round((end - begin) / SAMPLE))
    # By the time that has passed, and not by the samples: on a busy machine one of them is of several tenths.
    done = [_done(samples, begin + (end - begin) * step / steps) for step in range(steps + 1)]
    width = min(10, steps)
    tenths = [after - before for before, after in pairwise(done)]
    seconds = [sum(tenths[at : at + width]) / width for at in range(steps - width + 1)]
    return {
        "peak": max(seconds) * steps / total,
        "peak_tenth": max(tenths) * steps / total,
        "operations": total,
        "peak_rate": max(seconds) * steps / (end - begin),
        "blind_s": max(after - before for (before, _), (after, _) in pairwise(seen)),
    }


def _done(samples: list[tuple[float, int]], at: float) -> float:
    """Return how much was done by a moment, between two samples in proportion."""
    for (before, less), (after, more) in pairwise(samples):
        if at <= after:
            return less + (more - less) * max(0.0, at - before) / (after - before)
    return samples[-1][1]


def _killed(store: Store, seconds: float) -> None:
    store.kill()
    time.sleep(seconds)
    store.start()


def _emptied(store: Store, _: float) -> None:
    store.empty()


FAULTS: dict[str, Callable[[Store, float], None]] = {"killed": _killed, "emptied": _emptied}


async def call(order: Order) -> None:
    figures: Figures = {}
    with STORES[order.store](order.directory) as store, crowd(order, store.url) as pids:
        everybody = order.members * order.count
        gap = min(GAP, order.seconds)
        time.sleep(gap)
        own = _own(store)
        for name, fault in FAULTS.items():
            used = cpu_seconds(pids)
            fault(store, gap)
            for key, value in _watch(store, everybody, own).items():
                figures[f"{name}_{key}"] = value
            used = cpu_seconds(pids) - used
            figures[f"{name}_cpu_ms"] = used / order.members * 1e3
            # So many servers share so few cores here: near a hundred it is the machine that takes the time.
            figures[f"{name}_busy_percent"] = 100 * used / figures[f"{name}_back_s"] / (os.cpu_count() or 1)
            time.sleep(gap)
    answer(figures)


if __name__ == "__main__":
    play(serve, call)
