"""The nursery of the bench: each child enters its host, and becomes what its order says."""

from __future__ import annotations

import ctypes
import os
import sys
from importlib import import_module
from typing import Any

from zmqrpc.test.integration import nursery

# What children need is imported before the forks; all but the reactor, which each installs for itself.
for _name in (
    "twisted.internet.epollreactor",
    "twisted.scripts._twistd_unix",
    "zmqrpc.matchmaker.sqlite",
    "zmqrpc.matchmaker.redis",
    "zmqrpc.proxy.router",
    "zmqrpc.reactor_zmq",
    "zmqrpc.tap.proxy",
    "zmqrpc.testing.history",
):
    import_module(_name)

_NEW_NETWORK = 0x40000000


def run(child: int, *, kind: str, host: str, output: str, **order: Any) -> None:
    """
    Become a child.

    :param kind: the module of this package, or ``twistd``.
    :param host: the name of a network namespace; empty to stay.
    :param output: the file for what is printed.
    """
    if host:
        _enter(host)
    file = os.open(output, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.dup2(file, 2)
    nursery.tell(child=child, pid=os.getpid())
    if kind == "twistd":
        os.dup2(file, 1)
        os.open(os.devnull, os.O_RDONLY)
        if order.get("doubles"):
            _double()
        sys.argv = ["twistd", "-n", "--pidfile=", *order["words"]]
        from twisted.scripts.twistd import run as twistd

        try:
            twistd()
        except SystemExit as end:
            # The nursery has no status for that.
            os._exit(int(end.code or 0))
    else:
        import_module(f"zmqrpc.test.fault.{kind}").run(child, **order)


def _double() -> None:
    """Have every socket that is bound send what is forwarded twice."""
    from zmqrpc._reactor_pubsub import Publisher
    from zmqrpc.reactor_zmq import BoundRouter

    once = BoundRouter.send_keyed

    def twice(self: Any, identity: bytes, key: bytes, payload: Any) -> int:
        payload = bytes(payload)
        once(self, identity, key, payload)
        return once(self, identity, key, payload)

    BoundRouter.send_keyed = twice  # type: ignore[method-assign]
    published = Publisher.publish

    def publish_twice(self: Any, *frames: Any) -> None:
        frames = tuple(map(bytes, frames))
        published(self, *frames)
        published(self, *frames)

    Publisher.publish = publish_twice  # type: ignore[method-assign]


def _enter(host: str) -> None:
    """Be on a host from now on; Python has a word for that from 3.12 on only."""
    with open(f"/run/netns/{host}") as namespace:
        if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), _NEW_NETWORK):
            raise OSError(ctypes.get_errno(), f"setns to {host} failed")


if __name__ == "__main__":
    nursery.serve(run)
