"""A server of a process of its own that is called ten times as often as it can answer, by fifty clients."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from zmqrpc.test.processes import ProcessTestCase, Running

SERVER = """
    import time
    from zmqrpc import Target, expose

    class Flooded:
        @expose
        def work(self, context):
            time.sleep(0.001)
            return "done"
"""
CLIENTS = 25
RATE = 200
SECONDS = 2


class FloodingTests(ProcessTestCase):
    timeout = 120

    def serve_slowly(self, *options):
        self.module("flooded", SERVER)
        query = "&".join(options)
        return self.serve("--app", "flooded:Flooded", "--topic", "work", url=f"{self.url}?{query}" if query else None)

    def flood(self, clients, rate, seconds, timeout):
        words = [sys.executable, "-m", "zmqrpc.test.integration.flooding", self.url]
        words += [str(each) for each in (clients, rate, seconds, timeout)]
        flooding = Running(words, self.directory, self.environment)
        self.addCleanup(flooding.kill)
        return flooding

    def told(self, flooding):
        self.assertEqual(flooding.ends(), 0, flooding.err)
        return json.loads(flooding.out)

    def rss(self, running):
        """Return the memory of a process, in MiB."""
        (line,) = (
            line for line in Path(f"/proc/{running.process.pid}/status").read_text().splitlines() if "VmRSS" in line
        )
        return int(line.split()[1]) / 1024

    def test_ten_times_too_much(self):
        """Each call has a result or is refused; the process does not grow, and goes on when it is over."""
        server = self.serve_slowly()
        before = self.rss(server)
        # Half of the callers have so little time that some of what they ask for is late.
        floods = {timeout: self.flood(CLIENTS, RATE, SECONDS, timeout) for timeout in (20, 2)}
        for timeout, flood in floods.items():
            told = self.told(flood)
            late = set() if timeout > 2 else {"DeadlineExceeded", "DeadlineExceeded, may have run"}
            self.assertLessEqual(set(told["ends"]), {"ok", "Overloaded"} | late)
            self.assertGreater(told["ends"]["Overloaded"], told["ends"]["ok"])
            # Who calls one after the other is answered, whatever the others do.
            self.assertGreater(told["modest"]["ok"], told["modest"].get("Overloaded", 0))
        self.assertLess(self.rss(server) - before, 64)
        called = self.run_to_end("zmqrpc", "call", "--url", self.url, "work", "work")
        self.assertEqual((called.returncode, called.stdout.strip()), (0, '"done"'), called.stderr)
        server.signal()
        server.ends()
