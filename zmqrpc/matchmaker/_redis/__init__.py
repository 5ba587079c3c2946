"""The parts of the matchmakers that ask Redis; one of them is chosen by `zmqrpc.matchmaker.redis`."""
