"""The clients of a process."""

from __future__ import annotations

import time
from importlib import import_module
from typing import Any

import oslo_messaging

from zmqrpc.test.oslo.acts.transports import Transports


class Clients(Transports):
    """Calls and casts once."""

    def client(
        self,
        topic: str,
        server: str | None = None,
        fanout: bool | None = None,
        exchange: str | None = None,
        namespace: str | None = None,
        version: str | None = None,
        timeout: float | None = None,
        call_monitor_timeout: int | None = None,
        retry: int | None = None,
        at_least_once: bool | None = None,
        url: str | None = None,
    ) -> Any:
        target = oslo_messaging.Target(topic=topic, exchange=exchange)
        options = oslo_messaging.TransportOptions(at_least_once=True) if at_least_once else None
        client = oslo_messaging.get_rpc_client(
            self.transport(url=url),
            target,
            timeout=timeout,
            call_monitor_timeout=call_monitor_timeout,
            retry=retry,
            transport_options=options,
        )
        whom = {"server": server, "fanout": fanout, "namespace": namespace, "version": version}
        return client.prepare(**{name: value for name, value in whom.items() if value is not None})

    def call(self, topic: str, method: str, args: Any = None, context: Any = None, **whom: Any) -> Any:
        return self.client(topic, **whom).call(context or {}, method, **(args or {}))

    def cast(self, topic: str, method: str, args: Any = None, context: Any = None, **whom: Any) -> Any:
        return self.client(topic, **whom).cast(context or {}, method, **(args or {}))

    def catch(self, module: str, kind: str, **call: Any) -> Any:
        """Call, and catch a class of a module; return what is told of what was raised."""
        from zmqrpc.test.oslo.acting import about

        try:
            self.call(**call)
        except getattr(import_module(module), kind) as raised:
            return about(raised)
        raise AssertionError("nothing was raised")

    def seconds(self, what: str, **arguments: Any) -> list[Any]:
        """Do something; return for how long, and the error that it raised."""
        from zmqrpc.test.oslo.acting import about

        error = None
        began = time.monotonic()
        try:
            getattr(self, what)(**arguments)
        except Exception as raised:
            error = about(raised)
        return [time.monotonic() - began, error]
