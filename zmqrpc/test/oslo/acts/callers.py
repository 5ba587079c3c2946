"""Threads that call often."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from zmqrpc.test.oslo.acts.clients import Clients


class Callers(Clients):
    """Calls often, in several threads."""

    def calls(self, topic: str, count: int, threads: int = 1, method: str = "pid", **whom: Any) -> dict[str, int]:
        """Call often, in several threads; return how often each answer, or error, came."""
        client = self.client(topic, **whom)
        counts: dict[str, int] = {}
        lock = threading.Lock()

        def call() -> None:
            for _ in range(count // threads):
                try:
                    answer = str(client.call({}, method))
                except Exception as error:
                    answer = type(error).__name__
                with lock:
                    counts[answer] = counts.get(answer, 0) + 1

        self.together(call, threads)
        return counts

    def timed(self, topic: str, count: int, threads: int) -> list[Any]:
        """Call often; return the answers, and the seconds that it took."""
        self.calls(topic, 1)
        began = time.monotonic()
        return [self.calls(topic, count, threads), time.monotonic() - began]

    def calls_until(self, topic: str, threads: int, gate: str, method: str = "pid", **whom: Any) -> dict[str, int]:
        """Call in several threads until a gate opens; return how often each answer, or error, came."""
        client = self.client(topic, **whom)
        goes = self.gates.setdefault(gate, threading.Event())

        def call() -> None:
            while not goes.is_set():
                try:
                    answer = str(client.call({}, method))
                except Exception as error:
                    answer = f"{type(error).__name__}: {error}"
                self.counts[answer] = self.counts.get(answer, 0) + 1

        self.together(call, threads)
        return self.counts

    def called(self) -> int:
        return sum(self.counts.values())

    def together(self, act: Callable[[], Any], threads: int) -> None:
        running = [threading.Thread(target=act) for _ in range(threads)]
        for each in running:
            each.start()
        for each in running:
            each.join()

    def call_until(self, topic: str, threads: int, gate: str, **whom: Any) -> dict[str, list[Any]]:
        """Call with a new number each time until a gate opens; return the numbers by outcome, and the most seconds."""
        client = self.client(topic, **whom)
        gone_on = self.gates.setdefault(gate, threading.Event())
        outcomes: dict[str, list[Any]] = {"seconds": [0.0]}
        lock = threading.Lock()
        numbers = iter(range(1_000_000))

        def call() -> None:
            while not gone_on.is_set():
                with lock:
                    number = next(numbers)
                began = time.monotonic()
                try:
                    outcome = client.call({}, "number", value=number)
                except Exception as error:
                    outcome = f"{type(error).__name__}: {error}"
                seconds = time.monotonic() - began
                with lock:
                    outcomes.setdefault(outcome, []).append(number)
                    outcomes["seconds"][0] = max(outcomes["seconds"][0], seconds)
                time.sleep(0.005)

        self.together(call, threads)
        return outcomes
