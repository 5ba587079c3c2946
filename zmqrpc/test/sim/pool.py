"""Stories of many seeds, in all processors."""

from __future__ import annotations

import gc
import os
import signal
import traceback
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import attrs

from zmqrpc.test.sim.alarms import Alarms
from zmqrpc.test.sim.churn import Churn
from zmqrpc.test.sim.story import Story

CHURN_EVERY = 200
"""Of so many seeds the last is a `Churn`, which takes as long as fifteen stories."""

HANGS_AFTER = 60
"""Seconds of real time after which a seed is given up, which takes well under one."""


@attrs.frozen
class Verdict:
    """
    What a seed brought.

    :ivar violations: a sentence each.
    :ivar events: what befell whom, for ``--verbose``.
    :ivar history: what was asked, what ran and what was told, likewise.
    """

    seed: int
    violations: list[str]
    events: list[str] = attrs.field(factory=list)
    history: list[str] = attrs.field(factory=list)


class _Hangs(BaseException):
    """A story does not end."""


def tell(seed: int, verbose: bool = False) -> Verdict:
    """Run the story of a seed."""
    with Alarms() as alarms:
        told = _tell(seed, verbose)
    told.violations.extend(alarms.texts)
    return told


def _tell(seed: int, verbose: bool) -> Verdict:
    story: Story | Churn | None = None
    try:
        story = Churn(seed) if seed % CHURN_EVERY == CHURN_EVERY - 1 else Story(seed)
        story.run()
        violations = story.verdict()
    except Exception:
        violations = [f"raised: {traceback.format_exc()}"]
    except _Hangs:
        violations = [f"hangs: {traceback.format_exc(limit=-8)}"]
    if story is None or not verbose:
        return Verdict(seed, violations)
    return Verdict(seed, violations, story.events, [str(event) for event in story.history.events])


def tell_all(seeds: Iterable[int], processes: int | None = None) -> Iterator[Verdict]:
    """
    Run the stories of many seeds, and yield them as they end.

    :param processes: how many at once; None for one in each processor.
    """
    with ProcessPoolExecutor(processes or os.cpu_count(), initializer=_begin) as pool:
        yield from pool.map(_tell_within, seeds, chunksize=10)


def _begin() -> None:
    # Ctrl-C is for who started them.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, _hang)
    # What each story collects then is its own, which takes a tenth of the time.
    gc.freeze()


def _hang(number: int, frame: Any) -> None:
    raise _Hangs


def _tell_within(seed: int) -> Verdict:
    signal.alarm(HANGS_AFTER)
    try:
        return tell(seed)
    finally:
        signal.alarm(0)
