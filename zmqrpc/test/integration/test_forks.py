"""A process forks while its nodes run: it is unharmed, and its nodes are of no use in the fork."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from twisted.internet.defer import Deferred, gatherResults
from twisted.trial.unittest import TestCase

from zmqrpc.test.etcd import single
from zmqrpc.test.integration.support import run_child
from zmqrpc.test.servers import RedisServer


class ForkTests(TestCase):
    timeout = 120

    async def forks(self, url):
        """Run the process that forks with a store; return its outcome."""
        out, err, code = await run_child(sys.executable, "zmqrpc.test.integration.forking", url)
        self.assertEqual(code, 0, err)
        outcome = json.loads(out)
        self.assertEqual((outcome["before"], outcome["after"]), (100, 100))
        self.assertEqual((outcome["fresh"], outcome["members"]), ("fresh", 1))
        for method in ("use", "use_in_multiprocessing"):
            (outcomes, status), text = outcome[method], "and is of no use in process"
            self.assertEqual(status, 0)
            self.assertEqual(len(outcomes), 27)
            for name, outcome_of in outcomes.items():
                self.assertIn(text, outcome_of, name)
            self.assertEqual(outcome[f"{method}: cancelled"], 0)
        for method in ("come_back", "come_back_later", "come_back_from_a_timer", "come_back_from_a_thread"):
            self.assertEqual(outcome[method], [True, 1], method)
        self.assertEqual(err.count("is a fork and came back into the reactor of its parent"), 4, err)
        self.assertIn("not like this\n", err)
        self.assertEqual(
            [outcome[f"exit{how}"] for how in ("", "_later", "_from_a_thread")], [[True, 3], [True, 1], [True, 0]]
        )
        self.assertEqual(json.loads(outcome["run"][0]), {"answer": "from a child"}, outcome["run"][1])
        inherited = [line for line in outcome["descriptors"] if "socket:" in line or "anon_inode:" in line]
        self.assertEqual(inherited, [])
        self.assertNotIn("Traceback", err)

    async def test_return_from_react(self):
        """A fork that ends the reactor of its parent, by returning from its main, leaves what that waits for alone."""
        out, err, code = await run_child(sys.executable, "zmqrpc.test.integration.forking_main")
        self.assertEqual((out, code), ("child 1\nchild 1\ncalled 20\nstopped\n", 0), err)
        self.assertEqual(err.count("is a fork and came back into the reactor of its parent"), 2, err)
        self.assertNotIn("Traceback", err)

    async def test_forks(self):
        """No fork touches sockets of ZeroMQ, files of SQLite, connections to Redis or streams of etcd."""
        sqlite = f"zmq+sqlite://{Path(self.mktemp()).absolute()}.db"
        urls = [sqlite, RedisServer(self).url, single(self).url]
        # Together, since most of their time they wait.
        await gatherResults([Deferred.fromCoroutine(self.forks(url)) for url in urls], consumeErrors=True)
