"""Ports for what tests bind."""

from __future__ import annotations

import os
import socket


def free_port() -> int:
    """
    Return a port that nobody has.

    It is below those that the kernel gives to outgoing connections, so that none connects to itself, and far from those
    that another process of the tests, with a pid beside ours, begins to try at the same time.
    """
    for port in range(20000 + os.getpid() * 701 % 10000, 32768):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            if port not in _given:
                _given.add(port)
                return port
    raise AssertionError("no port is free")


_given: set[int] = set()
