"""Failures that are logged while a story is told, and that nobody asked for."""

from __future__ import annotations

import gc
from types import TracebackType
from typing import Any, Self

from twisted.logger import ILogObserver, globalLogPublisher
from zope.interface import implementer

from zmqrpc.errors import RemoteError


@implementer(ILogObserver)
class Alarms:
    """
    Listens to the log, as a context manager.

    Twisted logs a failure that nobody has looked at when it is collected. So nothing is collected before the end, and
    all of it there: in no other story.

    :ivar texts: a traceback each.
    """

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._collects = gc.isenabled()

    def __call__(self, event: Any) -> None:
        """Take a log event; what methods raise because they are asked to is left out."""
        failure = event.get("log_failure")
        if failure is not None and failure.check(RemoteError) is None:
            self.texts.append(f"logged: {failure.getTraceback()}")

    def __enter__(self) -> Self:
        """Begin to listen."""
        gc.disable()
        globalLogPublisher.addObserver(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Listen to the last."""
        gc.collect()
        globalLogPublisher.removeObserver(self)
        if self._collects:
            gc.enable()
