"""What a process of a test can do with oslo.messaging."""

from zmqrpc.test.oslo.acts.carriage import Carriage
from zmqrpc.test.oslo.acts.sizes import Sizes
from zmqrpc.test.oslo.acts.ticks import Ticks
from zmqrpc.test.oslo.acts.workers import Workers


class Acts(Workers, Carriage, Sizes, Ticks):
    """All of it; made as `zmqrpc.test.oslo.acts.transports.Transports`."""
