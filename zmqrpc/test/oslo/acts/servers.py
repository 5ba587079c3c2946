"""The servers of a process."""

from __future__ import annotations

import gc
import threading

import oslo_messaging

from zmqrpc.test.oslo.acts.transports import Transports
from zmqrpc.test.oslo.endpoints import Endpoint


class Servers(Transports):
    """Serves."""

    def serve(
        self,
        topic: str,
        server: str,
        exchange: str | None = None,
        namespace: str | None = None,
        version: str | None = None,
        url: str | None = None,
        says: str | None = None,
    ) -> None:
        """
        Start a server, which is known by its name from then on.

        :param says: what its methods say that it is; its name by default.
        """
        target = oslo_messaging.Target(topic=topic, server=server, exchange=exchange)
        endpoint = Endpoint(says or server, self.heard_by.setdefault("", []), self.log, self.gates)
        if namespace or version:
            endpoint.target = oslo_messaging.Target(namespace=namespace, version=version)
        made = oslo_messaging.get_rpc_server(self.transport(url=url), target, [endpoint], executor=self.executor)
        self.servers[server] = made
        made.start()

    def start_again(self, server: str) -> None:
        self.servers[server].start()

    def reset(self, server: str) -> None:
        self.servers[server].reset()

    def stop(self, server: str) -> None:
        self.servers[server].stop()

    def wait(self, server: str) -> None:
        self.servers[server].wait()

    def end(self, server: str) -> None:
        self.stop(server)
        self.wait(server)

    def collect(self) -> None:
        gc.collect()

    def open(self, gate: str) -> None:
        """Let the methods that wait for it go on."""
        self.gates.setdefault(gate, threading.Event()).set()
