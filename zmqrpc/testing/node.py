"""A Node without sockets and without real time."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from zmqrpc.client import RPCClient
from zmqrpc.node import Node
from zmqrpc.notifier import Notifier
from zmqrpc.settings import Settings
from zmqrpc.target import Target
from zmqrpc.testing.asked import AskedLog
from zmqrpc.testing.process import MemoryProcess
from zmqrpc.testing.store import Store

if TYPE_CHECKING:
    from zmqrpc.testing.network import Network


class MemoryNode(Node):
    """
    A Node that lives on a host of a `Network` and can be killed.

    Several may live on one host; each is a process of its own.

    :param network: None for a network of its own, which others may join.
    :param store: where it registers and looks up; None for the one of the network.
    :param host: the name of its host, and of its servers where their targets name no member; None for a new one.
    :param settings: None for the defaults; name and address of the host replace what they say.
    :param options: options of `Settings` that differ.
    :ivar network: the network.
    :ivar store: the store.
    :ivar host: the name of the host.
    :ivar clock: the clock of this process; methods that wait should wait by it.
    :ivar asked: what its clients and notifiers were asked, for the network's `close`; an `AskedLog`.
    """

    def __init__(
        self,
        network: Network | None = None,
        store: Store | None = None,
        host: str | None = None,
        settings: Settings | None = None,
        **options: Any,
    ) -> None:
        self.network = network = network or _new_network()
        self.store = store = store or network.store
        self.host = host = host or f"host-{len(network.nodes) + 1}"
        self._process = process = MemoryProcess(network, store, host, settings, options)
        self.clock = process.clock
        super().__init__(process.clock, process.settings, **process.ground)
        # For the network, which tells a test that ends what has not ended.
        self.asked = AskedLog(self.clock.seconds, self._tables.whereabouts.where)
        # A test may ask the store what no client asks a real one.
        self._delivery.outcomes.served = store.served
        network.nodes.append(self)

    def client(self, targets: Iterable[Target] = ()) -> RPCClient:
        """Make a client, as `Node.client`."""
        client = super().client(targets)
        self.asked.follow(client)
        return client

    def notifier(self, publisher_id: str, topics: Iterable[Target | str]) -> Notifier:
        """Make a notifier, as `Node.notifier`."""
        notifier = super().notifier(publisher_id, topics)
        self.asked.follow_notifier(notifier)
        return notifier

    def kill(self) -> None:
        """
        End the process at once, without a goodbye: SIGKILL, or the kernel's own.

        Its records stay in the store, its Deferreds never fire, its timers and passes never run again; who was
        connected to it finds out as from a dead process's kernel.
        """
        self._process.kill()

    @property
    def state(self) -> str:
        """What has become of it: ``not started``, ``running``, ``stopping``, ``stopped`` or ``killed``."""
        if self.clock.stopped:
            return "killed"
        return self._life.stage if self.running or self._life.ends else "not started"


def _new_network() -> Network:
    # Networks make nodes: only this rare way round needs the import, which would be a circle above.
    from zmqrpc.testing.network import Network

    return Network()
