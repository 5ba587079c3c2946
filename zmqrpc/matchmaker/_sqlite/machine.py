"""What the kernel of this machine says about time and processes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import attrs


@attrs.frozen(cache_hash=True)
class Owner:
    """
    The process that made a record.

    :ivar boot: the boot id of its kernel.
    :ivar namespace: the inode of its pid namespace; 0 when it could not tell, then nobody judges it.
    :ivar pid: its id in that namespace.
    :ivar started: when it started, in the kernel's ticks since the boot; tells it from a later one with its pid.
    """

    boot: str
    namespace: int
    pid: int
    started: int


def _since_boot() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@attrs.frozen
class Machine:
    """
    The kernel, as this process sees it.

    :ivar proc: where procfs is mounted.
    :ivar now: seconds since the boot; counts while the machine sleeps and does not know the wall clock.
    """

    proc: str = "/proc"
    now: Callable[[], float] = _since_boot

    def owner(self) -> Owner:
        """
        Describe this process; not to be kept over a fork.

        :raises OSError: there is no procfs.
        """
        with open(f"{self.proc}/sys/kernel/random/boot_id", encoding="ascii") as file:
            boot = file.read().strip()
        pid = os.getpid()
        namespace = 0
        # A procfs that was mounted for another namespace knows us by another id, and other processes by ours.
        if os.readlink(f"{self.proc}/self") == str(pid):
            namespace = os.stat(f"{self.proc}/self/ns/pid").st_ino
        _, started = self._state_and_start(pid)
        return Owner(boot, namespace, pid, started)

    def is_gone(self, owner: Owner) -> bool:
        """Tell whether no process has the owner's pid; cheap, and blind to zombies and to a later process with it."""
        try:
            os.kill(owner.pid, 0)
        except ProcessLookupError:
            return True
        except (OSError, OverflowError):
            return False
        return False

    def is_dead(self, owner: Owner) -> bool:
        """
        Tell whether it is certain that the owner, a process of our namespace, does not run any more.

        What cannot be read (another user's process under ``hidepid``) is no proof.
        """
        if self.is_gone(owner):
            return True
        try:
            state, started = self._state_and_start(owner.pid)
        except (OSError, ValueError):
            return self.is_gone(owner)
        return state in "ZXx" or started != owner.started

    def _state_and_start(self, pid: int) -> tuple[str, int]:
        # Plain calls: this runs for each process that is watched, and open() costs three times as much.
        descriptor = os.open(f"{self.proc}/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
        try:
            text = os.read(descriptor, 4096)
        finally:
            os.close(descriptor)
        # The second field, the name, may hold blanks and brackets; the third is the state, the 22nd the start.
        fields = text[text.rindex(b")") + 2 :].split()
        return fields[0].decode(), int(fields[19])
