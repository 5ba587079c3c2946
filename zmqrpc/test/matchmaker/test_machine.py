"""What the kernel says about time and processes."""

import os
import subprocess
import sys
import time

import attrs
from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.matchmaker._sqlite.machine import Machine
from zmqrpc.matchmaker._sqlite.roll import INSPECT_EVERY, Roll


class MachineTests(SynchronousTestCase):
    def setUp(self):
        self.machine = Machine()
        self.me = self.machine.owner()

    def child(self):
        """Start a process, and describe it as it would describe itself."""
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        self.addCleanup(child.wait)
        self.addCleanup(child.kill)
        with open(f"/proc/{child.pid}/stat") as file:
            started = int(file.read().rpartition(")")[2].split()[19])
        return child, attrs.evolve(self.me, pid=child.pid, started=started)

    def test_owner(self):
        """A process describes itself, and lives."""
        with open("/proc/sys/kernel/random/boot_id") as file:
            self.assertEqual(self.me.boot, file.read().strip())
        self.assertEqual(self.me.pid, os.getpid())
        self.assertEqual(self.me.namespace, os.stat("/proc/self/ns/pid").st_ino)
        self.assertFalse(self.machine.is_dead(self.me))
        self.assertFalse(self.machine.is_gone(self.me))

    def test_now(self):
        """Time counts from the boot."""
        with open("/proc/uptime") as file:
            uptime = float(file.read().split()[0])
        self.assertLess(abs(self.machine.now() - uptime), 1)

    def test_odd_name(self):
        """The name of a process may look like the fields behind it."""
        path = os.path.abspath(self.mktemp())
        os.makedirs(f"{path}/77")
        with open(f"{path}/77/stat", "w") as file:
            file.write(f"77 (a) Z 1 2) {' '.join(['S', *(str(number) for number in range(4, 53))])}\n")
        self.assertEqual(Machine(proc=path)._state_and_start(77), ("S", 22))

    def test_life(self):
        """A process lives until it ends; one that nobody has waited for is dead too, though its pid exists."""
        child, owner = self.child()
        self.assertFalse(self.machine.is_dead(owner))
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        self.assertFalse(self.machine.is_gone(owner))
        self.assertTrue(self.machine.is_dead(owner))
        child.wait()
        self.assertTrue(self.machine.is_gone(owner))
        self.assertTrue(self.machine.is_dead(owner))

    def test_pid_given_again(self):
        """A process with the pid that started at another time is another one."""
        self.assertTrue(self.machine.is_dead(attrs.evolve(self.me, started=self.me.started - 1)))

    def test_no_proof(self):
        """What cannot be read is no proof of death, and neither is a pid that cannot be."""
        self.assertFalse(Machine(proc="/nonexistent").is_dead(self.me))
        self.assertFalse(self.machine.is_gone(attrs.evolve(self.me, pid=2**80)))

    def test_foreign_procfs(self):
        """With the procfs of another namespace a process does not say which namespace it is of."""
        path = os.path.abspath(self.mktemp())
        os.makedirs(f"{path}/sys/kernel/random")
        os.symlink("/proc/sys/kernel/random/boot_id", f"{path}/sys/kernel/random/boot_id")
        os.symlink(f"/proc/{os.getpid()}", f"{path}/{os.getpid()}")
        os.symlink("1234567", f"{path}/self")
        self.assertEqual(Machine(proc=path).owner(), attrs.evolve(self.me, namespace=0))

    def test_roll(self):
        """The roll notices a missing pid at once and a zombie when it inspects again; a dead one stays dead."""
        now = [time.monotonic()]
        roll = Roll(self.machine, lambda: now[0])
        child, owner = self.child()
        self.assertFalse(roll.is_dead(owner))
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        now[0] += INSPECT_EVERY / 2
        self.assertFalse(roll.is_dead(owner))
        now[0] += INSPECT_EVERY
        self.assertTrue(roll.is_dead(owner))
        self.assertTrue(roll.is_dead(owner))
        child, owner = self.child()
        self.assertFalse(roll.is_dead(owner))
        child.kill()
        child.wait()
        self.assertTrue(roll.is_dead(owner))
