"""
What the documentation names exists, is complete, and its code is run by a test or says why not.

That words of the glossary and pages that are linked exist is seen by Sphinx (``make docs``).
"""

from __future__ import annotations

import importlib
import itertools
import re
from collections.abc import Iterator
from configparser import ConfigParser
from inspect import isfunction, isroutine
from pathlib import Path
from textwrap import dedent
from typing import Any
from urllib.parse import urlencode

from twisted.trial.unittest import SkipTest, SynchronousTestCase
from zope.interface.interface import InterfaceClass

import zmqrpc
from zmqrpc import errors, interfaces, testing
from zmqrpc.connections.dynamic_direct import PATIENCE
from zmqrpc.core.plan import plan_for
from zmqrpc.settings import Settings
from zmqrpc.test.processes import CHECKOUT

DOCS = CHECKOUT / "docs"
PLACES = [CHECKOUT, CHECKOUT / "zmqrpc", CHECKOUT / "zmqrpc" / "core", CHECKOUT / "zmqrpc" / "test"]
"""Where a file is that a page names; the first match counts."""

WORDS = {
    *("target", "exchange", "topic", "bare topic", "directed topic", "namespace", "endpoint", "dispatcher"),
    *("call", "cast", "fan-out", "notification", "envelope", "frames", "acknowledgement"),
    *("node", "instance", "member", "server", "client", "address", "identity", "link"),
    *("matchmaker", "record", "refresh", "routing table", "connection strategy", "delivery plan"),
    *("router proxy", "publisher proxy", "local publisher"),
}
"""The words that have one meaning here."""


def pages() -> list[Path]:
    """List everything that is written for readers, what is generated left out."""
    found = [path for path in DOCS.rglob("*.rst") if "_build" not in path.parts]
    return sorted([*found, *(CHECKOUT / name for name in ("README.rst", "CONTRIBUTING.rst", "SECURITY.rst"))])


def directives(page: Path) -> Iterator[tuple[str, str, dict[str, str]]]:
    """Read the autodoc directives of a page: kind, name, options."""
    for kind, name, options in re.findall(
        r"^\.\. auto(\w+):: ([\w.]+)(?:\(\))?\n((?:   :.*\n)*)", page.read_text(), re.MULTILINE
    ):
        yield kind, name, dict(re.findall(r"^   :([\w-]+): ?(.*)$", options, re.MULTILINE))


def resolve(name: str) -> Any:
    """Return what a dotted name means."""
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(module), attribute)


def public(module: Any) -> set[str]:
    """List what a module offers."""
    offered = getattr(module, "__all__", None) or [
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", None) == module.__name__
    ]
    return {f"{module.__name__}.{name}" for name in offered if not name.startswith("__")}


class PageTests(SynchronousTestCase):
    def setUp(self) -> None:
        if not DOCS.exists():
            raise SkipTest("the documentation is not here")

    def assert_exists(self, name: str, where: Path) -> None:
        self.assertTrue(
            any((place / name).exists() for place in PLACES), f"{where.name} names {name}, which is not there"
        )

    def test_files_exist(self) -> None:
        for page in [DOCS / "inside.rst", DOCS / "index.rst", *DOCS.glob("adr/*.rst"), CHECKOUT / "CONTRIBUTING.rst"]:
            for name in re.findall(r"``([\w./-]+(?:\.py|\.rst|/))``", page.read_text()):
                self.assert_exists(name, page)

    def test_picture(self) -> None:
        """Every file in the picture of the house exists."""
        picture = DOCS / "house.svg"
        for line in re.findall(r'font-family="monospace"[^>]*>([^<]+)<', picture.read_text()):
            for name in line.split():
                self.assert_exists(name, picture)

    def test_decisions(self) -> None:
        """Each of the decisions the house began with leads to a record, and each record has every part."""
        index = (DOCS / "adr" / "README.rst").read_text()
        rows = re.findall(r"^   \* - (D\d+)\n     - .+\n     - :doc:`(\d{4}-[\w-]+)`$", index, re.MULTILINE)
        self.assertEqual([name for name, _ in rows], [f"D{number}" for number in range(1, 19)])
        records = sorted((DOCS / "adr").glob("0*.rst"))
        self.assertEqual([int(path.name[:4]) for path in records], list(range(1, len(records) + 1)))
        self.assertLessEqual({stem for _, stem in rows}, {path.stem for path in records})
        for record in records:
            parts = re.findall(r"^(.+)\n-+$", record.read_text(), re.MULTILINE)
            optional = [part for part in parts if part == "Measured"]
            wanted = ["Status", "Context", "Decision", "Consequences", *optional, "In the code"]
            self.assertEqual(parts, wanted, record.name)

    def test_glossary(self) -> None:
        terms = set(re.findall(r"^   (\S.*)\n      \S", (DOCS / "glossary.rst").read_text(), re.MULTILINE))
        self.assertEqual(WORDS - terms, set())

    def test_promises(self) -> None:
        """The front page and the README have the same seven."""
        front, readme = ((place / name).read_text() for place, name in ((DOCS, "index.rst"), (CHECKOUT, "README.rst")))
        promises = re.findall(r"^\d\. \*\*(.+?)\.?\*\*", front, re.MULTILINE)
        self.assertEqual(len(promises), 7)
        self.assertEqual(promises, re.findall(r"^\d\. \*\*(.+?)\.?\*\*", readme, re.MULTILINE))

    def test_code_is_run(self) -> None:
        """A page with code is named by a test, or says of each block why it is not run."""
        sources = "\n".join(
            path.read_text().replace('" / "', "/")
            for path in (CHECKOUT / "zmqrpc" / "test").rglob("test_*.py")
            if path.name != Path(__file__).name
        )
        for page in pages():
            name = f"{page.parent.name}/{page.name}"
            if name in sources or name.removesuffix(".rst") in sources or f'"{page.name}"' in sources:
                continue
            found = re.findall(
                r"^(\.\. not run: .+\n(?:   .+\n)*\n)?\.\. code-block:: (console|python|bash)",
                page.read_text(),
                re.MULTILINE,
            )
            for marked, language in found:
                self.assertTrue(
                    marked, f"{name} has {language} that no test runs; test it, or say why not (not run: ...)"
                )

    def test_included_files_are_tested(self) -> None:
        sources = "\n".join(path.read_text() for path in (CHECKOUT / "zmqrpc" / "test").rglob("test_*.py"))
        for page in pages():
            for name in re.findall(r"^\.\. literalinclude:: (.+)$", page.read_text(), re.MULTILINE):
                path = (page.parent / name).resolve()
                self.assertTrue(path.exists(), f"{page.name} includes {name}")
                parts = [path.name, path.stem, path.parent.name]
                self.assertTrue(
                    any(part in sources for part in parts), f"{page.name} includes {name}, which no test names"
                )


