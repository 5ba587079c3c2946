"""Call a zmqrpc server with nothing but pyzmq and msgpack.

usage: python client.py tcp://HOST:PORT TOPIC METHOD [NAME=JSON ...] | vectors DIRECTORY
"""

import contextlib
import json
import os
import pathlib
import sys
import time

import zmq
from vectors import check
from wire import decode, encode


class Link:
    """One connection to one server, for one call at a time. After a ConnectionError make another."""

    def __init__(self, address, timeout=5.0, limit=64 * 1024 * 1024):
        self.address, self.instance, self.server, self.limit, self.sequence = address, os.urandom(16), None, limit, 0
        self.socket = zmq.Context.instance().socket(zmq.DEALER)
        self.socket.reconnect_ivl, self.socket.immediate = -1, 1  # what is meant for one server must not reach the next
        self.socket.maxmsgsize, self.socket.linger, self.socket.ipv6 = limit, 500, 1
        self.socket.connect(address)
        self.socket.poll(1000 * timeout, zmq.POLLOUT)
        self.send("HELLO", 1, 1, "client", [], {"message": limit}, [])
        source, fields = next((who, fields) for who, kind, *fields in self.messages(timeout) if kind == "WELCOME")
        self.server, self.limit = source, fields[4].get("message", limit)

    def close(self):
        self.sequence += 1  # so that all that there were are settled
        if self.socket.poll(0, zmq.POLLOUT):
            self.send("GOAWAY", "")
        self.socket.close()

    def send(self, *message):
        clock, settled = int(time.monotonic() * 1000), [self.sequence - 1] if self.server else []
        payload = encode(1, self.instance, self.server, clock, settled, None, messages=[message])
        if len(payload) > self.limit:
            raise ValueError(f"{len(payload)} bytes are over {self.limit}, the limit of {self.address}: not sent")
        if not self.socket.poll(0, zmq.POLLOUT):
            raise ConnectionError(f"there is no connection to {self.address}: not sent")
        self.socket.send(payload)

    def messages(self, timeout):
        ends = (heard := time.monotonic()) + timeout
        while (now := time.monotonic()) < ends:
            if self.socket.poll(1000 * min(0.5, ends - now)):
                heard, (payload, *more) = now, self.socket.recv_multipart()
                batch = decode(payload)
                for kind, *fields in batch[6] if len(batch) == 7 and batch[2] == self.instance and not more else []:
                    if kind == "PING":
                        self.send("PONG", fields[0])
                    elif kind == "GOAWAY":
                        self.send("GOAWAY", "")
                    elif kind == "NACK" and not fields[1]:
                        raise ConnectionError(f"{self.address} ends the link for reason {fields[0]}: {fields[2]}")
                    yield batch[1], kind, *fields
            elif self.server and now - heard > 1.5:
                raise ConnectionError(f"{self.address} is silent: the method may have run")
            elif self.server:
                self.send("PING", 1)
        raise TimeoutError(f"{self.address} did not answer in time: {'it may have run' if self.server else 'no link'}")

    def call(self, topic, method, arguments, timeout=60.0):
        self.sequence += 1
        self.send("CALL", self.sequence, 1, 0, int(timeout * 1000), "openstack", topic, *[None] * 3, method, arguments)
        for _, kind, *fields in self.messages(timeout):
            if kind == "REPLY" and fields[0] == self.sequence:
                if fields[2]:
                    raise RuntimeError("{1}: {2}".format(*fields[2]))
                return fields[1]
            if kind == "NACK" and self.sequence in fields[1]:
                raise RuntimeError(f"refused for reason {fields[0]}: {fields[2]}; nothing has run")


def main(first, second, method=None, *pairs):
    if first == "vectors":
        return f"{len([check(path) for path in pathlib.Path(second).glob('*.json')])} vectors"
    arguments = {name: json.loads(value) for name, _, value in (pair.partition("=") for pair in pairs)}
    with contextlib.closing(Link(first)) as link:
        return json.dumps(link.call(second, method, arguments))


if __name__ == "__main__":
    if len(sys.argv) < 4 - (sys.argv[1:2] == ["vectors"]):
        print(__doc__.splitlines()[-1], file=sys.stderr)
        sys.exit(2)
    try:
        print(main(*sys.argv[1:]))
    except (AssertionError, OSError, RuntimeError, ValueError) as error:
        sys.exit(f"{type(error).__name__}: {error}")
