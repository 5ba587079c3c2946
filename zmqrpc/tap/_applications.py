"""What ``--app`` names: plugins, and objects of modules."""

from __future__ import annotations

import importlib
import os
import sys
from inspect import isclass
from typing import Any

from zope.interface import Invalid, implementer
from zope.interface.verify import verifyObject

from zmqrpc.errors import ConfigError
from zmqrpc.families import Family, raised
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
        except (Exception, SystemExit) as error:
            raise ConfigError(
                f"{name} cannot be made without arguments ({raised(error)}); give a class that needs none, or an object"
            ) from error
    if not IRPCApplication.providedBy(found):
        try:
            return EndpointApplication(name, found)
        except ConfigError as error:
            raise ConfigError(f"the application {name} cannot be served: {error}") from error
    try:
        verifyObject(IRPCApplication, found)
    except Invalid as error:
        raise ConfigError(
            f"the application {name} does not do what IRPCApplication asks for: {' '.join(str(error).split())}"
        ) from error
    return found


def names_of(found: object) -> tuple[str | None, str | None]:
    """
    Return the topic and the exchange that an application or endpoint names, also when it is a class yet.

    :raises ConfigError: it raised when it was asked.
    """
    is_application = IRPCApplication.providedBy(found) or (isclass(found) and IRPCApplication.implementedBy(found))
    try:
        naming = found if is_application else getattr(found, "target", None)
        names = [getattr(naming, name, None) for name in ("topic", "exchange")]
    except (Exception, SystemExit) as error:
        raise ConfigError(f"asked for its topic it raised {raised(error)}") from error
    # A property of a class has no value before there is an object.
    topic, exchange = (None if isclass(found) and not isinstance(name, str) else name for name in names)
    return topic, exchange


def _find_plugin(name: str) -> object:
    theirs = Family(IRPCApplication, "name")
    application: object = theirs.find(name)
    if application is None:
        raise ConfigError(
            f"there is no application plugin {name!r}; {theirs.known}. Set PYTHONPATH to . for one in the current "
            "directory, or write --app package.module:object"
        )
    return application


def _import(name: str, module: str) -> Any:
    # The commands of Twisted are scripts in another directory, which is all that Python puts on the path for them.
    if (here := os.getcwd()) not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(module)
    except (Exception, SystemExit) as error:
        raise ConfigError(
            f"the module {module!r} that --app {name} names cannot be imported: {raised(error)}"
        ) from error
