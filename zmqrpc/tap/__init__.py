"""The services behind `twistd zmq-rpc-server` and its sisters."""
