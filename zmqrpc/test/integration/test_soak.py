"""Calls under kills and stops keep every promise; `make soak` has more of them."""

import json
import os
import sys

from twisted.trial.unittest import TestCase

from zmqrpc.test.integration.support import run_child

SECONDS = float(os.environ.get("ZMQRPC_SOAK_SECONDS", "12"))


STORM = {"sent": 500, "killed": 0.5, "stopped": 0.3, "terminated": 0.1, "cut": 0.3}
"""How often each has to happen in a second at the least."""


class SoakTests(TestCase):
    timeout = 3 * (SECONDS + 30)

    async def soak(self):
        """Look for what may not happen in any storm, and return what happened in one."""
        seed = int.from_bytes(os.urandom(4), "big")
        out, err, code = await run_child(sys.executable, "zmqrpc.test.integration.soak", SECONDS, seed)
        self.assertEqual(code, 0, f"seed {seed}: {err}")
        figures = json.loads(out)
        self.assertEqual(figures["faults"], [], f"seed {seed}: {figures}")
        self.assertEqual(err, "", f"seed {seed}")
        # What this process itself was kept waiting is no fault of the calls.
        self.assertLess(figures["worst_overrun_ms"], figures["worst_gap_ms"] + 50, f"seed {seed}: {figures}")
        self.assertGreater(figures["ends"]["answered"], figures["sent"] / 2, figures)
        self.assertTrue({"DeadlineExceeded", "ServerLost"} <= figures["ends"].keys(), figures)
        return figures

    async def test_soak(self):
        """What happens is drawn: a short one may have too little of something, and then another is to have it."""
        for _ in range(3):
            figures = await self.soak()
            if all(figures[what] > least * SECONDS for what, least in STORM.items()):
                return
        self.fail(f"it was no storm: {figures}")
