"""
Measure zmqrpc beside its yardsticks and print the table.

Every row's contenders run in turn, A B A B, each time as fresh processes on tcp loopback; medians are compared.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Sequence

from bench.brokers import ContenderFailed
from bench.processes import Neighbours, measure
from bench.report import as_json, judge, table
from bench.rows import CONTENDERS, MODES, ONCE, ROWS
from bench.telling import end_in_order, tell
from bench.work import Figures


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m bench", description=__doc__)
    parser.add_argument("--rows", metavar="NAME,...", default=",".join(ROWS), help="only these (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="how often each contender runs (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="one short round, to see that it runs; no measurement")
    parser.add_argument(
        "--pin",
        action="store_true",
        help="keep servers on one core and clients on another (not in rows with more than two)",
    )
    parser.add_argument(
        "--nodes",
        type=int,
        metavar="N",
        help="processes in mesh-rabbit (default: 20), servers in discovery-return-STORE (500, with etcd 200)",
    )
    parser.add_argument("--json", metavar="FILE", help="write the figures of every round there too")
    parser.add_argument("--strict", action="store_true", help="exit with status 1 when a row misses its must")
    options = parser.parse_args(argv)
    options.rows = options.rows.split(",")
    if unknown := set(options.rows) - set(ROWS):
        parser.error(f"no such row: {', '.join(sorted(unknown))}; there are {', '.join(ROWS)}")
    if options.quick:
        options.rounds = 1
    return options


def _measure_mode(mode: str, contenders: Sequence[str], options: argparse.Namespace) -> dict[str, list[Figures]]:
    """Run the contenders of one mode in turn; one that fails is told about and left out of the later rounds."""
    figures: dict[str, list[Figures]] = {name: [] for name in contenders}
    # Three processes do not fit on two cores: pinned, NATS would pay for what its server is in the way of.
    several = MODES[mode](options.quick).servers != 1 or any(CONTENDERS[name].broker for name in contenders)
    pin = options.pin and not several
    rounds = 1 if mode in ONCE else options.rounds
    for number in range(1, rounds + 1):
        for name in list(figures):
            contender = CONTENDERS[name]
            try:
                order = MODES[mode](options.quick)
                if options.nodes and order.mode == "mesh":
                    order.servers = options.nodes
                if options.nodes and order.mode == "return":
                    order.members = options.nodes
                got = measure(contender, order, pin=pin)
            except ContenderFailed as error:
                del figures[name]
                print(f"{mode} {name}: {error}", file=sys.stderr, flush=True)
                continue
            figures[name].append(got)
            said = " ".join(f"{k}={v:,.6g}" if isinstance(v, float) else f"{k}={v}" for k, v in got.items())
            print(f"{mode} {number}/{rounds} {name}: {said}", file=sys.stderr, flush=True)
    return figures


def main(argv: Sequence[str]) -> int:
    options = _parse(argv)
    end_in_order()
    wanted: dict[str, list[str]] = defaultdict(list)
    for name in options.rows:
        row = ROWS[name]
        wanted[row.mode] += [who for who in (row.ours, row.yardstick) if who and who not in wanted[row.mode]]
    neighbours = Neighbours()
    measured = {mode: _measure_mode(mode, who, options) for mode, who in wanted.items()}
    busy = neighbours.cores()
    results = [judge(name, ROWS[name], measured[ROWS[name].mode]) for name in options.rows]
    verdicts = (result.verdict for result in results)
    return tell(
        options,
        ("Twisted", "pyzmq", "txZMQ", "nats-py", "uvloop", "oslo.messaging"),
        table(results),
        busy,
        as_json(results),
        measured,
        verdicts,
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
