"""What ``--app`` names: plugins, and objects of modules."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from inspect import isclass
from traceback import extract_tb
from typing import Any

from twisted import plugins as twisted_plugins
from twisted.plugin import getPlugins
from zope.interface import implementer

from zmqrpc import plugins as zmqrpc_plugins
from zmqrpc.errors import ConfigError
from zmqrpc.interfaces import IRPCApplication


@implementer(IRPCApplication)
class EndpointApplication:
    """
    An application that is one endpoint.

    :param name: as ``--app`` named it.
    """

    def __init__(self, name: str, endpoint: object) -> None:
        self.name = name
        self._endpoint = endpoint
        self.topic, self.exchange = names_of(endpoint)

    def endpoints(self, reactor: Any, client: Any, settings: Any) -> list[object]:
        """See `IRPCApplication`."""
        return [self._endpoint]


def find(name: str) -> object:
    """
    Find what ``--app`` names; nothing of it is run except the import of its module.

    :param name: the name of a plugin, or ``package.module:object``.
    :raises ConfigError: there is no such thing, or its module cannot be imported.
    """
    module, colon, path = name.partition(":")
    if not colon:
        return _find_plugin(name)
    found = _import(name, module)
    for attribute in path.split("."):
        try:
            found = getattr(found, attribute)
        except AttributeError:
            raise ConfigError(f"there is no {path!r} in the module {module!r} that --app {name} names") from None
    return found


def make(name: str, found: object) -> IRPCApplication:
    """
    Make an application of what `find` found: a class is instantiated, an object without the interface is an endpoint.

    :raises ConfigError: the class needs arguments, or raised.
    """
    if isclass(found):
        try:
            found = found()
        except Exception as error:
            raise ConfigError(
                f"{name} cannot be made without arguments ({_describe(error)}); "
                "give a class that needs none, or an object"
            ) from error
    if IRPCApplication.providedBy(found):
        return found
    return EndpointApplication(name, found)


def names_of(found: object) -> tuple[str | None, str | None]:
    """Return the topic and the exchange that an application or endpoint names, also when it is a class yet."""
    is_application = IRPCApplication.providedBy(found) or (isclass(found) and IRPCApplication.implementedBy(found))
    naming = found if is_application else getattr(found, "target", None)
    names = (getattr(naming, name, None) for name in ("topic", "exchange"))
    # A property of a class has no value before there is an object.
    topic, exchange = (name if isinstance(name, str) else None for name in names)
    return topic, exchange


def _find_plugin(name: str) -> IRPCApplication:
    theirs = {
        application.name: application
        for package in (zmqrpc_plugins, twisted_plugins)
        for application in getPlugins(IRPCApplication, package)
    }
    if name not in theirs:
        known = f"there are {', '.join(sorted(theirs))}" if theirs else "there are none"
        raise ConfigError(
            f"there is no application plugin {name!r}; {known}. Set PYTHONPATH to . for one in the current directory, "
            "or write --app package.module:object"
        )
    return theirs[name]


def _import(name: str, module: str) -> Any:
    # The commands of Twisted are scripts in another directory, which is all that Python puts on the path for them.
    if (here := os.getcwd()) not in sys.path:
        sys.path.insert(0, here)
    try:
        return import_module(module)
    except (Exception, SystemExit) as error:
        raise ConfigError(
            f"the module {module!r} that --app {name} names cannot be imported: {_describe(error)}"
        ) from error


def _describe(error: BaseException) -> str:
    """Say in one line what was raised and where, since no traceback is shown."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    frames = extract_tb(error.__traceback__)
    last = frames[-1] if frames else None
    if last is None or last.filename in {__file__, "<frozen importlib._bootstrap>"}:
        return text
    return f"{text}, {last.filename} line {last.lineno}"
