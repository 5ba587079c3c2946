"""Runs rows one after the other, and prints what came of them."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
import time
from functools import partial
from importlib import import_module
from pathlib import Path
from random import Random
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

import zmqrpc
from zmqrpc.test.fault import misfortune
from zmqrpc.test.fault.figures import Figure
from zmqrpc.test.fault.nurseries import NurseryOfWorlds, reactor
from zmqrpc.test.fault.rows import ROWS, Row, play

for _family in (
    "deaths",
    "stops",
    "stores",
    "starts",
    "networks",
    "floods",
    "strangers",
    "clocks",
    "drains",
    "promises",
):
    import_module(f"zmqrpc.test.fault.{_family}")


def run(options: argparse.Namespace) -> int:
    """Do what the command line says; return the exit status."""
    say = (lambda *_, **__: None) if options.json else _print
    wanted = [(_random(options), [misfortune.TOPOLOGY])] if options.random else _chosen(options)
    if options.list:
        for row, topologies in wanted:
            _print(f"{row.name:5} {row.what} ({', '.join(topologies)})")
        return 0
    zmqrpc.use_monotonic_clock(reactor)
    results: list[dict[str, Any]] = []

    async def all_of_them() -> None:
        nursery = NurseryOfWorlds()
        try:
            for row, topologies in wanted:
                for topology in topologies:
                    results.append(await _one(row, topology, nursery, options, say))
        finally:
            nursery.close()

    def broken(failure: Failure) -> None:
        failure.printTraceback()
        results.append({"good": False, "figures": []})

    def begin() -> None:
        done = Deferred.fromCoroutine(all_of_them())
        done.addErrback(broken).addBoth(lambda _: reactor.stop())

    reactor.callWhenRunning(begin)
    reactor.run()
    bad = [result for result in results if not result["good"]]
    if options.json:
        _print(json.dumps({"seed": options.seed, "results": results}))
    # Seconds of a machine that is busy with other things prove little.
    load = f"{os.getloadavg()[1]:.1f} processes wanted to run on {os.cpu_count()} processors"
    say(f"{len(results)} played, {len(bad)} not as expected; seed {options.seed}; {load}")
    return 1 if bad or not results else 0


def _random(options: argparse.Namespace) -> Row:
    """Return the row of random faults."""
    what = f"random faults for {options.random:g} minutes, seed {options.seed}"
    play = partial(misfortune.play, chance=Random(options.seed))
    return Row("random", what, (misfortune.TOPOLOGY,), options.random * 60, play)


def _chosen(options: argparse.Namespace) -> list[tuple[Row, list[str]]]:
    names = set(filter(None, options.rows.upper().split(",")))
    unknown = names - {row.name.upper() for row in ROWS}
    if unknown:
        raise SystemExit(f"there is no row {', '.join(sorted(unknown))}; --list lists them")
    places = set(filter(None, options.topology.split(",")))
    chosen = []
    for row in sorted(ROWS, key=_place):
        topologies = [name for name in row.topologies if not places or name in places or row.play is None]
        if topologies and (not names or row.name.upper() in names):
            chosen.append((row, topologies))
    return chosen


def _place(row: Row) -> tuple[bool, int]:
    """Return what puts rows in the order of the catalogue, and promises behind them."""
    return not row.name.startswith("T"), int("".join(filter(str.isdigit, row.name)))


async def _one(
    row: Row, topology: str, nursery: NurseryOfWorlds, options: argparse.Namespace, say: Any
) -> dict[str, Any]:
    directory = Path(tempfile.mkdtemp(dir="/run"))
    begin = time.monotonic()
    try:
        figures = await play(row, topology, nursery, directory, options.seconds)
    finally:
        if options.keep:
            shutil.copytree(directory, Path(options.keep) / f"{row.name}-{topology}", dirs_exist_ok=True)
        shutil.rmtree(directory, ignore_errors=True)
    good = bool(figures) and all(figure.good for figure in figures)
    took = time.monotonic() - begin
    say(f"{row.name:5} {topology:22} {'as expected' if good else 'NOT AS EXPECTED':16} {took:6.1f} s  {row.what}")
    for figure in figures:
        say(_line(figure))
    figures_told = [attrs.asdict(figure) for figure in figures]
    return {"row": row.name, "topology": topology, "good": good, "seconds": round(took, 1), "figures": figures_told}


def _line(figure: Figure) -> str:
    mark = " " if figure.good else "!"
    return f"   {mark} {figure.what:58} {figure.expected:>16}   {figure.measured[:2000]}"


def _print(text: str) -> None:
    print(text, flush=True)  # noqa: T201
