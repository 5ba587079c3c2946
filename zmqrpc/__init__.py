"""RPC without a broker, for Python services: ZeroMQ sockets on Twisted."""

from zmqrpc import errors
from zmqrpc._version import __version__
from zmqrpc.client import RPCClient
from zmqrpc.core.notification import HANDLED, REQUEUE, Notification
from zmqrpc.dispatcher import expose
from zmqrpc.inherited import detached
from zmqrpc.listener import Listener
from zmqrpc.members import Answer, Reached
from zmqrpc.node import Node, connect, use_monotonic_clock
from zmqrpc.notifier import Notifier
from zmqrpc.settings import Settings
from zmqrpc.target import Target

__all__ = [
    "HANDLED",
    "REQUEUE",
    "Answer",
    "Listener",
    "Node",
    "Notification",
    "Notifier",
    "RPCClient",
    "Reached",
    "Settings",
    "Target",
    "__version__",
    "connect",
    "detached",
    "errors",
    "expose",
    "use_monotonic_clock",
]
