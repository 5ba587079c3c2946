"""``python -m zmqrpc.test.fault``: the bench."""

from __future__ import annotations

import argparse
import os
import sys

from zmqrpc.test.fault.private import Missing, enter, furnish, is_inside


def parser() -> argparse.ArgumentParser:
    """Return what reads the command line."""
    made = argparse.ArgumentParser(prog="python -m zmqrpc.test.fault", description="Run the fault bench.")
    made.add_argument("--rows", default="", help="some rows only: T1,T15")
    made.add_argument("--topology", default="", help="some topologies only: static-direct,router-proxy")
    made.add_argument("--seconds", type=float, help="how long faults last, where a row leaves that open")
    made.add_argument("--random", type=float, metavar="MINUTES", help="random faults instead of rows")
    made.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "big"), help="of what is random")
    made.add_argument("--keep", metavar="DIRECTORY", help="where logs and histories are left")
    made.add_argument("--json", action="store_true", help="print the results as one JSON document")
    made.add_argument("--list", action="store_true", help="list the rows")
    return made


def main() -> int:
    """Run it; return the exit status: 0 when all is as expected, 1 when it is not, 2 when it could not be run."""
    options = parser().parse_args()
    try:
        if not is_inside() and not options.list:
            return enter([*sys.argv[1:], f"--seed={options.seed}"])
        from zmqrpc.test.fault.bench import run

        if not options.list:
            furnish()
        return run(options)
    except Missing as missing:
        print(missing, file=sys.stderr)  # noqa: T201
        return 2


if __name__ == "__main__":
    sys.exit(main())
