"""The reactor in a green thread of eventlet, which nothing may hold up; in a process that is patched."""

import json
import sys

from twisted.trial.unittest import TestCase

from zmqrpc.test.integration.support import run_child


class GreenTests(TestCase):
    async def run_green(self, descriptors):
        out, err, code = await run_child(sys.executable, "zmqrpc.test.oslo.green", descriptors)
        self.assertEqual((code, err), (0, ""))
        return json.loads(out)

    async def test_others_go_on_while_something_lingers(self):
        """ZeroMQ ends in a thread of the operating system: it waits there for what nobody reads."""
        figures = await self.run_green(0)
        self.assertGreater(figures["took"], 0.9)
        self.assertLess(figures["longest"], 0.5, figures)

    async def test_many_descriptors(self):
        """The limit of select is none for the select of eventlet."""
        self.assertEqual((await self.run_green(1100))["descriptors"], 1100)
