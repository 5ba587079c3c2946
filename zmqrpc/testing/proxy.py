"""A proxy without sockets and without real time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from zmqrpc.proxy_node import ProxyNode
from zmqrpc.settings import Settings
from zmqrpc.testing.process import MemoryProcess
from zmqrpc.testing.store import Store

if TYPE_CHECKING:
    from zmqrpc.testing.network import Network


class MemoryProxy(ProxyNode):
    """
    A proxy that lives on a host of a `Network` and can be killed.

    :param store: where it registers; None for the one of the network.
    :param host: the name of its host, under which it is recorded; None for a new one.
    :param settings: None for the defaults; name and address of the host replace what they say.
    :param options: options of `Settings` that differ.
    :ivar network: the network.
    :ivar store: the store.
    :ivar host: the name of the host.
    :ivar clock: the clock of this process.
    """

    def __init__(
        self,
        network: Network,
        store: Store | None = None,
        host: str | None = None,
        settings: Settings | None = None,
        **options: Any,
    ) -> None:
        self.network = network
        self.store = store = store or network.store
        self.host = host = host or f"proxy-{len(network.proxies) + 1}"
        self._process = process = MemoryProcess(network, store, host, settings, options)
        self.clock = process.clock
        super().__init__(process.clock, process.settings, **process.ground)
        network.proxies.append(self)

    def kill(self) -> None:
        """
        End the process at once, without a goodbye: SIGKILL, or the kernel's own.

        Its records stay in the store, its timers and passes never run again; who was connected to it finds out as from
        a dead process's kernel.
        """
        self._process.kill()

    @property
    def state(self) -> str:
        """What has become of it: ``killed``, or its `stage`."""
        return "killed" if self.clock.stopped else self.stage
