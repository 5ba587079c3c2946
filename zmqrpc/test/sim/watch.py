"""
What the processes of a simulated system owe each other beside a true answer: that nobody waits, or works, for nothing.

=========================================  ============================================================================
a call                                     ends, or is cancelled, so many seconds after that
=========================================  ============================================================================
runs at an instance that falls silent      its client's ``call_monitor_timeout`` and `NOTICED`
runs, and its time is up                   `CANCELLED_LATE`
runs for a client that was killed          `CANCELLED_GONE`, and `CUT`
=========================================  ============================================================================

Where proxies are between, only the second is judged: when these have gone as well, nobody can know of the others. So is
nothing of processes that have stood meanwhile themselves.
"""

from __future__ import annotations

from collections.abc import Iterator

from zmqrpc.test.sim.endpoint import AGES_WITHIN, Run
from zmqrpc.test.sim.system import System
from zmqrpc.testing.events import Died, Ended, Invoked, Stood

NOTICED = 1.1
"""The second that is promised, and what messages may be under way on the worst of ways."""

CANCELLED_LATE = 1.0 + 0.5 + AGES_WITHIN
"""A second and the time until the next BEAT."""

CANCELLED_GONE = 2.2
"""Two BEATs, and the one that finds it out; and what messages may be under way on the worst of ways."""

CUT = 2.3
"""Seconds more where a way was cut: the first BEAT is held for 1.5 s."""


class Watch:
    """Looks back at the day of a system that has ended."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._asked: dict[object, Invoked] = {}
        self._ended: dict[object, float] = {}
        self._died: dict[str, float] = {}
        self._stood: dict[str, list[Stood]] = {}
        for event in system.history.events:
            match event:
                case Invoked():
                    self._asked[event.id] = event
                case Ended():
                    self._ended[event.id] = event.at
                case Died():
                    self._died[event.instance] = event.at
                case Stood():
                    self._stood.setdefault(event.instance, []).append(event)

    def faults(self) -> Iterator[str]:
        """Say who waited, or ran, for too long."""
        for run in self._system.runs:
            asked = self._asked[run.number]
            if asked.kind == "call":
                yield from self._outlives_its_time(run, asked)
                if not self._system.proxied:
                    yield from self._outlives_its_client(run, asked)
                    yield from self._waits_for_silence(run, asked)

    def _outlives_its_time(self, run: Run, asked: Invoked) -> Iterator[str]:
        over = asked.deadline + CANCELLED_LATE
        # Whose clock has stood cannot know how old a message is.
        clocks_stood = self._stands(asked.client, asked.at, over, True) or self._stands(run.instance, 0.0, over, True)
        if self._runs_beyond(run, over) and not clocks_stood:
            yield f"runs {self._end_of(run) - asked.deadline:.3f} s after its deadline: {asked}; {run}"

    def _outlives_its_client(self, run: Run, asked: Invoked) -> Iterator[str]:
        at = self._died.get(asked.client)
        most = CANCELLED_GONE + CUT * any(map(_cuts, self._system.events))
        if at is not None and self._runs_beyond(run, max(at, run.began) + most):
            yield f"runs {self._end_of(run) - at:.3f} s after its client was killed: {asked}; {run}"

    def _waits_for_silence(self, run: Run, asked: Invoked) -> Iterator[str]:
        patience = self._system.patience[asked.client]
        if not patience or asked.idempotent:
            return
        for stood in self._stood.get(run.instance, ()):
            over = stood.at + patience + NOTICED
            ended = min(self._ended.get(asked.id, over + 1), self._died.get(asked.client, over + 1))
            waits = stood.at >= run.began and over < min(ended, stood.at + stood.seconds, asked.deadline)
            if waits and not self._stands(asked.client, stood.at, over):
                yield f"waits {over - stood.at:.3f} s for who stands since {stood.at:.3f} s: {asked}; {run}"

    def _end_of(self, run: Run) -> float:
        """Return when a method has ended, or its process."""
        ended = self._system.now if run.ended is None else run.ended
        return min(ended, self._died.get(run.instance, ended))

    def _runs_beyond(self, run: Run, over: float) -> bool:
        """Tell whether a method runs longer than it should, at an instance that could have known."""
        return self._end_of(run) > over and not self._stands(run.instance, run.began, over)

    def _stands(self, instance: str, since: float, until: float, clock: bool = False) -> bool:
        """Tell whether an instance stood in a span of time, or its clock did."""
        stands = self._stood.get(instance, ())
        return any(each.clock >= clock and each.at <= until and each.at + each.seconds >= since for each in stands)


def _cuts(event: str) -> bool:
    """Tell whether something was cut."""
    return any(word in event for word in ("cut", "partition", "isolate"))
