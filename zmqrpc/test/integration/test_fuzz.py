"""
Connects, sends and disconnects in every state, among peers that die and peers that are none; `make soak` has more.

In a process of its own, so that an abort of libzmq is a failed test and not the end of all tests.
"""

import json
import os
import sys

from twisted.trial.unittest import TestCase

from zmqrpc.test.integration.support import run_child

SECONDS = float(os.environ.get("ZMQRPC_FUZZ_SECONDS", "10"))


class FuzzTests(TestCase):
    timeout = SECONDS + 90

    async def test_fuzz(self):
        seed = int.from_bytes(os.urandom(4), "big")
        out, err, code = await run_child(sys.executable, "zmqrpc.test.integration.fuzz", SECONDS, seed)
        self.assertEqual(code, 0, f"seed {seed}: {err}")
        figures = json.loads(out)
        self.assertEqual(figures["faults"], [], f"seed {seed}: {figures}")
        self.assertEqual(err, "", f"seed {seed}")
        self.assertLess(figures["grown_mb"], 10, figures)
        before, after = figures["descriptors"]
        self.assertLessEqual(after, before, figures)
        # That much happened.
        for what, least in (
            ("connects", 100),
            ("answers", 500),
            ("losses", 50),
            ("requests", 500),
            ("peers", 5),
            ("handshakes", 20),
        ):
            self.assertGreater(figures[what], least * SECONDS, figures)
