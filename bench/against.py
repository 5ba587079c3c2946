"""
Measure this checkout beside an earlier commit of it, in turn: ``python -m bench.against COMMIT``.

The earlier one runs as its own benchmark runs it. This one runs as it is deployed: settings from a file, Redis, and a
log that is written. The installed libraries are the same for both.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench.processes import ROOT, Neighbours, measure
from bench.report import summarise
from bench.rows import CONTENDERS, MODES

FIGURES = {"window-1000": "rate", "window-100": "rate", "casts": "rate", "one": "p50_us"}


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser("python -m bench.against", description=__doc__)
    parser.add_argument("commit", help="what to compare with")
    parser.add_argument("--modes", default="window-1000", help=f"of {', '.join(FIGURES)} (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="how often each runs (default: %(default)s)")
    parser.add_argument("--plain", action="store_true", help="this checkout with SQLite and no log, as the other")
    options = parser.parse_args(argv)
    if unknown := set(options.modes.split(",")) - set(FIGURES):
        parser.error(f"no such mode: {', '.join(sorted(unknown))}; there are {', '.join(FIGURES)}")
    ours = CONTENDERS["zmqrpc" if options.plain else "zmqrpc-deployed"]
    theirs = CONTENDERS["zmqrpc"]
    neighbours = Neighbours()
    with tempfile.TemporaryDirectory(prefix="zmqrpc-against-") as directory:
        tree = Path(directory, "tree")
        subprocess.run(["git", "worktree", "add", "--quiet", "--detach", tree, options.commit], cwd=ROOT, check=True)
        try:
            for mode in options.modes.split(","):
                before: list[float] = []
                now: list[float] = []
                for number in range(options.rounds):
                    pair = [(theirs, tree, before), (ours, ROOT, now)]
                    # Whoever is second finds the machine as the first has left it.
                    for who, root, figures in pair if number % 2 else reversed(pair):
                        got = measure(who, MODES[mode](False), root=root)
                        figures.append(got[FIGURES[mode]])
                    print(
                        f"{mode} {number + 1}: {before[-1]:,.0f} then, {now[-1]:,.0f} now", file=sys.stderr, flush=True
                    )
                ratios = [b / a for a, b in zip(before, now, strict=True)]
                print(
                    f"{mode}: {summarise(before).median:,.0f} then, {summarise(now).median:,.0f} now, "
                    f"ratio {summarise(now).median / summarise(before).median:.3f} "
                    f"(rounds {min(ratios):.2f}..{max(ratios):.2f}, their median {summarise(ratios).median:.3f})"
                )
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", tree], cwd=ROOT, check=True)
    print(f"meanwhile others used {neighbours.cores():.2f} cores")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
