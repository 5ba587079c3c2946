"""
Runs thousands of simulated systems, and says what was broken in them.

::

    python -m zmqrpc.test.sim [--seeds N] [--from S]    N seeds from S on, in all processors
    python -m zmqrpc.test.sim --seed S [--verbose]      one of them again

The exit status is 1 when a promise was broken.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from itertools import count
from time import monotonic
from typing import Any, TextIO

from twisted.logger import globalLogBeginner

from zmqrpc.test.sim.pool import Verdict, tell, tell_all

SEEDS = 10_000
_EVERY = 2.0
"""Seconds between two lines of progress."""


def main(arguments: Sequence[str] | None = None, out: TextIO | None = None) -> int:
    """Run what the command line asks for; return the exit status."""
    out = out or sys.stdout
    parser = argparse.ArgumentParser(prog="python -m zmqrpc.test.sim", description=__doc__.split("\n")[1])
    parser.add_argument("--seeds", type=_number, default=SEEDS, metavar="N", help="how many (%(default)s)")
    parser.add_argument("--from", type=_number, default=0, metavar="S", dest="first", help="the first (%(default)s)")
    parser.add_argument("--seed", type=_number, metavar="S", help="only this one, here and now")
    parser.add_argument("--verbose", action="store_true", help="with --seed: tell what happened")
    options = parser.parse_args(arguments)
    if options.verbose and options.seed is None:
        parser.error("--verbose tells of one seed; give --seed S")
    # Nobody reads what thousands of nodes have to say; what must not be logged, stories listen for themselves.
    observer: Any = bool
    globalLogBeginner.beginLoggingTo([observer], redirectStandardIO=False, discardBuffer=True)
    if options.seed is not None:
        return _run_one(options.seed, options.verbose, out)
    return _run_many(options.first, options.seeds, out)


def _number(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{number} is below 0")
    return number


def _run_one(seed: int, verbose: bool, out: TextIO) -> int:
    told = tell(seed, verbose)
    for line in (*told.events, *told.history):
        print(line, file=out)
    _print_violations(told, out, replay=False)
    print(f"seed {seed}: {len(told.violations) or 'no'} violations", file=out)
    return 1 if told.violations else 0


def _run_many(first: int, seeds: int, out: TextIO) -> int:
    began = shown = monotonic()
    broken = 0
    for done, told in zip(count(1), tell_all(range(first, first + seeds)), strict=False):
        if told.violations:
            broken += 1
            _print_violations(told, out)
        now = monotonic()
        if now - shown >= _EVERY or done == seeds:
            shown = now
            rate = done / (now - began)
            print(f"{done} of {seeds} seeds, {rate:.1f} a second, {broken} with violations", file=out, flush=True)
    return 1 if broken else 0


def _print_violations(told: Verdict, out: TextIO, replay: bool = True) -> None:
    for violation in told.violations:
        print(f"seed {told.seed}: {violation}", file=out)
    if replay:
        print(f"  again: python -m zmqrpc.test.sim --seed {told.seed} --verbose", file=out, flush=True)


if __name__ == "__main__":
    sys.exit(main())
