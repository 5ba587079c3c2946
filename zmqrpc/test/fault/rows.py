"""The rows of the bench: what each is, and how one is run."""

from __future__ import annotations

import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as TookTooLong
from twisted.internet.utils import getProcessOutputAndValue
from twisted.python.failure import Failure

from zmqrpc.test.fault.figures import Figure
from zmqrpc.test.fault.nurseries import NurseryOfWorlds, reactor
from zmqrpc.test.fault.world import World
from zmqrpc.test.processes import ENVIRONMENT

STATIC, DYNAMIC, ROUTED = "static-direct", "dynamic-direct", "router-proxy"
PUBLISHED = "static-direct+pub-sub"
CALLS = (STATIC, DYNAMIC, ROUTED)
ALL = (*CALLS, PUBLISHED)
DIRECT = (STATIC, DYNAMIC)

_LONGEST = 600.0
"""Seconds after which a row is given up, beyond those of its fault."""


@attrs.frozen
class Row:
    """
    One row of the catalogue.

    :ivar name: ``T`` and a number, with a letter where a row has several faults.
    :ivar what: setup and fault, in words.
    :ivar topologies: where it applies.
    :ivar seconds: how long its fault lasts.
    :ivar play: does it all; None where tests do.
    :ivar tests: dotted names of tests that prove it.
    """

    name: str
    what: str
    topologies: tuple[str, ...]
    seconds: float
    play: Callable[[World], Coroutine[Deferred[Any], Any, None]] | None = None
    tests: tuple[str, ...] = ()


ROWS: list[Row] = []


def row(name: str, what: str, topologies: tuple[str, ...] = CALLS, seconds: float = 5.0) -> Any:
    """Make a coroutine of a `World` a row."""

    def make(play: Callable[[World], Coroutine[Deferred[Any], Any, None]]) -> Any:
        ROWS.append(Row(name, what, topologies, seconds, play))
        return play

    return make


def proved(name: str, what: str, *tests: str) -> None:
    """Make a row of tests that are there."""
    ROWS.append(Row(name, what, ("as in the test",), 0.0, tests=tests))


async def play(
    row: Row, topology: str, nursery: NurseryOfWorlds, directory: Path, seconds: float | None = None
) -> list[Figure]:
    """Run a row in a topology; return its figures."""
    if row.play is None:
        return [await _run_tests(row.tests)]
    world = World(nursery, directory, topology, row.seconds if seconds is None else seconds)
    try:
        playing: Deferred[None] = Deferred.fromCoroutine(row.play(world))
        await playing.addTimeout(world.seconds + _LONGEST, reactor)
    except Exception as error:
        text = "took too long" if isinstance(error, TookTooLong) else repr(error)
        if not isinstance(error, AssertionError):
            Failure().printTraceback(sys.stderr)
        world.figure("the row could be played", "yes", text, good=False)
    finally:
        world.close()
    return world.figures


async def _run_tests(tests: tuple[str, ...]) -> Figure:
    words = ["-m", "twisted.trial", "--temp-directory", "/run/trial", *tests]
    out, err, code = await getProcessOutputAndValue(sys.executable, words, env=ENVIRONMENT)
    last = (out + err).decode(errors="replace").strip().splitlines()[-20 if code else -1 :]
    # What is skipped proves nothing.
    good = code == 0 and "skips=" not in last[-1]
    return Figure(f"tests: {', '.join(tests)}", "pass", "\n".join(last), good)
