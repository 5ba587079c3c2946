"""What systemd is told, over a socket that the test reads."""

from __future__ import annotations

import os
import socket

from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.tap import _notify
from zmqrpc.tap._notify import Supervisor, supervisor_of
from zmqrpc.test.logs import LogLines


class SupervisorTests(SynchronousTestCase):
    def listen(self, name):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(self.socket.close)
        self.socket.bind(name)
        self.socket.setblocking(False)
        self.reactor = MemoryReactorClock()

    def told(self):
        messages = []
        while True:
            try:
                messages.append(self.socket.recv(1000).decode())
            except BlockingIOError:
                return messages

    def make(self, **environment):
        path = f"/tmp/zmqrpc-test-{os.getpid()}.sock"
        self.listen(path)
        self.addCleanup(os.unlink, path)
        return Supervisor(self.reactor, {"NOTIFY_SOCKET": path, **environment})

    def shut_down(self):
        for phase in ("before", "after"):
            for called, arguments, _ in self.reactor.triggers.get(phase, {}).get("shutdown", []):
                called(*arguments)

    def test_life(self):
        supervisor = self.make()
        supervisor.expects(self)
        self.assertEqual(self.told(), [])
        supervisor.serves(self)
        supervisor.says(self, True, "ready")
        self.assertEqual(self.told(), ["READY=1", "STATUS=ready"])
        self.shut_down()
        self.assertEqual(self.told(), ["STOPPING=1\nSTATUS=stopping"])
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_several_services(self):
        """The process is ready when all of them are, and is so once."""
        supervisor = self.make()
        supervisor.expects("one")
        supervisor.expects("two")
        supervisor.serves("one")
        self.assertEqual(self.told(), [])
        supervisor.serves("two")
        supervisor.serves("one")
        self.assertEqual(self.told(), ["READY=1"])

    def test_status_of_several(self):
        """Those that are not ready are in the status, whoever has changed last, until they are, or have stopped."""
        supervisor = self.make()
        supervisor.says("one", True, "ready: registered")
        supervisor.says("two", False, "not ready: no store")
        supervisor.says("one", True, "ready: registered")
        supervisor.says("three", False, "not ready: no records")
        supervisor.says("two", True, "ready: told")
        supervisor.forgets("three")
        self.assertEqual(
            self.told(),
            [
                "STATUS=ready: registered",
                "STATUS=1 of 2 services: not ready: no store",
                "STATUS=2 of 3 services: not ready: no store; not ready: no records",
                "STATUS=1 of 3 services: not ready: no records",
                "STATUS=ready: registered; ready: told",
            ],
        )
        supervisor.forgets("one")
        supervisor.forgets("two")
        self.assertEqual(self.told(), ["STATUS=ready: told"], "what has stopped says nothing")
        for service in ("one", "two"):
            supervisor.serves(service)
            supervisor.says(service, True, f"ready: {service}")
        self.told()
        self.shut_down()
        supervisor.forgets("one")
        self.assertEqual(self.told(), ["STOPPING=1\nSTATUS=stopping"])

    def test_one_stops_first(self):
        """One that stops before it serves is not waited for; when none is left that serves, there is nothing to say."""
        supervisor = self.make()
        for service in ("one", "two", "three"):
            supervisor.expects(service)
        supervisor.serves("one")
        supervisor.forgets("two")
        self.assertEqual(self.told(), [])
        supervisor.forgets("three")
        supervisor.forgets("three")
        self.assertEqual(self.told(), ["READY=1"])

    def test_all_stop_first(self):
        """A process of which nothing serves is not ready; one that serves later is."""
        supervisor = self.make()
        supervisor.expects("one")
        supervisor.forgets("one")
        self.assertEqual(self.told(), [])
        supervisor.expects("two")
        supervisor.serves("two")
        self.assertEqual(self.told(), ["READY=1"])

    def test_served_and_stopped(self):
        """One that served and stopped does not make the process ready."""
        supervisor = self.make()
        supervisor.expects("one")
        supervisor.expects("two")
        supervisor.serves("one")
        supervisor.forgets("one")
        supervisor.forgets("two")
        self.assertEqual(self.told(), [])

    def test_watchdog(self):
        """From when it is ready until the reactor has stopped, twice in each interval."""
        supervisor = self.make(WATCHDOG_USEC="3000000", WATCHDOG_PID=str(os.getpid()))
        supervisor.expects(self)
        self.reactor.advance(10)
        self.assertEqual(self.told(), [])
        supervisor.serves(self)
        self.reactor.pump([1.5] * 3)
        self.assertEqual(self.told(), ["READY=1", *["WATCHDOG=1"] * 4])
        self.shut_down()
        self.told()
        self.reactor.advance(10)
        self.assertEqual(self.told(), [])

    def test_not_our_watchdog(self):
        for environment in ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": "x"}):
            supervisor = Supervisor(MemoryReactorClock(), environment)
            self.assertEqual(supervisor._interval, 0)

    def test_name_without_a_file(self):
        self.listen(f"\0zmqrpc-test-{os.getpid()}")
        Supervisor(self.reactor, {"NOTIFY_SOCKET": f"@zmqrpc-test-{os.getpid()}"}).says(self, True, "hello")
        self.assertEqual(self.told(), ["STATUS=hello"])

    def test_nobody_there(self):
        """It is said once, and harms nothing."""
        for path in ("/no/such/socket", "/" + "x" * 200):
            lines = LogLines(self)
            supervisor = Supervisor(MemoryReactorClock(), {"NOTIFY_SOCKET": path})
            supervisor.says(self, True, "hello")
            supervisor.says(self, True, "hello")
            self.assertEqual(len(lines.about("named by NOTIFY_SOCKET")), 1)

    def test_nobody_asked(self):
        supervisor = Supervisor(MemoryReactorClock(), {})
        supervisor.expects(self)
        supervisor.serves(self)

    def test_one_for_a_process(self):
        self.addCleanup(_notify.supervisor_of.cache_clear)
        reactor = MemoryReactorClock()
        self.assertIs(supervisor_of(reactor), supervisor_of(reactor))
