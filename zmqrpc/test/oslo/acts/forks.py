"""Forks of a process."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from ctypes import PyDLL
from typing import Any

from zmqrpc.test.oslo.acts.callers import Callers
from zmqrpc.test.oslo.acts.main_thread import in_main
from zmqrpc.test.oslo.acts.process import Process


def _fork_untold() -> int:
    """Fork as C does, but for Python's own part: without that a fork may hang if another thread wants to run."""
    python, parent = PyDLL(None), os.getpid()
    interval = sys.getswitchinterval()
    # A thread that asks for its turn just then would have the fork wait for it before Python's part is done.
    sys.setswitchinterval(1000)
    time.sleep(2 * interval)
    pid: int = python.fork()
    if not pid:
        getpid, os.getpid = os.getpid, lambda: parent
        python.PyOS_AfterFork_Child()
        os.getpid = getpid
    sys.setswitchinterval(interval)
    return pid


class Forks(Callers, Process):
    """Forks, and has the forks do something."""

    @in_main
    def fork_and_call(self, topic: str, forks: int, calls: int, threads: int = 1, how: str = "prepared") -> list[Any]:
        """
        Fork; return what each fork, and then the parent, was answered, and the seconds that this took.

        :param how: prepared as oslo.service prepares its workers; bare; or untold, where nobody tells us of it.
        """
        forked = self.in_forks(forks, lambda: self._timed(topic, calls, threads), how)
        return [*forked, self._timed(topic, calls, threads)]

    def _timed(self, topic: str, calls: int, threads: int) -> list[Any]:
        began = time.monotonic()
        counts = self.calls(topic, calls, threads, timeout=10)
        return [counts, time.monotonic() - began]

    def in_forks(self, count: int, act: Callable[[], Any], how: str = "prepared") -> list[Any]:
        """Have forks do something at the same time; return what each returned."""
        import json

        pipes = []
        for _ in range(count):
            read, write = os.pipe()
            if (_fork_untold() if how == "untold" else os.fork()) == 0:
                self._be_fork(how)
                status = 9
                try:
                    os.write(write, json.dumps(act()).encode())
                    status = 0
                except BaseException:
                    sys.excepthook(*sys.exc_info())
                finally:
                    os._exit(status)
            os.close(write)
            pipes.append(read)
        outcomes = []
        for read in pipes:
            text = b""
            while more := self._read(read):
                text += more
            os.close(read)
            outcomes.append(json.loads(text or b"null"))
        for _ in pipes:
            os.wait()
        return outcomes

    def _be_fork(self, how: str) -> None:
        os.close(0)
        if how == "prepared" and self.executor == "eventlet" and not self.transports:
            # Where the driver was used, that has done it.
            from eventlet.hubs import use_hub

            use_hub()

    def _read(self, descriptor: int) -> bytes:
        if self.executor == "eventlet":
            from eventlet.hubs import trampoline

            trampoline(descriptor, read=True)
        return os.read(descriptor, 1 << 16)

    @in_main
    def fork_and_clean_up(self, topic: str) -> list[Any]:
        """Clean up in a fork, where nothing of the transport is, before it is used there and after."""

        def act() -> Any:
            self.cleanup()
            answer = self.call(topic, "name", timeout=10)
            self.cleanup()
            return answer

        return [*self.in_forks(1, act), self.call(topic, "name", timeout=10)]
