"""The tests of zmqrpc."""
