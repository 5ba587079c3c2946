"""
Forks that call, serve, or do neither, and leave: ``python -m zmqrpc.test.oslo.leaving URL [eventlet [spawn]]``.

With ``spawn`` another green thread forks than the first one. The parent has called and served, and does so meanwhile.
It prints of each what the fork did, how it left, the seconds that this took from the moment when it began to leave,
without those for which it had no processor, and its status.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from itertools import product
from typing import Any

TOPIC = "leaving"
STATUS = 3


def _raise() -> None:
    raise ValueError("it leaves so")


WAYS: dict[str, Callable[[], object]] = {
    "sys.exit": lambda: sys.exit(STATUS),
    "os._exit": lambda: os._exit(STATUS),
    "exception": _raise,
    "signal": lambda: os.kill(os.getpid(), signal.SIGTERM),
}
"""How forks leave, by name."""

DEEDS: dict[str, Callable[[Any], object]] = {
    "nothing": lambda acts: None,
    "calls": lambda acts: acts.call(TOPIC, "name", timeout=10),
    "serves": lambda acts: acts.serve("own", f"fork{os.getpid()}"),
}
"""What they do before, by name."""


def _used(pid: int) -> float:
    """Return the time, less that for which the first thread of a process has waited for a processor; in seconds."""
    with open(f"/proc/{pid}/schedstat") as told:
        return time.monotonic() - int(told.read().split()[1]) / 1e9


def main(url: str, *words: str) -> None:
    """Be the parent, and the forks."""
    if words:
        import eventlet

        eventlet.monkey_patch()
    from zmqrpc.test.oslo.acts import Acts

    acts = Acts(url, bool(words))
    acts.call(TOPIC, "name", timeout=10)
    acts.serve("own", "parent")
    told = eventlet.spawn(_told, acts).wait() if "spawn" in words else _told(acts)
    print(json.dumps(told))  # noqa: T201


def _told(acts: Any) -> list[Any]:
    told = []
    for deed, way in product(DEEDS, WAYS):
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(read)
            DEEDS[deed](acts)
            os.write(write, json.dumps(_used(os.getpid())).encode())
            WAYS[way]()
            os._exit(9)
        os.close(write)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        ended = _used(pid)
        _, status = os.waitpid(pid, 0)
        began = json.loads(os.read(read, 100) or b"0")
        os.close(read)
        told.append([deed, way, ended - began, os.waitstatus_to_exitcode(status)])
        acts.call(TOPIC, "name", timeout=10)
    return told


if __name__ == "__main__":
    main(*sys.argv[1:])
