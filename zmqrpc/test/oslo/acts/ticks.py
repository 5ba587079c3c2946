"""For how long other threads let a thread of a process not run."""

from __future__ import annotations

import _socket
import time
from typing import Any

from zmqrpc.test.oslo.acts.transports import Transports
from zmqrpc.unpatched import unpatched

TICK = 0.01


class Ticks(Transports):
    """Looks at that."""

    turns = 0
    longest = 0.0

    def slow_names(self, seconds: float) -> None:
        """Have each name that ends with ``.slow`` be this machine, after some time in the C library."""
        look_up = _socket.getaddrinfo
        sleep = unpatched("time").sleep

        def slow(host: Any, *arguments: Any) -> Any:
            if str(host).endswith(".slow"):
                sleep(seconds)
                host = "127.0.0.1"
            return look_up(host, *arguments)

        _socket.getaddrinfo = slow  # type: ignore[assignment]

    def tick(self) -> None:
        """
        Note from now on for how long other threads let this one not run.

        That is told by the turns of a thread of the operating system: a busy machine gives none to either.
        """
        sleep = unpatched("time").sleep

        def count() -> None:
            while True:
                sleep(TICK)
                self.turns += 1

        unpatched("threading").Thread(target=count, daemon=True).start()
        before = self.turns
        while True:
            time.sleep(TICK)
            now = self.turns
            self.longest = max(self.longest, (now - before) * TICK)
            before = now

    def longest_wait(self) -> float:
        """Return the most seconds between two ticks since this was asked last."""
        longest, self.longest = self.longest, 0.0
        return longest
