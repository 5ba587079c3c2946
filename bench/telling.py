"""How a measurement is ended by a signal, and what it says at its end."""

from __future__ import annotations

import json
import os
import platform
import signal
import sys
from argparse import Namespace
from collections.abc import Iterable, Sequence
from importlib import metadata
from typing import Any


def end_in_order() -> None:
    """Have signals unwind the program, which stops what was started."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))


def tell(
    options: Namespace,
    packages: Sequence[str],
    table: str,
    busy: float,
    rows: Any,
    rounds: Any,
    verdicts: Iterable[str],
) -> int:
    """
    Print what was found, write it where ``--json`` says, and return the exit status.

    :param options: with ``quick``, ``json`` and ``strict``.
    :param packages: whose versions are told.
    :param busy: how many cores others used meanwhile.
    :param rows: the verdicts as JSON.
    :param rounds: the figures of each round.
    :param verdicts: ``failed``, or ``MISSED`` where a row misses its must.
    """
    versions = ", ".join(map(_version, packages))
    print(f"{platform.python_implementation()} {platform.python_version()}, {platform.machine()}; {versions}")
    print(table)
    print(
        f"meanwhile others used {busy:.2f} of {os.cpu_count()} cores" + ("; measure again without them" * (busy > 0.2))
    )
    if options.quick:
        print("--quick: one short round each; these are not measurements")
    if options.json:
        with open(options.json, "w") as file:
            json.dump({"versions": versions, "others": busy, "rows": rows, "rounds": rounds}, file, indent=1)
    found = set(verdicts)
    return int("failed" in found or (options.strict and "MISSED" in found))


def _version(name: str) -> str:
    try:
        return f"{name} {metadata.version(name)}"
    except metadata.PackageNotFoundError:
        return f"no {name}"  # not every row needs it
