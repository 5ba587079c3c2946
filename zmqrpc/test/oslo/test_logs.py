"""What is said in the reactor: a thread of its own tells the handlers, whatever these do."""

from __future__ import annotations

import logging
import queue
import sys
import threading
from io import StringIO
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.oslo import logs
from zmqrpc.test.processes import LIMIT, until


class Handler(logging.Handler):
    """Keeps what it is told, as long as its gate is open."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[str] = []
        self.gate, self.has_come = threading.Event(), threading.Event()
        self.gate.set()

    def emit(self, record: logging.LogRecord) -> None:
        self.has_come.set()
        self.gate.wait(LIMIT)
        self.told.append(record.getMessage())


class Lines(queue.SimpleQueue[Any]):
    """A queue that ends who gets nothing out of it."""

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        got = super().get(block, timeout)
        if got is None:
            raise SystemExit
        return got


class LogsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.thread = logs._LogThread()
        self.lines = self.thread._lines = Lines()
        self.patch(logs, "_thread", self.thread)
        self.addCleanup(self.lines.put, None)
        self.handler = Handler()
        self.addCleanup(self.handler.gate.set)
        self.errors = StringIO()
        self.patch(sys, "stderr", self.errors)
        for logger in (logging.getLogger("zmqrpc.test.said"), logs.LOG):
            logger.addHandler(self.handler)
            self.addCleanup(logger.removeHandler, self.handler)
            self.patch(logger, "propagate", False)
        self.logger = logs.logger("zmqrpc.test.said")

    def refuse(self, logger: logging.Logger, error: BaseException) -> None:
        """Have a filter of a logger raise something, at any line."""

        def refuse(record: logging.LogRecord) -> bool:
            raise error

        logger.addFilter(refuse)
        self.addCleanup(logger.removeFilter, refuse)

    def say(self, count: int, first: int = 0) -> None:
        for number in range(first, first + count):
            self.logger.warning("line %d", number)

    def hold(self) -> None:
        """Say a line that its handler does not come to an end with."""
        self.handler.gate.clear()
        self.handler.has_come.clear()
        self.logger.warning("held")
        self.assertTrue(self.handler.has_come.wait(LIMIT))

    def told(self) -> list[str]:
        """Return what was told since the last time, when all is."""
        self.handler.gate.set()
        logs.flush(LIMIT)
        told, self.handler.told = self.handler.told, []
        return told

    def test_too_many_lines(self) -> None:
        """What is over the most that may wait is dropped, and how much that was is told; then all is as it was."""
        self.patch(logs, "MOST_LINES", 5)
        for _ in range(2):
            self.hold()
            self.say(12)
            told = self.told()
            lost = "7 lines of the log were dropped, since its handlers are too slow"
            self.assertEqual(told, ["held", lost, *[f"line {number}" for number in range(5)]])
        self.say(2)
        self.assertEqual(self.told(), ["line 0", "line 1"])

    def test_none_is_counted_twice(self) -> None:
        """Nor is one forgotten, where many threads say something while the count is told."""
        self.patch(logs, "MOST_LINES", 20)
        interval = sys.getswitchinterval()
        self.addCleanup(sys.setswitchinterval, interval)
        sys.setswitchinterval(1e-6)
        threads = [threading.Thread(target=self.say, args=(1000,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LIMIT)
        self.say(1)
        told = self.told()
        dropped = sum(int(line.split()[0]) for line in told if "were dropped" in line)
        self.assertEqual(dropped + len([line for line in told if line.startswith("line")]), 4001)
        self.assertGreater(dropped, 0)

    def test_filter_raises(self) -> None:
        """A filter that raises, be it what ends a thread, costs its own line, be that the one that tells of others."""
        self.patch(logs, "MOST_LINES", 3)
        refusing = logging.getLogger("zmqrpc.test.refusing")
        for error in (ValueError("of a filter"), SystemExit(1), KeyboardInterrupt()):
            for refused in (refusing, logs.LOG):
                self.refuse(refused, error)
            self.hold()
            logs.logger(refusing.name).warning("refused")
            self.say(4)
            self.assertEqual(self.told(), ["held", "line 0", "line 1"])
            self.say(1)
            self.assertEqual(self.told(), ["line 0"])
            for refused in (refusing, logs.LOG):
                refused.filters.clear()
        self.assertEqual(self.errors.getvalue().count("ValueError: of a filter"), 2)
        self.assertEqual(self.errors.getvalue().count("Traceback"), 6)

    def test_nobody_to_tell(self) -> None:
        """It goes on where there is no standard error either, as in a daemon."""
        closed = StringIO()
        closed.close()
        out = StringIO()
        self.patch(sys, "stdout", out)
        for broken in (None, closed):
            self.patch(sys, "stderr", broken)
            self.refuse(logging.getLogger("zmqrpc.test.refusing"), ValueError("of a filter"))
            logs.logger("zmqrpc.test.refusing").warning("refused")
            self.say(1)
            self.assertEqual(self.told(), ["line 0"])
        self.assertEqual(out.getvalue(), "")

    def test_begins_again(self) -> None:
        """Where its thread has ended, as a green one does that is killed, the next line begins another."""
        self.say(1)
        self.assertEqual(self.told(), ["line 0"])
        self.lines.put(None)
        until(lambda: not self.thread._runs, "it has ended")
        self.say(1)
        self.assertEqual(self.told(), ["line 0"])

    def test_begins_once(self) -> None:
        """A signal handler that says something while the thread begins waits for nothing, and begins no other."""
        begun: list[Any] = []

        begin = threading.Thread.start

        def start(thread: threading.Thread) -> None:
            begun.append(thread)
            self.say(1, first=len(begun))
            begin(thread)

        self.patch(threading.Thread, "start", start)
        # In a thread, so that the test is not held up where that is.
        saying = threading.Thread(target=self.say, args=(1,), daemon=True)
        begin(saying)
        saying.join(LIMIT / 10)
        self.assertEqual((self.told(), len(begun)), (["line 0", "line 1"], 1))

    def test_cannot_begin(self) -> None:
        """Where no thread can be begun nobody who says something has to hear of it; the next line tries again."""

        def start(thread: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        patch = self.patch(threading.Thread, "start", start)
        self.say(1)
        patch.restore()
        self.say(1, first=1)
        self.assertEqual(self.told(), ["line 0", "line 1"])
