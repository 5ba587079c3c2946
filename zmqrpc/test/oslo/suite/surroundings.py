"""What runs beside a cell."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlencode

from zmqrpc.test.oslo.suite.cell import TOPOLOGIES, Cell
from zmqrpc.test.ports import free_port
from zmqrpc.test.processes import ENVIRONMENT, Running, command
from zmqrpc.test.servers import RedisServer

PROXIES = ("127.0.0.1", "127.0.0.2")
"""The hosts of those that a cell has."""


class Surroundings:
    """
    What a cell needs, running, until it is left.

    :ivar directory: of its files.
    :ivar url: of a service.
    """

    def __init__(self, cell: Cell) -> None:
        self._cell = cell
        self._stack = ExitStack()
        self._directories = count()
        self._proxies: list[Running] = []

    def __enter__(self) -> Surroundings:
        with self._stack as stack:
            self.directory = Path(stack.enter_context(TemporaryDirectory(prefix="zmqrpc-oslo-")))
            self._store = self._started_store()
            self._options = {"zmq_topology": TOPOLOGIES[self._cell.topology], "rpc_zmq_host": "127.0.0.1"}
            if self._cell.topology == "router-proxy":
                self._start_proxies()
            elif self._cell.topology == "pub-sub":
                self._start_proxies("--publisher-port", "0")
                if self._cell.matchmaker == "sqlite":
                    self._start_local_publisher()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def url(self) -> str:
        return f"{self._store}?{urlencode(self._options)}"

    def keep_logs(self, directory: Path) -> None:
        """Copy what proxies have printed to a directory."""
        for number, proxy in enumerate(self._proxies):
            (directory / f"proxy-{number}.log").write_text(f"{proxy.out}{proxy.err}")

    # What a test case has for `RedisServer`.

    def mktemp(self) -> str:
        return str(self.directory / str(next(self._directories)))

    def addCleanup(self, function: Callable[[], object]) -> None:
        self._stack.callback(function)

    def _started_store(self) -> str:
        if self._cell.matchmaker == "redis":
            return RedisServer(self).url
        return f"zmq+sqlite://{self.directory}/matchmaker.db"

    def _start_proxies(self, *options: str) -> None:
        started = [self._proxy("--host", host, *options) for host in PROXIES]
        for proxy in started:
            proxy.says("ready: registered")

    def _start_local_publisher(self) -> None:
        """Start one, as one machine has, and have services subscribe there; elsewhere they do at the proxies."""
        port = str(free_port())
        proxy = self._proxy("--local-publisher", "--host", "127.0.0.1", "--publisher-port", port)
        proxy.says("ready: who is told of it can subscribe")
        self._options["subscribe_on"] = f"127.0.0.1:{port}"

    def _proxy(self, *options: str) -> Running:
        words = [*command("twistd"), "-n", "--pidfile=", "zmq-proxy", "--url", self.url, *options]
        running = Running(words, self.directory, ENVIRONMENT)
        self._stack.callback(running.kill)
        self._proxies.append(running)
        return running
