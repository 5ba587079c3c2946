"""What makes ``zmq+directory:///path`` known to zmqrpc."""

from zmqrpc_directory import DirectoryFactory

directory = DirectoryFactory()
