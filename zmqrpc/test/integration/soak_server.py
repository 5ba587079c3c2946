"""The nursery of the soak: servers that write down what they run before they do anything else."""

import signal
import time
from typing import Any

from twisted.internet import epollreactor  # noqa: F401  (before the forks)
from twisted.internet.task import deferLater

from zmqrpc import Node, Settings, Target, expose
from zmqrpc.errors import PortRangeExhausted
from zmqrpc.test.integration import nursery
from zmqrpc.testing.history import History

TOPIC = "soak"


class Soaked:
    def __init__(self, reactor, history, name, instance):
        self._reactor = reactor
        self._history = history
        self._name = name
        self._instance = instance.hex()

    def _ran(self, number):
        return self._history.ran(number, self._name, self._instance)

    @expose
    def work(self, context, number):
        return self._ran(number)

    @expose
    async def slow(self, context, number, seconds):
        ran = self._ran(number)
        await deferLater(self._reactor, seconds)
        return ran


def run(child, *, name, port, offset, log):
    """Serve as a member on a port, with a clock of one's own, until SIGTERM."""
    from twisted.internet import reactor as _reactor

    reactor: Any = _reactor
    reactor.seconds = lambda: time.monotonic() + offset
    history = History(log=open(log, "ab", 0), keep=False)  # noqa: SIM115
    options: Any = {"rpc_zmq_min_port": port, "rpc_zmq_max_port": port + 1, "drain_timeout": 2}
    for _ in range(200):
        node = Node(reactor, Settings(**options))
        node.server(Target(TOPIC, server=name), [Soaked(reactor, history, name, node.instance)])
        try:
            node.startService()
            break
        except PortRangeExhausted:
            # Its predecessor was killed and has not quite ended.
            time.sleep(0.01)
    nursery.tell(child=child, address=node.address, instance=node.instance.hex())

    def stop():
        node.stopService().addBoth(lambda _: reactor.stop())

    signal.signal(signal.SIGTERM, lambda *_: reactor.callFromThread(stop))
    reactor.run(installSignalHandlers=False)


if __name__ == "__main__":
    nursery.serve(run)
