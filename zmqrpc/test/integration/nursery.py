"""
A process that forks others on demand: an interpreter for each would take the machine's time.

Only the nursery signals its children, by ids that it has not given back to the system, so that no signal ever meets a
stranger. It and they end when whoever started it closes its standard input.
"""

import json
import os
import select
import signal
import subprocess
import sys
from typing import Any

from twisted.internet.interfaces import IReadDescriptor
from zope.interface import implementer

from zmqrpc.test.processes import ENVIRONMENT


def tell(**facts):
    """Say something to whoever started the nursery; shorter than PIPE_BUF, so that it is not torn."""
    os.write(1, json.dumps(facts).encode() + b"\n")


def serve(run):
    """Fork children that run ``run(order)``, and signal them, as standard input says."""
    children: dict[int, int] = {}
    rest = b""
    while True:
        ready, _, _ = select.select([0], [], [], 0.05)
        _reap(children)
        if not ready:
            continue
        data = os.read(0, 65536)
        if not data:
            break
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            order = json.loads(line)
            child = order.pop("child")
            if "signal" in order:
                _signal(children, child, order["signal"])
            else:
                children[child] = _fork(run, child, order)
    for child in list(children):
        _signal(children, child, signal.SIGKILL)
    for pid in children.values():
        os.waitpid(pid, 0)


def _fork(run, child, order):
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        os.close(0)
        run(child, **order)
        code = 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(code)


def _reap(children):
    for child, pid in list(children.items()):
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            del children[child]
            tell(child=child, ended=True, status=os.waitstatus_to_exitcode(status))


def _signal(children, child, number):
    if child in children:
        os.kill(children[child], number)


@implementer(IReadDescriptor)
class Nursery:
    """
    The other end: starts a nursery and reads what it and its children tell.

    :param told: is called with each fact, a dict; `child` says whose it is.
    :param environment: of it and its children; None for ours.
    """

    def __init__(self, reactor, module, told, environment=None):
        self._reactor = reactor
        self._told = told
        self._process = subprocess.Popen(
            [sys.executable, "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment or ENVIRONMENT,
        )
        assert self._process.stdin is not None and self._process.stdout is not None
        self._stdin, self._stdout = self._process.stdin.fileno(), self._process.stdout.fileno()
        self._rest = b""
        self._children = 0
        reactor.addReader(self)

    def start(self, **order: Any) -> int:
        """Fork a child; return the number by which it is known."""
        self._children += 1
        self._say(child=self._children, **order)
        return self._children

    def signal(self, child: int, number: int) -> None:
        """Signal a child; nothing happens when it has ended."""
        self._say(child=child, signal=int(number))

    def close(self) -> None:
        """End every child, and wait for that."""
        self._reactor.removeReader(self)
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(20)
        self._process.stdout.close()

    def _say(self, **order: Any) -> None:
        os.write(self._stdin, json.dumps(order).encode() + b"\n")

    def fileno(self):
        return self._stdout

    def logPrefix(self):
        return "nursery"

    def connectionLost(self, reason):
        pass

    def doRead(self):
        data = os.read(self._stdout, 65536)
        if not data:
            self._reactor.removeReader(self)
            return
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._told(json.loads(line))
