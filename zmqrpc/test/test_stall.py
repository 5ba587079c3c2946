"""What is logged of a reactor that is blocked, and of a process that stands still."""

import ctypes
import time
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from zmqrpc.stall import StallWatch
from zmqrpc.test.logs import LogLines

reactor: Any = _reactor


def hold_the_interpreter(seconds):
    """Use so much of the processor's time in C, however busy the machine is: no other thread runs meanwhile."""
    end = time.process_time() + seconds
    any(map(end.__lt__, iter(time.process_time, None)))


class StallTests(TestCase):
    async def lines_of(self, block):
        """Let a reactor that is watched block, and return what is logged."""
        lines = LogLines(self, "zmqrpc.stall")
        watch = StallWatch()
        watch.start(reactor.callFromThread)
        self.addCleanup(watch.stop)
        await deferLater(reactor, 0.3)
        block()
        await deferLater(reactor, 0.6)
        watch.stop()
        return lines

    async def test_waits(self):
        """Code that lets other threads run is reported while it blocks."""
        (line,) = await self.lines_of(lambda: time.sleep(1.6))
        self.assertIn("the reactor has been blocked for 1.", line)
        self.assertIn("time.sleep(1.6)", line)

    async def test_holds_the_interpreter(self):
        """Code that does not is reported after it, by the time of the processor that it used."""
        for _ in range(5):
            (line,) = await self.lines_of(lambda: hold_the_interpreter(1.6))
            self.assertRegex(line, r"the reactor was blocked for [12]\.\d s by code that holds the interpreter")
            # Most often: on a busy machine another thread may run before the one that looks.
            if "in hold_the_interpreter" in line:
                return
        self.fail(line)

    async def test_short(self):
        """A second is what is allowed."""
        self.assertEqual(await self.lines_of(lambda: hold_the_interpreter(0.6)), [])

    async def test_stands_still(self):
        """While the whole process stands still it uses no time of the processor, and nobody is at fault."""
        sleep = ctypes.PyDLL(None).usleep  # holds the interpreter, and so what is seen is what SIGSTOP shows
        self.assertEqual(await self.lines_of(lambda: sleep(1_600_000)), [])
