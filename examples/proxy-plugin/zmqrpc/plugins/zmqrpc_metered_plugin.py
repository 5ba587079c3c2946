"""What makes ``zmq-proxy --type metered`` known to zmqrpc."""

from zmqrpc_metered import MeteredFactory

metered = MeteredFactory()
