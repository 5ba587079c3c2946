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
SECONDS = 3


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
        for timeout in (20, 2):
            server = self.serve_slowly()
            before = self.rss(server)
            told = [self.told(each) for each in [self.flood(CLIENTS, RATE, SECONDS, timeout) for _ in range(2)]]
            grown = self.rss(server) - before
            sys.stderr.write(f"{timeout} {grown} {told}\n")
            for each in told:
                # Where there is little time it may be up, perhaps on the way.
                late = set() if timeout > 10 else {"DeadlineExceeded", "DeadlineExceeded, may have run"}
                self.assertLessEqual(set(each["ends"]), {"ok", "Overloaded"} | late)
                self.assertGreater(each["ends"]["Overloaded"], each["ends"]["ok"])
                self.assertGreater(each["modest"]["ok"], 0)
            self.assertLess(grown, 64)
            called = self.run_to_end("zmqrpc", "call", "--url", self.url, "work", "work")
            self.assertEqual((called.returncode, called.stdout.strip()), (0, '"done"'), called.stderr)
            server.signal()
            server.ends()
