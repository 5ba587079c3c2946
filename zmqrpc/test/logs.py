"""What is logged during a test."""

from __future__ import annotations

from typing import Any

from twisted.logger import formatEvent, globalLogPublisher


class LogLines(list[str]):
    """The lines that loggers write during a test: those of zmqrpc, or of one part of it."""

    def __init__(self, case, namespace="zmqrpc"):
        super().__init__()
        self._namespace = namespace
        observe: Any = self._observe
        globalLogPublisher.addObserver(observe)
        case.addCleanup(globalLogPublisher.removeObserver, observe)

    def _observe(self, event):
        if event.get("log_namespace", "").startswith(self._namespace):
            self.append(formatEvent(event))

    def about(self, text):
        return [line for line in self if text in line]
