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


def unread(pid: int) -> int:
    """Return how many bytes were sent to its ports and are not read, also by who is not accepted yet, or has gone."""
    ports = listening(pid)
    rows = (words for words in _tables(pid) if words[3] != _LISTENS and _port(words[1]) in ports)
    return sum(int(words[4].partition(":")[2], 16) for words in rows)


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
    for words in _tables(pid):
        if f"socket:[{words[9]}]" in mine:
            yield words[1], words[2], words[3]


def _tables(pid: int) -> Iterator[list[str]]:
    for table in ("tcp", "tcp6"):
        yield from map(str.split, Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:])
