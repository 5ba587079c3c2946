"""A Node without sockets and without real time."""

from __future__ import annotations

from random import Random
from typing import Any

import attrs

from zmqrpc.node import Node
from zmqrpc.settings import Settings
from zmqrpc.testing.clock import ProcessClock
from zmqrpc.testing.network import Network
from zmqrpc.testing.store import Store


class MemoryNode(Node):
    """
    A Node that lives on a host of a `Network` and can be killed.

    Several may live on one host; each is a process of its own.

    :param store: where it registers and looks up.
    :param host: the name of its host, and of its servers where their targets name no member.
    :param settings: None for the defaults; name and address of the host replace what they say.
    :param options: options of `Settings` that differ.
    :ivar clock: the clock of this process; methods that wait should wait by it.
    """

    def __init__(
        self, network: Network, store: Store, host: str, settings: Settings | None = None, **options: Any
    ) -> None:
        options = {"rpc_zmq_host": host, "rpc_zmq_bind_address": network.add_host(host), **options}
        settings = attrs.evolve(settings or Settings(), **options)
        self.clock = ProcessClock(network.clock)
        self._mortal = (
            network.transport(host, self.clock, settings.max_message_size),
            store.matchmaker(self.clock),
        )
        transport, matchmaker = self._mortal
        chance = Random(network.chance.getrandbits(64))
        super().__init__(self.clock, settings, transport=transport, matchmaker=matchmaker, chance=chance)

    def kill(self) -> None:
        """
        End the process at once, without a goodbye: SIGKILL, or the kernel's own.

        Its records stay in the store, its Deferreds never fire, its timers and passes never run again; who was
        connected to it finds out as from a dead process's kernel.
        """
        self.clock.stop()
        for part in self._mortal:
            part.kill()
