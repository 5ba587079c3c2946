"""How long the machine kept this process from running, so that a test measures us and not what else runs there."""

from __future__ import annotations

import os
from contextlib import suppress


class KeptWaiting:
    """
    The seconds that threads of this process were ready to run and had no processor: proc(5), ``schedstat``.

    On an idle machine they are none, so that a limit for what is left is as strict there. Time that we block or compute
    is none of them.
    """

    def __init__(self) -> None:
        self._seconds = 0.0
        self._threads: dict[str, float] = {}

    def seconds(self) -> float:
        """Return their sum since the first time that this was asked; 0 where the kernel does not tell."""
        threads: dict[str, float] = {}
        with suppress(OSError):
            for thread in os.listdir("/proc/self/task"):
                with suppress(OSError), open(f"/proc/self/task/{thread}/schedstat") as told:
                    threads[thread] = int(told.read().split()[1]) / 1e9
        for thread, seconds in threads.items():
            # A thread that is new has waited since it began.
            self._seconds += seconds - self._threads.get(thread, 0.0 if self._threads else seconds)
        self._threads = threads
        return self._seconds
