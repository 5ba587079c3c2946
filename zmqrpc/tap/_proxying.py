"""The service of ``zmq-proxy``: the node of a proxy."""

from __future__ import annotations

from typing import Any

from twisted.logger import Logger

from zmqrpc.configuration import Configuration
from zmqrpc.proxy_node import ProxyNode
from zmqrpc.site import sockets
from zmqrpc.tap._command_service import CommandService
from zmqrpc.tap._log import LogFile
from zmqrpc.tap._notify import Supervisor
from zmqrpc.tap._ready_file import ReadyFile
from zmqrpc.tap._refusal import Refusals
from zmqrpc.tap._traced_proxy import TracedProxy


class Proxying(CommandService):
    """
    A proxy that starts and stops as a service.

    :param trace: whether each message is logged.
    :param owner: as `ProxyNode`.
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
        trace: bool = False,
        owner: tuple[int, int] | None = None,
        supervisor: Supervisor | None = None,
        ready_file: ReadyFile | None = None,
    ) -> None:
        self._trace = trace
        self._owner = owner
        super().__init__(reactor, refusals, configuration, log_file, supervisor, ready_file)

    def _make_node(self) -> ProxyNode:
        transport: Any = None
        if self._trace:
            transport = TracedProxy(sockets(self._reactor, self._settings), self._reactor.seconds)
        return ProxyNode(self._reactor, self._settings, transport=transport, owner=self._owner)

    def _began(self, node: ProxyNode) -> None:
        self._serves()

    @property
    def _ready(self) -> str:
        # A local publisher never registers.
        return super()._ready if self._node.records else "ready: who is told of it can subscribe"

    @property
    def _almost(self) -> str:
        return super()._almost if self._node.records else "serving"

    def _stopping(self) -> None:
        if not self._node.records:
            self.log.info("stopping: who subscribes here notices, and connects anew")
            return
        seconds = self._settings.drain_timeout
        self.log.info(
            "stopping: others are told, and clients have {seconds:g} s to go to another proxy", seconds=seconds
        )
