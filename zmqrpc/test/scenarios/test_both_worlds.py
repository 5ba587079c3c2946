"""Whatever can be done with a Node or a client is done in a scenario, which runs in memory and over sockets."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from zmqrpc import Node, RPCClient
from zmqrpc.test.scenarios.worlds import InMemory, OverSockets, Scenario

INTERNAL = {"closes_with"}
"""What only `zmqrpc.connect` and `Network.client` use, which have tests of their own."""


def scenarios() -> list[type]:
    """List the scenarios that run in both worlds."""
    found = []
    for path in sorted(Path(__file__).parent.glob("test_*.py")):
        module = import_module(f"zmqrpc.test.scenarios.{path.stem}")
        kinds = [kind for _, kind in inspect.getmembers(module, inspect.isclass) if kind.__module__ == module.__name__]
        for kind in kinds:
            if Scenario in kind.__bases__:
                worlds = {world for test in kinds if issubclass(test, kind) for world in test.__mro__}
                if {InMemory, OverSockets} <= worlds:
                    found.append(kind)
    return found


def calls_of(kind: type) -> Iterator[tuple[str, set[str]]]:
    """List what a class calls, by name, each with the options it gives."""
    source = inspect.getsource(inspect.getmodule(kind) or kind)
    tree = next(node for node in ast.walk(ast.parse(source)) if getattr(node, "name", None) == kind.__name__)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute | ast.Name):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id
            yield name, {keyword.arg or "" for keyword in node.keywords}


class BothWorldsTests(SynchronousTestCase):
    def test_every_method(self):
        """No method of a Node or a client, and none of its options, is left out."""
        found = scenarios()
        self.assertGreater(len(found), 5)
        options: dict[str, set[str]] = {}
        for name, given in (call for kind in found for call in calls_of(kind)):
            options.setdefault(name, set()).update(given)
        for kind in (Node, RPCClient):
            for name, method in vars(kind).items():
                if inspect.isfunction(method) and not name.startswith("_") and name not in INTERNAL:
                    self.assertIn(name, options)
                    parameters = inspect.signature(method).parameters.values()
                    wanted = {each.name for each in parameters if each.kind is each.KEYWORD_ONLY}
                    # The one scenario that gives all of them gives them to each kind of message.
                    self.assertEqual(wanted - options[name] - options["send"], set(), name)
