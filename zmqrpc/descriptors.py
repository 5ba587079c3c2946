"""How many file descriptors this process has open and may have; its log tells before there are none left."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable
from errno import EMFILE, ENFILE

from zmqrpc.core.agenda import NEVER
from zmqrpc.notices import Notices

LOOK_SECONDS = 10.0
_HIGH = 0.95
_DIRECTORY = "/proc/self/fd"


def descriptors() -> tuple[int, int] | None:
    """Return how many are open, and how many may be; None where there is no limit, or the system does not say."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if most == resource.RLIM_INFINITY:
        return None
    try:
        # Linux from 6.2 on; else one of those that are listed is that of the directory itself.
        used = os.stat(_DIRECTORY).st_size or len(os.listdir(_DIRECTORY)) - 1
    except OSError as error:
        if error.errno not in (EMFILE, ENFILE):
            return None
        used = most
    # The limit may have been lowered to less than there were.
    return min(used, most), most


class DescriptorWatch:
    """
    Looks every `LOOK_SECONDS` how many descriptors there are, and counts and logs it when that is 95 % or more.

    :param look: tells, as `descriptors`.
    :ivar wake_at: when `sweep` has to be called next.
    """

    def __init__(self, notices: Notices, look: Callable[[], tuple[int, int] | None] = descriptors) -> None:
        self.wake_at = -NEVER
        self._notices = notices
        self._look = look

    def sweep(self, now: float) -> None:
        """Look."""
        self.wake_at = now + LOOK_SECONDS
        used, most = self._look() or (0, 1)
        if used >= _HIGH * most:
            text = "{used} of {most} file descriptors are in use: without one nobody can connect; raise LimitNOFILE"
            self._notices.count("descriptors", text, used=used, most=most)
