"""What systemd is told (sd_notify(3)), so that ``Type=notify`` and ``WatchdogSec=`` work."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from functools import cache
from typing import Any

from twisted.internet.task import LoopingCall
from twisted.logger import Logger


class Supervisor:
    """
    Who started this process and wants to know how it is: systemd, where the environment names its socket, or nobody.

    The services of one process share it (`supervisor_of`): it hears that the process is ready when all are. While it
    watches the process, it hears twice in each of its intervals that the reactor turns. The status is that of all.

    :param reactor: the reactor of the process.
    :param environment: where ``NOTIFY_SOCKET``, ``WATCHDOG_USEC`` and ``WATCHDOG_PID`` are looked for.
    """

    log = Logger()

    def __init__(self, reactor: Any, environment: Mapping[str, str] = os.environ) -> None:
        self._reactor = reactor
        self._path = environment.get("NOTIFY_SOCKET", "")
        self._interval = _interval(environment)
        self._waited_for: set[object] = set()
        self._serving: set[object] = set()
        self._states: dict[object, tuple[bool, str]] = {}  # of each, whether it is ready, and what it says
        self._shown = ""
        self._stopping = False
        self._heard = False
        self._failed = False

    def expects(self, service: object) -> None:
        """Wait for a service before saying that the process is ready."""
        self._waited_for.add(service)

    def serves(self, service: object) -> None:
        """Take that a service can be called."""
        self._waited_for.discard(service)
        self._serving.add(service)
        self._check()

    def forgets(self, service: object) -> None:
        """Take that a service stops; if it did not serve yet, nobody waits for it any more."""
        self._serving.discard(service)
        if self._states.pop(service, None) is not None:
            self._show()
        if service in self._waited_for:
            self._waited_for.remove(service)
            self._check()

    def says(self, service: object, ready: bool, status: str) -> None:
        """
        Have the status of a service shown in that of the process, in which who is not ready comes before who is.

        :param status: one line.
        """
        self._states[service] = (ready, status)
        self._show()

    def _show(self) -> None:
        waiting = [status for ready, status in self._states.values() if not ready]
        if waiting and len(self._states) > 1:
            text = f"{len(waiting)} of {len(self._states)} services: {'; '.join(dict.fromkeys(waiting))}"
        else:
            text = "; ".join(dict.fromkeys(status for _, status in self._states.values()))
        if text and text != self._shown and not self._stopping:
            self._shown = text
            self._tell(f"STATUS={text}")

    def _check(self) -> None:
        """Say that the process is ready when it has become so."""
        if self._waited_for or not self._serving or self._heard:
            return
        self._heard = True
        self._tell("READY=1")
        # Not when one service stops: the process may go on, and would be killed.
        self._reactor.addSystemEventTrigger("before", "shutdown", self._stops)
        if self._interval > 0:
            watchdog = LoopingCall(self._tell, "WATCHDOG=1")
            watchdog.clock = self._reactor
            watchdog.start(self._interval / 2)
            self._reactor.addSystemEventTrigger("after", "shutdown", watchdog.stop)

    def _stops(self) -> None:
        self._stopping = True
        self._tell("STOPPING=1\nSTATUS=stopping")

    def _tell(self, text: str) -> None:
        if not self._path:
            return
        # A name that begins with @ is one without a file.
        address = "\0" + self._path[1:] if self._path.startswith("@") else self._path
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
                # Who does not read must not stop the reactor.
                sock.setblocking(False)
                sock.sendto(text.encode(), address)
        except OSError as error:
            if not self._failed:
                self.log.warn("{path}, named by NOTIFY_SOCKET, takes nothing: {error}", path=self._path, error=error)
            self._failed = True


@cache
def supervisor_of(reactor: Any) -> Supervisor:
    """Return the one supervisor of the process whose reactor this is."""
    return Supervisor(reactor)


def _interval(environment: Mapping[str, str]) -> float:
    """Return the seconds within which the supervisor wants to hear something each time, 0 for never."""
    text = environment.get("WATCHDOG_USEC", "")
    ours = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
    return int(text) / 1_000_000 if ours and text.isdecimal() else 0.0
