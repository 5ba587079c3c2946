"""A process whose forks start a node each, with ever more file descriptors left, and say in a line what came of it."""

import os
import resource
import sys

from twisted.internet import reactor

from zmqrpc import Target, expose
from zmqrpc.errors import ConfigError
from zmqrpc.node import Node

URL = "zmq+dummy://?rpc_zmq_host=127.0.0.1"
MOST = 40


class Echo:
    @expose
    def echo(self, context, value):
        return value


def leave(number):
    """Have so many descriptors left."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(map(int, os.listdir("/proc/self/fd")))
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + MOST, hard))
    taken = []
    while True:
        try:
            taken.append(os.dup(0))
        except OSError:
            break
    for each in taken[:number]:
        os.close(each)


def start(number, serves):
    """Start a node; return what comes of it, and how many of its sockets the reactor goes on reading."""
    node = Node(reactor, URL)
    if serves:
        node.server(Target("echo", server="one"), [Echo()])
    before = len(reactor.getReaders())
    leave(number)
    try:
        node.startService()
    except ConfigError:
        return f"refused, {len(reactor.getReaders()) - before} left"
    return "started"


def main(serves):
    for number in range(MOST - 8):
        child = os.fork()
        if child == 0:
            os.write(1, f"{start(number, serves)}\n".encode())
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if status:
            os.write(1, f"ended by {os.waitstatus_to_exitcode(status)} with {number}\n".encode())


if __name__ == "__main__":
    main(sys.argv[1] == "serves")
