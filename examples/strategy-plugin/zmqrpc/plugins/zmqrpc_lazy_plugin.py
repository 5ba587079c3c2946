"""What makes ``zmq_topology = lazy-direct`` known to zmqrpc."""

from zmqrpc_lazy import LazyFactory

lazy = LazyFactory()
