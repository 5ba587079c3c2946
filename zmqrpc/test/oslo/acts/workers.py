"""Workers, which are forks that serve."""

from __future__ import annotations

import os
import signal
import sys
import time

from zmqrpc.test.oslo.acts.forks import Forks
from zmqrpc.test.oslo.acts.main_thread import in_main
from zmqrpc.test.oslo.acts.servers import Servers


class Workers(Forks, Servers):
    """Forks that serve until they are told to end."""

    @in_main
    def fork_workers(self, topic: str, count: int, server: str) -> list[int]:
        """Have forks serve a topic under one name, as the workers of a service do, until SIGTERM; return their pids."""
        pids = []
        for _ in range(count):
            pid = os.fork()
            if pid == 0:
                self._be_fork("prepared")
                self._work(topic, server)
            pids.append(pid)
        return pids

    def _work(self, topic: str, server: str) -> None:
        status = 9
        try:
            parent = os.getppid()
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
            self.serve(topic, server)
            try:
                while os.getppid() == parent:
                    time.sleep(0.5)
            except SystemExit:
                self.end(server)
            status = 0
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(status)

    @in_main
    def kill_worker(self, pid: int, number: int) -> None:
        os.kill(pid, number)
        os.waitpid(pid, 0)

    @in_main
    def end_workers(self, pids: list[int]) -> list[int]:
        """End forks; return their statuses."""
        for pid in pids:
            os.kill(pid, signal.SIGTERM)
        return [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
