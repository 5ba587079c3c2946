"""Every class that claims an interface has its methods, with signatures that fit."""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Iterable, Iterator
from textwrap import dedent
from types import ModuleType

from twisted.trial.unittest import SynchronousTestCase
from zope.interface import Invalid, implementedBy
from zope.interface.interface import InterfaceClass
from zope.interface.verify import verifyClass

import zmqrpc

OPTIONAL = {"opentelemetry", "oslo_config", "oslo_messaging", "prometheus_client"}
"""What extras bring; a module that needs one that is not installed is left out."""


PATCHING = {"zmqrpc.test.oslo.guarded"}
"""What patches the standard library when it is imported, and so is for processes of its own; it claims nothing."""


def all_modules() -> Iterator[ModuleType]:
    """Import and yield every module of zmqrpc, tests included: their doubles claim interfaces too."""
    yield zmqrpc
    for info in pkgutil.walk_packages(zmqrpc.__path__, "zmqrpc."):
        if info.name.endswith(".__main__") or info.name in PATCHING:
            continue
        try:
            yield importlib.import_module(info.name)
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] not in OPTIONAL:
                raise


def classes_of(space: ModuleType | type, module: str) -> Iterator[type]:
    """Yield the classes that a module defines (not those it imports), nested ones included."""
    for value in list(vars(space).values()):
        if isinstance(value, type) and value is not space and value.__module__ == module:
            yield value
            yield from classes_of(value, module)


def claims_of(modules: Iterable[ModuleType]) -> Iterator[tuple[type, InterfaceClass]]:
    """Yield each class with each interface that it, or a class of ours that it extends, declares."""
    for module in modules:
        for cls in classes_of(module, module.__name__):
            package = module.__name__.partition(".")[0]
            ours = [base for base in cls.__mro__ if base.__module__.partition(".")[0] == package]
            for interface in dict.fromkeys(i for base in ours for i in implementedBy(base).declared):
                yield cls, interface


def broken_claims(modules: Iterable[ModuleType]) -> list[str]:
    """Describe each claim that is not kept."""
    broken = []
    for cls, interface in claims_of(modules):
        try:
            verifyClass(interface, cls)
        except Invalid as error:
            broken.append(f"{cls.__module__}.{cls.__qualname__}: {error}")
    return broken


class InterfaceTests(SynchronousTestCase):
    """Our own classes."""

    def test_walk_reaches_every_layer(self) -> None:
        names = {module.__name__ for module in all_modules()}
        self.assertLessEqual({"zmqrpc", "zmqrpc.interfaces", "zmqrpc.core", "zmqrpc.test.test_interfaces"}, names)

    def test_nothing_is_patched_by_it(self) -> None:
        """Else the tests that come later in this process would hang."""
        list(all_modules())
        patcher = sys.modules.get("eventlet.patcher")
        self.assertEqual(getattr(patcher, "already_patched", {}), {})

    def test_every_claim_is_kept(self) -> None:
        self.assertEqual("\n".join(broken_claims(all_modules())), "")


class WalkTests(SynchronousTestCase):
    """The check itself, over a made-up module."""

    def make_module(self) -> ModuleType:
        module = ModuleType("made_up.module")
        source = """
            from zope.interface import Interface, implementer
            from twisted.application.service import MultiService  # claims IService, and is not ours

            class IGreeter(Interface):
                def greet(name):
                    "Greet."

            @implementer(IGreeter)
            class Kept:
                def greet(self, name): ...

            @implementer(IGreeter)
            class MethodMissing:
                pass

            class Outer:
                @implementer(IGreeter)
                class ArgumentMissing:
                    def greet(self): ...

            class Inherits(Kept):
                def greet(self, name, loudness): ...

            class Silent:
                pass
            """
        exec(dedent(source), vars(module))  # noqa: S102
        return module

    def test_finds_claims(self) -> None:
        found = {cls.__qualname__ for cls, _ in claims_of([self.make_module()])}
        self.assertEqual(found, {"Kept", "MethodMissing", "Outer.ArgumentMissing", "Inherits"})

    def test_reports_broken_claims(self) -> None:
        broken = "\n".join(broken_claims([self.make_module()]))
        for name in ("MethodMissing", "Outer.ArgumentMissing", "Inherits"):
            self.assertIn(f"made_up.module.{name}: ", broken)
        self.assertNotIn("module.Kept:", broken)
