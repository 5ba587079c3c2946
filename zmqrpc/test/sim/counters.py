"""
What was lost in a simulated system, held against what its processes have counted (the third promise).

A process counts more than is lost to others, as what it refuses its caller is told as well. It never counts less. What
died with a process cannot be counted, and what a client has published before the first or after the last that came
nobody can tell from what was not for him (:doc:`/adr/0032-fan-outs-are-had-or-counted`).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

from zmqrpc.test.sim.system import System
from zmqrpc.testing import MemoryNode
from zmqrpc.testing.events import Died, Ended, Invoked, Ran

_REFUSED = ("expired", "expired_acknowledged", "overloaded", "draining", "not_served", "fanout_refused")
"""What becomes of a fan-out that arrives, and does not run."""


class Lost:
    """Looks back at the day of a system that has ended."""

    def __init__(self, system: System) -> None:
        self._nodes: dict[str, MemoryNode] = {node.instance.hex(): node for node in system.network.nodes}
        self._asked: dict[object, Invoked] = {}
        self._ran: defaultdict[object, set[str]] = defaultdict(set)
        self._died: dict[str, float] = {}
        self._ended: list[Ended] = []
        for event in system.history.events:
            match event:
                case Invoked():
                    self._asked[event.id] = event
                case Ran():
                    self._ran[event.id].add(event.instance)
                case Ended():
                    self._ended.append(event)
                case Died():
                    self._died[event.instance] = event.at

    def faults(self) -> Iterator[str]:
        """Say what was lost and not counted."""
        yield from self._acknowledged()
        yield from self._published()

    def _acknowledged(self) -> Iterator[str]:
        """Look at casts and fan-outs that were acknowledged, and did not run."""
        lost = []
        for ended in self._ended:
            asked, ran = self._asked[ended.id], self._ran[ended.id]
            if asked.kind not in ("cast", "fanout"):
                continue
            for told in ended.told:
                missing = told.instance not in ran if told.instance else not ran
                if told.verdict == "ok" and missing and not self._died_with(told.instance, asked):
                    lost.append(ended.id)
        counted = sum(node.notices.counts["expired_acknowledged"] for node in self._nodes.values())
        if len(lost) > counted:
            yield f"acknowledged and not run: {lost}, and {counted} are counted (expired_acknowledged)"

    def _died_with(self, instance: str, asked: Invoked) -> bool:
        """Tell whether something may have died with the one that had it, any where that is not known."""
        died = [self._died.get(instance, 0.0)] if instance else self._died.values()
        return any(at >= asked.at for at in died)

    def _published(self) -> Iterator[str]:
        """Look at what was published for those who live, and did not run there."""
        published: defaultdict[tuple[str, str], list[object]] = defaultdict(list)
        for ended in sorted(self._ended, key=lambda ended: self._asked[ended.id].at):
            asked = self._asked[ended.id]
            for told in ended.told if asked.kind == "fanout" else ():
                if told.verdict == "published" and told.instance not in self._died:
                    published[told.instance, asked.client].append(ended.id)
        lost: Counter[str] = Counter()
        for (instance, _), ids in published.items():
            came = [place for place, id in enumerate(ids) if instance in self._ran[id]]
            if came:
                lost[instance] += came[-1] + 1 - came[0] - len(came)
        for instance, number in lost.items():
            counts = self._nodes[instance].notices.counts
            if number > (counted := counts["fanout_missed"] + sum(counts[name] for name in _REFUSED)):
                yield f"{instance[:8]} has missed {number} fan-outs, and counted {counted}"
