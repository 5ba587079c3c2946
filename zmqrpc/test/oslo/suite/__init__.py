"""Runs oslo.messaging's own functional suite over zmqrpc; see `zmqrpc.test.oslo.suite.__main__`."""
