"""What a simulated process stands on, all of which ends with it."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any

import attrs

from zmqrpc.settings import Settings
from zmqrpc.testing.clock import ProcessClock
from zmqrpc.testing.store import Store

if TYPE_CHECKING:
    from zmqrpc.testing.network import Network

_DEFAULTS = Settings()


class MemoryProcess:
    """
    One process on a host of a `Network`.

    :param store: where it registers and looks up.
    :param host: the name of its host.
    :param settings: None for the defaults; name and address of the host replace what they say.
    :param options: options of `Settings` that differ.
    :ivar clock: tells its time until it is killed.
    :ivar ground: its sockets, its way to the store and its chance, as a `Node` takes them.
    """

    def __init__(
        self, network: Network, store: Store, host: str, settings: Settings | None, options: dict[str, Any]
    ) -> None:
        options = {
            "rpc_zmq_host": host,
            "rpc_zmq_bind_address": network.add_host(host),
            "rpc_zmq_advertised_address": None,
            **options,
        }
        self.settings = attrs.evolve(settings or _DEFAULTS, **options)
        self.clock = ProcessClock(network.clock)
        self._transport = network.transport(host, self.clock, self.settings.max_message_size)
        self._matchmaker = store.matchmaker(self.clock)
        chance = Random(network.chance.getrandbits(64))
        self.ground: dict[str, Any] = {
            "transport": self._transport,
            "matchmaker": self._matchmaker,
            "chance": chance,
        }

    def kill(self) -> None:
        """End at once: its timers never run again, its connections break, its records stay."""
        self.clock.stop()
        self._transport.kill()
        self._matchmaker.kill()
