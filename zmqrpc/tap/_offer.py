"""What applications offer: their endpoints, asked for and looked at before anything is served."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import attrs
from twisted.application.service import IService
from twisted.internet.defer import CancelledError, maybeDeferred

from zmqrpc.core.envelope import Failure
from zmqrpc.dispatcher import Dispatcher
from zmqrpc.errors import ConfigError
from zmqrpc.families import raised
from zmqrpc.interfaces import IRPCApplication
from zmqrpc.tap._command_service import Raised
from zmqrpc.target import Target
from zmqrpc.threads import Threads


@attrs.frozen
class Offer:
    """
    The endpoints of one application.

    :ivar name: of the application, as ``--app`` named it.
    """

    name: str
    endpoints: list[object]
    dispatcher: Dispatcher

    async def start(self) -> None:
        """
        Start the endpoints that are services.

        :raises Raised: one raised, or what it returned failed.
        """
        for endpoint in self.endpoints:
            if not IService.providedBy(endpoint):
                continue
            service = IService(endpoint)
            try:
                service.privilegedStartService()
                await maybeDeferred(service.startService)
            except CancelledError:
                raise
            except (Exception, SystemExit) as error:
                raise Raised(
                    f"the endpoint {type(endpoint).__name__} of the application {self.name} "
                    f"raised when it was started: {raised(error)}"
                ) from error


async def ask(name: str, application: IRPCApplication, reactor: Any, client: Any, settings: Any) -> Offer:
    """
    Have an application make its endpoints.

    :raises ConfigError: what it gave cannot be served.
    :raises Raised: it raised, or what it returned failed.
    """
    try:
        given = await maybeDeferred(application.endpoints, reactor, client, settings)
    except CancelledError:
        raise
    except (Exception, SystemExit) as error:
        text = f"the application {name} raised when it was asked for endpoints: {raised(error)}"
        raise Raised(text) from error
    if isinstance(given, (str, bytes, dict)) or not isinstance(given, Iterable):
        raise ConfigError(
            f"the application {name} gave an object of type {type(given).__name__} as its endpoints; "
            "give a list of objects whose methods are marked with @zmqrpc.expose"
        )
    try:
        endpoints = list(given)
        if not endpoints:
            raise ConfigError("it offers nothing; give at least one object with methods marked with @zmqrpc.expose")
        # Only asked what it has; the server that runs it has threads of its own.
        dispatcher = Dispatcher(endpoints, Threads(reactor.callFromThread, 1))
    except ConfigError as error:
        raise ConfigError(f"the application {name} cannot be served: {error}") from error
    except (Exception, SystemExit) as error:
        raise Raised(f"the endpoints of the application {name} raised: {raised(error)}") from error
    return Offer(name, endpoints, dispatcher)


def check_apart(target: Target, offers: Sequence[Offer]) -> None:
    """
    Refuse applications of which one would hide a method of another.

    Minor versions of one interface may stand beside each other in one application; the author of two does not know of
    the other.

    :raises ConfigError: they have a method of the same name, namespace and version.
    """
    for number, second in enumerate(offers):
        for first in offers[:number]:
            for interface, method, _ in second.dispatcher.offers():
                found = first.dispatcher.find(interface.namespace, interface.version, method)
                if not isinstance(found, Failure):
                    name = f"{interface.namespace}.{method}" if interface.namespace else method
                    raise ConfigError(
                        f"the applications {first.name} and {second.name} both serve {name} "
                        f"in version {interface.version or '1.0'} of {target}; give one of them another topic, "
                        "namespace or major version"
                    )
