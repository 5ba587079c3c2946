"""The service of ``zmq-rpc-server``: a Node and the applications that it serves."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from twisted.application.service import IService
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from zmqrpc.configuration import Configuration
from zmqrpc.errors import ConfigError
from zmqrpc.interfaces import IRPCApplication
from zmqrpc.node import Node
from zmqrpc.site import sockets
from zmqrpc.tap._applications import make, names_of
from zmqrpc.tap._command_service import CommandService, cause_of
from zmqrpc.tap._log import LogFile
from zmqrpc.tap._notify import Supervisor
from zmqrpc.tap._offer import ask, check_apart
from zmqrpc.tap._ready_file import ReadyFile
from zmqrpc.tap._refusal import Refusals
from zmqrpc.tap._traced_node import TracedNode
from zmqrpc.target import Target


class Serving(CommandService):
    """
    RPC servers that start and stop as one service.

    An endpoint that provides `IService` is started before its server, and stopped when the last running call has ended.

    :param found: name and object of each application, as ``--app`` gave them.
    :param target: topic, exchange and member, for an application that names none.
    :param trace: whether each message is logged.
    :param supervisor: who is told how it is; None for nobody.
    :param ready_file: what is there while it is ready; None for no such file.
    :raises ConfigError: a setting is not valid.
    """

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        refusals: Refusals,
        configuration: Configuration,
        found: Iterable[tuple[str, object]],
        target: Target,
        log_file: LogFile | None = None,
        trace: bool = False,
        supervisor: Supervisor | None = None,
        ready_file: ReadyFile | None = None,
    ) -> None:
        self._found = tuple(found)
        self._target = target
        self._trace = trace
        self._making: list[Deferred[None]] = []
        self._missing = 0
        self._services: list[IService] = []
        super().__init__(reactor, refusals, configuration, log_file, supervisor, ready_file)

    def _make_node(self) -> Node:
        serves = [self._named_target(name, found) for name, found in self._found]
        transport: Any = None
        if self._trace:
            transport = TracedNode(sockets(self._reactor, self._settings), self._reactor.seconds)
        return Node(self._reactor, self._settings, transport=transport, serves=serves)

    def _named_target(self, name: str, found: object) -> Target:
        try:
            topic, exchange = names_of(found)
            return Target(
                topic=topic if topic is not None else self._target.topic,
                server=self._target.server,
                exchange=exchange or self._target.exchange or self._settings.control_exchange,
            )
        except ConfigError as error:
            raise ConfigError(f"the application {name} cannot be served: {error}") from error

    # Starting

    def _began(self, node: Node) -> None:
        """Make the servers; those whose endpoints come later, when these are there."""
        groups = self._by_target()
        self._missing = len(groups)
        for target, applications in groups.items():
            self._make_server(node, target, applications)

    def _by_target(self) -> dict[Target, dict[str, IRPCApplication]]:
        """Group the applications by what they serve: several may share one server."""
        groups: dict[Target, dict[str, IRPCApplication]] = {}
        for name, found in self._found:
            application = make(name, found)
            target = self._named_target(name, application)
            if target.topic is None:
                raise ConfigError(f"the application {name} names no topic; give one with --topic")
            group = groups.setdefault(target, {})
            if name in group:
                raise ConfigError(f"--app {name} is given twice; give it once")
            group[name] = application
        return groups

    def _make_server(self, node: Node, target: Target, applications: dict[str, IRPCApplication]) -> None:
        making = Deferred.fromCoroutine(self._serve(node, target, applications))
        if not making.called:
            names = ", ".join(applications)
            self.log.info("waiting for the endpoints of {names}", names=names)
            self._making.append(making)
            making.addErrback(self._failed_late)
            return
        failures: list[Failure] = []
        making.addErrback(failures.append)
        if failures:
            failures[0].raiseException()

    async def _serve(self, node: Node, target: Target, applications: dict[str, IRPCApplication]) -> None:
        client = node.client()
        offers = [
            await ask(name, application, self._reactor, client, self._settings)
            for name, application in applications.items()
        ]
        check_apart(target, offers)
        for offer in offers:
            self._services += map(IService, filter(IService.providedBy, offer.endpoints))
            await offer.start()
        endpoints = [endpoint for offer in offers for endpoint in offer.endpoints]
        node.server(target, endpoints)
        self._missing -= 1
        if not self._missing:
            self._serves()

    def _failed_late(self, failure: Failure) -> None:
        if failure.check(CancelledError):
            return
        error = failure.value
        cause = cause_of(error)
        self.log.failure("{error}; stopping", Failure(cause) if cause is not None else failure, error=error)
        # A daemon that serves nothing helps nobody; whoever supervises it shall see that it has failed.
        self._refusals.fail(str(error), self._reactor)

    # Stopping

    def _stopping(self) -> None:
        seconds = self._settings.drain_timeout
        self.log.info("stopping: nothing new is taken, what runs has {seconds:g} s to end", seconds=seconds)

    def _leave(self) -> None:
        making, self._making = self._making, []
        for deferred in making:
            deferred.cancel()

    async def _left(self) -> None:
        services, self._services = self._services, []
        for service in reversed(services):
            try:
                await maybeDeferred(service.stopService)
            except (Exception, SystemExit):
                self.log.failure("the endpoint {endpoint} raised when it was stopped", endpoint=service)
