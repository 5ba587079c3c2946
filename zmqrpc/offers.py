"""What a node offers to others: the records of it, and its lines in the log."""

from __future__ import annotations

from twisted.logger import Logger

from zmqrpc.binding import Binding
from zmqrpc.listener import Listener
from zmqrpc.record import Record, Role
from zmqrpc.server import RPCServer
from zmqrpc.target import Target

_log = Logger("zmqrpc.node")


class Offers:
    """
    The servers and listeners of one node.

    :param instance: of the node.
    :param subscribes: whether its servers subscribe to publishers.
    :param binding: knows the address of the node; it is bound before anything is told.
    :ivar servers: in the order in which they were made, as `listeners` are.
    :ivar unregistered: targets of servers that are not to be found yet.
    """

    def __init__(self, instance: bytes, subscribes: bool, binding: Binding) -> None:
        self.servers: list[RPCServer] = []
        self.unregistered: list[Target] = []
        self.listeners: list[Listener] = []
        self._instance = instance
        self._subscribes = subscribes
        self._binding = binding

    def records(self) -> tuple[Record, ...]:
        """Write the record of each server that is to be found, and of each target of each listener."""
        address = self._binding.address
        assert address is not None
        # A fixed table knows no instances.
        instance = "" if self._binding.fixed else self._instance.hex()
        registered = [server.target for server in self.servers if server.target not in self.unregistered]
        serving = [(Role.SERVER, target, None, self._subscribes) for target in registered]
        listening = [
            (Role.LISTENER, target, listener.pool, False) for listener in self.listeners for target in listener.targets
        ]
        return tuple(
            Record(
                role=role,
                exchange=target.exchange or "",
                topic=target.topic or "",
                member=target.server or "",
                instance=instance,
                addresses=(address,),
                pool=pool,
                subscribes=subscribes,
            )
            for role, target, pool, subscribes in serving + listening
        )

    def log_server(self, server: RPCServer) -> None:
        """Say where a server is."""
        _log.info(
            "serving topic {topic} as member {member} at {address}, exchange {exchange}, instance {instance}",
            topic=server.target.topic,
            member=server.target.server,
            address=self._binding.address,
            exchange=server.target.exchange,
            instance=self._instance.hex(),
        )

    def log_listener(self, listener: Listener) -> None:
        """Say where a listener is, and of which pool."""
        for target in listener.targets:
            _log.info(
                "listening to topic {topic} as member {member} at {address}, {pool}, exchange {exchange}, instance "
                "{instance}",
                topic=target.topic,
                member=target.server,
                address=self._binding.address,
                pool="the pool without a name" if listener.pool is None else f"pool {listener.pool}",
                exchange=target.exchange,
                instance=self._instance.hex(),
            )
