"""Plugins that are as they should be, and such that are not."""

from __future__ import annotations

import sys
from pathlib import Path
from textwrap import dedent

from twisted.trial.unittest import SynchronousTestCase

from zmqrpc import families, plugins
from zmqrpc.errors import ConfigError
from zmqrpc.families import Family
from zmqrpc.interfaces import IMatchmakerFactory
from zmqrpc.matchmaker import find_factory
from zmqrpc.matchmaker.dummy import DummyFactory
from zmqrpc.settings import Settings
from zmqrpc.test.logs import LogLines

FACTORY = """
    from zope.interface import implementer
    from zmqrpc.interfaces import IMatchmakerFactory

    @implementer(IMatchmakerFactory)
    class Factory:
        scheme = {scheme}
        local = False

        def make(self, reactor, url, settings):
            return url

    factory = Factory()
"""


class FamilyTests(SynchronousTestCase):
    def setUp(self):
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir()
        self.patch(plugins, "__path__", [str(self.directory)])
        self.patch(families, "_logged", set())
        self.patch(families, "getPlugins", lambda interface, package: self.elsewhere)
        self.elsewhere: list[object] = []
        self.lines = LogLines(self, "zmqrpc.families")
        known = set(sys.modules)
        self.addCleanup(lambda: [sys.modules.pop(name) for name in set(sys.modules) - known])

    def module(self, name, source, **fields):
        """Write a plugin module; a name of its own for each test, as modules are imported once."""
        (self.directory / f"{name}.py").write_text(dedent(source).format(**fields))

    def assert_left_out(self, *texts, names=("oracle",)):
        """One sentence says so of each, in the log once for the process, and to who asks for what nobody has."""
        self.module("good", FACTORY, scheme="'oracle'")
        for _ in range(2):
            family = Family(IMatchmakerFactory, "scheme", "[a-z]+", frozenset({"dummy"}))
            self.assertEqual(sorted(family.by_name), list(names))
            self.assertEqual(len(family.faults), len(texts), family.faults)
        self.assertEqual(len(self.lines), len(texts), self.lines)
        said = family.known
        for text in texts:
            self.assertTrue(self.lines.about(text), self.lines)
            self.assertIn(text, said)
        self.assertNotIn("\n", said)

    def test_found(self):
        """In either place; what both have is no conflict."""
        self.module("found", FACTORY, scheme="'oracle'")
        factory = find_factory("oracle")
        self.assertEqual(factory.make(None, "zmq+oracle://", Settings()), "zmq+oracle://")
        self.elsewhere = [factory]
        self.assertIs(find_factory("oracle"), factory)
        self.assertEqual(self.lines, [])

    def test_raises(self):
        self.module("raises", "\n\nraise ZeroDivisionError('oh\\nno')")
        self.assert_left_out("zmqrpc.plugins.raises cannot be imported, ZeroDivisionError: oh no, ")
        self.assertTrue(self.lines[0].endswith("raises.py line 3"), self.lines)

    def test_syntax(self):
        self.module("syntax", "(")
        self.assert_left_out("zmqrpc.plugins.syntax cannot be imported, SyntaxError: ")
        self.assertTrue(self.lines[0].endswith("(syntax.py, line 1)"), self.lines)

    def test_missing_module(self):
        """The line of theirs is said, and not that of whoever imports it."""
        self.module("lacks", "\nimport importlib\nimportlib.import_module('no.such')")
        self.assert_left_out("zmqrpc.plugins.lacks cannot be imported, ModuleNotFoundError: No module named 'no', ")
        self.assertTrue(self.lines[0].endswith("lacks.py line 3"), self.lines)

    def test_exits(self):
        """A module that ends the interpreter is left out as well."""
        self.module("exits", "raise SystemExit(3)")
        self.assert_left_out("zmqrpc.plugins.exits cannot be imported, SystemExit: 3")

    def test_without_scheme(self):
        self.module("bare", FACTORY.replace("scheme = {scheme}\n", "\n"))
        self.assert_left_out("the plugin zmqrpc.plugins.bare.Factory is no IMatchmakerFactory: ")
        self.assertIn("scheme", self.lines[0])

    def test_strange_scheme(self):
        self.module("none", FACTORY, scheme="None")
        self.module("empty", FACTORY, scheme="''")
        self.module("Upper", FACTORY, scheme="'My Store'")
        self.assert_left_out(
            "zmqrpc.plugins.none.Factory has the scheme None; it must be",
            "zmqrpc.plugins.empty.Factory has the scheme ''; it must be",
            "zmqrpc.plugins.Upper.Factory has the scheme 'My Store'; it must be",
        )

    def test_wrong_method(self):
        self.module("wrong", FACTORY.replace("reactor, url, settings", "url"), scheme="'wrong'")
        self.assert_left_out("the plugin zmqrpc.plugins.wrong.Factory is no IMatchmakerFactory: ")

    def test_ours(self):
        """Whoever takes a name of ours is never used."""
        self.module("ours", FACTORY, scheme="'dummy'")
        self.assert_left_out(
            "zmqrpc.plugins.ours.Factory is never used, since the scheme 'dummy' is one of zmqrpc's own"
        )
        self.assertIsInstance(find_factory("dummy"), DummyFactory)

    def test_two(self):
        """Two with one name are a conflict for who asks for that name, and for nobody else."""
        self.module("left", FACTORY, scheme="'twin'")
        self.module("right", FACTORY, scheme="'twin'")
        self.assert_left_out(names=("oracle", "twin"))
        text = str(self.assertRaises(ConfigError, find_factory, "twin"))
        self.assertIn("several plugins have the scheme 'twin', ", text)
        for name in ("left", "right"):
            self.assertIn(f"zmqrpc.plugins.{name}.Factory", text)
        find_factory("oracle")

    def test_unknown(self):
        self.assertEqual(Family(IMatchmakerFactory, "scheme").known, "there are none")
        text = str(self.assertRaises(ConfigError, find_factory, "redos"))
        self.assertEqual(text, "there is no matchmaker 'redos'; valid are dummy, etcd, file, redis, sentinel, sqlite")
