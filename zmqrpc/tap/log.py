"""The log as JSON: ``--log-format json``; ``twistd --logger zmqrpc.tap.log.json_observer`` for application files."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from math import isfinite
from typing import Any, TextIO, cast

from twisted.logger import FileLogObserver, LogEvent, formatEvent
from twisted.python.failure import Failure
from twisted.python.reflect import safe_str

__all__ = ["json_line", "json_observer"]

_OURS = ("time", "level", "namespace", "message", "failure")
_LEGACY = ("time", "message", "format", "system", "isError")
"""What observers of the old kind add to every event."""


def json_observer() -> FileLogObserver:
    """Return an observer that writes to standard output; what ``--logger`` of `twistd` takes."""
    return FileLogObserver(cast(TextIO, sys.__stdout__), json_line)


def json_line(event: LogEvent) -> str:
    """
    Write an event as one JSON object on one line, in ASCII.

    ``time`` (ISO 8601, UTC), ``level``, ``namespace`` and ``message`` come first, then what the event has beside its
    text: numbers, texts, booleans and lists of these as they are, bytes in hex, anything else as its text. A name that
    is one of ours gets an underscore behind it. ``failure`` has ``type``, ``text`` and ``traceback`` of what was
    raised.
    """
    level = event.get("log_level")
    line: dict[str, Any] = {
        "time": datetime.fromtimestamp(event.get("log_time", 0.0), UTC).isoformat(timespec="microseconds"),
        "level": level.name if level is not None else "info",
        "namespace": event.get("log_namespace", ""),
        "message": formatEvent(event),
    }
    for name, value in event.items():
        if not name.startswith("log_") and name not in _LEGACY:
            line[f"{name}_" if name in _OURS else name] = _plain(value)
    failure = event.get("log_failure")
    if isinstance(failure, Failure):
        line["failure"] = {
            "type": failure.type.__qualname__ if failure.type is not None else "",
            "text": safe_str(failure.value),
            "traceback": failure.getTraceback(),
        }
    return json.dumps(line) + "\n"


def _plain(value: Any) -> Any:
    return [_one(item) for item in value] if isinstance(value, (list, tuple)) else _one(value)


def _one(value: Any) -> Any:
    if value is None or type(value) in (bool, int, str) or (type(value) is float and isfinite(value)):
        return value
    return value.hex() if isinstance(value, bytes) else safe_str(value)
