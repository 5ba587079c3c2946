"""Starts the processes of one row after the other, and hears what they tell."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

from twisted.internet import reactor as _reactor

from zmqrpc.test.fault.processes import Child
from zmqrpc.test.integration.nursery import Nursery
from zmqrpc.test.processes import ENVIRONMENT

reactor: Any = _reactor


class NurseryOfWorlds:
    """Forks the processes of one row after the other."""

    def __init__(self) -> None:
        self._nursery = self._make()
        self._children: dict[tuple[int, int], Child] = {}

    def _make(self, environment: dict[str, str] | None = None) -> Nursery:
        ids: list[int] = []

        def told(facts: dict[str, Any]) -> None:
            child = self._children.get((ids[0], facts["child"]))
            if child is not None:
                child.hear(facts, time.monotonic())

        environment = {**ENVIRONMENT, **(environment or {})}
        nursery = Nursery(reactor, "zmqrpc.test.fault.children", told, environment)
        ids.append(id(nursery))
        return nursery

    def another(self, environment: dict[str, str]) -> Nursery:
        """Make one whose children have another environment; the caller closes it."""
        return self._make(environment)

    def start(self, child: Child, nursery: Nursery | None, children: list[Child]) -> Child:
        """Start a child, in a nursery of its own or in the usual one."""
        nursery = nursery or self._nursery
        child.number = nursery.start(kind=child.kind, host=child.host, output=child.output, **child.order)
        self._children[id(nursery), child.number] = child
        children.append(child)
        return child

    def end_all(self, children: list[Child]) -> None:
        """Kill what still runs of these."""
        for child in children:
            if child.runs and child.pid:
                try:
                    os.kill(child.pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue

    def close(self) -> None:
        """End it and its children."""
        self._nursery.close()
