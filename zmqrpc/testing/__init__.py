"""
Doubles for the tests of users, without a socket and without real time.

A `Network` runs nodes, a store and doubles of servers in memory, on one clock and one seed. The contract suites are in
`zmqrpc.testing.matchmaker`, `zmqrpc.testing.strategy`, `zmqrpc.testing.application` and
`zmqrpc.testing.transport_contract`. Every other module is how these are made, and may change.
"""

from zmqrpc.testing.expectation import Expectation, FakeCall
from zmqrpc.testing.fake import Fake, UnexpectedCall
from zmqrpc.testing.history import History
from zmqrpc.testing.network import Network, Stuck, Unfinished
from zmqrpc.testing.node import MemoryNode
from zmqrpc.testing.proxy import MemoryProxy
from zmqrpc.testing.store import Store
from zmqrpc.testing.weather import Weather

__all__ = [
    "Expectation",
    "Fake",
    "FakeCall",
    "History",
    "MemoryNode",
    "MemoryProxy",
    "Network",
    "Store",
    "Stuck",
    "UnexpectedCall",
    "Unfinished",
    "Weather",
]
