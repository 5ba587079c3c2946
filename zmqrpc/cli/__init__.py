"""The command line client, `zmqrpc`."""
