"""What belongs to a process."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from contextlib import suppress
from typing import Any

import oslo_messaging

from zmqrpc.test.oslo.acts.main_thread import in_main
from zmqrpc.test.oslo.acts.transports import Transports


class Process(Transports):
    """Looks at what this process has, and gives it back."""

    def construct(self, count: int) -> list[list[str]]:
        """Make transports, and clean half of them up; return the threads and descriptors that this has cost."""
        before = self.threads(), self.descriptors()
        for each in range(count):
            made = oslo_messaging.get_rpc_transport(self.conf, self.url)
            self.transports["rpc", str(each)] = made
            if each % 2:
                made.cleanup()
        after = self.threads(), self.descriptors()
        return [sorted(set(now) - set(then)) for then, now in zip(before, after, strict=True)]

    def has_reactor(self) -> bool:
        """Tell whether the process has a reactor of Twisted installed, which would be the application's affair."""
        return "twisted.internet.reactor" in sys.modules

    def find(self, directory: str) -> None:
        """Have modules in a directory be found."""
        sys.path.append(directory)

    def descriptors(self) -> list[str]:
        found = []
        for number in os.listdir("/proc/self/fd"):
            with suppress(FileNotFoundError):
                found.append(os.readlink(f"/proc/self/fd/{number}"))
        return sorted(name for name in found if not name.startswith("/proc/"))

    @in_main
    def belongs_to_service(self, set_up: bool = False) -> dict[str, Any]:
        """Return what belongs to the service; set it up before."""
        if set_up:
            self._wakes = os.pipe()
            os.set_blocking(self._wakes[1], False)
            signal.set_wakeup_fd(self._wakes[1])
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
            self._stack_size()
        wakes = signal.set_wakeup_fd(self._wakes[1])
        stack = self._stack_size()
        return {
            "handlers": {number: str(signal.getsignal(number)) for number in signal.valid_signals()},
            "wakes": wakes == self._wakes[1],
            "stack": stack,
        }

    def _stack_size(self) -> int:
        """Set the size of the stacks of threads, and return what it was."""
        if self.executor == "threading":
            return threading.stack_size(128 * 1024)
        # That of eventlet makes none smaller.
        from eventlet.patcher import original

        size: int = original("threading").stack_size(128 * 1024)
        return size

    def log_to_list(self) -> None:
        """Keep what is logged from now on, and handle it nowhere else."""
        logged = self.heard_by.setdefault("logged", [])

        class Keep(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                logged.append([record.name, record.levelname, record.getMessage()])

        logging.basicConfig(level=logging.WARNING, handlers=[Keep()])

    def logged(self) -> list[Any]:
        return self.heard("logged")

    def cleanup(self, kind: str = "rpc", url: str | None = None) -> None:
        self.transport(kind, url).cleanup()

    def threads(self) -> list[str]:
        """Return the threads of Python, and those of the operating system."""
        return sorted([*(thread.name for thread in threading.enumerate()), *os.listdir("/proc/self/task")])
