"""
The part of `zmqrpc.reactor_zmq` that counts what libzmq holds in large messages.

Its high-water marks count messages and no bytes: 150 messages of 4 MiB for one who reads slowly took 588 MB. Small ones
are left to these, and are not counted: so many of them are few bytes.
"""

from __future__ import annotations

import atexit
import os
from collections import deque
from itertools import islice
from typing import Any

import zmq
from zmq.utils import garbage

from zmqrpc.unpatched import unpatched

HIGH_WATER = 1000
"""Messages that libzmq holds at most for one connection, in each direction."""

_LEAST = 4096
_TRACK_ALWAYS = 128 * 1024
"""From here on a message is handed over without a copy, and tracking adds little to what that costs."""


# pyzmq would end its thread at the exit of the process, before others have sent what they send then: it takes no large
# message after that, and lets go of those that libzmq is writing.
atexit.unregister(garbage.gc._atexit)


class Backlog:
    """
    The large messages that the connections of one socket have not taken.

    pyzmq tells by a thread of its own when libzmq has let go of a message, which costs some 30 us for each.

    :param most: how many bytes of them there may be for one connection; a single message may be larger.
    :ivar large: from how many bytes on a message is large: so that `HIGH_WATER` smaller ones are no more than `most`.
    """

    def __init__(self, most: int) -> None:
        _have_system_collect()
        self.large = min(max(most // HIGH_WATER, _LEAST), _TRACK_ALWAYS)
        self._most = most
        self._held: dict[bytes, deque[tuple[zmq.MessageTracker, int]]] = {}

    def __len__(self) -> int:
        """Return of how many connections something is remembered."""
        return len(self._held)

    def is_full(self, identity: bytes, size: int) -> bool:
        """Tell whether a connection has to take something before it gets a message of this size."""
        held = self._held.get(identity)
        return held is not None and (waiting := _waiting(held)) > 0 and waiting + size > self._most

    def frame(self, payload: Any) -> zmq.Frame:
        """
        Make a frame that can be tracked, without a copy.

        :param payload: bytes or a frame of ZeroMQ's.
        """
        return zmq.Frame(payload.buffer if isinstance(payload, zmq.Frame) else payload, track=True, copy=False)

    def add(self, identity: bytes, frame: zmq.Frame, size: int) -> None:
        """Take that a frame of `frame` was written to a connection."""
        held = self._held.pop(identity, None)
        if held is None:
            held = deque()
            self._forget()
        tracker = frame.tracker
        assert tracker is not None
        held.append((tracker, size))
        # Last among them, so that the first are those that were not written to for longest.
        self._held[identity] = held

    def _forget(self) -> None:
        """Look at two, for each that is new: so those of connections that have ended do not add up."""
        for identity in list(islice(self._held, 2)):
            held = self._held.pop(identity)
            if _waiting(held):
                self._held[identity] = held


def _waiting(held: deque[tuple[zmq.MessageTracker, int]]) -> int:
    """Return the bytes that are held yet; libzmq lets go of what it has for a connection in order."""
    while held and held[0][0].done:
        held.popleft()
    return sum(size for _, size in held)


def _have_system_collect() -> None:
    """Have pyzmq tell by a thread of the operating system: it blocks in C, and begins in each fork anew."""
    threading: Any = unpatched("threading")
    if issubclass(garbage.GarbageCollectorThread, threading.Thread):
        return

    class SystemThread(threading.Thread):  # type: ignore[misc]
        run = garbage.GarbageCollectorThread.run

        def __init__(self, gc: garbage.GarbageCollector) -> None:
            super().__init__(daemon=True)
            self.gc, self.pid, self.ready = gc, os.getpid(), threading.Event()

    garbage.GarbageCollectorThread = SystemThread  # type: ignore[misc]
