"""What is logged during a test."""

from zmqrpc.testing.logs import LogLines

__all__ = ["LogLines"]
