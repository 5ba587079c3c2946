"""The commands that zmqrpc adds to `twistd` and `twist`. Nothing here may import the reactor, or our own code."""

from twisted.application.service import ServiceMaker

zmq_rpc_server = ServiceMaker("zmqrpc RPC server", "zmqrpc.tap.server", "Run RPC servers", "zmq-rpc-server")

zmq_proxy = ServiceMaker("zmqrpc proxy", "zmqrpc.tap.proxy", "Run a proxy between RPC clients and servers", "zmq-proxy")
