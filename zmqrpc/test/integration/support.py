"""What the integration tests share: raw peers, hand-made batches, and waiting for what is to happen."""

import json
import os
import socket
import sys
import threading
import time
from collections import deque
from typing import Any

import zmq
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.utils import getProcessOutputAndValue

import zmqrpc
from zmqrpc.core.batch import decode_batch, encode_batch
from zmqrpc.core.envelope import Hello, encode_message
from zmqrpc.test.ports import free_port
from zmqrpc.test.processes import ENVIRONMENT

reactor: Any = _reactor

PATIENCE = 10.0


def pause(seconds: float) -> Deferred[None]:
    return deferLater(reactor, seconds, lambda: None)


async def eventually(what, happened, patience=PATIENCE):
    """Wait until `happened()` is true, and return it."""
    give_up = time.monotonic() + patience
    while not (result := happened()):
        if time.monotonic() > give_up:
            raise AssertionError(f"waited {patience:g} s for: {what}")
        await pause(0.002)
    return result


async def run_child(python, module, *arguments):
    """Run a module in a process of its own; return what it printed, what it complained, and how it ended."""
    out, err, code = await getProcessOutputAndValue(
        python, ["-m", module, *map(str, arguments)], env={**ENVIRONMENT, "PYTHONUNBUFFERED": "1"}
    )
    return out.decode(), err.decode(), code


def print_outcome(scenario):
    """
    Be a process that runs one scenario on the reactor, and prints its outcome as JSON; return its exit status.

    :param scenario: returns a coroutine of a dict.
    """
    zmqrpc.use_monotonic_clock(reactor)
    outcome: list[Any] = []

    def begin():
        ended = Deferred.fromCoroutine(scenario())
        ended.addBoth(outcome.append).addBoth(lambda _: reactor.stop())

    reactor.callWhenRunning(begin)
    reactor.run()
    if not isinstance(outcome[0], dict):
        outcome[0].printTraceback(sys.stderr)
        return 1
    print(json.dumps(outcome[0]))  # noqa: T201
    return 0


class TcpServer:
    """A TCP port that accepts, says something or nothing, and keeps the connection."""

    def __init__(self, case, says=b""):
        self._says = says
        self._listening = socket.create_server(("127.0.0.1", free_port()))
        self._accepted: list[socket.socket] = []
        self.address = f"tcp://127.0.0.1:{self._listening.getsockname()[1]}"
        case.addCleanup(self.close)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                accepted, _ = self._listening.accept()
                self._accepted.append(accepted)
                accepted.sendall(self._says)
            except OSError:
                return

    def close(self):
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for accepted in self._accepted:
            accepted.close()


class RawPeers:
    """ZeroMQ sockets of other programs, with a context of their own; used without the reactor."""

    def __init__(self, case):
        self._context = zmq.Context()
        case.addCleanup(self._context.destroy, 0)

    def socket(self, kind, **options):
        made: zmq.Socket[bytes] = self._context.socket(kind)
        made.set(zmq.LINGER, 0)
        for name, value in options.items():
            made.set(getattr(zmq, name), value)
        return made

    def dealer(self, address, **options):
        made = self.socket(zmq.DEALER, **options)
        if address.startswith("tcp://["):
            made.set(zmq.IPV6, 1)
        made.connect(address)
        return made

    def router(self, port=None, **options):
        """Return a bound ROUTER and its address; a port that was given may still be held for a moment."""
        made = self.socket(zmq.ROUTER, ROUTER_MANDATORY=1, **options)
        address = f"tcp://127.0.0.1:{port or free_port()}"
        until = time.monotonic() + 5
        while True:
            try:
                made.bind(address)
                return made, address
            except zmq.ZMQError as error:
                # libzmq gives the port of a closed socket back in a thread of its own, and tells nobody when.
                if port is None or error.errno != zmq.EADDRINUSE or time.monotonic() > until:
                    raise
                time.sleep(0.001)


def arrived(sock):
    """Return the next message's frames, None when there is none."""
    try:
        return sock.recv_multipart(zmq.NOBLOCK)
    except zmq.Again:
        return None


class RawClient:
    """
    A client that says what the test wants it to say.

    :ivar heard: every batch that came and was not waited for yet.
    """

    def __init__(self, peers, address, instance=None):
        self.instance = instance or os.urandom(16)
        self.heard: deque[Any] = deque()
        self.socket = peers.dealer(address)
        self.server = None

    def send(self, *messages, destination=None, sent=None, settled=(), source=None):
        self.send_raw(self.batch(*messages, destination=destination, sent=sent, settled=settled, source=source))

    def batch(self, *messages, destination=None, sent=None, settled=(), source=None):
        encoded = [message if isinstance(message, bytes) else encode_message(message) for message in messages]
        stamp = int(time.monotonic() * 1000) if sent is None else sent
        return encode_batch(source or self.instance, destination or self.server, stamp, settled, encoded)

    def send_raw(self, *frames):
        self.socket.send_multipart(frames, zmq.NOBLOCK)

    async def message(self, kind):
        """Wait for the next message of a kind; others before it are lost."""

        def found():
            self._read()
            while self.heard:
                batch, message = self.heard.popleft()
                if isinstance(message, kind):
                    return batch, message
            return None

        return await eventually(f"a {kind}", found)

    def _read(self):
        while (frames := arrived(self.socket)) is not None:
            batch = decode_batch(frames[-1])
            self.heard.extend((batch, message) for message in batch.messages)

    async def open(self, welcome):
        """Say HELLO and wait for the answer."""
        self.send(Hello(1, 1, "client", [], {}, []))
        batch, answer = await self.message(welcome)
        self.server = batch.source
        return answer
