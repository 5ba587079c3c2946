"""The thread that a process began with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def in_main(act: Callable[..., Any]) -> Callable[..., Any]:
    """Have an act run in the thread that the process began with, since a fork has no other."""
    act.in_main = True  # type: ignore[attr-defined]
    return act
