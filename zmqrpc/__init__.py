"""Brokerless RPC over ZeroMQ for Twisted."""

from zmqrpc._version import __version__ as __version__
