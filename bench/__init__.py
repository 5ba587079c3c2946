"""The figures that zmqrpc promises, each measured beside its yardstick; run it with ``python -m bench``."""
