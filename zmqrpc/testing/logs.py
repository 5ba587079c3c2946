"""What is logged during a test."""

from __future__ import annotations

from typing import Any

from twisted.logger import LogEvent, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase


class LogLines(list[str]):
    """
    The lines that loggers write during a test: those of zmqrpc, or of one part of it.

    :param case: the test.
    :param namespace: how the namespace of the loggers begins: module and class.
    """

    def __init__(self, case: SynchronousTestCase, namespace: str = "zmqrpc") -> None:
        super().__init__()
        self._namespace = namespace
        observe: Any = self._observe
        globalLogPublisher.addObserver(observe)
        case.addCleanup(globalLogPublisher.removeObserver, observe)

    def _observe(self, event: LogEvent) -> None:
        if event.get("log_namespace", "").startswith(self._namespace):
            self.append(formatEvent(event))

    def about(self, text: str) -> list[str]:
        """Return those with a text in them."""
        return [line for line in self if text in line]