class ReferenceTests(SynchronousTestCase):
    """The pages made from docstrings have every public name."""

    def setUp(self) -> None:
        if not DOCS.exists():
            raise SkipTest("the documentation is not here")
        self.found = [found for page in pages() for found in directives(page)]

    def test_every_name(self) -> None:
        there = set()
        for kind, name, options in self.found:
            there.add(name)
            if kind == "module":
                left_out = options.get("exclude-members", "").replace(",", " ").split()
                there |= public(importlib.import_module(name)) - {f"{name}.{other}" for other in left_out}
        for module in (zmqrpc, errors, interfaces, testing):
            self.assertEqual(sorted(public(module) - there - {"zmqrpc.errors"}), [])

    def test_every_method(self) -> None:
        """Where the members of a class are listed, none that is public is forgotten."""
        for kind, name, options in self.found:
            listed = options.get("members", "").replace(",", " ").split()
            if kind != "class" or not listed:
                continue
            methods = {
                key
                for key, value in vars(resolve(name)).items()
                # The tests of a contract are not called by anybody.
                if isroutine(value) and not key.startswith(("_", "test_"))
            }
            self.assertEqual(methods - set(listed), set(), name)

    def test_docstrings(self) -> None:
        """Everything on these pages says what it is for."""
        for module in (zmqrpc, errors, interfaces, testing):
            for name in public(module):
                value = resolve(name)
                if isinstance(value, (type, InterfaceClass)) or isfunction(value):
                    self.assertTrue(value.__doc__, name)


class StaticDirectTests(SynchronousTestCase):
    """What docs/howto/static-direct says."""

    topology = "static-direct"

    def setUp(self) -> None:
        self.page = DOCS / "howto" / f"{self.topology}.rst"
        if not self.page.exists():
            raise SkipTest("the documentation is not here")

    def blocks(self, language: str) -> list[str]:
        found = re.findall(
            rf"^\.\. code-block:: {language}\n\n((?:(?:   .*)?\n)+)", self.page.read_text(), re.MULTILINE
        )
        return [dedent(block) for block in found]

    def test_options(self) -> None:
        """Every option of its files exists, and they mean this topology."""
        guide = (DOCS / "configurations" / "newer" / f"{self.topology}.conf").read_text()
        for block in [guide, *self.blocks("ini")]:
            parser = ConfigParser(interpolation=None, default_section="")
            parser.read_string(block)
            if not parser.has_section("oslo_messaging_zmq"):
                continue
            settings = Settings.from_url(f"zmq://?{urlencode(parser['oslo_messaging_zmq'])}")
            plan = plan_for(settings.use_pub_sub, settings.use_router_proxy, settings.use_dynamic_connections)
            self.assertEqual(plan.name, self.topology)

    def test_ports(self) -> None:
        """The firewall lets in what is bound by default, and no more."""
        settings = Settings()
        ports = f"{settings.rpc_zmq_min_port}:{settings.rpc_zmq_max_port - 1}"
        self.assertTrue(any(f"--dports {ports} " in block for block in self.blocks("console")))


class TopologiesTests(SynchronousTestCase):
    def test_rows(self) -> None:
        """The page has the plan of each way to set the three booleans."""
        page = DOCS / "howto" / "topologies.rst"
        if not page.exists():
            raise SkipTest("the documentation is not here")
        boolean = "- (true|false)\n     "
        row = rf"   \* {boolean * 3}- ``(.+)``\n     - (.+)\n     - (.+)\n"
        rows = re.findall(row, page.read_text())
        calls = {
            "static-direct": "direct, kept",
            "dynamic-direct": "direct, for a message",
            "router-proxy": "router proxy",
        }
        expected = []
        for booleans in itertools.product((False, True), repeat=3):
            plan = plan_for(*booleans)
            fanouts = "published" if plan.subscribes else f"to each member, {calls[plan.fanouts].partition(',')[0]}"
            words = [str(boolean).lower() for boolean in booleans]
            expected.append((*words, plan.name, calls[plan.calls], fanouts))
        self.assertEqual(rows, expected)


class DynamicDirectTests(StaticDirectTests):
    """What docs/howto/dynamic-direct says."""

    topology = "dynamic-direct"

    def test_defaults(self) -> None:
        """The page goes by the defaults, and by the time that the code gives."""
        text = self.page.read_text()
        self.assertIn(f"{PATIENCE * 1000:g} ms", text)
        self.assertEqual(Settings().zmq_failover_connections, 2)
