"""The service of ``zmq-rpc-server``: a Node and the applications that it serves."""

from __future__ import annotations

from collections.abc import Iterable
from time import perf_counter
from typing import Any, NoReturn

from twisted.application.service import IService, Service
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

from zmqrpc.configuration import Configuration
from zmqrpc.errors import ConfigError
from zmqrpc.families import raised
from zmqrpc.interfaces import IRPCApplication
from zmqrpc.node import Node
from zmqrpc.tap._applications import make, names_of
from zmqrpc.tap._log import LogFile
from zmqrpc.tap._notify import Supervisor
from zmqrpc.tap._offer import ApplicationRaised, ask, check_apart
from zmqrpc.tap._refusal import Refusals
from zmqrpc.target import Target


class Serving(Service):
    """
    RPC servers that start and stop as one service.

    Each start makes a new Node. An endpoint that provides `IService` is started before its server, and stopped when the
    last running call has ended.

    :param found: name and object of each application, as ``--app`` gave them.
    :param target: topic, exchange and member, for an application that names none.
    :param supervisor: who is told how it is; None for nobody.
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
    ) -> None:
        self._reactor = reactor
        self._refusals = refusals
        self._configuration = configuration
        self._settings = configuration.settings
        self._found = tuple(found)
        self._target = target
        self._log_file = log_file
        self._trace = trace
        self._warnings = configuration.warnings
        self._supervisor = supervisor
        # Made here for what it refuses, and used at the first start; it opens nothing until then.
        self._node: Node | None = self._make_node()
        self._opened = False
        self._making: list[Deferred[None]] = []
        self._missing = 0
        self._services: list[IService] = []
        self._giving_back: Deferred[None] | None = None

    def _make_node(self) -> Node:
        serves = [self._named_target(name, found) for name, found in self._found]
        return Node(self._reactor, self._settings, serves=serves)

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

    # IService

    def privilegedStartService(self) -> None:
        """
        Open the log and bind, while the process may still have the rights to.

        :raises StartRefused: the log cannot be written, or no port can be bound.
        """
        super().privilegedStartService()  # type: ignore[no-untyped-call]
        self._open()

    def startService(self) -> None:
        """
        Start the Node and make the servers; those whose endpoints come later, when these are there.

        :raises StartRefused: as `privilegedStartService`, or an application cannot be served.
        """
        node = self._open()
        super().startService()  # type: ignore[no-untyped-call]
        if self._supervisor is not None:
            self._supervisor.expects(self)
        try:
            node.startService()
            groups = self._by_target()
            self._missing = len(groups)
            for target, applications in groups.items():
                self._make_server(node, target, applications)
        except (Exception, SystemExit) as error:
            self._refuse(error)
        self._refusals.started()

    def stopService(self) -> Deferred[None]:
        """
        Stop taking calls, let the running ones finish, stop the endpoints.

        :return: fires when that is done; never fails.
        """
        if self.running:
            seconds = self._settings.drain_timeout
            self.log.info("stopping: nothing new is taken, what runs has {seconds:g} s to end", seconds=seconds)
        super().stopService()  # type: ignore[no-untyped-call]
        return Deferred.fromCoroutine(self._stop())

    # Starting

    def _open(self) -> Node:
        if self._node is None:
            self._node = self._make_node()
        if not self._opened:
            self._opened = True
            try:
                if self._log_file is not None:
                    self._log_file.open(self._reactor)
                self._warn()
                self._node.privilegedStartService()
            except ConfigError as error:
                self._refuse(error)
        return self._node

    def _warn(self) -> None:
        warnings, self._warnings = self._warnings, ()
        for warning in warnings:
            self.log.warn("{text}", text=warning)

    def _refuse(self, error: Exception | SystemExit) -> NoReturn:
        """Give back what is open, so that who composes services can go on without this one, and raise."""
        # Not as critical: where nobody has begun to log, that alone appears on standard error.
        if isinstance(error, ConfigError):
            text = str(self._configuration.located(error))
        else:
            text = f"it cannot be started: {raised(error)}"
        self.log.error("{error}", error=text)
        cause = error if not isinstance(error, ConfigError) else _cause(error)
        if cause is not None:
            self.log.failure("this was raised", Failure(cause), level=LogLevel.error)
        self.running = False
        self._giving_back = Deferred.fromCoroutine(self._stop())
        self._refusals.refuse(text)

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
        server = node.server(target, endpoints)
        if self._trace:
            # Only this server's, and only when asked for: the hot path pays nothing for it.
            server.run = _traced(server.run, self.log)  # type: ignore[method-assign]
        self._missing -= 1
        if self._missing:
            return
        if self._supervisor is not None:
            self._supervisor.serves(self)
            self._supervisor.says("serving, and not registered with the matchmaker yet")
        node.when_ready().addCallbacks(self._is_ready, lambda _: None)

    def _is_ready(self, _: None) -> None:
        self.log.info("ready: registered with the matchmaker")
        if self._supervisor is not None:
            self._supervisor.says("ready: registered with the matchmaker")

    def _failed_late(self, failure: Failure) -> None:
        if failure.check(CancelledError):
            return
        error = failure.value
        cause = _cause(error)
        self.log.failure("{error}; stopping", Failure(cause) if cause is not None else failure, error=error)
        # A daemon that serves nothing helps nobody; whoever supervises it shall see that it has failed.
        self._refusals.fail(str(error), self._reactor)

    # Stopping

    async def _stop(self) -> None:
        if self._supervisor is not None:
            self._supervisor.forgets(self)
        giving_back, self._giving_back = self._giving_back, None
        if giving_back is not None:
            await giving_back
        node, self._node = self._node, None
        making, self._making = self._making, []
        self._opened = False
        for deferred in making:
            deferred.cancel()
        if node is not None:
            await node.stopService()
        services, self._services = self._services, []
        for service in reversed(services):
            try:
                await maybeDeferred(service.stopService)
            except (Exception, SystemExit):
                self.log.failure("the endpoint {endpoint} raised when it was stopped", endpoint=service)
        if node is not None:
            self.log.info("stopped")
        if self._log_file is not None:
            self._log_file.close()


def _cause(error: BaseException | None) -> BaseException | None:
    """Return what an application raised, None when it did nothing of the kind."""
    return error.__cause__ if isinstance(error, ApplicationRaised) else None


def _traced(run: Any, log: Logger) -> Any:
    """Return what runs a request as `run` does, and logs its method, its end and its time."""

    def traced(request: Any) -> Any:
        started = perf_counter()
        result = run(request)

        def ended(outcome: Any) -> Any:
            log.debug(
                "{kind} {method} of {topic} took {milliseconds:.1f} ms: {outcome}",
                kind=type(request).__name__,
                method=request.method,
                topic=request.topic,
                milliseconds=(perf_counter() - started) * 1000,
                outcome=type(outcome).__name__,
            )
            return outcome

        return result.addCallback(ended) if isinstance(result, Deferred) else ended(result)

    return traced
