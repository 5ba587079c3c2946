"""
Plugins of others, by family and name.

They are looked for in `zmqrpc.plugins`, and in `twisted.plugins` as every program on Twisted does. What is wrong with
one is logged once, and said to who asks for a name that nobody has; it disturbs no other.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from os.path import dirname, join
from traceback import extract_tb
from types import ModuleType
from typing import Any

import attrs
from twisted import internet, python
from twisted import plugins as twisted_plugins
from twisted.logger import Logger
from twisted.plugin import getPlugins
from twisted.python.modules import getModule
from zope.interface import Interface, Invalid
from zope.interface.verify import verifyObject

from zmqrpc import plugins as zmqrpc_plugins
from zmqrpc.errors import ConfigError

_NOT_THEIRS = (
    *(dirname(module.__file__ or "") for module in (internet, python, importlib)),
    *(__file__, join(dirname(__file__), "tap"), "<frozen"),
)
"""Where a line that raised says nothing to the author of a plugin or application."""

_log = Logger()
_logged: set[str] = set()


@attrs.define
class Family:
    """
    The plugins of one interface, as they are found when it is made.

    :param interface: what they provide.
    :param attribute: which attribute of theirs is the name.
    :param form: what a name looks like, a regular expression.
    :param taken: the names that are ours.
    :ivar by_name: each name, with what has it; more than one object is a conflict.
    :ivar faults: what is wrong with those that were left out, one sentence each.
    """

    interface: type[Interface]
    attribute: str
    form: str = r"[^\s:]+"
    taken: frozenset[str] = frozenset()
    by_name: dict[str, list[Any]] = attrs.field(init=False, factory=dict)
    faults: list[str] = attrs.field(init=False, factory=list)

    def __attrs_post_init__(self) -> None:
        for plugin in self._found():
            fault = self._fault(plugin)
            if fault:
                self._left_out(f"the plugin {describe(plugin)} {fault}")
                continue
            same = self.by_name.setdefault(getattr(plugin, self.attribute), [])
            if not any(other is plugin for other in same):
                same.append(plugin)

    def find(self, name: str) -> Any:
        """
        Return the plugin of that name, None when there is none.

        :raises ConfigError: there are two.
        """
        same = self.by_name.get(name, [])
        if len(same) > 1:
            raise ConfigError(
                f"several plugins have the {self.attribute} {name!r}, {' and '.join(map(describe, same))}; remove all "
                "but one"
            )
        return same[0] if same else None

    @property
    def known(self) -> str:
        """Which names there are, and what was left out, for who asked for another."""
        names = sorted(self.taken | self.by_name.keys())
        known = f"valid are {', '.join(names)}" if names else "there are none"
        return "; ".join([known, *self.faults])

    def _found(self) -> Iterator[Any]:
        for module in getModule(zmqrpc_plugins.__name__).iterModules():
            try:
                loaded: ModuleType = module.load()
                yield from [value for value in vars(loaded).values() if self.interface.providedBy(value)]
            except (Exception, SystemExit) as error:
                self._left_out(f"the plugin module {module.name} cannot be imported, {raised(error)}")
        yield from getPlugins(self.interface, twisted_plugins)

    def _fault(self, plugin: Any) -> str:
        try:
            verifyObject(self.interface, plugin)
        except Invalid as error:
            return f"is no {self.interface.__name__}: {' '.join(str(error).split())}"
        name = getattr(plugin, self.attribute)
        if not isinstance(name, str) or not re.fullmatch(self.form, name):
            return f"has the {self.attribute} {name!r}; it must be text like {self.form}"
        if name in self.taken:
            return f"is never used, since the {self.attribute} {name!r} is one of zmqrpc's own"
        return ""

    def _left_out(self, sentence: str) -> None:
        self.faults.append(sentence)
        if sentence not in _logged:
            _logged.add(sentence)
            _log.warn("{sentence}", sentence=sentence)


def find(name: str, ours: Mapping[str, str], theirs: Callable[[], Family], what: str, options: tuple[str, ...]) -> Any:
    """
    Find a factory by its name, ours before a plugin's.

    :param ours: name and module of ours, imported only when it is wanted; the `factory` of the module is found.
    :param theirs: makes the family of the plugins.
    :param what: what kind of thing it is, for people.
    :param options: which options name it.
    :raises ConfigError: there is none of the name, or two plugins have it; the text lists those there are.
    """
    if name in ours:
        return importlib.import_module(ours[name]).factory
    family = theirs()
    try:
        factory = family.find(name)
    except ConfigError as error:
        error.options = options
        raise
    if factory is None:
        raise ConfigError(f"there is no {what} {name!r}; {family.known}", options=options)
    return factory


@contextmanager
def making(factory: Any, is_ours: bool, options: tuple[str, ...]) -> Iterator[None]:
    """
    Have what a factory of a plugin raises be a `ConfigError` that names it; what ours raise is a fault of ours.

    :param options: those that a `ConfigError` is about which names none.
    """
    try:
        yield
    except ConfigError as error:
        error.options = error.options or options
        raise
    except (Exception, SystemExit) as error:
        if is_ours:
            raise
        raise ConfigError(f"the plugin {describe(factory)} raised {raised(error)}", options=options) from error


def raised(error: BaseException) -> str:
    """Say in one line what was raised and where, for where no traceback is shown."""
    text = " ".join(f"{type(error).__name__}: {error}".split()).rstrip(":")
    frames = [frame for frame in extract_tb(error.__traceback__) if not frame.filename.startswith(_NOT_THEIRS)]
    return f"{text}, {frames[-1].filename} line {frames[-1].lineno}" if frames else text


def describe(plugin: Any) -> str:
    """Name a plugin: where it was made."""
    kind = plugin if isinstance(plugin, type) else type(plugin)
    return f"{kind.__module__}.{kind.__qualname__}"
