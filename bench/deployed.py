"""
zmqrpc as it is deployed: settings from a file, a Redis server as matchmaker, and a log that is written.

Otherwise what `bench.zmqrpc_server` and `bench.zmqrpc_client` do.
"""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

from twisted.internet import reactor
from twisted.logger import globalLogBeginner, textFileLogObserver

from bench.work import Order, answer, ready
from bench.zmqrpc_client import MODES, TARGET, TIMEOUT, play
from bench.zmqrpc_server import Bench
from zmqrpc import Node
from zmqrpc.configuration import load


def _start_redis(directory: str) -> int:
    """Start a server that ends with this process, at a free port, and return the port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    words = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", directory]
    dies_with_us = ["setpriv", "--pdeathsig", "KILL"]
    subprocess.Popen([*dies_with_us, *words], stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    return port


def _node(directory: str, name: str) -> Node:
    log = open(Path(directory, f"{name}.log"), "a", encoding="utf-8")  # noqa: SIM115
    globalLogBeginner.beginLoggingTo([textFileLogObserver(log)], redirectStandardIO=False)
    return Node(reactor, load(config_files=[str(Path(directory, "zmqrpc.conf"))]).settings)


async def serve(order: Order) -> None:
    port = _start_redis(order.address)
    Path(order.address, "zmqrpc.conf").write_text(
        f'[DEFAULT]\ntransport_url = "zmq+redis://127.0.0.1:{port}"\n\n'
        "[oslo_messaging_zmq]\nrpc_zmq_bind_address = 127.0.0.1\nrpc_zmq_host = 127.0.0.1\n"
    )
    node = _node(order.address, "server")
    node.server(TARGET, [Bench()])
    node.startService()
    await node.when_ready()
    ready(order.address)


async def call(order: Order) -> None:
    node = _node(order.address, "client")
    client = node.client()
    node.startService()
    await node.when_ready()
    await client.call(TARGET, "echo", {"id": 0, "data": ""}, timeout=TIMEOUT)
    answer(await MODES[order.mode](client, order))


if __name__ == "__main__":
    os.environ["PATH"] += ":/usr/sbin"
    play(serve, call)
