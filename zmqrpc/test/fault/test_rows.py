"""The fast part of the fault bench; `make fault` runs all of it."""

import json
import sys

from twisted.trial.unittest import SynchronousTestCase, TestCase

from zmqrpc.test.fault import bench  # noqa: F401  (which knows all rows)
from zmqrpc.test.fault.rows import ALL, ROWS
from zmqrpc.test.fault.world import LATENESS
from zmqrpc.test.integration.support import run_child

PATIENCE = 4
"""How many times as long something may take here, on a machine that is busy with other tests."""

BUSY = 0.05
"""Seconds by which a bench is late only there."""


class FastRowsTests(TestCase):
    timeout = 120

    async def play(self, rows, topology, seconds):
        """Play some rows; fail with each figure that is not as expected."""
        out, err, code = await run_child(
            sys.executable, "zmqrpc.test.fault", "--rows", rows, "--topology", topology, "--seconds", seconds, "--json"
        )
        self.assertTrue(out, err)
        results = json.loads(out)["results"]
        bad = [
            (result["row"], result["topology"], figure)
            for result in results
            for figure in result["figures"]
            if not figure["good"] and not self.is_slow(figure, result["figures"])
        ]
        self.assertEqual((bad, err), ([], ""))
        self.assertLess(code, 2)

    def is_slow(self, figure, figures):
        """Tell whether it is a time that only a busy machine takes: how long things take is for the bench to say."""
        late = max((float(each["measured"]) for each in figures if each["what"] == LATENESS), default=0.0)
        if late < BUSY or not figure["what"].startswith("s "):
            return False
        return float(figure["measured"]) < PATIENCE * float(figure["expected"].removeprefix("<= "))

    async def test_servers(self):
        """A server is killed, stopped for four seconds, and cut off."""
        await self.play("T1,T5,T15", "static-direct", 4)

    async def test_proxies(self):
        """A server behind proxies is killed, and so is a proxy."""
        await self.play("T1,T3", "router-proxy", 1)


class CatalogueTests(SynchronousTestCase):
    def test_each_row_is_there(self):
        """All but T25, which waits for encryption; and promises that none of these shows."""
        numbers = {row.name[0] + "".join(filter(str.isdigit, row.name)) for row in ROWS}
        self.assertEqual(numbers, {f"T{number}" for number in range(1, 36)} - {"T25"} | {"P1", "P2", "P7"})
        self.assertEqual(len({row.name for row in ROWS}), len(ROWS))

    def test_each_row_is_played_or_proved(self):
        for row in ROWS:
            self.assertNotEqual(row.play is None, not row.tests, row.name)
            if row.play is not None:
                self.assertLessEqual(set(row.topologies), set(ALL), row.name)
