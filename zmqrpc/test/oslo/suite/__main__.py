"""
Runs oslo.messaging's own functional suite over zmqrpc, for each matchmaker, topology and executor.

::

    python -m zmqrpc.test.oslo.suite                                                      all cells
    python -m zmqrpc.test.oslo.suite --matchmaker redis --topology router-proxy           both executors of one
    python -m zmqrpc.test.oslo.suite --topology pub-sub --test test_fanout                some tests of four

It is the oslo.messaging of this Python that is run; the driver has to be installed beside it. The exit status is 1 when
anything failed, or was skipped that is not to be.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import TextIO

from zmqrpc.test.oslo.suite.cell import EXECUTORS, MATCHMAKERS, TOPOLOGIES, Cell
from zmqrpc.test.oslo.suite.results import LEAST, summary, wrong
from zmqrpc.test.oslo.suite.running import PROCESSES, run

KEEP = Path("build/oslo")


def main(arguments: Sequence[str] | None = None, out: TextIO | None = None) -> int:
    """Run what the command line asks for; return the exit status."""
    out = out or sys.stdout
    parser = argparse.ArgumentParser(prog="python -m zmqrpc.test.oslo.suite", description=__doc__.split("\n")[1])
    parser.add_argument("--matchmaker", choices=MATCHMAKERS, help="only this one")
    parser.add_argument("--topology", choices=TOPOLOGIES, help="only this one")
    parser.add_argument("--executor", choices=EXECUTORS, help="only this one")
    parser.add_argument("--test", action="append", default=[], metavar="TEXT", help="only tests with it in their ids")
    parser.add_argument("--processes", type=int, default=PROCESSES, metavar="N", help="at a time (%(default)s)")
    parser.add_argument("--least", type=int, default=LEAST, metavar="N", help="tests there have to be (%(default)s)")
    parser.add_argument("--keep", type=Path, default=KEEP, metavar="DIRECTORY", help="for what fails (%(default)s)")
    options = parser.parse_args(arguments)
    ours = version("oslo.messaging")
    keep = options.keep.absolute() / ours
    print(f"oslo.messaging {ours}", file=out, flush=True)
    failed = 0
    for cell in product(
        *(
            [chosen] if chosen else every
            for chosen, every in (
                (options.matchmaker, MATCHMAKERS),
                (options.topology, TOPOLOGIES),
                (options.executor, EXECUTORS),
            )
        )
    ):
        began = time.monotonic()
        results = run(Cell(*cell), keep, options.test, options.processes)
        seconds = time.monotonic() - began
        told = wrong(results, 0 if options.test else options.least)
        print(f"{'  '.join(cell)}: {summary(results)} ({seconds:.0f} s)", file=out, flush=True)
        for sentence in told:
            print(f"    {sentence}", file=out, flush=True)
        failed += bool(told)
    if failed:
        print(f"{failed} cell(s) failed; what was said is in {keep}", file=out)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
