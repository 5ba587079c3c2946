"""
The layers of the house, checked by reading the imports of every module.

Imports point only downwards. Who adds a module gives it a place in `LAYERS`; who needs an exception has found a
question for a design decision (docs/adr), not for this file.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Set
from pathlib import Path
from textwrap import dedent

import attrs
from twisted.trial.unittest import SynchronousTestCase

import zmqrpc

LAYERS: dict[str, set[str]] = {
    "words": {
        *("_version", "address", "contradictions", "errors", "inherited", "interfaces", "option"),
        *("plugins", "reading", "record"),
        *("settings", "sockets", "spelling", "target", "transport_url", "unpatched"),
    },
    "core": {"core"},
    "configuration": {"config_files", "configuration", "families", "ini"},  # reads files, the environment and plugins
    "shells": {"matchmaker", "reactor_zmq"},
    "roles": {
        *(
            "adapters",
            "answers",
            "any_caller",
            "beats",
            "binding",
            "broker",
            "caller",
            "callers",
            "carrier",
            "checks",
            "client",
            "connections",
        ),
        *(
            "connector",
            "delivery",
            "descriptors",
            "disagreement",
            "discovery",
            "dispatcher",
            "elsewhere",
            "fanout_caller",
        ),
        *("forks", "given_back", "hedging", "hints", "kept_replies"),
        *(
            "inspection",
            "inspection_text",
            "introspection",
            "life",
            "link",
            "link_user",
            "links",
            "listener",
            "members",
            "notices",
            "notifier",
            "offers",
            "outbox",
        ),
        *("outcomes", "patience", "proxies", "proxy", "proxy_link", "proxy_set", "proxy_watch"),
        *("published", "publishers", "publishing", "publishing_half"),
        *("registrar", "repetitions", "requests", "running", "server", "strategy_links"),
        *(
            "signals",
            "stall",
            "subscription",
            "subscription_set",
            "subscriptions",
            "sweep",
            "tables",
            "threads",
            "waiter",
            "watches",
            "whereabouts",
        ),
    },
    "composition": {"node", "parts", "proxy_lines", "proxy_node", "site"},
    "facade": {""},  # zmqrpc itself: names the public things, so it sees all but the entries
    "entries": {"cli", "oslo", "tap", "testing"},
    "tests": {"test"},
}
"""Lowest first; a unit is a module or package directly under `zmqrpc`."""

RANKS = {unit: rank for rank, units in enumerate(LAYERS.values()) for unit in units}
NAMES = list(LAYERS)

FAMILIES = {"connections", "matchmaker", "proxy"}
"""Packages whose modules are alternatives: none may need another. What they share is in modules like ``_shared``."""

ONLY = {
    "zmq": {"reactor_zmq"},
    "txredisapi": {"matchmaker"},
    "treq": {"matchmaker"},
    "sqlite3": {"matchmaker"},
    "twisted.internet.reactor": {"cli", "oslo", "tap"},
}
"""Which units may import what is not ours; tests may import everything."""

CORE_MAY = {"attr", "attrs", "msgspec", "zope.interface"}
CORE_MAY_NOT = {
    # Clocks, chance, the outside world, and whatever waits: they come in as arguments or go out as effects.
    *("time", "datetime", "random", "secrets", "uuid", "logging", "os"),
    *("threading", "concurrent", "multiprocessing", "subprocess", "signal"),
    *("socket", "select", "selectors", "ssl", "asyncio", "sqlite3"),
}


@attrs.frozen
class Import:
    """One name that a module imports: ``from a import b`` is ``a.b``, module or not."""

    module: str
    line: int
    name: str


def imports_of(module: str, source: str, is_package: bool = False) -> Iterator[Import]:
    """Read every import of a module, those inside functions and below TYPE_CHECKING included."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                for alias in names:
                    yield Import(module, node.lineno, alias.name)
            case ast.ImportFrom(names=names, level=level):
                origin = node.module or ""
                if level:
                    parts = module.split(".")
                    parents = parts[: len(parts) - level + is_package]
                    origin = ".".join([*parents, origin] if origin else parents)
                for alias in names:
                    yield Import(module, node.lineno, f"{origin}.{alias.name}")
            case ast.Attribute() if ast.unparse(node) == "twisted.internet.reactor":
                yield Import(module, node.lineno, "twisted.internet.reactor")


