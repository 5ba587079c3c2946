"""A timer of the kernel that a reactor can wait for: Twisted's own wait ends at whole milliseconds."""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IReadDescriptor
from zope.interface import implementer

_LIBC = ctypes.CDLL(None, use_errno=True)
_NONBLOCK_CLOEXEC, _ABSOLUTE = os.O_NONBLOCK | os.O_CLOEXEC, 1


@implementer(IReadDescriptor)
class Alarm:
    """
    Calls back at a moment of the monotonic clock, once each time it is set; Linux's timerfd_create(2).

    :param ring: what is called; it may set the alarm again.
    """

    def __init__(self, reactor: Any, ring: Callable[[], None]) -> None:
        self._ring = ring
        self._descriptor = _LIBC.timerfd_create(time.CLOCK_MONOTONIC, _NONBLOCK_CLOEXEC)
        if self._descriptor < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create failed")
        reactor.addReader(self)

    def set(self, moment: float) -> None:
        seconds, fraction = divmod(moment, 1)
        # Zero would disarm it.
        spec = (ctypes.c_long * 4)(0, 0, int(seconds), int(fraction * 1e9) | 1)
        _LIBC.timerfd_settime(self._descriptor, _ABSOLUTE, spec, None)

    def fileno(self) -> int:
        return int(self._descriptor)

    def doRead(self) -> None:
        os.read(self._descriptor, 8)
        self._ring()

    def connectionLost(self, reason: Any) -> None:
        os.close(self._descriptor)

    def logPrefix(self) -> str:
        return "alarm"
