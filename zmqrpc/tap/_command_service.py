"""The service of a command: a node, its log, and whoever wants to know how it is."""

from __future__ import annotations

import signal
from collections.abc import Callable
from time import localtime, strftime
from typing import Any, NoReturn

import msgspec
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

from zmqrpc.configuration import Configuration
from zmqrpc.core.inspected import Inspected
from zmqrpc.errors import ConfigError
from zmqrpc.families import raised
from zmqrpc.inspection_text import lines
from zmqrpc.tap._log import LogFile
from zmqrpc.tap._notify import Supervisor
from zmqrpc.tap._on_signal import OnSignal
from zmqrpc.tap._ready_file import ReadyFile
from zmqrpc.tap._refusal import Refusals

_EVENTS = 100
"""How many of the last events SIGUSR2 writes."""


class CommandService(Service):
    """
    What starts and stops a node for a command of `twistd`. Each start makes a new node.

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
        log_file: LogFile | None = None,
        supervisor: Supervisor | None = None,
        ready_file: ReadyFile | None = None,
    ) -> None:
        self._reactor = reactor
        self._refusals = refusals
        self._configuration = configuration
        self._settings = configuration.settings
        self._log_file = log_file
        self._warnings = configuration.warnings
        self._supervisor = supervisor
        self._ready_file = ready_file
        self._unwatch: Callable[[], None] = lambda: None
        self._on_signal = OnSignal(reactor, signal.SIGUSR2, self._write_inspection)
        # Made here for what it refuses, and used at the first start; it opens nothing until then.
        self._node: Any = self._make_node()
        self._stops: Any = None
        self._opened = False
        self._giving_back: Deferred[None] | None = None

    # What is different for each

    def _make_node(self) -> Any:
        """
        Make the node: a service with `privilegedStartService`.

        :raises ConfigError: a setting is not valid.
        """
        raise NotImplementedError

    def _began(self, node: Any) -> None:
        """Go on when the node has started; what it raises is a start that is refused."""
        raise NotImplementedError

    def _stopping(self) -> None:
        """Say that it stops, and what it does until then."""
        raise NotImplementedError

    def _leave(self) -> None:
        """Give up what is still being made, before the node stops."""

    async def _left(self) -> None:
        """Give back the rest, after the node has stopped."""

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
        Start the node.

        :raises StartRefused: as `privilegedStartService`, or what it is for cannot be done.
        """
        node = self._open()
        super().startService()  # type: ignore[no-untyped-call]
        if self._supervisor is not None:
            self._supervisor.expects(self)
        try:
            node.startService()
            self._began(node)
        except (Exception, SystemExit) as error:
            self._refuse(error)
        self._refusals.started()

    def stopService(self) -> Deferred[None]:
        """
        Stop in good order.

        :return: fires when that is done; never fails.
        """
        ran = bool(self.running)
        if ran:
            self._stopping()
        super().stopService()  # type: ignore[no-untyped-call]
        return Deferred.fromCoroutine(self._stop(ran))

    # Starting

    def _open(self) -> Any:
        if self._node is None:
            self._node = self._make_node()
        if not self._opened:
            self._opened = True
            try:
                if self._log_file is not None:
                    self._log_file.open(self._reactor)
                self._on_signal.begin()
                self._warn()
                if self._ready_file is not None:
                    self._ready_file.begin()
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
        if self._refusals.in_log:
            self.log.error("{error}", error=text)
        cause = error if not isinstance(error, ConfigError) else cause_of(error)
        if cause is not None:
            self.log.failure("this was raised", Failure(cause), level=LogLevel.error)
        self.running = False
        self._giving_back = Deferred.fromCoroutine(self._stop(False))
        self._refusals.refuse(text)

    def _serves(self) -> None:
        """Tell the supervisor that everything has begun, and all of them when the node is registered."""
        if self._supervisor is not None:
            self._supervisor.serves(self)
            self._supervisor.says(self, False, self._almost)
        self._node.when_ready().addCallbacks(self._is_ready, lambda _: None)

    def _is_ready(self, _: None) -> None:
        self.log.info("{ready}", ready=self._ready)
        self._unwatch = self._node.watch_ready(self._changed)
        self._changed(self._node.not_ready)

    def _changed(self, trouble: str) -> None:
        """Say whether it is ready, now that this has changed; the log is told by the node."""
        if self._supervisor is not None:
            # When it began, as the text stays until it changes.
            since = strftime("%H:%M:%S", localtime())
            status = f"not ready since {since}: {trouble}; those who know us are served" if trouble else self._ready
            self._supervisor.says(self, not trouble, status)
        if self._ready_file is not None:
            self._ready_file.says("" if trouble else self._ready)

    @property
    def _almost(self) -> str:
        """What is said of a node that serves, and is not ready yet."""
        return "serving, and not registered with the matchmaker yet"

    @property
    def _ready(self) -> str:
        """What is said of a node that is ready."""
        return "ready: registered with the matchmaker"

    # When it is asked

    def _write_inspection(self) -> None:
        """Write into the log what is going on, as ``zmqrpc inspect`` prints it."""
        node = self._node or self._stops
        if node is not None:
            try:
                seen = msgspec.convert(node.inspect(_EVENTS), Inspected)
                self.log.info("SIGUSR2: {inspection}", inspection="\n".join(lines(seen)))
            except Exception:
                # What kind of proxy it may be: that it cannot say how it is must not end it.
                self.log.failure("what is going on could not be told")

    # Stopping

    async def _stop(self, ran: bool) -> None:
        self._unwatch()
        if self._ready_file is not None:
            self._ready_file.says("")
        if self._supervisor is not None:
            self._supervisor.forgets(self)
        giving_back, self._giving_back = self._giving_back, None
        if giving_back is not None:
            await giving_back
        node, self._node = self._node, None
        self._opened = False
        self._leave()
        if node is not None:
            # What keeps it from stopping may be asked meanwhile.
            self._stops = node
            await node.stopService()
            self._stops = None
        await self._left()
        self._on_signal.end()
        if ran:
            self.log.info("stopped")
        if self._log_file is not None:
            self._log_file.close()


class Raised(ConfigError):
    """Code of others raised what is the cause of this; a programmer wants to see its traceback in the log."""


def cause_of(error: BaseException | None) -> BaseException | None:
    """Return what code of others raised, None when it did nothing of the kind."""
    return error.__cause__ if isinstance(error, Raised) else None
