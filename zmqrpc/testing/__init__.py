"""Doubles for the tests of users: nodes, a store and a network without sockets or real time, and contract suites."""

from zmqrpc.testing.network import Network, Stuck
from zmqrpc.testing.node import MemoryNode
from zmqrpc.testing.store import Store
from zmqrpc.testing.weather import Weather

__all__ = ["MemoryNode", "Network", "Store", "Stuck", "Weather"]
