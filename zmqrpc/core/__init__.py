"""
The core: what zmqrpc decides, without doing any of it.

Rules of this folder: no zmq, no Deferred, no clock, no randomness, no logging, no I/O. A method takes `now` (seconds of
a monotonic clock) where it needs the time, and returns what is to be done as values; the shells above do it. So
everything here is tested with plain calls.
"""
