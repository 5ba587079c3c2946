"""What every server answers by itself."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import TestCase

from zmqrpc import Target, expose
from zmqrpc.errors import ConfigError, NoSuchMethod, UnsupportedVersion
from zmqrpc.test.scenarios.worlds import InMemory, OverSockets, Scenario

OWN = Target("work", namespace="zmqrpc")


class Unshowable:
    def __repr__(self) -> str:
        raise ValueError("cannot be shown")


class Described:
    """Methods of every shape."""

    @expose
    def add(self, context: dict[str, Any], a: int, b: int = 10) -> int:
        """
        Add two numbers.

        And nothing else.
        """
        return a + b

    @expose
    async def keywords(self, context, *, name: str | None = None, **others):
        pass

    @expose(thread=True)
    def positional(self, *args, flag=True):
        """Take what nobody can give."""

    @expose
    def odd(self, context, a=Unshowable(), b=object(), c="x" * 1000, d: Unshowable | None = None):  # noqa: B008
        """A surrogate: \udcff."""

    def hidden(self, context):
        """Not exposed."""


class Versioned:
    target = Target(namespace="math", version="2.3")

    @expose
    def double(self, context, /, a):
        return 2 * a


class More:
    """Another endpoint in a namespace."""

    target = Versioned.target

    @expose
    def half(self, context, a):
        return a / 2


class IntrospectionScenarios(Scenario):
    async def begin(self, *endpoints):
        await self.world.serve("work.a", *endpoints)
        self.client = self.world.client()

    async def test_ping(self):
        """A ping tells that calls are taken and run; everybody answers for itself."""
        await self.begin(Described())
        await self.world.serve("work.b", Versioned())
        ready = {"ready": True, "not_ready": ""}
        self.assertEqual(await self.client.call(OWN, "ping"), ready)
        answers = await self.client.call_each(OWN, "ping")
        self.assertEqual([(a.member, a.result, a.error) for a in answers], [("a", ready, None), ("b", ready, None)])

    async def test_describe(self):
        """Every exposed method is listed with what a caller has to know."""
        await self.begin(Described(), Versioned(), More())
        described = await self.client.call(OWN, "describe")
        self.assertEqual(
            {tuple(sorted(entry)) for entry in described}, {("doc", "method", "namespace", "signature", "version")}
        )
        lines = [(e["namespace"], e["version"], e["method"], e["signature"]) for e in described]
        self.assertEqual(
            lines,
            [
                (None, "1.0", "add", "(a: int, b: int = 10) -> int"),
                (None, "1.0", "keywords", "(*, name: str | None = None, **others)"),
                (None, "1.0", "odd", "(a=..., b=..., c=..., d: Unshowable | None = None)"),
                (None, "1.0", "positional", "(*, flag=True)"),
                ("math", "2.3", "double", "(a)"),
                ("math", "2.3", "half", "(a)"),
            ],
        )
        docs = {entry["method"]: entry["doc"] for entry in described}
        self.assertEqual(docs["add"], "Add two numbers.\n\nAnd nothing else.")
        self.assertEqual(docs["keywords"], "")
        self.assertEqual(docs["odd"], "A surrogate: \\udcff.")

    async def test_bounded(self):
        """However many methods there are, and however long their docstrings, the answer is bounded."""
        methods = {}
        for number in range(3000):

            def method(self, context, a):
                pass

            method.__doc__ = f"{number} " * 3000
            methods[f"method_{number:04}"] = expose(method)
        await self.begin(type("Many", (), methods)())
        described = await self.client.call(OWN, "describe")
        self.assertEqual(len(described), 3000)
        self.assertLess(sum(len(str(entry)) for entry in described), 600_000)
        self.assertEqual(len(described[0]["doc"]), 4000)
        self.assertTrue(described[0]["doc"].endswith("..."))
        self.assertEqual(described[-1]["doc"], "")

    async def test_other_methods(self):
        """The namespace has these methods in version 1 and no others."""
        await self.begin(Described())
        await self.fails(self.client.call(OWN, "add", {"a": 1}), NoSuchMethod)
        await self.fails(
            self.client.call(Target("work", namespace="zmqrpc", version="2.0"), "ping"), UnsupportedVersion
        )
        await self.fails(self.client.call(Target("work"), "ping"), NoSuchMethod)

    async def test_reserved(self):
        """No endpoint may claim the namespace."""

        class Claiming:
            target = Target(namespace="zmqrpc")

            @expose
            def ping(self, context):
                return "mine"

        with self.assertRaisesRegex(ConfigError, "namespace 'zmqrpc' of .*Claiming.* is kept"):
            self.world.node().server(Target("work"), [Claiming()])


class IntrospectionInMemory(InMemory, IntrospectionScenarios, TestCase):
    seeds = range(1)


class IntrospectionOverSockets(OverSockets, IntrospectionScenarios, TestCase):
    pass
