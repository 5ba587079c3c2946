"""The page of counters has each that there is, and no other."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from zmqrpc.core.envelope import Refusal
from zmqrpc.test.processes import CHECKOUT

COMPUTED = {"reason.name.lower()": {reason.name.lower() for reason in Refusal}}
"""What names a counter and is no text, with all that it can be."""


def calls() -> Iterator[tuple[str, str, ast.expr]]:
    """List what the package calls: the object, the function, and the first argument."""
    for path in (CHECKOUT / "zmqrpc").rglob("*.py"):
        if {"test", "testing"}.isdisjoint(path.parts):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and node.args:
                    owner, _, name = ast.unparse(node.func).rpartition(".")
                    yield owner, name, node.args[0]


def counted() -> set[str]:
    """List the names of all counters."""
    names: set[str] = set()
    discarded = {ast.literal_eval(name) for _, called, name in calls() if called == "Discard"}
    computed = {**COMPUTED, "effect.name": discarded}
    for owner, called, name in calls():
        if called == "count" and owner.endswith("notices"):
            names |= {ast.literal_eval(name)} if isinstance(name, ast.Constant) else computed[ast.unparse(name)]
    return names


class CountersTests(SynchronousTestCase):
    def test_page(self):
        """Every counter has a row, in the order of their names; no row is of one that is gone."""
        page = CHECKOUT / "docs" / "counters.rst"
        if not page.exists():
            raise SkipTest("the documentation is not here")
        rows = re.findall(r"^   \* - ``(\w+)``$", page.read_text(), re.MULTILINE)
        self.assertEqual(rows, sorted(counted()))

    def test_nothing_is_counted_past_it(self):
        """Who counts says so by `Notices.count`, where it is found."""
        for path in (CHECKOUT / "zmqrpc").rglob("*.py"):
            if {"test", "testing"}.isdisjoint(path.parts):
                self.assertNotRegex(path.read_text(), r"notices\.counts\[", str(path))
