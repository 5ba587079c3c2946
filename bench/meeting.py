"""
Many processes that call one another: how they begin and end together, whoever they are, and what they make in all.

They meet through files in the directory of the contender. As a client this sums up: it tells all to reach one another,
then from when to go on, and adds up what each has done.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle
from operator import sub
from pathlib import Path

from bench.work import Figures, Order, answer, cpu_seconds, run

POLL = 0.02
"""Seconds between two looks whether a file is there; nobody looks while it is measured."""


@dataclass(frozen=True)
class Span:
    """When all call (from `begin` to `end`), and which of it counts."""

    begin: float
    count_from: float
    count_to: float
    end: float


class Meeting:
    """What one process says to the others, and hears from them."""

    def __init__(self, order: Order) -> None:
        self._directory = Path(order.directory)
        self._order = order

    def say(self, word: str, value: object = None) -> None:
        """Tell a value under a word, once."""
        unfinished = self._directory / f".{word}.{os.getpid()}"
        unfinished.write_text(json.dumps(value))
        unfinished.rename(self._directory / word)

    def heard(self, word: str) -> bool:
        return (self._directory / word).exists()

    def read(self, word: str) -> object:
        return json.loads((self._directory / word).read_text())

    def wait(self, word: str) -> object:
        """Wait until somebody has said it, and return the value."""
        while not self.heard(word):
            time.sleep(POLL)
        return self.read(word)

    def span(self) -> Span:
        """Return the times that all agreed on; it must have been heard."""
        begin = self.read("begin")
        assert isinstance(begin, float)
        count_from = begin + self._order.seconds / 4
        count_to = count_from + self._order.seconds
        # All go on for a while, so that the last ones are counted under the same load.
        return Span(begin, count_from, count_to, count_to + 0.25)


def others(order: Order) -> list[str]:
    """Return the members that one node calls, all but itself, beginning behind itself."""
    return [f"n-{(order.part + step) % order.servers}" for step in range(1, order.servers)]


def in_turn(order: Order) -> Iterator[str]:
    return cycle(others(order))


def call(order: Order) -> None:
    meeting = Meeting(order)
    parts = range(order.servers)
    meeting.say("go")
    for part in parts:
        meeting.wait(f"warm-{part}")
    meeting.say("begin", time.monotonic() + 0.3)
    span = meeting.span()
    used = []
    for moment in span.count_from, span.count_to:
        time.sleep(max(0.0, moment - time.monotonic()))
        used.append((time.monotonic(), cpu_seconds([*order.pids, *order.brokers]), cpu_seconds(order.brokers)))
    counts = [meeting.wait(f"done-{part}") for part in parts]
    calls = sum(count for count in counts if isinstance(count, int))
    elapsed, cpu, brokers = map(sub, used[1], used[0])
    rate = calls / order.seconds
    figures: Figures = {
        "rate": rate,
        "calls": calls,
        "nodes": order.servers,
        "fewest": min(map(str, counts), key=int),
        "cpu_us": cpu / elapsed / rate * 1e6,
        "broker_us": brokers / elapsed / rate * 1e6,
    }
    answer(figures)


def nobody(order: Order) -> None:
    raise SystemExit("a meeting has no server of its own")


if __name__ == "__main__":
    run(nobody, call)
