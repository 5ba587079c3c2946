"""The Python of the how-to pages runs, on the network in memory."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path
from textwrap import dedent, indent
from typing import Any
from unittest import TestLoader, TestResult

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.trial.unittest import SkipTest, SynchronousTestCase

import zmqrpc
from zmqrpc import Target, errors, expose
from zmqrpc.testing import MemoryNode, Network, Store

HOWTO = Path(zmqrpc.__file__).parents[1] / "docs" / "howto"


class Calc:
    @expose
    def add(self, context, a, b):
        return a + b

    @expose
    def note(self, context, text):
        """Remember a text."""


class HowtoTests(SynchronousTestCase):
    def setUp(self):
        if not HOWTO.exists():
            raise SkipTest("the documentation is not here")
        self.network = Network(seed=1)
        self.store = Store(self.network.clock)

    def blocks(self, page):
        """Read the Python of a page, block by block."""
        for text in (HOWTO / page).read_text(encoding="utf-8").split(".. code-block:: python\n")[1:]:
            lines = text.splitlines()
            ends = (number for number, line in enumerate(lines) if line and not line.startswith(" "))
            yield dedent("\n".join(lines[: next(ends, len(lines))]))

    def block(self, page):
        """Read the first block of Python of a page."""
        return next(self.blocks(page))

    def node(self, host):
        return MemoryNode(self.network, self.store, host)

    def serve(self):
        node = self.node("server")
        node.server(Target("calc"), [Calc()])
        node.startService()
        return node

    def test_testing(self):
        names = {"__name__": "example"}
        exec(self.block("testing-without-a-network.rst"), names)  # noqa: S102
        result = TestResult()
        TestLoader().loadTestsFromTestCase(names["CalcTests"]).run(result)  # type: ignore[arg-type]
        self.assertEqual((result.testsRun, result.errors, result.failures), (2, [], []))

    def test_errors(self):
        """Each error of a call is caught in one of the two ways."""
        node = self.node("client")
        node.startService()
        names = {"errors": errors, "Target": Target, "client": node.client()}
        exec("async def call():\n" + indent(self.block("errors.rst"), "    ") + "    return total\n", names)  # noqa: S102
        with self.assertRaises(UnboundLocalError):
            # Nobody serves it, the error was caught, and there is no total.
            self.network.result_of(Deferred.fromCoroutine(names["call"]()))
        self.serve()
        self.assertEqual(self.network.result_of(Deferred.fromCoroutine(names["call"]())), 3)

    def test_call_servers(self):
        """All that a client can do is done, in the order of the page."""
        self.serve()
        node = self.node("client")
        node.startService()
        printed: list[str] = []
        names: dict[str, Any] = {
            "Target": Target,
            "expose": expose,
            "hashlib": hashlib,
            "zmqrpc": zmqrpc,
            "ensureDeferred": ensureDeferred,
            "client": node.client(),
            "print": lambda *words: printed.append(" ".join(words)),
        }
        for block in self.blocks("call-servers.rst"):
            source = f"async def run():\n{indent(block, '    ')}\n    return locals()\n"
            exec(source, names)  # noqa: S102
            names |= self.network.result_of(Deferred.fromCoroutine(names["run"]()))
            self.network.run(0.1)
        member = node._delivery.table.topics()[0].servers()[0]
        self.assertEqual(names["total"], 3)
        self.assertRegex(printed[0], r"^server says 3 after \d+\.\d ms$")
        self.assertEqual(printed[1:], [f"server {member.instance}", "add(a, b) ", "note(text) Remember a text."])
        self.assertEqual(self.network.result_of(Deferred.fromCoroutine(names["Report"]().total({}, [1, 2, 3]))), 6)
        self.assertEqual(names["Shelf"]().reorder({}), "begun")
        self.network.run(0.1)
        with tempfile.NamedTemporaryFile() as file:
            self.assertEqual(names["Files"]().checksum({}, file.name), hashlib.sha256().hexdigest())

    def test_notifications(self):
        """Its listeners hear what its notifier sends, and it prints what is said."""
        node = self.node("both")
        node.startService()
        printed: list[str] = []
        names: dict[str, Any] = {"Target": Target, "expose": expose, "errors": errors, "node": node}
        names["print"] = lambda *words: printed.append(" ".join(words))
        for block in self.blocks("notifications.rst"):
            source = f"async def run():\n{indent(block, '    ')}\n    return locals()\n"
            exec(source, names)  # noqa: S102
            names |= self.network.result_of(Deferred.fromCoroutine(names["run"]()))
            self.network.run(1)
        said = ["compute.node-1: instance.started {'id': 7}", "1 at once, the first is instance.started"]
        self.assertEqual(printed, [*said, "3 pools have it"])

    def test_static_direct(self):
        """The servers of targets that are named at the start are connected to before the first call."""
        server = self.serve()
        names: dict[str, Any] = {
            "Target": Target,
            "Node": lambda reactor, url: self.node("client"),
            "reactor": None,
            "url": "",
        }
        exec(self.block("static-direct.rst"), names)  # noqa: S102
        self.network.run(1)
        connected = [caller.instance for caller in server._callers._callers.values()]
        self.assertEqual(connected, [names["node"].instance])
