"""
What depends on the reactor, on every reactor of this system beside the one that runs the tests.

A process has one reactor, so each runs in a child. `zmqrpc.test.tap.test_running` runs `twistd --reactor`.
"""

from __future__ import annotations

import sys

from twisted.internet.defer import Deferred, DeferredList
from twisted.trial.unittest import TestCase

from zmqrpc.test.integration.support import reactor, run_child

REACTORS = {
    "SelectReactor": "select",
    "PollReactor": "poll",
    "EPollReactor": "epoll",
    "AsyncioSelectorReactor": "asyncio",
}
SUITES = [
    # Sockets: reading, writing, waking up, closing. (Not their monitors: those are floods of connections.)
    *(
        f"zmqrpc.test.test_reactor_zmq.{name}Tests"
        for name in ("Bind", "Connect", "Send", "Frame", "Pass", "Raising", "Drain", "Close", "Resolve")
    ),
    # Threads, and what they tell the reactor.
    "zmqrpc.test.matchmaker.test_thread",
    "zmqrpc.test.matchmaker.test_sqlite",
    # Whole nodes, and how calls to them end.
    "zmqrpc.test.integration.test_bad_methods",
    # Context variables: asyncio's timers copy them.
    "zmqrpc.test.scenarios.test_inherited.DeadlinesOverSockets",
    # The services of twistd, with SIGHUP and the signals that stop.
    "zmqrpc.test.tap.test_serving",
    "zmqrpc.test.tap.test_log",
    "zmqrpc.test.test_signals",
]


class MatrixTests(TestCase):
    timeout = 300

    async def run_on(self, name, directory):
        """Run the suites on a reactor; return how many tests passed."""
        out, err, code = await run_child(
            sys.executable, "twisted.trial", f"--reactor={name}", f"--temp-directory={directory}", *SUITES
        )
        self.assertEqual(code, 0, f"on the {name} reactor: {out[-5000:]}{err}")
        return int(out.rpartition("PASSED (successes=")[2].partition(")")[0])

    async def test_others(self):
        """Together, since most of their time they wait; all run the same, and skip nothing."""
        ours = REACTORS.get(type(reactor).__name__)
        others = [name for name in REACTORS.values() if name != ours]
        directory = self.mktemp()
        running = [Deferred.fromCoroutine(self.run_on(name, f"{directory}-{name}")) for name in others]
        # All are waited for, whatever one of them finds.
        ended = await DeferredList(running, consumeErrors=True)
        for well, result in ended:
            if not well:
                result.raiseException()
        passed = [result for _, result in ended]
        self.assertEqual(len(set(passed)), 1, dict(zip(others, passed, strict=True)))
        self.assertGreater(passed[0], 100)