def is_within(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def unit_of(module: str) -> str:
    """
    Name the part of the house: ``zmqrpc.core.plan`` is in ``core``; ``zmqrpc`` itself is the empty name.

    ``zmqrpc._reactor_zmq`` and others of such names are parts of ``zmqrpc.reactor_zmq``.
    """
    name = module.split(".")[1] if "." in module else ""
    if name.startswith("_reactor"):
        return "reactor_zmq"
    return name if name in RANKS else name.removeprefix("_")


def fault_of(item: Import, modules: set[str]) -> str | None:
    """
    Tell what is wrong with an import, None when nothing is.

    :param modules: the names of all modules of zmqrpc, to tell ``from zmqrpc import core`` from a name in a module.
    """
    unit = unit_of(item.module)
    rank = RANKS.get(unit)
    if rank is None:
        return f"{unit} has no place in LAYERS (zmqrpc/test/test_layering.py)"
    if NAMES[rank] == "tests":
        return None
    # Something in zmqrpc/plugins/ is a guest that may use the house; the package itself is only a place to look.
    if unit == "plugins" and item.module != "zmqrpc.plugins":
        rank = NAMES.index("entries")
    if is_within(item.name, "zmqrpc"):
        return _fault_inside(item, rank, item.name if item.name in modules else item.name.rpartition(".")[0])
    for package, units in ONLY.items():
        if is_within(item.name, package) and unit not in units:
            return f"only {', '.join(sorted(units))} may import {package}"
    if NAMES[rank] == "core" and not any(is_within(item.name, package) for package in CORE_MAY):
        root = item.name.partition(".")[0]
        if root not in sys.stdlib_module_names or root in CORE_MAY_NOT:
            return f"the core may not import {root}"
    return None


def _fault_inside(item: Import, rank: int, imported: str) -> str | None:
    unit, other = unit_of(item.module), unit_of(imported)
    if other not in RANKS:
        return f"{other} has no place in LAYERS (zmqrpc/test/test_layering.py)"
    if RANKS[other] > rank:
        return f"{NAMES[rank]} may not import {NAMES[RANKS[other]]} ({imported}): imports point downwards"
    if NAMES[rank] == "roles" and NAMES[RANKS[other]] == "shells":
        return f"roles get {imported} through an interface, from the composition"
    if RANKS[other] == rank and NAMES[rank] == "shells" and unit != other:
        return f"{unit} may not import {other}: shells do not know each other"
    if unit == other and unit in FAMILIES:
        sibling, other_sibling = item.module.split(".")[2:3], imported.split(".")[2:3]
        if sibling and other_sibling and sibling != other_sibling and not other_sibling[0].startswith("_"):
            return f"{sibling[0]} may not import its sibling {other_sibling[0]}"
    return None


def faults_of(sources: dict[str, str], packages: Set[str] = frozenset()) -> list[str]:
    """Check modules given by name; `packages` are those that are an ``__init__.py``."""
    modules = set(sources)
    found = []
    for module, source in sorted(sources.items()):
        for item in imports_of(module, source, module in packages):
            fault = fault_of(item, modules)
            if fault is not None:
                found.append(f"{module}, line {item.line}: {fault}")
            if unit_of(module) not in RANKS:
                break  # said once, and the rest cannot be judged
    return found


def read_house() -> tuple[dict[str, str], set[str]]:
    """Read the source of every module of the installed zmqrpc."""
    root = Path(zmqrpc.__file__).parent
    sources, packages = {}, set()
    for path in root.rglob("*.py"):
        parts = path.relative_to(root.parent).with_suffix("").parts
        if parts[-1] == "__init__":
            parts = parts[:-1]
            packages.add(".".join(parts))
        sources[".".join(parts)] = path.read_text(encoding="utf-8")
    return sources, packages


class HouseTests(SynchronousTestCase):
    """Our own modules."""

    def test_imports_point_downwards(self) -> None:
        sources, packages = read_house()
        self.assertIn("zmqrpc.errors", sources)
        self.assertIn("zmqrpc.core", packages)
        self.assertEqual("\n".join(faults_of(sources, packages)), "")

    def test_plugin_file_imports_only_twisted(self) -> None:
        """twistd imports it at every start, and before it has chosen a reactor."""
        path = Path(zmqrpc.__file__).parents[1] / "twisted" / "plugins" / "zmqrpc_plugins.py"
        names = [item.name for item in imports_of("twisted.plugins.zmqrpc_plugins", path.read_text(encoding="utf-8"))]
        self.assertEqual(names, ["twisted.application.service.ServiceMaker"])


class CheckerTests(SynchronousTestCase):
    """The check itself, over made-up modules."""

    def check(self, module: str, source: str, *others: str, package: bool = False) -> list[str]:
        known = {"zmqrpc": "", "zmqrpc.core": "", **dict.fromkeys(others, "")}
        return faults_of({**known, module: dedent(source)}, {module} if package else set())

    def assert_clean(self, module: str, source: str, *others: str, package: bool = False) -> None:
        self.assertEqual(self.check(module, source, *others, package=package), [])

    def assert_fault(self, module: str, source: str, text: str, *others: str, package: bool = False) -> None:
        faults = self.check(module, source, *others, package=package)
        self.assertEqual(len(faults), 1, faults)
        self.assertIn(text, faults[0])

    def test_upwards(self) -> None:
        self.assert_fault("zmqrpc.core.plan", "from zmqrpc.client import RPCClient", "downwards", "zmqrpc.client")
        self.assert_fault("zmqrpc.target", "import zmqrpc.core.plan", "downwards", "zmqrpc.core.plan")
        self.assert_fault("zmqrpc.client", "from zmqrpc.node import Node", "downwards", "zmqrpc.node")
        self.assert_fault("zmqrpc.node", "from zmqrpc import Target", "downwards")
        self.assert_fault("zmqrpc.node", "from zmqrpc import tap", "downwards", "zmqrpc.tap")

    def test_what_reads_files(self) -> None:
        """Words and core are told what files and plugins hold; all above may look for themselves."""
        for other in sorted(LAYERS["configuration"]):
            name = f"zmqrpc.{other}"
            for module in ("zmqrpc.settings", "zmqrpc.reading", "zmqrpc.core.plan"):
                self.assert_fault(module, f"def f():\n    import {name}", "may not import configuration", name)
            for module in ("zmqrpc.matchmaker", "zmqrpc.node", "zmqrpc.tap.server"):
                self.assert_clean(module, f"import {name}", name)
            self.assert_fault(name, "import zmqrpc.matchmaker", "downwards", "zmqrpc.matchmaker")

    def test_downwards(self) -> None:
        self.assert_clean("zmqrpc.core.plan", "from zmqrpc.errors import ConfigError", "zmqrpc.errors")
        self.assert_clean(
            "zmqrpc.node", "from zmqrpc import client, reactor_zmq", "zmqrpc.client", "zmqrpc.reactor_zmq"
        )
        self.assert_clean("zmqrpc.tap.server", "from zmqrpc import Node")

    def test_hidden_imports_count(self) -> None:
        """Inside a function, below TYPE_CHECKING, or relative: an import is an import."""
        self.assert_fault(
            "zmqrpc.core.plan", "def f():\n    from zmqrpc import node", "line 2: core may not", "zmqrpc.node"
        )
        self.assert_fault(
            "zmqrpc.core.plan",
            """
            if TYPE_CHECKING:
                from zmqrpc.node import Node
            """,
            "downwards",
            "zmqrpc.node",
        )
        self.assert_fault("zmqrpc.core.plan", "from ..node import Node", "downwards", "zmqrpc.node")
        self.assert_fault("zmqrpc.core", "from .. import node", "downwards", "zmqrpc.node", package=True)
        self.assert_clean("zmqrpc.core.plan", "from .envelope import Kind", "zmqrpc.core.envelope")
        self.assert_clean("zmqrpc.core", "from .envelope import Kind", "zmqrpc.core.envelope", package=True)

    def test_core_is_pure(self) -> None:
        for name in ("time", "random", "logging", "threading", "socket", "os.path"):
            self.assert_fault("zmqrpc.core.plan", f"import {name}", "the core may not import")
        self.assert_fault("zmqrpc.core.plan", "from time import monotonic", "the core may not import time")
        self.assert_fault("zmqrpc.core.plan", "from twisted.internet.defer import Deferred", "may not import twisted")
        self.assert_fault("zmqrpc.core.plan", "from zope.component import adapts", "may not import zope")
        self.assert_clean(
            "zmqrpc.core.plan",
            """
            from __future__ import annotations
            import collections.abc, enum
            import attrs, msgspec
            from zope.interface import implementer
            """,
        )

    def test_outside_packages_have_one_importer(self) -> None:
        self.assert_fault("zmqrpc.client", "import zmq", "only reactor_zmq may import zmq")
        self.assert_fault("zmqrpc.client", "from zmq.constants import ROUTER", "only reactor_zmq may import zmq")
        self.assert_clean("zmqrpc.reactor_zmq", "import zmq, zmq.constants")
        self.assert_clean("zmqrpc.test.test_reactor_zmq", "import zmq")
        for name in ("txredisapi", "treq", "sqlite3"):
            self.assert_fault("zmqrpc.cli.ls", f"import {name}", f"only matchmaker may import {name}")
            self.assert_clean("zmqrpc.matchmaker.any", f"import {name}")

    def test_other_half(self) -> None:
        """A private module beside a file is the same part of the house, for better and for worse."""
        self.assert_clean("zmqrpc._reactor_zmq", "import zmq")
        self.assert_clean("zmqrpc.reactor_zmq", "from zmqrpc._reactor_zmq import Reader", "zmqrpc._reactor_zmq")
        self.assert_fault("zmqrpc._client", "import zmq", "only reactor_zmq may import zmq")
        self.assert_fault("zmqrpc.client", "import zmqrpc._reactor_zmq", "through an interface", "zmqrpc._reactor_zmq")
        self.assert_fault("zmqrpc._novelty", "import enum", "novelty has no place in LAYERS")

    def test_global_reactor(self) -> None:
        for source in (
            "from twisted.internet import reactor",
            "import twisted.internet.reactor",
            "from twisted.internet.reactor import callLater",
            "import twisted.internet\nnow = twisted.internet.reactor.seconds()",
        ):
            for module in ("zmqrpc.node", "zmqrpc.testing.network", "zmqrpc.matchmaker.sqlite"):
                faults = self.check(module, source)
                self.assertTrue(faults and "twisted.internet.reactor" in faults[0], (module, source, faults))
            for module in ("zmqrpc.tap.server", "zmqrpc.cli", "zmqrpc.oslo.driver", "zmqrpc.test.test_node"):
                self.assert_clean(module, source)
        self.assert_clean("zmqrpc.node", "from twisted.internet.interfaces import IReactorTime")

    def test_siblings(self) -> None:
        for family in sorted(FAMILIES):
            module, sibling = f"zmqrpc.{family}.one", f"zmqrpc.{family}.two"
            self.assert_fault(module, f"import {sibling}", "may not import its sibling two", sibling)
            self.assert_fault(module, "from .two import anything", "may not import its sibling two", sibling)
            self.assert_clean(f"zmqrpc.{family}", "from . import two", sibling, package=True)
            self.assert_clean(module, f"from zmqrpc.{family} import name", f"zmqrpc.{family}")
            shared = f"zmqrpc.{family}._shared"
            self.assert_clean(module, "from ._shared import anything", shared)
            self.assert_clean(f"zmqrpc.{family}._other", "from ._shared import anything", shared)
            self.assert_fault(shared, f"import {sibling}", "may not import its sibling two", sibling)
        self.assert_clean(
            "zmqrpc.matchmaker.redis.link", "from zmqrpc.matchmaker.redis import keys", "zmqrpc.matchmaker.redis.keys"
        )

    def test_roles_and_shells_meet_in_node_only(self) -> None:
        self.assert_fault("zmqrpc.client", "import zmqrpc.reactor_zmq", "through an interface", "zmqrpc.reactor_zmq")
        self.assert_fault(
            "zmqrpc.reactor_zmq", "import zmqrpc.matchmaker", "do not know each other", "zmqrpc.matchmaker"
        )

    def test_nobody_imports_tests(self) -> None:
        self.assert_fault("zmqrpc.testing.network", "import zmqrpc.test.x", "downwards", "zmqrpc.test.x")
        self.assert_clean("zmqrpc.test.y", "import zmqrpc.test.x", "zmqrpc.test.x")

    def test_every_unit_has_a_place(self) -> None:
        self.assert_fault("zmqrpc.novelty", "import enum", "novelty has no place in LAYERS")
        self.assert_fault("zmqrpc.node", "import zmqrpc.novelty", "novelty has no place in LAYERS", "zmqrpc.novelty")

    def test_plugins_are_guests(self) -> None:
        self.assert_clean("zmqrpc.plugins.theirs", "from zmqrpc.node import Node", "zmqrpc.node", "zmqrpc.plugins")
        self.assert_fault("zmqrpc.plugins", "import zmqrpc.node", "downwards", "zmqrpc.node", package=True)
