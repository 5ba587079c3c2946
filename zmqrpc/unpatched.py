"""The standard library as it is of itself, where eventlet has put green threads in its place."""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType

_PATCHED_AS = {"threading": "thread"}


def threads_are_green() -> bool:
    """Tell whether eventlet has put green threads in the place of those of the system, whatever else it has patched."""
    return _is_patched("thread")


def unpatched(name: str) -> ModuleType:
    """
    Return a module of the standard library, with threads of the operating system.

    What blocks in C has to run in such a thread: in a green one it would hold up all of the process. There it waits for
    nothing green, and logs nothing: that takes a lock, which is green too.

    :param name: threading, or another that eventlet patches.
    """
    if not _is_patched(_PATCHED_AS.get(name, name)):
        return import_module(name)
    original: ModuleType = sys.modules["eventlet.patcher"].original(name)
    return original


def _is_patched(what: str) -> bool:
    # It may be there in part: another thread imports it at this moment.
    is_patched = getattr(sys.modules.get("eventlet.patcher"), "is_monkey_patched", None)
    return is_patched is not None and bool(is_patched(what))
