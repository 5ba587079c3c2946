"""
What became of calls, and whether that keeps the promises: the judge of the soak.

It is told what callers saw and what servers ran, and knows nothing of how either came about.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any

import attrs

SLACK = 1.0
"""Seconds after its deadline at which a call must have ended."""

LATENESS = 0.15
"""
Seconds after its deadline until which a method may begin.

The server knows how long a message was under way less the way of the fastest one it had from that client; the slowest
HELLO it may begin with took 100 ms. The rest is for a machine that is busy between the look at the clock and the
method.
"""


@attrs.define
class Sent:
    """
    A call or cast, as its caller saw it.

    :ivar ends: when it ended, each time it did.
    :ivar result: the instance that answered, hex; None when it failed or is a cast.
    :ivar error: the name of the error it failed with, empty when it did not.
    :ivar maybe_executed: what the error says.
    :ivar addressed: the beginning of the instance that the error says had it, hex; empty when none had.
    """

    number: int
    is_call: bool
    deadline: float
    ends: list[float] = attrs.Factory(list)
    result: str | None = None
    error: str = ""
    maybe_executed: bool = True
    addressed: str = ""


@attrs.frozen
class Run:
    """One execution, as its server wrote it down."""

    number: int
    at: float
    instance: str


def judge(sent: Iterable[Sent], runs: Iterable[Run]) -> list[str]:
    """Return every broken promise, as a sentence."""
    faults: list[str] = []
    by_number: dict[int, list[Run]] = defaultdict(list)
    for run in runs:
        by_number[run.number].append(run)
    known = set()
    for one in sent:
        known.add(one.number)
        faults += (
            f"{one.number} {fault}: {one} {by_number[one.number]}" for fault in _faults(one, by_number[one.number])
        )
    faults += (f"{number} was run and never sent" for number in by_number.keys() - known)
    return faults


def _faults(one: Sent, runs: list[Run]) -> Iterable[str]:
    if len(one.ends) != 1:
        yield f"ended {len(one.ends)} times"
    if one.ends and one.ends[0] > one.deadline + SLACK:
        yield f"ended {one.ends[0] - one.deadline:.3f} s after its deadline"
    if len(runs) > 1:
        yield f"was run {len(runs)} times"
    if one.error and not one.maybe_executed and runs:
        yield "was run, and its caller was told that it was not"
    if one.is_call and not one.error and one.ends and len(runs) != 1:
        yield f"returned, and was run {len(runs)} times"
    for run in runs:
        if one.result is not None and run.instance != one.result:
            yield "was answered by another instance than ran it"
        if not run.instance.startswith(one.addressed):
            yield "was run by another instance than it was addressed to"
        if run.at > one.deadline + LATENESS:
            yield f"was run {run.at - one.deadline:.3f} s after its deadline"


def summary(sent: Iterable[Sent], runs: Iterable[Run]) -> dict[str, Any]:
    """Return the figures worth printing."""
    sent, runs = list(sent), list(runs)
    deadlines = {one.number: one.deadline for one in sent}
    late = [run.at - deadlines[run.number] for run in runs if run.at > deadlines.get(run.number, run.at)]
    return {
        "sent": len(sent),
        "ran": len(runs),
        "ends": dict(Counter(one.error or "answered" for one in sent)),
        "worst_overrun_ms": round(max((end - one.deadline for one in sent for end in one.ends), default=0) * 1e3, 1),
        "ran_late": len(late),
        "worst_late_run_ms": round(max(late, default=0) * 1e3, 1),
    }
