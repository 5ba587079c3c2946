"""A process whose main forks, and returns in the fork: `twisted.internet.task.react` ends the reactor then."""

import os

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater, react

from zmqrpc import Node, Target, expose, use_monotonic_clock


class Echo:
    @expose
    def echo(self, context, value):
        return value


async def main(reactor):
    node = Node(reactor, "zmq+dummy://")
    node.server(Target("echo", server="one"), [Echo()])
    node.startService()
    client = node.client()
    for _ in range(2):
        await client.call(Target("echo"), "echo", {"value": 1})
        await deferLater(reactor, 0.05)
        child = os.fork()
        if child == 0:
            return
        while (ended := os.waitpid(child, os.WNOHANG)) == (0, 0):
            await deferLater(reactor, 0.01)
        print("child", os.waitstatus_to_exitcode(ended[1]), flush=True)  # noqa: T201
    answers = [await client.call(Target("echo"), "echo", {"value": each}, timeout=2) for each in range(20)]
    print("called", len(answers), flush=True)  # noqa: T201
    await node.stopService()
    print("stopped", flush=True)  # noqa: T201


def begin(reactor):
    use_monotonic_clock(reactor)
    return Deferred.fromCoroutine(main(reactor))


if __name__ == "__main__":
    react(begin)
