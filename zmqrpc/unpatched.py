"""The standard library as it is of itself, where eventlet has put green threads in its place."""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType


def unpatched(name: str) -> ModuleType:
    """
    Return a module of the standard library, with threads of the operating system.

    What blocks in C has to run in such a thread: in a green one it would hold up all of the process. There it waits for
    nothing green, and logs nothing: that takes a lock, which is green too.

    :param name: threading, or another that eventlet patches.
    """
    eventlet = sys.modules.get("eventlet")
    if eventlet is None or not eventlet.patcher.is_monkey_patched("thread"):
        return import_module(name)
    original: ModuleType = eventlet.patcher.original(name)
    return original
