"""Proxies, publishers and servers that fail, stop and come back, in real processes: nothing is lost, nothing twice."""

import json
import os
import sys

from twisted.trial.unittest import TestCase

from zmqrpc.test.integration.support import run_child

SECONDS = float(os.environ.get("ZMQRPC_FAULT_SECONDS", "4"))


class FaultTests(TestCase):
    timeout = 2 * SECONDS + 120

    async def play(self, scenario, seconds=SECONDS):
        """Play a scenario in a process of its own; return its figures."""
        seed = int.from_bytes(os.urandom(4), "big")
        out, err, code = await run_child(sys.executable, "zmqrpc.test.integration.faults", scenario, seconds, seed)
        self.assertEqual((code, err), (0, ""), f"seed {seed}")
        figures = json.loads(out)
        faults = figures.pop("faults")
        self.assertFalse(faults, "\n".join([f"seed {seed}: {figures}", *faults]))
        self.assertEqual((figures["broken"], figures["uncounted"]), (0, 0), f"seed {seed}: {figures}")
        return figures

    async def test_router_proxy_is_killed(self):
        figures = await self.play("kill", 1)
        self.assertGreater(figures["calls"], 1000)

    async def test_router_proxy_is_stopped_and_started_anew(self):
        figures = await self.play("stop", 1)
        self.assertGreater(figures["calls"], 1000)

    async def test_publisher_proxy_is_killed(self):
        figures = await self.play("publish")
        self.assertEqual((figures["fanouts"], figures["missed"]), (1008, 0))

    async def test_all_come_and_go(self):
        figures = await self.play("churn")
        self.assertGreater(min(figures[kind] for kind in ("calls", "casts", "fanouts")), 20, figures)
        self.assertGreater(figures["killed"] + figures["stopped"], 0, figures)
