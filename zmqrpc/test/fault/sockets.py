"""The TCP sockets of a process, as the kernel lists them: IPv4 and IPv6, and no others of its host."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_LISTENS, _ESTABLISHED = "0A", "01"


def listening(pid: int) -> list[int]:
    """Return the ports at which it listens, in order."""
    return sorted({_port(local) for local, _, state in _of(pid) if state == _LISTENS})


def connections(pid: int) -> set[tuple[str, str]]:
    """Return both ends of each of its connections, as the kernel writes them."""
    return {(local, remote) for local, remote, state in _of(pid) if state == _ESTABLISHED}


def accepted(pid: int) -> int:
    """Return how many connections were made to it."""
    ports = listening(pid)
    return sum(_port(local) in ports for local, _ in connections(pid))


def _port(end: str) -> int:
    return int(end.rpartition(":")[2], 16)


def _of(pid: int) -> Iterator[tuple[str, str, str]]:
    mine = set()
    for name in os.listdir(f"/proc/{pid}/fd"):
        with suppress(OSError):
            mine.add(os.readlink(f"/proc/{pid}/fd/{name}"))
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            words = line.split()
            if f"socket:[{words[9]}]" in mine:
                yield words[1], words[2], words[3]
