"""
Measure oslo.messaging on zmqrpc's driver, on RabbitMQ and on ``fake://``, and print the table.

All buses run in turn, A B C A B C, each time as fresh processes; medians are compared.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace

from bench.brokers import ContenderFailed
from bench.oslo.buses import BUSES, USUAL
from bench.oslo.measure import FULL, QUICK, Size, able, measure, needs
from bench.oslo.report import as_json, results, table
from bench.oslo.rows import MEASUREMENTS, OPTIONAL, ROWS
from bench.processes import Neighbours
from bench.telling import end_in_order, tell
from bench.work import Figures


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m bench.oslo", description=__doc__)
    usual = [name for name, row in ROWS.items() if row.measurement not in OPTIONAL]
    parser.add_argument("--rows", metavar="NAME,...", default=",".join(usual), help="only these (default: %(default)s)")
    parser.add_argument(
        "--buses",
        metavar="NAME,...",
        default=",".join(USUAL),
        help=f"of {', '.join(BUSES)} (default: %(default)s)",
    )
    parser.add_argument("--rounds", type=int, default=3, help="how often each bus is measured (default: %(default)s)")
    parser.add_argument("--seconds", type=int, help=f"how long each round sends (default: {FULL.seconds})")
    parser.add_argument("--quick", action="store_true", help="one short round, to see that it runs; no measurement")
    parser.add_argument("--json", metavar="FILE", help="write the figures of every round there too")
    parser.add_argument("--strict", action="store_true", help="exit with status 1 when a row misses its must")
    options = parser.parse_args(argv)
    for name, known in (("rows", ROWS), ("buses", BUSES)):
        asked = getattr(options, name).split(",")
        if unknown := set(asked) - set(known):
            parser.error(f"no such {name}: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
        setattr(options, name, asked)
    if options.quick:
        options.rounds = 1
    return options


def _said(figures: Figures) -> str:
    short = {name: value for name, value in figures.items() if not isinstance(value, list)}
    return " ".join(f"{k}={v:,.6g}" if isinstance(v, float) else f"{k}={v}" for k, v in short.items())


def _measure(name: str, options: argparse.Namespace, size: Size) -> dict[str, list[Figures]]:
    """Measure all buses in turn; one that fails is told about and left out of the later rounds."""
    measurement = MEASUREMENTS[name]
    measured: dict[str, list[Figures]] = {bus: [] for bus in options.buses if able(measurement, BUSES[bus])}
    failed = set()
    for number in range(1, options.rounds + 1):
        for bus, got in measured.items():
            if bus in failed:
                continue
            try:
                got.append(measure(measurement, BUSES[bus], size))
            except ContenderFailed as error:
                failed.add(bus)
                got.clear()
                print(f"{name} {bus}: {error}", file=sys.stderr, flush=True)
                continue
            print(f"{name} {number}/{options.rounds} {bus}: {_said(got[-1])}", file=sys.stderr, flush=True)
    return measured


def main(argv: Sequence[str]) -> int:
    options = _parse(argv)
    end_in_order()
    size = QUICK if options.quick else FULL
    if options.seconds:
        size = replace(size, seconds=options.seconds)
    wanted = list(dict.fromkeys(ROWS[name].measurement for name in options.rows))
    try:
        needs([MEASUREMENTS[name] for name in wanted])
    except ContenderFailed as error:
        print(error, file=sys.stderr)
        return 1
    neighbours = Neighbours()
    measured = {name: _measure(name, options, size) for name in wanted}
    busy = neighbours.cores()
    found = results(options.rows, options.buses, measured)
    verdicts = (result.verdict for result in found)
    return tell(
        options,
        ("oslo.messaging", "eventlet", "Twisted", "pyzmq"),
        table(found),
        busy,
        as_json(found),
        measured,
        verdicts,
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
