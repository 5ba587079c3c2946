"""
The nursery of the scenarios in `zmqrpc.test.integration.faults`: proxies as ``twistd zmq-proxy`` runs them, and servers
that write down what they run before they do anything else.
"""

import json
import os
import signal
import sys
from importlib import import_module
from typing import Any

from twisted.internet.defer import gatherResults
from twisted.internet.task import deferLater

import zmqrpc
from zmqrpc import Node, Settings, Target, expose
from zmqrpc.test.integration import nursery
from zmqrpc.testing.history import History

# What children need is imported before the forks; all but the reactor, which each installs for itself.
for _name in (
    "twisted.internet.epollreactor",
    "twisted.scripts._twistd_unix",
    "zmqrpc.matchmaker.sqlite",
    "zmqrpc.proxy.router",
    "zmqrpc.reactor_zmq",
    "zmqrpc.tap.proxy",
):
    import_module(_name)

TOPIC = "work"


class Member:
    """One member's methods."""

    def __init__(self, reactor: Any, history: History, name: str, node: Node) -> None:
        self._reactor = reactor
        self._history = history
        self._name = name
        self._instance = node.instance.hex()

    def _ran(self, number):
        return self._history.ran(number, self._name, self._instance)

    @expose
    def quick(self, context, number):
        return self._ran(number)

    @expose
    async def slow(self, context, number, seconds):
        ran = self._ran(number)
        await deferLater(self._reactor, seconds)
        return ran


def subscribed(node: Node) -> int:
    """Return how many publishers have confirmed what a node subscribes to."""
    subscriptions = node._subscriptions._subscriptions if node._subscriptions is not None else ()
    return sum(subscription.state.current for subscription in subscriptions)


def serve(child, *, url, names, log, publishers):
    """Serve under each name, with a node for each, until SIGTERM; then write down which fan-outs were missed."""
    from twisted.internet import reactor as _reactor

    reactor: Any = _reactor
    zmqrpc.use_monotonic_clock(reactor)
    history = History(log=open(log, "ab", 0), keep=False)  # noqa: SIM115
    settings = Settings.from_url(url)
    nodes = {}
    for name in names:
        nodes[name] = node = Node(reactor, settings)
        node.server(Target(TOPIC, server=name), [Member(reactor, history, name, node)])
        node.startService()
    instances = {name: node.instance.hex() for name, node in nodes.items()}

    def look(_: object = None) -> None:
        if all(subscribed(node) >= publishers for node in nodes.values()):
            nursery.tell(child=child, instances=instances)
        else:
            reactor.callLater(0.05, look)

    gatherResults([node.when_ready() for node in nodes.values()]).addCallback(look)

    def stop():
        missed = {node.instance.hex(): node.notices.counts["fanout_missed"] for node in nodes.values()}
        with open(f"{log}.missed", "w") as file:
            json.dump(missed, file)
        gatherResults([node.stopService() for node in nodes.values()]).addBoth(lambda _: reactor.stop())

    signal.signal(signal.SIGTERM, lambda *_: reactor.callFromThread(stop))
    reactor.run(installSignalHandlers=False)


def proxy(child, *, url, host, ports, log):
    """Be ``twistd zmq-proxy`` at these ports: of the frontend, the backend and, if it publishes, the publisher."""
    output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    for descriptor in (0, 1, 2):
        os.dup2(output, descriptor)
    options = ["--url", url, "--host", "127.0.0.1"]
    for name, port in zip(("frontend", "backend", "publisher"), ports, strict=False):
        options += [f"--{name}-port", str(port)]
    sys.argv = ["twistd", "-n", "--pidfile=", "zmq-proxy", *options]
    from twisted.scripts.twistd import run

    run()


def run(child, *, kind, **order):
    """Be one of them."""
    parts: dict[str, Any] = {"proxy": proxy, "servers": serve}
    parts[kind](child, **order)


if __name__ == "__main__":
    nursery.serve(run)
